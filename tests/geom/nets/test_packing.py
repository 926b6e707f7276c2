"""Packed convolutions: the same values, the rest of the network untouched, a way without them."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn

from headwarp.geom.nets import packing
from headwarp.geom.nets.packing import PackedConvolution, pack_convolutions_, packing_works

LAYERS = {
    "3 x 3": lambda: nn.Conv2d(6, 20, 3, padding=1),
    "1 x 1": lambda: nn.Conv2d(6, 20, 1),
    "strided": lambda: nn.Conv2d(6, 20, 4, stride=2, padding=2),
    "grouped": lambda: nn.Conv2d(6, 20, 3, groups=2, dilation=2),
    "no bias": lambda: nn.Conv2d(6, 20, 3, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(6, 20, 4, stride=2, padding=1),
    "transposed, output padding": lambda: nn.ConvTranspose2d(6, 20, 3, stride=2, output_padding=1),
}
needs_packing = pytest.mark.skipif(not packing_works(), reason="this build of torch does not pack weights")


@needs_packing
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 8, 8), (2, 11, 9)])
def test_values_of_the_plain_layer(name, layout, size):
    torch.manual_seed(0)
    layer = LAYERS[name]().to(memory_format=layout)
    features = torch.randn(size[0], 6, *size[1:]).contiguous(memory_format=layout)
    packed = pack_convolutions_(copy.deepcopy(layer))
    assert type(packed) is PackedConvolution
    torch.testing.assert_close(packed(features), layer(features).detach(), rtol=0, atol=1e-5)
    assert packed(features).is_contiguous(memory_format=torch.channels_last)


@needs_packing
def test_a_network_keeps_what_is_no_plain_convolution():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    network = nn.Sequential(
        nn.Conv2d(3, 3, 3), nn.ModuleDict({"in": nn.Conv2d(3, 3, 3, padding="same")}), normed
    )
    network.append(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    network.append(nn.Conv2d(4, 4, 3).double())
    assert pack_convolutions_(network) is network
    assert type(network[0]) is PackedConvolution
    assert [type(network[index]) is PackedConvolution for index in (2, 3, 4)] == [False] * 3
    assert type(network[1]["in"]) is nn.Conv2d
    assert not network[0].state_dict()


@needs_packing
def test_of_what_is_packed_one_plain_weight_is_left_at_a_time(monkeypatch):
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)) for _ in range(3)))
    weights = [weakref.ref(layer.weight) for pair in network for layer in pair]
    left = []

    class Counted(PackedConvolution):
        def __init__(self, layer):
            super().__init__(layer)
            left.append(sum(weight() is not None for weight in weights))

    monkeypatch.setattr(packing, "PackedConvolution", Counted)
    pack_convolutions_(network)
    assert left == [6, 5, 4, 3, 2, 1]


def test_without_the_operations_a_network_stays(monkeypatch):
    monkeypatch.setattr(packing, "packing_works", lambda dtype: False)
    network = nn.Sequential(nn.Conv2d(3, 3, 3))
    assert type(pack_convolutions_(network)[0]) is nn.Conv2d


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError, TypeError])
def test_operations_that_have_changed_are_not_used(monkeypatch, failure):
    def changed(*_):
        raise failure("another signature")

    monkeypatch.setattr(packing.PackedConvolution, "forward", changed)
    assert not packing.packing_works.__wrapped__(torch.float32)


def test_operations_that_compute_something_else_are_not_used(monkeypatch):
    original = packing.PackedConvolution.forward
    monkeypatch.setattr(packing.PackedConvolution, "forward", lambda self, given: original(self, given) + 1)
    assert not packing.packing_works.__wrapped__(torch.float32)


def test_types_that_are_never_packed():
    assert not packing_works(torch.float64)
    assert not packing_works(torch.int8)


@pytest.mark.skipif(not packing_works(torch.bfloat16), reason="this CPU does not compute bfloat16")
def test_bfloat16():
    layer, features = nn.Conv2d(8, 8, 3, padding=1).bfloat16(), torch.randn(1, 8, 6, 6).bfloat16()
    expected = layer(features).detach()
    torch.testing.assert_close(pack_convolutions_(layer)(features), expected, rtol=0, atol=0.03)
