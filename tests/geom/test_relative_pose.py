"""Pose of a pair: the public keys, the start of K, and a gradient into it."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.relative_pose import PoseConfig, PoseNetwork, intrinsics_of
from headwarp.geom.transforms import axis_angle_to_matrix
from headwarp.geom.view_synthesis import synthesise_view


def test_published_size():
    with torch.device("meta"):
        network = PoseNetwork(PoseConfig(form="official"))
    weights = network.state_dict()
    assert weights["encoder.conv1.weight"].shape == (64, 6, 7, 7)
    shapes = {key: tuple(value.shape) for key, value in weights.items() if key.startswith("net.")}
    assert len(shapes) == 12
    assert shapes["net.0.weight"] == (256, 512, 1, 1)
    assert shapes["net.3.weight"] == (12, 256, 1, 1)
    assert shapes["net.4.weight"] == shapes["net.5.weight"] == (2, 256, 3, 3)
    assert sum(p.numel() for p in network.net.parameters()) == 1_323_792


@pytest.mark.parametrize("form", ["own", "official"])
def test_K_has_a_gradient(form):
    torch.manual_seed(0)
    network = PoseNetwork(PoseConfig(width=4, form=form))
    pair = torch.rand(2, 6, 32, 64)
    found = network(pair)
    depth = 1 + torch.rand(2, 1, 32, 64)
    seen = synthesise_view(
        pair[:, 3:],
        depth,
        axis_angle_to_matrix(found.rotation + 0.1),
        found.translation,
        found.intrinsics,
    )
    (seen - pair[:, :3]).square().mean().backward()
    for head in network.net[4:]:
        assert head.weight.grad.abs().max() > 0
        assert head.bias.grad.abs().max() > 0


def test_a_new_network_of_our_form_starts_at_its_focal_length_and_in_the_middle():
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
    with pytest.raises(ShapeError, match=r"expected \(B, 6, H, W\)"):
        PoseNetwork(PoseConfig(width=4))(torch.rand(1, 3, 32, 32))
