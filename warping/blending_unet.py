"""The networks that blend a head into a scene: planes of references in, a picture out.

[HeSer] sec. 3.2: "a seven-layer deep residual U-type network". That is the very name and depth of
[ResUNet]: three residual units down, one across, three up. `ResidualUNet` is it; what its paper has as batch
norm can be a group norm here, and every convolution carries a spectral norm ("applied to all operators").
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.blocks import convolution

_GROUP = 8  # channels of a group


@dataclass(frozen=True)
class ResidualUNetConfig:
    """Size of a `ResidualUNet`; the defaults are [ResUNet]'s.

    Attributes:
        widths: channels of the units going down, the last of the one across.
        norm: ``batch`` ([ResUNet]) or ``group``, which does in training what it does afterwards.
        spectral_norm: of every convolution but the last ([HeSer] sec. 3.2).
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    norm: Literal["batch", "group"] = "batch"
    spectral_norm: bool = True

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or any(width < 1 or width % _GROUP for width in self.widths):
            raise HeadwarpError(f"widths: expected two or more multiples of {_GROUP}, got {self.widths}")
        if self.norm not in ("batch", "group"):
            raise HeadwarpError(f"norm: expected batch or group, got {self.norm!r}")


class ResidualUnit(nn.Module):
    """Norm, ReLU and 3 x 3 convolution, twice, beside a 1 x 1 convolution of the input ([ResUNet] Fig. 1)."""

    def __init__(self, inputs: int, outputs: int, config: ResidualUNetConfig, *, stride: int = 1) -> None:
        super().__init__()
        self.norm1, self.norm2 = (_norm(width, config.norm) for width in (inputs, outputs))
        self.conv1 = convolution(inputs, outputs, spectral_norm=config.spectral_norm)
        self.conv2 = convolution(outputs, outputs, spectral_norm=config.spectral_norm)
        self.shortcut = convolution(inputs, outputs, 1, spectral_norm=config.spectral_norm)
        self.conv1.stride = self.shortcut.stride = (stride, stride)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        inner = self.conv1(F.relu(self.norm1(features)))
        return self.conv2(F.relu(self.norm2(inner))) + self.shortcut(features)


class ResidualUNet(nn.Module):
    """See the module.

    Args:
        inputs, outputs: channels.
        config: its size.
        zero: begin with an output of zeros, for a network that says what is added to a picture.

    Example:
        >>> unet = ResidualUNet(12, 3, ResidualUNetConfig((8, 16, 16, 24)))
        >>> tuple(unet(torch.rand(1, 12, 32, 48)).shape)
        (1, 3, 32, 48)
    """

    def __init__(
        self, inputs: int, outputs: int, config: ResidualUNetConfig | None = None, *, zero: bool = False
    ) -> None:
        super().__init__()
        self.config = config = config or ResidualUNetConfig()
        widths, normed = config.widths, config.spectral_norm
        self.stem = convolution(inputs, widths[0], spectral_norm=normed)
        self.first = convolution(widths[0], widths[0], spectral_norm=normed)
        self.first_norm = _norm(widths[0], config.norm)
        self.first_shortcut = convolution(inputs, widths[0], 1, spectral_norm=normed)
        steps = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(ResidualUnit(near, far, config, stride=2) for near, far in steps)
        self.up = nn.ModuleList(ResidualUnit(far + near, near, config) for near, far in reversed(steps))
        self.out = nn.Conv2d(widths[0], outputs, 1)
        if zero:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # it has one

    @property
    def multiple(self) -> int:
        """Sides of the pictures are multiples of this."""
        return 1 << len(self.down)

    def forward(self, planes: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Planes of any meaning to as many pixels, unbounded.

        Raises:
            ShapeError: sides that are no multiples of `multiple`.
        """
        if planes.shape[2] % self.multiple or planes.shape[3] % self.multiple:
            raise ShapeError(
                f"blending network: expected sides that are multiples of {self.multiple}, got "
                f"{tuple(planes.shape[2:])}; pad or resize the pictures"
            )
        features = self.first(F.relu(self.first_norm(self.stem(planes)))) + self.first_shortcut(planes)
        kept = []
        for unit in self.down:
            kept.append(features)
            features = unit(features)
        for unit in self.up:
            grown = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = unit(torch.cat([grown, kept.pop()], dim=1))
        return self.out(features)


def _norm(channels: int, kind: str) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(channels // _GROUP, channels)
