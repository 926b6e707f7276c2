"""ResNeXt-50 and MobileNetV2: torchvision's keys and sizes, what their blocks compute."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.nets.mobilenet import MobileNetConfig, MobileNetV2, divisible
from headwarp.geom.nets.resnext import ResNext, ResNextConfig

SMALL = ResNextConfig((1, 1, 1, 1), width=8, groups=2, group_width=32, outputs=5)


def test_keys_and_sizes_of_resnext_are_torchvisions():
    with torch.device("meta"):
        network = ResNext()
    weights = network.state_dict()
    assert len(weights) == 320
    assert sum(p.numel() for p in network.parameters()) == 25_028_904
    assert weights["layer1.0.conv1.weight"].shape == (128, 64, 1, 1)
    assert weights["layer1.0.conv2.weight"].shape == (128, 4, 3, 3)
    assert weights["layer4.2.conv3.weight"].shape == (2048, 1024, 1, 1)
    assert weights["fc.weight"].shape == (1000, 2048)


def test_keys_and_sizes_of_mobilenet_are_torchvisions():
    with torch.device("meta"):
        network = MobileNetV2()
    weights = network.state_dict()
    assert len(weights) == 314
    assert sum(p.numel() for p in network.parameters()) == 3_504_872
    assert weights["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert weights["features.1.conv.1.weight"].shape == (16, 32, 1, 1)
    assert weights["features.17.conv.1.0.weight"].shape == (960, 1, 3, 3)
    assert weights["features.18.0.weight"].shape == (1280, 320, 1, 1)
    assert weights["classifier.1.weight"].shape == (1000, 1280)


def test_a_block_of_groups_is_what_it_says():
    network = ResNext(SMALL).eval()
    block, values = network.layer2[0], torch.rand(1, 32, 8, 8)
    inner = F.relu(block.bn1(F.conv2d(values, block.conv1.weight)))
    halves = zip(inner.chunk(2, 1), block.conv2.weight.chunk(2), strict=True)
    inner = torch.cat([F.conv2d(part, weight, stride=2, padding=1) for part, weight in halves], 1)
    inner = block.bn3(F.conv2d(F.relu(block.bn2(inner)), block.conv3.weight))
    beside = block.downsample[1](F.conv2d(values, block.downsample[0].weight, stride=2))
    assert torch.allclose(block(values), F.relu(inner + beside), atol=1e-5)


def test_an_inverted_residual_adds_its_input_where_shapes_stay():
    network = MobileNetV2(MobileNetConfig(0.25, 4)).eval()
    first, second = network.features[2], network.features[3]
    assert (first.residual, second.residual) == (False, True)
    values = torch.rand(1, 8, 6, 6)
    assert torch.allclose(second(values) - values, second.conv(values), atol=1e-6)
    assert first(values).shape == (1, 8, 3, 3)


@pytest.mark.parametrize("network", [ResNext(SMALL), MobileNetV2(MobileNetConfig(0.2, 5, dropout=0.0))])
def test_pictures_become_numbers_and_gradients_reach_the_first_layer(network):
    image = torch.rand(2, 3, 32, 48)
    made = network(image)
    assert made.shape == (2, 5)
    made.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in list(network.parameters())[:1])
    network.eval()
    torch.testing.assert_close(network(image)[:1], network(image[:1]), rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused():
    for network in (ResNext(SMALL), MobileNetV2(MobileNetConfig(0.2, 5))):
        with pytest.raises(ShapeError, match="at least 32 px a side, got"):
            network(torch.rand(1, 3, 16, 64))
    with pytest.raises(HeadwarpError, match="ResNextConfig: expected blocks"):
        ResNextConfig(groups=0)
    with pytest.raises(HeadwarpError, match="MobileNetConfig: expected multiplier"):
        MobileNetConfig(multiplier=0)
    assert [divisible(channels) for channels in (1, 9, 12, 1280)] == [8, 16, 16, 1280]
