"""Networks made plain for inference: spectral norms and batch norms become part of the convolutions.

Values stay those of the network in evaluation mode, to rounding. What is gained: no norm is computed, no
weight is divided in every pass, and the batch norm of a `Spade` costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from . import plain
from .blocks import DownBlock, SameBlock, Spade, SpadeResBlock, UpBlock, activate
from .resnet import ResNet
from .upsampling import doubling_kernel

SLICE = 32
"""Outputs of a doubling kernel that are made at a time."""


def fold_norms_(network: nn.Module) -> nn.Module:
    """Replace every block of `blocks`, `plain` and `resnet` by a simpler one, in place, for inference.

    Layer by layer and where the weights lie, so that the memory holds them once and stays in one piece: a
    block that is folded, and whatever shares its weights' memory, is of no more use. The network is put into
    evaluation mode; its state dict is no longer that of a checkpoint. To go on with training, fold a
    ``copy.deepcopy``.

    Args:
        network: anything that is made of these blocks; other layers stay, without their parametrisations.

    Returns:
        The same network; a block itself is returned as its plain replacement.

    Example:
        >>> block = SameBlock(3, 8).eval()
        >>> picture = torch.rand(1, 3, 16, 16)
        >>> expected = block(picture)
        >>> torch.allclose(fold_norms_(block)(picture), expected, atol=1e-6)
        True
    """
    network.eval()
    with torch.no_grad():
        return _folded(network)


def _folded(module: nn.Module) -> nn.Module:
    """The plain replacement of a block, or the module with its children folded."""
    fold = _FOLDERS.get(type(module))
    if fold is not None:
        return fold(module)
    for name in [name for name, _ in module.named_children() if name != "parametrizations"]:
        setattr(module, name, _folded(getattr(module, name)))
    if parametrize.is_parametrized(module):
        for name in list(cast(nn.ModuleDict, module.parametrizations)):
            settled = _settled(module, name)
            parametrize.remove_parametrizations(module, name, leave_parametrized=not settled)
    return module


def _settled(module: nn.Module, name: str) -> bool:
    """Write a parametrised tensor over what it is computed from, if that is one tensor like it.

    The computed one would lie in memory elsewhere and leave a hole where the other was. Hundreds of holes of
    all sizes are what a process then holds beyond its weights: the allocator gives few of them back.
    """
    if not parametrize.is_parametrized(module, name):
        return False
    parametrization: Any = cast(nn.ModuleDict, module.parametrizations)[name]
    original, value = getattr(parametrization, "original", None), getattr(module, name)
    if original is None or (original.shape, original.dtype) != (value.shape, value.dtype):
        return False
    original.copy_(value)
    return True


class FoldedBlock(nn.Module):
    """A `SameBlock`, `DownBlock` or `UpBlock` of either file whose norms are part of its convolution.

    Args:
        block: what it replaces; of no more use.
        activation: in place, the block's.
    """

    def __init__(self, block: SameBlock | plain.SameBlock, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        (weight, bias), (scale, shift) = _taken(block.conv), _affine(block.norm)
        weight, bias = weight.mul_(scale[:, None, None, None]), bias * scale + shift
        self.down = isinstance(block, (DownBlock, plain.DownBlock))
        self.conv: nn.Module = (
            _doubling(weight, bias)
            if isinstance(block, (UpBlock, plain.UpBlock))
            else _convolution(weight, bias, block.conv)
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """As the block's."""
        result = self.activation(self.conv(features))
        return F.avg_pool2d(result, 2) if self.down else result


class FoldedResidualBlock(nn.Module):
    """A `plain.ResidualBlock`: one norm is part of a convolution, the other one a product and a sum."""

    scale: Float[Tensor, "C 1 1"]
    shift: Float[Tensor, "C 1 1"]

    def __init__(self, block: plain.ResidualBlock) -> None:
        super().__init__()
        (scale, shift), (later, offset) = _affine(block.norm1), _affine(block.norm2)
        self.register_buffer("scale", scale.detach()[:, None, None])
        self.register_buffer("shift", shift.detach()[:, None, None])
        weight, bias = _taken(block.conv1)
        weight, bias = weight.mul_(later[:, None, None, None]), bias * later + offset
        self.conv1 = _convolution(weight, bias, block.conv1)
        self.conv2 = _convolution(*_taken(block.conv2), block.conv2)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """As the block's."""
        inner = F.relu_(torch.addcmul(self.shift, features, self.scale))
        return self.conv2(F.relu_(self.conv1(inner))).add_(features)


