"""Convolution weights kept as oneDNN computes with them, for inference on the CPU.

Given a plain weight, oneDNN brings it into blocks of its own before every convolution; for a few pixels and
many channels that takes several times as long as the convolution. Packed once, a network of [PWM]'s size runs
about twice as fast in eager mode, with the same values.

The operations are those that ``torch.compile`` emits for frozen weights; they are not documented. Hence
`packing_works` tries them once, against the plain convolution, and `pack_convolutions_` leaves a network as
it is where they are missing or changed.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def pack_convolutions_(network: nn.Module) -> nn.Module:
    """Replace the plain convolutions of a network in place, for inference on the CPU only.

    Layer by layer, so that the memory holds the weights once. Afterwards the network has no weights that can
    be saved, moved or trained, and computes in the type that its weights had. Convolutions that are not on
    the CPU, of a type that this CPU does not compute, or that are parametrised stay (fold those first:
    `folding.fold_norms_`).

    Returns:
        The same network; a convolution itself is returned as its packed replacement.

    Example:
        >>> layer, picture = nn.Conv2d(3, 8, 3, padding=1), torch.rand(1, 3, 16, 16)
        >>> expected = layer(picture).detach()
        >>> torch.allclose(pack_convolutions_(layer)(picture), expected, atol=1e-6)
        True
    """
    with torch.no_grad():
        return _packed(network)


@functools.cache
def packing_works(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of torch packs weights of a type and computes the same with them."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    picture = torch.linspace(-1, 1, 2 * 16 * 6 * 5, dtype=dtype).view(2, 16, 6, 5)
    for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1)):
        layer.to(dtype).requires_grad_(False)
        try:
            packed = PackedConvolution(layer)(picture)
        except (AttributeError, RuntimeError, TypeError):
            return False
        if packed.shape != layer(picture).shape or not torch.allclose(packed, layer(picture), atol=1e-2):
            return False
    return True


class PackedConvolution(nn.Module):
    """A convolution or transposed convolution with its weight in oneDNN's blocks.

    Args:
        layer: what it replaces.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        operations: Any = torch.ops.mkldnn
        weight = layer.weight.detach()
        padding, stride, dilation = list(layer.padding), list(layer.stride), list(layer.dilation)
        self._tail: tuple[Any, ...]
        if isinstance(layer, nn.ConvTranspose2d):
            extra = list(layer.output_padding)
            self._run = operations._convolution_transpose_pointwise
            self.weight = operations._reorder_convolution_transpose_weight(
                weight, padding, extra, stride, dilation, layer.groups, None
            )
            self._tail = (padding, extra, stride, dilation, layer.groups, "none", [], "")
        else:
            self._run = operations._convolution_pointwise
            self.weight = operations._reorder_convolution_weight(
                weight, padding, stride, dilation, layer.groups, None
            )
            self._tail = (padding, stride, dilation, layer.groups, "none", [], "")
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """As the layer's, in channels-last layout whatever the features' is."""
        return self._run(features, self.weight, self.bias, *self._tail)


def _packed(module: nn.Module) -> nn.Module:
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return PackedConvolution(module) if _packable(module) else module
    for name in [name for name, _ in module.named_children()]:  # names alone: a list of the children would
        setattr(module, name, _packed(getattr(module, name)))  # keep the weights of all that are packed
    return module


def _packable(layer: Any) -> bool:
    if type(layer) not in (nn.Conv2d, nn.ConvTranspose2d):  # a parametrised one is of a class of its own
        return False
    zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return zeros and layer.weight.device.type == "cpu" and packing_works(layer.weight.dtype)
