"""ResNet encoders: torchvision's keys and sizes, any number of channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.nets.folding import fold_norms_
from headwarp.geom.nets.resnet import ResNet, ResNetConfig


@pytest.mark.parametrize(("layers", "entries", "parameters"), [(18, 120, 11_176_512), (50, 318, 23_508_032)])
def test_keys_and_sizes_are_torchvisions(layers, entries, parameters):
    network = ResNet(ResNetConfig(layers))
    weights = network.state_dict()
    assert len(weights) == entries
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert weights["conv1.weight"].shape == (64, 3, 7, 7)
    last = "layer4.1.conv2.weight" if layers == 18 else "layer4.2.conv3.weight"
    assert weights[last].shape[0] == network.outputs[-1] == (512 if layers == 18 else 2048)
    assert weights["layer2.0.downsample.0.weight"].shape[2:] == (1, 1)
    assert ("layer1.0.downsample.0.weight" in weights) == (layers == 50)


@pytest.mark.parametrize("layers", [18, 50])
def test_five_maps_of_halved_sizes(layers):
    network = ResNet(ResNetConfig(layers, channels=1, width=4)).eval()
    features = network(torch.rand(2, 1, 64, 96))
    assert [tuple(values.shape) for values in features] == [
        (2, channels, 32 >> stage, 48 >> stage) for stage, channels in enumerate(network.outputs)
    ]


def test_a_basic_block_is_what_it_says():
    network = ResNet(ResNetConfig(width=4)).eval()
    block, values = network.layer2[0], torch.rand(1, 4, 8, 8)
    inner = F.relu(block.bn1(F.conv2d(values, block.conv1.weight, stride=2, padding=1)))
    inner = block.bn2(F.conv2d(inner, block.conv2.weight, padding=1))
    beside = block.downsample[1](F.conv2d(values, block.downsample[0].weight, stride=2))
    assert torch.allclose(block(values), F.relu(inner + beside))


def test_the_bottlenecks_stride_is_in_its_middle():
    block = ResNet(ResNetConfig(50, width=4)).layer3[0]
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


def test_what_does_not_fit_is_refused():
    with pytest.raises(HeadwarpError, match=r"expected 18 or 50 layers.*layers=34"):
        ResNet(ResNetConfig(34))
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\), got \(1, 6, 32, 32\)"):
        ResNet(ResNetConfig(width=2))(torch.rand(1, 6, 32, 32))


@pytest.mark.parametrize("layers", [18, 50])
@torch.no_grad()
def test_folded_for_inference_it_computes_the_same(layers):
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(layers, width=4)).eval()
    for name, value in network.named_buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 2.0) if name.endswith("var") else value.normal_()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_()
    image = torch.rand(1, 3, 64, 32)
    expected = network(image)
    folded = fold_norms_(network)
    assert folded is network
    for made, wanted in zip(folded(image), expected, strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)
    assert not any("bn" in key or "running" in key for key in folded.state_dict())
