"""The blocks: what they compute written out by hand, names of their parameters, gradients, folding."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwarp.geom.nets import blocks
from headwarp.geom.nets.blocks import (
    DownBlock,
    SameBlock,
    Spade,
    SpadeResBlock,
    UpBlock,
    convolution,
)
from headwarp.geom.nets.folding import SLICE, fold_norms_
from headwarp.geom.nets.upsampling import doubling_kernel, one_step_pays

BLOCKS = {
    "same": lambda: SameBlock(5, 7),
    "down": lambda: DownBlock(5, 7),
    "down of a discriminator": lambda: DownBlock(5, 7, 4, padding=2),
    "up": lambda: UpBlock(5, 7),
    "plain": lambda: SameBlock(5, 7, spectral_norm=False),
}


def used(module: nn.Module, seed: int = 0) -> nn.Module:
    """A module with statistics and affine parameters as after training, in evaluation mode."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.3, 3)
            if part.weight is not None:
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
    return module.eval()


def normalised(norm: nn.BatchNorm2d, features: torch.Tensor) -> torch.Tensor:
    """Batch norm in evaluation, written out."""
    mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
    result = (features - mean) / (variance + 1e-5).sqrt()
    return result if norm.weight is None else result * norm.weight[:, None, None] + norm.bias[:, None, None]


def leaky(features: torch.Tensor) -> torch.Tensor:
    return torch.where(features > 0, features, 0.1 * features)


def test_same_down_and_up_block_written_out():
    features = torch.randn(2, 5, 8, 12)
    same, down, up = (used(BLOCKS[name]()) for name in ("same", "down", "up"))

    def core(block, given):
        return leaky(normalised(block.norm, F.conv2d(given, block.conv.weight, block.conv.bias, padding=1)))

    torch.testing.assert_close(same(features), core(same, features), rtol=0, atol=1e-5)
    pooled = core(down, features).unflatten(3, (6, 2)).unflatten(2, (4, 2)).mean((3, 5))
    torch.testing.assert_close(down(features), pooled, rtol=0, atol=1e-5)
    doubled = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up(features), core(up, doubled), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [(6, 4), (4, 4)])
def test_spade_block_written_out(channels):
    block = used(SpadeResBlock(*channels, 3))
    features, guidance = torch.randn(2, channels[0], 8, 8), torch.randn(2, 3, 8, 8)

    def conv(layer, given):
        return F.conv2d(given, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)

    def spade(part, given):
        hidden = leaky(conv(part.shared_conv[0], guidance))
        return normalised(part.norm, given) * (1 + conv(part.gamma_conv, hidden)) + conv(
            part.beta_conv, hidden
        )

    inner = conv(block.conv1, leaky(spade(block.spade1, features)))
    inner = conv(block.conv2, leaky(spade(block.spade2, inner)))
    beside = features if channels[0] == channels[1] else conv(block.non_identity_shortcut, features)
    torch.testing.assert_close(block(features, guidance), inner + beside, rtol=0, atol=1e-5)


def test_input_is_left_alone():
    block, features, guidance = SpadeResBlock(4, 4, 3), torch.randn(1, 4, 8, 8), torch.randn(1, 3, 8, 8)
    kept = features.clone(), guidance.clone()
    block(features, guidance)
    assert torch.equal(features, kept[0])
    assert torch.equal(guidance, kept[1])


