"""The discriminator of Sparse-to-Dense: layers as written, what it judges, what it refuses."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.plain_discriminator import PlainDiscriminator, PlainDiscriminatorConfig


def test_layers_are_as_the_paper_says():
    with torch.device("meta"):
        made = PlainDiscriminator()
    shapes = [tuple(layer.weight.shape) for layer in made.modules() if isinstance(layer, nn.Conv2d)]
    widths = (3, 128, 256, 512, 1024)
    assert shapes[:4] == [(b, a, 4, 4) for a, b in itertools.pairwise(widths)]
    assert shapes[4] == (1, 1024, 1, 1)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in made.modules()) == 4


def test_patches_see_their_surroundings_alone():
    torch.manual_seed(0)
    made = PlainDiscriminator(PlainDiscriminatorConfig((4, 4, 4))).eval()
    image = torch.rand(1, 3, 64, 64)
    changed = image.clone()
    changed[..., :8, :8] = 0
    (one,), (other,) = made(image).logits, made(changed).logits
    assert one.shape == (1, 1, 8, 8)
    assert one[0, 0, 0, 0] != other[0, 0, 0, 0]
    assert torch.equal(one[..., 4:, 4:], other[..., 4:, 4:])


def test_mistakes():
    made = PlainDiscriminator(PlainDiscriminatorConfig((4, 4, 4)))
    for shape in ((1, 4, 64, 64), (3, 64, 64), (1, 3, 4, 64)):
        with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\) of at least 8 px a side"):
            made(torch.rand(shape))
    with pytest.raises(HeadwarpError, match="channels: expected some"):
        PlainDiscriminatorConfig(())
