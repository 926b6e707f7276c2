"""Depth and pose networks together: three frames, and one."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.depth import DepthConfig
from headwarp.geom.depth_pose import DepthPoseConfig, DepthPoseNetwork, inverse
from headwarp.geom.errors import ShapeError
from headwarp.geom.relative_pose import PoseConfig, RelativePose
from headwarp.geom.transforms import axis_angle_to_matrix, rigid_apply

FORMS = ("head", "pair", "official")


def network(form):
    torch.manual_seed(0)
    mapping = "relief" if form == "head" else "inverse"
    config = DepthPoseConfig(DepthConfig(width=4, mapping=mapping), PoseConfig(width=4, form=form))
    return DepthPoseNetwork(config).eval()


@pytest.mark.parametrize("form", FORMS)
def test_motions_to_both_neighbours(form):
    both, frames = network(form), torch.rand(2, 3, 3, 32, 64)
    made = both(frames)
    assert [tuple(d.shape) for d in made.disparities] == [(2, 1, 32 >> k, 64 >> k) for k in range(4)]
    after = both.pose(frames[:, 1:3].flatten(1, 2))
    before = both.pose(frames[:, 0:2].flatten(1, 2))
    if form != "head":
        assert torch.allclose(made.motions[1].translation, after.translation, atol=1e-6)
        assert torch.allclose(made.motions[0].rotation, -before.rotation, atol=1e-6)
    points = torch.rand(2, 5, 3)
    there = rigid_apply(points, axis_angle_to_matrix(made.motions[0].rotation), made.motions[0].translation)
    if form != "head":
        back = rigid_apply(there, axis_angle_to_matrix(before.rotation), before.translation)
        assert torch.allclose(back, points, atol=1e-5)
    else:
        assert torch.equal(made.motions[0].intrinsics[:, 0, 0], made.motions[1].intrinsics[:, 0, 0])
        assert len(made.heads) == 3
        alone = both.pose.poses(frames[:, 2])
        assert torch.allclose(made.heads[2].rotation, alone.rotation, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_single_picture_is_a_scene(form):
    scene = network(form).scene(torch.rand(1, 3, 32, 64))
    assert scene.depth.shape == scene.disparity.shape == (1, 1, 32, 64)
    assert (scene.depth > 0).all()
    nearest = scene.disparity.flatten().argmax()
    assert scene.depth.flatten().argmin() == nearest
    assert scene.intrinsics.shape == (1, 3, 3)


def test_an_inverse_goes_back():
    pose = RelativePose(torch.randn(3, 3), torch.randn(3, 3), torch.eye(3).expand(3, 3, 3))
    points = torch.rand(3, 4, 3)
    there = rigid_apply(points, axis_angle_to_matrix(pose.rotation), pose.translation)
    back = inverse(pose)
    again = rigid_apply(there, axis_angle_to_matrix(back.rotation), back.translation)
    assert torch.allclose(again, points, atol=1e-5)


def test_heads_of_five_frames_move_from_the_middle_one():
    both, frames = network("head"), torch.rand(2, 5, 3, 32, 64)
    made, three = both(frames), both(frames[:, 1:4])
    assert (len(made.motions), len(made.heads)) == (4, 5)
    assert torch.equal(made.disparities[0], three.disparities[0])
    assert torch.allclose(made.motions[1].rotation, three.motions[0].rotation, atol=1e-6)
    assert all(torch.equal(head.focal, made.heads[0].focal) for head in made.heads)


@pytest.mark.parametrize(
    ("form", "number", "told"), [("pair", 2, "three"), ("pair", 5, "three"), ("head", 4, "odd")]
)
def test_other_numbers_of_frames_are_refused(form, number, told):
    with pytest.raises(ShapeError, match=f"{told}.* of a clip"):
        network(form)(torch.rand(1, number, 3, 32, 32))