@pytest.mark.parametrize("size", [(1, 2), (16, 16)])
def test_up_block_in_one_step_and_in_two(size, monkeypatch):
    block = used(UpBlock(6, 4)).double()
    features = torch.randn(1, 6, *size, dtype=torch.float64, requires_grad=True)
    assert one_step_pays(features, block.conv) == (size[0] == 16)
    leaves = [features, *block.parameters()]
    results = []
    for answer in (True, False):
        monkeypatch.setattr(blocks, "one_step_pays", lambda *_, answer=answer: answer)
        result = block(features)
        results.append((result, *torch.autograd.grad(result.square().sum(), leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_up_block_with_another_kernel():
    block = used(UpBlock(2, 3, 5))
    assert not one_step_pays(torch.zeros(1, 2, 32, 32), block.conv)
    assert block(torch.zeros(1, 2, 32, 32)).shape == (1, 3, 64, 64)


def test_spectral_norm_bounds_the_weight_and_can_be_left_out():
    torch.manual_seed(0)
    layer = convolution(8, 16)
    for _ in range(30):
        layer(torch.zeros(1, 8, 4, 4))
    assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) == pytest.approx(1, abs=1e-3)
    assert type(convolution(8, 16, spectral_norm=False)) is nn.Conv2d


@pytest.mark.parametrize("name", BLOCKS)
def test_every_parameter_gets_a_gradient_in_training(name):
    block = BLOCKS[name]()
    block(torch.randn(2, 5, 8, 8)).square().sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert block.conv.bias.grad.abs().max() < 1e-3  # the batch norm takes the mean out again


def test_the_gradient_of_the_spade_block_is_right():
    block = used(SpadeResBlock(3, 2, 2)).double()
    features = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    guidance = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (features, guidance))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_folded_blocks_compute_the_same(name, size):
    block, features = used(BLOCKS[name]()), torch.randn(2, 5, *size)
    expected = block(features)
    folded = fold_norms_(block)
    torch.testing.assert_close(folded(features), expected, rtol=0, atol=1e-5)
    assert not any("parametrizations" in key or "norm" in key for key in folded.state_dict())


@pytest.mark.parametrize("channels", [(6, 4), (4, 4)])
def test_folded_spade_blocks_compute_the_same(channels):
    block = used(SpadeResBlock(*channels, 3))
    features, guidance = torch.randn(2, channels[0], 8, 8), torch.randn(2, 3, 8, 8)
    expected, alone = block(features, guidance), copy.deepcopy(block.spade1)
    modulated = alone(features, guidance)
    folded = fold_norms_(block)
    torch.testing.assert_close(folded(features, guidance), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(fold_norms_(alone)(features, guidance), modulated, rtol=0, atol=1e-5)
    assert not any("parametrizations" in key or "norm" in key for key in folded.state_dict())


def test_folding_walks_through_containers_and_leaves_the_rest():
    network = used(nn.Sequential(SameBlock(3, 4), nn.ModuleDict({"a": convolution(4, 5)})["a"], nn.Tanh()))
    features = torch.randn(1, 3, 8, 8)
    expected = network(features)
    folded = fold_norms_(network.train())
    assert folded is network
    assert not folded.training
    torch.testing.assert_close(folded(features), expected, rtol=0, atol=1e-5)
    assert set(folded.state_dict()) == {"0.conv.weight", "0.conv.bias", "1.weight", "1.bias"}


def places(module: nn.Module) -> set[int]:
    return {value.data_ptr() for value in module.state_dict().values() if value.ndim == 4}


@pytest.mark.parametrize(
    "make", [BLOCKS["same"], BLOCKS["plain"], lambda: convolution(4, 5), lambda: SpadeResBlock(6, 4, 3)]
)
def test_folded_weights_stay_where_they_were(make):
    """Elsewhere each of them would leave a hole behind, which the allocator keeps."""
    block = make()
    before = places(block)
    after = places(fold_norms_(block))
    assert after
    assert after <= before


def test_what_is_parametrised_by_several_tensors_is_folded_all_the_same():
    layer, features = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 6, 6)
    expected = layer(features)
    assert torch.equal(fold_norms_(layer)(features), expected)
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("outputs", [1, SLICE, SLICE + 3])
def test_doubling_kernels_in_slices(outputs):
    block, features = used(UpBlock(3, outputs)), torch.randn(1, 3, 6, 6)
    weight = (
        block.conv.weight * (block.norm.weight / (block.norm.running_var + 1e-5).sqrt())[:, None, None, None]
    )
    expected = block(features)
    folded = fold_norms_(block)
    torch.testing.assert_close(folded.conv.weight, doubling_kernel(weight), rtol=0, atol=1e-6)
    torch.testing.assert_close(folded(features), expected, rtol=0, atol=1e-5)


def test_a_spade_takes_its_scale_from_the_guidance():
    spade = used(Spade(4, 2, 3))
    features = torch.randn(1, 4, 6, 6)
    nothing, something = torch.zeros(1, 2, 6, 6), torch.ones(1, 2, 6, 6)
    assert (spade(features, nothing) - spade(features, something)).abs().max() > 1e-3
