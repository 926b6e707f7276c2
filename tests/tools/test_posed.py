"""``pose`` and ``displacement``: fits posed and compared without pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

import headwarp
from headwarp.flame.params import Pose
from headwarp.flame.posing import head_pose
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.errors import HeadwarpError, ModelFileError, ShapeError

HEAD = toy_head()
FIT = toy_fit(HEAD, residual=2.0)


def test_pose_turns_a_fit():
    made = headwarp.pose(FIT, [Pose(yaw=10), Pose(yaw=-10)], head=HEAD)
    torch.testing.assert_close(head_pose(made.params)[:, 0], torch.tensor([10.0, -10.0]), atol=1e-3, rtol=0)
    assert headwarp.pose(FIT, Pose(), head=HEAD).frames == 1


def test_a_head_at_rest_has_no_displacement():
    guidance = headwarp.displacement(FIT, FIT, head=HEAD)
    assert guidance.flow.shape == (1, 2, 240, 256)
    assert guidance.flow.abs().max() < 1e-3
    assert guidance.known.sum() > 500


@pytest.mark.parametrize("size", [None, 256, 128])
def test_a_shifted_head_comes_from_where_it_was_at_every_size(size):
    camera = WeakPerspective(
        FIT.camera.scale.expand(2), FIT.camera.center + torch.tensor([[8.0, 0.0], [0.0, -6.0]])
    )
    driving = dataclasses.replace(FIT.select([0, 0]), camera=camera)
    guidance = headwarp.displacement(FIT, driving, size, head=HEAD)
    side = size or 256
    assert guidance.flow.shape == (2, 2, 240 * side // 256, side)
    for frame, shift in enumerate(([-8.0, 0.0], [0.0, 6.0])):
        known = guidance.known[frame, 0] > 0
        moved = guidance.flow[frame][:, known].mean(1)
        torch.testing.assert_close(moved, torch.tensor(shift) * side / 256, atol=0.05, rtol=0)


def test_the_residual_is_part_of_it():
    bare = dataclasses.replace(FIT, residual=torch.zeros_like(FIT.residual))
    assert headwarp.displacement(bare, FIT, head=HEAD).flow.abs().max() > 0.5


def test_what_does_not_fit():
    clip = toy_fit(HEAD, 2, **varied(HEAD, 2))
    with pytest.raises(ShapeError, match="source of one frame and equal sizes, got 2 frame"):
        headwarp.displacement(clip, FIT, head=HEAD)
    with pytest.raises(ShapeError, match="equal sizes"):
        headwarp.displacement(FIT, dataclasses.replace(FIT, size=(100, 100)), head=HEAD)
    with pytest.raises(HeadwarpError, match="fit of one frame, got 2"):
        headwarp.pose(clip, Pose(), head=HEAD)
    with pytest.raises(ModelFileError, match="expected coefficients of head builtin"):
        headwarp.pose(FIT, Pose())
