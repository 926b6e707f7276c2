"""Plain blocks, hourglass and anti-aliased reduction: written out by hand, lattices, errors."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.nets.antialias import AntiAliasedReduction
from headwarp.geom.nets.folding import fold_norms_
from headwarp.geom.nets.hourglass import Hourglass, HourglassConfig
from headwarp.geom.nets.plain import DownBlock, ResidualBlock, SameBlock, UpBlock


def block_by_hand(block, features):
    return torch.relu(block.norm(block.conv(features)))


@pytest.mark.parametrize("kind", [SameBlock, DownBlock, UpBlock])
def test_blocks_by_hand(kind):
    torch.manual_seed(0)
    block, features = kind(3, 5).eval(), torch.randn(2, 3, 16, 16)
    kept = features.clone()
    entered = F.interpolate(features, scale_factor=2) if kind is UpBlock else features
    expected = block_by_hand(block, entered)
    expected = F.avg_pool2d(expected, 2) if kind is DownBlock else expected
    torch.testing.assert_close(block(features), expected)
    assert torch.equal(features, kept)


def test_residual_block_by_hand():
    torch.manual_seed(0)
    block, features = ResidualBlock(4), torch.randn(2, 4, 6, 6, requires_grad=True)
    inner = block.conv1(torch.relu(block.norm1(features)))
    expected = features + block.conv2(torch.relu(block.norm2(inner)))
    made = block(features)
    torch.testing.assert_close(made, expected)
    ours, hand = (torch.autograd.grad(each.square().sum(), features)[0] for each in (made, expected))
    torch.testing.assert_close(ours, hand)


def used(module):
    """Statistics and affine parameters as after training, in evaluation mode."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for each in (part.running_mean, part.weight.data, part.bias.data):
                each.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.mark.parametrize("kind", [SameBlock, DownBlock, UpBlock, ResidualBlock])
def test_folded_blocks_make_the_same_and_have_no_norm(kind):
    torch.manual_seed(0)
    block = used(kind(4) if kind is ResidualBlock else kind(4, 6))
    features = torch.randn(2, 4, 16, 16)
    kept = features.clone()
    with torch.no_grad():
        expected = block(features)
        folded = fold_norms_(block)
        torch.testing.assert_close(folded(features), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(features, kept)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())


def test_hourglass_joins_every_size():
    net = Hourglass(HourglassConfig(width=4, blocks=3, max_channels=16), 5).eval()
    features = torch.randn(1, 5, 16, 24)
    made = net(features)
    assert made.shape == (1, net.outputs, 16, 24) == (1, 9, 16, 24)
    assert torch.equal(made[:, 4:], features)
    sizes = [tuple(block.conv.weight.shape[:2]) for block in net.decoder.up_blocks]
    assert sizes == [(16, 16), (8, 32), (4, 16)]


def test_hourglass_refuses_other_sizes():
    net = Hourglass(HourglassConfig(width=4, blocks=3), 5)
    with pytest.raises(ShapeError, match="multiples of 8 for 3 halvings, got 12 x 16"):
        net(torch.zeros(1, 5, 12, 16))
    with pytest.raises(ShapeError, match=r"expected \(B, 5, H, W\), got \(1, 4, 8, 8\)"):
        net(torch.zeros(1, 4, 8, 8))
    with pytest.raises(HeadwarpError, match="expected at least 1 each, got"):
        HourglassConfig(blocks=0)


def test_public_reduction_is_a_blur_and_every_fourth_pixel():
    reduce, picture = AntiAliasedReduction(3, 0.25, centred=False), torch.rand(1, 3, 24, 32)
    assert reduce.weight.shape == (3, 1, 13, 13)
    blurred = F.conv2d(picture, reduce.weight, padding=6, groups=3)
    torch.testing.assert_close(reduce(picture), blurred[:, :, ::4, ::4])


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_centred_reduction_keeps_places(stride):
    """A ramp stays the ramp at the middles of the blocks; ends are held by the edge."""
    reduce, size = AntiAliasedReduction(1, 1 / stride), 16 * stride
    ramp = (torch.arange(size, dtype=torch.float32) + 0.5).expand(1, 1, size, size)
    middles = (torch.arange(16, dtype=torch.float32) + 0.5) * stride
    torch.testing.assert_close(reduce(ramp)[0, 0, 8, 3:-3], middles[3:-3], rtol=0, atol=1e-4)
    torch.testing.assert_close(reduce(torch.ones(1, 1, size, size)), torch.ones(1, 1, 16, 16))


def test_reduction_errors():
    with pytest.raises(
        HeadwarpError, match=r"scale: expected 1 / s of a whole number s, such as 0\.25, got 0\.4"
    ):
        AntiAliasedReduction(3, 0.4)
    with pytest.raises(ShapeError, match="multiples of 4, got 30 x 32"):
        AntiAliasedReduction(3, 0.25)(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\)"):
        AntiAliasedReduction(3, 0.25)(torch.zeros(1, 4, 32, 32))
