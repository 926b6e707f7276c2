"""Pose of a pair: the public keys, the start of K, a gradient into it; motion as a difference of poses."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.relative_pose import (
    HeadPose,
    HeadPoseNetwork,
    PoseConfig,
    PoseNetwork,
    build_pose,
    intrinsics_of,
)
from headwarp.geom.transforms import axis_angle_to_matrix, rigid_apply, rotation_angle
from headwarp.geom.view_synthesis import synthesise_view


def test_published_size():
    network = PoseNetwork(PoseConfig(form="official"))
    weights = network.state_dict()
    assert weights["encoder.conv1.weight"].shape == (64, 6, 7, 7)
    shapes = {key: tuple(value.shape) for key, value in weights.items() if key.startswith("net.")}
    assert len(shapes) == 12
    assert shapes["net.0.weight"] == (256, 512, 1, 1)
    assert shapes["net.3.weight"] == (12, 256, 1, 1)
    assert shapes["net.4.weight"] == shapes["net.5.weight"] == (2, 256, 3, 3)
    assert sum(p.numel() for p in network.net.parameters()) == 1_323_792


@pytest.mark.parametrize("form", ["head", "pair", "official"])
def test_K_has_a_gradient(form):
    torch.manual_seed(0)
    network = build_pose(PoseConfig(width=4, form=form))
    pair = torch.rand(2, 6, 32, 64)
    found = network(pair)
    seen = synthesise_view(
        pair[:, 3:],
        1 + torch.rand(2, 1, 32, 64),
        axis_angle_to_matrix(found.rotation + 0.1),
        found.translation,
        found.intrinsics,
    )
    (seen - pair[:, :3]).square().mean().backward()
    if form == "head":
        assert (network.net[2].bias.grad[6:].abs() > 0).all()
        return
    for head in network.net[4:]:
        assert head.weight.grad.abs().max() > 0
        assert head.bias.grad.abs().max() > 0


def test_a_new_network_starts_at_its_focal_length_and_in_the_middle():
    found = PoseNetwork(PoseConfig(width=4, focal=1.5)).eval()(torch.rand(1, 6, 32, 64))
    assert found.intrinsics[0].tolist() == [[96.0, 0, 32], [0, 96.0, 16], [0, 0, 1]]
    assert found.rotation.abs().max() < 0.05


def test_bounds_of_K():
    far = torch.tensor([[-99.0, -99.0], [99.0, 99.0]])[..., None, None]
    focal, principal = intrinsics_of(PoseConfig(focal=2.0, principal=0.1), far, far)
    assert torch.allclose(focal, torch.tensor([[0.4, 0.4], [10.0, 10.0]]))
    assert torch.allclose(principal, torch.tensor([[0.4, 0.4], [0.6, 0.6]]))
    two = torch.tensor([[0.1, 0.3]])[..., None, None]
    assert len(intrinsics_of(PoseConfig(), two, two)[0].unique()) == 1
    assert len(intrinsics_of(PoseConfig(shared_focal=False), two, two)[0].unique()) == 2


def test_the_official_form_is_the_public_codes():
    nothing = torch.zeros(1, 2, 3, 3)
    focal, principal = intrinsics_of(PoseConfig(form="official"), nothing, nothing)
    assert focal[0].tolist() == pytest.approx([0.6931, 0.6931], abs=1e-4)
    assert principal[0].tolist() == pytest.approx([1.1931, 1.1931], abs=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(HeadwarpError, match="expected focal > 0"):
        PoseNetwork(PoseConfig(focal=0.0))
    with pytest.raises(HeadwarpError, match=r"reduction >= 1, got .*, reduction=0"):
        HeadPoseNetwork(PoseConfig(form="head", reduction=0))
    with pytest.raises(HeadwarpError, match="form: expected head, got 'pair'"):
        HeadPoseNetwork(PoseConfig())
    for form in ("head", "pair"):
        with pytest.raises(ShapeError, match=r"expected \(B, 6, H, W\)"):
            build_pose(PoseConfig(width=4, form=form))(torch.rand(1, 3, 32, 32))


# Heads


def pose(*, turn=(0.0, 0.0, 0.0), place=(0.0, 0.0), distance=0.0, focal=0.0):
    return HeadPose(
        torch.tensor([turn]),
        torch.tensor([place]),
        torch.tensor([distance]),
        torch.tensor([focal]),
        torch.zeros(1, 2),
    )


@pytest.fixture(scope="module")
def heads():
    torch.manual_seed(0)
    return HeadPoseNetwork(PoseConfig(width=4, form="head", focal=2.0, pivot=0.2)).eval()


def test_a_picture_beside_itself_has_not_moved(heads):
    image = torch.rand(1, 3, 32, 64)
    found = heads(torch.cat([image, image], dim=1))
    assert found.rotation.abs().max() < 1e-3
    assert found.translation.abs().max() < 1e-6


def test_motions_of_three_pictures_agree(heads):
    first, second, third = (heads.poses(torch.rand(1, 3, 32, 32)) for _ in range(3))
    second, third = (dataclasses.replace(p, focal=first.focal) for p in (second, third))
    size = (32, 32)
    ab, bc = heads.between(first, second, size), heads.between(second, third, size)
    ac = heads.between(first, third, size)
    turns = [axis_angle_to_matrix(found.rotation) for found in (ab, bc, ac)]
    assert rotation_angle(turns[1] @ turns[0], turns[2]).max() < 1e-3


def test_a_head_turns_about_its_pivot(heads):
    found = heads.between(pose(), pose(turn=(0.0, 0.3, 0.0)), (32, 32))
    pivot = torch.tensor([[[0.0, 0.0, 1 + 0.2 / 2]]])
    moved = rigid_apply(pivot, axis_angle_to_matrix(found.rotation), found.translation)
    assert torch.allclose(moved, pivot, atol=1e-6)
    assert torch.allclose(found.rotation, torch.tensor([[0.0, 0.3, 0.0]]), atol=1e-6)


def test_place_and_distance(heads):
    size = (32, 64)
    found = heads.between(pose(), pose(place=(0.25, 0.0), distance=math.log(2)), size)
    pivot = torch.tensor([[[0.0, 0.0, 1.1]]])
    moved = rigid_apply(pivot, axis_angle_to_matrix(found.rotation), found.translation)[0, 0]
    assert float(moved[2]) == pytest.approx(2.2)
    assert float(found.intrinsics[0, 0, 0] * moved[0] / moved[2]) == pytest.approx(0.25 * 64, abs=1e-3)
    assert found.intrinsics[0, :2, 2].tolist() == [32.0, 16.0]


def test_the_focal_length_is_the_pairs_mean(heads):
    found = heads.between(pose(focal=0.2), pose(focal=0.4), (32, 64))
    assert float(found.intrinsics[0, 0, 0]) == pytest.approx(2 * math.exp(0.3) * 64, rel=1e-5)
    assert torch.equal(found.intrinsics[0, 0, 0], found.intrinsics[0, 1, 1])


def test_a_network_of_reduced_pictures_sees_means_of_their_pixels(heads):
    halved = HeadPoseNetwork(dataclasses.replace(heads.config, reduction=2)).eval()
    halved.load_state_dict(heads.state_dict())
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    smaller = torch.nn.functional.avg_pool2d(picture, 2)
    torch.testing.assert_close(halved.poses(picture).rotation, heads.poses(smaller).rotation)
    assert not torch.allclose(halved.poses(picture).rotation, heads.poses(picture).rotation)


def test_one_focal_length_is_the_same_for_all_pictures_and_learns():
    torch.manual_seed(0)
    network = HeadPoseNetwork(PoseConfig(width=4, form="head", focal=2.0, one_focal=True))
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert network.poses(pictures).focal.tolist() == [0.0, 0.0]
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        (network.poses(pictures).focal - math.log(0.75)).abs().sum().backward()
        optimizer.step()
    first, second = network.poses(pictures).focal.tolist()
    assert first == second
    assert first == pytest.approx(math.log(0.75), abs=0.1)
    with pytest.raises(HeadwarpError, match="one_focal: expected the head form, got 'pair'"):
        PoseNetwork(PoseConfig(one_focal=True))
