"""The depth network's maps and range, and points from them."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.depth import (
    DepthConfig,
    DepthNetwork,
    disparity_to_depth,
    middle_window,
    point_cloud,
    tiny,
)
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.view_synthesis import intrinsics_matrix


@pytest.mark.parametrize(("layers", "decoder"), [(18, 3_152_724), (50, 9_014_100)])
def test_published_sizes(layers, decoder):
    network = DepthNetwork(DepthConfig(layers))
    assert sum(p.numel() for p in network.decoder.parameters()) == decoder
    keys = [key for key in network.state_dict() if key.startswith("decoder.")]
    assert len(keys) == 28
    assert keys[0] == "decoder.0.conv.conv.weight"
    assert network.state_dict()["decoder.13.conv.weight"].shape == (1, 128, 3, 3)


@pytest.mark.parametrize("layers", [18, 50])
def test_four_scales_finest_first(layers):
    network = DepthNetwork(tiny(DepthConfig(layers), width=4)).eval()
    maps = network(torch.rand(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 1, 64 >> k, 96 >> k) for k in range(4)]
    assert all(m.min() > 0 and m.max() < 1 for m in maps)
    loss = torch.stack([m.mean() for m in maps]).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.decoder.parameters())


def test_the_smallest_picture():
    assert DepthNetwork(tiny(width=4)).eval()(torch.rand(1, 3, 32, 32))[0].shape == (1, 1, 32, 32)


def test_depth_spans_its_range_and_falls_with_disparity():
    config = DepthConfig(min_depth=0.3, max_depth=3.0)
    depth = disparity_to_depth(torch.linspace(0, 1, 11).view(1, 1, 1, 11), config).flatten()
    assert float(depth[0]) == pytest.approx(3.0)
    assert float(depth[-1]) == pytest.approx(0.3)
    assert (depth.diff() < 0).all()


def test_relief_is_the_same_for_every_lens_and_depth_is_not():
    config = DepthConfig(mapping="relief", relief=0.8)
    disparity = torch.rand(2, 1, 8, 8)
    depth = disparity_to_depth(disparity, config, focal=torch.tensor([1.0, 4.0]))
    near, far = (depth[0] - 1), (depth[1] - 1)
    again = disparity_to_depth(disparity, config, focal=torch.tensor([4.0, 1.0]))
    assert torch.allclose((again[0] - 1) * 4, near, atol=1e-6)
    assert torch.allclose(again[1] - 1, far * 4, atol=1e-6)
    assert float(depth.amax() - depth.amin()) < 0.8
    assert float((depth[:1] * middle_window(depth)).sum()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(HeadwarpError, match=r"focal: expected \(2,\) frame widths"):
        disparity_to_depth(disparity, config)


def test_a_new_network_of_reliefs_is_a_dome():
    torch.manual_seed(0)
    network = DepthNetwork(DepthConfig(width=4, mapping="relief", dome=0.4, relief=1.0)).eval()
    for layer in network.decoder[10:]:
        torch.nn.init.zeros_(layer.conv.weight)
        torch.nn.init.zeros_(layer.conv.bias)
    for disparity in (d.detach() for d in network(torch.rand(1, 3, 64, 64))[:2]):
        assert float(disparity.amax() - disparity.amin()) == pytest.approx(0.4, abs=0.02)
        assert disparity[0, 0, 0, 0] == disparity.amin()
        middle = disparity[0, 0, len(disparity[0, 0]) // 2]
        assert middle.argmax() in (len(middle) // 2 - 1, len(middle) // 2)


def test_a_plane_is_a_plane_of_points():
    K = intrinsics_matrix(torch.full((1, 2), 4.0), torch.tensor([[2.0, 1.5]]))
    picture = torch.rand(1, 3, 3, 4)
    points, colours = point_cloud(torch.full((1, 1, 3, 4), 2.0), K, picture)
    assert points.shape == colours.shape == (1, 12, 3)
    assert points[0, 0].tolist() == [-0.75, -0.5, 2.0]
    assert torch.equal(colours[0, 5], picture[0, :, 1, 1])
    assert point_cloud(torch.full((1, 1, 3, 4), 2.0), K)[1] is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(HeadwarpError, match="expected 0 < min_depth < max_depth"):
        DepthNetwork(DepthConfig(min_depth=2.0, max_depth=1.0))
    with pytest.raises(HeadwarpError, match=r"dome in \[0, relief\)"):
        DepthNetwork(DepthConfig(dome=2.0))
    with pytest.raises(ShapeError, match="multiples of 32"):
        DepthNetwork(tiny(width=4))(torch.rand(1, 3, 48, 64))
    K = intrinsics_matrix(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ShapeError, match="of the depth's size"):
        point_cloud(torch.ones(1, 1, 2, 2), K, torch.rand(1, 3, 3, 3))