class FoldedSpade(nn.Module):
    """A `Spade` as ``features * scale + shift``, each from one convolution of the hidden guidance.

    With the batch norm as ``a x + b``: scale = a (1 + gamma), shift = beta + b (1 + gamma). Both in one
    convolution would be no faster, and the largest weights of the network would have to lie in memory in one
    piece, twice.
    """

    def __init__(self, spade: Spade) -> None:
        super().__init__()
        a, b = _affine(spade.norm)
        (gamma, gamma_bias), (beta, beta_bias) = _taken(spade.gamma_conv), _taken(spade.beta_conv)
        beta.addcmul_(gamma, b[:, None, None, None])
        gamma.mul_(a[:, None, None, None])
        self.shared = _convolution(*_taken(spade.shared_conv[0]), spade.beta_conv)
        self.scale = _convolution(gamma, (1 + gamma_bias) * a, spade.gamma_conv)
        self.shift = _convolution(beta, beta_bias + (1 + gamma_bias) * b, spade.beta_conv)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B C H W"]:
        """As the block's."""
        hidden = activate(self.shared(guidance))
        return torch.addcmul(self.shift(hidden), features, self.scale(hidden))


class FoldedSpadeResBlock(nn.Module):
    """A `SpadeResBlock` of plain convolutions."""

    def __init__(self, block: SpadeResBlock) -> None:
        super().__init__()
        shortcut = block.non_identity_shortcut
        self.shortcut = None if shortcut is None else _folded(shortcut)
        self.spade1, self.conv1 = FoldedSpade(block.spade1), _folded(block.conv1)
        self.spade2, self.conv2 = FoldedSpade(block.spade2), _folded(block.conv2)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B D H W"]:
        """As the block's."""
        inner = self.conv1(activate(self.spade1(features, guidance)))
        inner = self.conv2(activate(self.spade2(inner, guidance)))
        return inner.add_(features if self.shortcut is None else self.shortcut(features))


def fold_resnet(network: ResNet) -> ResNet:
    """A `ResNet` whose batch norms are part of the convolutions before them; changed and returned."""
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            pairs = [("0", "1")] if len(module) == 2 and isinstance(module[1], nn.BatchNorm2d) else []
        else:
            pairs = [
                (f"conv{number}", f"bn{number}") for number in (1, 2, 3) if hasattr(module, f"bn{number}")
            ]
        for before, norm in pairs:
            layer = getattr(module, before)
            (weight, bias), (scale, shift) = _taken(layer), _affine(getattr(module, norm))
            folded = _convolution(weight.mul_(scale[:, None, None, None]), bias * scale + shift, layer)
            setattr(module, before, folded)
            setattr(module, norm, nn.Identity())
    return network


def _taken(layer: Any) -> tuple[Tensor, Tensor]:
    """Weight, its spectral norm divided out, and bias of a convolution, which lets go of its own."""
    weight = layer.parametrizations.weight.original if _settled(layer, "weight") else layer.weight
    weight = weight.detach()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    for parameter in layer.parameters():
        parameter.data = parameter.new_empty(0)
    return weight, bias


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift of every channel."""
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def _convolution(weight: Tensor, bias: Tensor, like: Any) -> nn.Conv2d:
    """A convolution with this weight and bias and the stride and padding of another."""
    outputs, inputs, height, width = weight.shape
    with torch.device("meta"):  # nothing is drawn at random
        made = nn.Conv2d(inputs, outputs, (height, width), stride=like.stride, padding=like.padding)
    return _with(made, weight, bias)


def _doubling(weight: Tensor, bias: Tensor) -> nn.ConvTranspose2d:
    """Doubling and convolution in one; see `upsampling`."""
    outputs, inputs = weight.shape[:2]
    with torch.device("meta"):
        made = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    kernel = weight.new_empty(inputs, outputs, 4, 4)
    for first in range(0, outputs, SLICE):  # on its way a kernel takes several times its size
        part = slice(first, first + SLICE)
        kernel[:, part] = doubling_kernel(weight[part])
    return _with(made, kernel, bias)


def _with(layer: Any, weight: Tensor, bias: Tensor) -> Any:
    """The layer with these fixed numbers."""
    layer.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


_FOLDERS: dict[type, Callable[..., nn.Module]] = {
    SameBlock: partial(FoldedBlock, activation=activate),
    DownBlock: partial(FoldedBlock, activation=activate),
    UpBlock: partial(FoldedBlock, activation=activate),
    plain.SameBlock: partial(FoldedBlock, activation=F.relu_),
    plain.DownBlock: partial(FoldedBlock, activation=F.relu_),
    plain.UpBlock: partial(FoldedBlock, activation=F.relu_),
    plain.ResidualBlock: FoldedResidualBlock,
    Spade: FoldedSpade,
    SpadeResBlock: FoldedSpadeResBlock,
    ResNet: fold_resnet,
}
