"""LPIPS [Zhang 2018]: distance of deep features, weighted as people judge. Weights are the user's own.

The key names are those of the `lpips` package, so that
``torch.save(lpips.LPIPS(net="alex").state_dict(), "lpips_alex.pth")`` makes a file that loads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.errors import ModelFileError, ShapeError
from ...geom.nets.weights import misfits, read_weights
from .image import check_pictures

__all__ = ["Lpips", "LpipsBackbone", "backbone_of", "load_lpips"]

LpipsBackbone = Literal["alex", "vgg"]
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_POOL, _RELU = "pool", "relu"

Layer = tuple[int, int, int, int, int] | str  # in, out, kernel, stride, padding
_ALEX: tuple[tuple[Layer, ...], ...] = (
    ((3, 64, 11, 4, 2), _RELU),
    (_POOL, (64, 192, 5, 1, 2), _RELU),
    (_POOL, (192, 384, 3, 1, 1), _RELU),
    ((384, 256, 3, 1, 1), _RELU),
    ((256, 256, 3, 1, 1), _RELU),
)


def _block(channels_in: int, channels_out: int, convolutions: int, *, pool: bool = True) -> tuple[Layer, ...]:
    layers: list[Layer] = [_POOL] if pool else []
    for number in range(convolutions):
        first = channels_in if number == 0 else channels_out
        layers += [(first, channels_out, 3, 1, 1), _RELU]
    return tuple(layers)


_VGG: tuple[tuple[Layer, ...], ...] = (
    _block(3, 64, 2, pool=False),
    _block(64, 128, 2),
    _block(128, 256, 3),
    _block(256, 512, 3),
    _block(512, 512, 3),
)
_SLICES = {"alex": _ALEX, "vgg": _VGG}
_POOL_SIZE = {"alex": 3, "vgg": 2}


class Lpips(nn.Module):
    """Learned perceptual image patch similarity, version 0.1, over AlexNet or VGG-16.

    Features of five depths are scaled to unit length at every pixel; their squared differences are weighted
    by channel, averaged over the picture and summed over depths. Dropout, which training alone used, is left
    out.

    Args:
        backbone: whose features; published numbers are mostly of ``alex``.

    The weights of a new module mean nothing: load a file before use.
    """

    def __init__(self, backbone: LpipsBackbone = "alex") -> None:
        super().__init__()
        self.backbone = backbone
        self.scaling_layer = _Scaling()
        self.net = nn.Module()
        number, widths = 0, []
        for index, layers in enumerate(_SLICES[backbone]):
            named = nn.Sequential()
            for layer in layers:
                named.add_module(str(number), _made(layer, _POOL_SIZE[backbone]))
                number += 1
            self.net.add_module(f"slice{index + 1}", named)
            widths.append(next(layer[1] for layer in reversed(layers) if not isinstance(layer, str)))
        for index, width in enumerate(widths):
            self.add_module(f"lin{index}", _Weighting(width))

    def forward(
        self, images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """Distance of pictures, RGB in [0, 1] (not in [-1, 1]): 0 for equal ones; lower is better.

        Raises:
            ShapeError: shapes differ or are not (B, 3, H, W), a side is below 32 pixels, or the values are
                not floats.
        """
        check_pictures(images, targets)
        if min(images.shape[2:]) < 32:
            got = tuple(images.shape[2:])
            raise ShapeError(f"images: expected at least 32 x 32 pixels for five depths, got {got}.")
        x, y = (self.scaling_layer(2 * picture - 1) for picture in (images, targets))
        total = torch.zeros_like(x[:, 0, 0, 0])
        for index in range(len(_SLICES[self.backbone])):
            part = self.net.get_submodule(f"slice{index + 1}")
            x, y = part(x), part(y)
            difference = (_unit(x) - _unit(y)).square()
            weighted = self.get_submodule(f"lin{index}")(difference)
            total = total + weighted.mean((1, 2, 3))
        return total


class _Scaling(nn.Module):
    """Colours in [-1, 1] as the backbones take them."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(_SHIFT)[None, :, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[None, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.shift) / self.scale


class _Weighting(nn.Module):
    """One weight a channel; named as in a stack whose first member is dropout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, difference: Tensor) -> Tensor:
        return self.model(difference)


def backbone_of(keys: set[str]) -> LpipsBackbone:
    """Which backbone the keys of a file belong to: VGG-16 has a second convolution at its first depth."""
    return "vgg" if "net.slice1.2.weight" in keys else "alex"


def load_lpips(path: Path) -> Lpips:
    """The network of a file, in evaluation mode, its parameters without gradients.

    Args:
        path: ``lpips.LPIPS(net=..).state_dict()`` as torch or safetensors write it; AlexNet and VGG-16 are
            told apart by their keys.

    Raises:
        ModelFileError: no such file, damaged, or other weights; weights of the five depths alone, which the
            package's own folder holds, do not do.
    """
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such file; expected LPIPS weights, lpips.LPIPS().state_dict() saved"
        )
    given = {key: value for key, value in read_weights(path).items() if not key.startswith("lins.")}
    network = Lpips(backbone_of(set(given)))
    own = network.state_dict()
    fixed = {key: value for key, value in own.items() if key.startswith("scaling_layer.")}
    given = {**fixed, **given}
    for what, keys in misfits(own, given).items():
        if keys:
            raise ModelFileError(
                f"{path}: expected lpips.LPIPS(net='alex' or 'vgg').state_dict(), features included; "
                f"{len(keys)} of {len(own)} keys {what}, such as {keys[0]}"
            )
    network.load_state_dict(given, strict=True)
    return network.eval().requires_grad_(False)


def _made(layer: Layer, pool: int) -> nn.Module:
    if layer == _POOL:
        return nn.MaxPool2d(pool, stride=2)
    if isinstance(layer, str):
        return nn.ReLU()
    return nn.Conv2d(layer[0], layer[1], layer[2], stride=layer[3], padding=layer[4])


def _unit(features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)
