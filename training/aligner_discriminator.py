"""Discriminators of [HeSer]'s aligner, without projection: pictures alone are judged, of no named person.

``residual`` is [LPD]'s without its projection on persons, whose features [HeSer] Eq. 2 matches: residual
blocks that halve, their pixels summed, one logit a picture. ``patch`` is that of the public code: pairs of
3 x 3 convolutions, the first of stride 2, and a logit a patch. All layers carry a spectral norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..geom.errors import HeadwarpError, ShapeError
from .discriminators import Judgement

SLOPE = 0.2
"""Of the leaky ReLU of ``patch`` below zero."""
_EPSILON = 1e-4
_COARSEST = 4  # pixels a side that are not halved any more


@dataclass(frozen=True)
class AlignerDiscriminatorConfig:
    """Size of a discriminator; the defaults are [LPD]'s public code's.

    Attributes:
        kind: see the module.
        channels: of the first block; every block has twice those of the last, up to ``most_channels``.
        most_channels: see there.
        blocks: seven in [LPD]; four pairs of convolutions in ``patch``.
    """

    kind: Literal["residual", "patch"] = "residual"
    channels: int = 64
    most_channels: int = 512
    blocks: int = 7

    def __post_init__(self) -> None:
        if self.kind not in ("residual", "patch") or min(self.channels, self.most_channels, self.blocks) < 1:
            raise HeadwarpError(
                f"discriminator: expected residual or patch with channels and blocks above 0, got {self}"
            )

    def widths(self) -> tuple[int, ...]:
        """Channels after every block.

        Example:
            >>> AlignerDiscriminatorConfig().widths()
            (64, 128, 256, 512, 512, 512, 512)
        """
        return tuple(min(self.channels * 2**place, self.most_channels) for place in range(self.blocks))


UNOFFICIAL = AlignerDiscriminatorConfig("patch", 32, 256, 4)


class AlignerDiscriminator(nn.Module):
    """See the module.

    Args:
        config: its size.

    Example:
        >>> import torch
        >>> small = AlignerDiscriminatorConfig(channels=4, most_channels=8, blocks=3)
        >>> judgement = AlignerDiscriminator(small)(torch.rand(2, 3, 32, 32))
        >>> [tuple(each.shape) for each in (*judgement.features[0], *judgement.logits)]
        [(2, 4, 16, 16), (2, 8, 8, 8), (2, 8, 4, 4), (2, 1, 1, 1)]
    """

    def __init__(self, config: AlignerDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AlignerDiscriminatorConfig()
        widths = config.widths()
        pairs = list(zip((3, *widths[:-1]), widths, strict=True))
        if config.kind == "residual":
            self.blocks = nn.ModuleList(
                _Residual(*pair, first=place == 0) for place, pair in enumerate(pairs)
            )
        else:
            self.blocks = nn.ModuleList(_Pair(*pair) for pair in pairs)
        self.out = _convolution(widths[-1], 1, 1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Judgement:
        """Judge pictures, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, H, W), or smaller than 16 px.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < 4 * _COARSEST:
            raise ShapeError(
                f"discriminator: image: expected (B, 3, H, W) of at least {4 * _COARSEST} px a side, "
                f"got {tuple(image.shape)}"
            )
        features, values = [], image * 2 - 1
        for block in self.blocks:
            values = block(values)
            features.append(values)
        if self.config.kind == "residual":
            values = F.relu(values).sum((2, 3), keepdim=True)  # (B, C, 1, 1)
        return Judgement((tuple(features),), (self.out(values),))


class _Residual(nn.Module):
    """ReLU, convolution, ReLU, convolution beside a 1 x 1 shortcut, halved while there are pixels to halve.

    The picture's block begins with its convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1, self.conv2 = _convolution(inputs, outputs, 3), _convolution(outputs, outputs, 3)
        self.skip = _convolution(inputs, outputs, 1)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.conv1(values if self.first else F.relu(values))
        made = self.conv2(F.relu(inner)) + self.skip(values)
        return F.avg_pool2d(made, 2) if min(made.shape[2:]) > _COARSEST else made


class _Pair(nn.Module):
    """Two convolutions with leaky ReLUs, the first halves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride=2)
        self.conv2 = _convolution(outputs, outputs, 3)

    def forward(self, values: Tensor) -> Tensor:
        return F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(values), SLOPE)), SLOPE)


def _convolution(inputs: int, outputs: int, size: int, *, stride: int = 1) -> nn.Module:
    plain = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
    return spectral_norm(plain, eps=_EPSILON)
