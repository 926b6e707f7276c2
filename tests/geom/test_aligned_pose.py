"""A guess of pose is made better by the pictures, in the unit of the depth, and kept where they disagree."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import turned_surface
from turned_surface import DEPTH, SIDE, SOURCE, TARGET, TRUTH, guess, texture

from headwarp.geom.aligned_pose import alignable, aligned_pose
from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.relative_pose import PoseConfig, RelativePose
from headwarp.geom.rigid_alignment import AlignmentConfig, pose_of_surface
from headwarp.geom.transforms import axis_angle_to_matrix


def error_deg(pose):
    return turned_surface.error_deg(axis_angle_to_matrix(pose.rotation))


def test_a_guess_is_made_better():
    start = guess()
    found = aligned_pose(start, DEPTH, target=TARGET, source=SOURCE)
    assert error_deg(found).item() < 0.7 < 5 < error_deg(start).item()
    truth = pose_of_surface(TRUTH, (SIDE, SIDE))
    torch.testing.assert_close(found.translation, truth.translation, rtol=0, atol=0.01)
    assert found.intrinsics is start.intrinsics


def test_the_translation_is_in_the_unit_of_the_depth():
    one = aligned_pose(guess(), DEPTH, target=TARGET, source=SOURCE)
    other = aligned_pose(guess(), 7 * DEPTH, target=TARGET, source=SOURCE)
    torch.testing.assert_close(other.rotation, one.rotation, rtol=0, atol=1e-4)
    torch.testing.assert_close(other.translation, 7 * one.translation, rtol=0, atol=1e-3)


def test_depth_that_is_unknown_and_what_the_mask_leaves_out_say_nothing():
    spoilt, hollow, mask = TARGET.clone(), DEPTH.clone(), torch.ones(1, 1, SIDE, SIDE)
    spoilt[..., :36, :] = SOURCE[..., :36, :]  # rests, as what is behind a head does
    hollow[..., :36, :] = 0
    mask[..., :40, :] = 0  # they count with an outline
    believed = aligned_pose(guess(), DEPTH, target=spoilt, source=SOURCE)
    masked = aligned_pose(guess(), DEPTH, target=spoilt, source=SOURCE, mask=mask)
    known = aligned_pose(guess(), hollow, target=spoilt, source=SOURCE)
    assert max(error_deg(masked).item(), error_deg(known).item()) < 1 < 5 < error_deg(believed).item()
    nothing = aligned_pose(guess(), 0 * DEPTH, target=TARGET, source=SOURCE)
    torch.testing.assert_close(nothing.rotation, guess().rotation, rtol=0, atol=1e-4)
    assert torch.isfinite(nothing.translation).all()


def test_pictures_of_different_things_leave_the_guess():
    start = guess()
    found = aligned_pose(start, DEPTH, target=TARGET, source=texture(1))
    torch.testing.assert_close(found.rotation, start.rotation, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.translation, start.translation, rtol=0, atol=1e-4)
    wild = dataclasses.replace(start, translation=torch.tensor([[9.0, -9.0, -0.99]]))  # out of all bounds
    left = aligned_pose(wild, DEPTH, target=TARGET, source=texture(1))
    torch.testing.assert_close(left.translation, wild.translation, rtol=0, atol=1e-4)


def test_one_target_serves_many_sources_each_by_itself():
    guesses = [guess(0.1), guess(0.05)]
    both = RelativePose(
        torch.cat([g.rotation for g in guesses]),
        torch.cat([g.translation for g in guesses]),
        torch.cat([g.intrinsics for g in guesses]),
    )
    sources = torch.cat([SOURCE, 0.8 * SOURCE])
    found = aligned_pose(both, DEPTH, target=TARGET, source=sources)
    for row in range(2):
        alone = aligned_pose(guesses[row], DEPTH, target=TARGET, source=sources[[row]])
        torch.testing.assert_close(found.rotation[[row]], alone.rotation, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.translation[[row]], alone.translation, rtol=0, atol=1e-4)


def test_networks_that_say_relief_and_heads_can_be_aligned():
    depth, pose = DepthConfig(mapping="relief"), PoseConfig(form="head", principal=0.0)
    assert alignable(DepthPoseConfig(depth, pose))
    assert not alignable(DepthPoseConfig(DepthConfig(mapping="inverse"), pose))
    assert not alignable(DepthPoseConfig(depth, dataclasses.replace(pose, form="pair")))
    assert not alignable(DepthPoseConfig(depth, dataclasses.replace(pose, principal=0.05)))
    assert not alignable(DepthPoseConfig())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"depth: expected \(B, 1, 64, 64\) as the target"):
        aligned_pose(guess(), DEPTH[..., 1:], target=TARGET, source=SOURCE)
    with pytest.raises(ShapeError, match=r"mask: expected \(B, 1, 64, 64\) as the target"):
        aligned_pose(guess(), DEPTH, target=TARGET, source=SOURCE, mask=TARGET)
    with pytest.raises(ShapeError, match="target, source: expected two"):
        aligned_pose(guess(), DEPTH, target=TARGET, source=SOURCE[..., 1:])
    none = AlignmentConfig(sides=())
    with pytest.raises(HeadwarpError, match="expected sides from 4 px on"):
        aligned_pose(guess(), DEPTH, target=TARGET, source=SOURCE, config=none)
