"""The patch discriminators of [PWM] sec. 1.2: one network a scale, each judges every patch of its picture.

A network is four blocks of convolution (4 x 4, spectral norm), batch norm, leaky ReLU and halving, then a
convolution to one logit a patch ([PatchGAN]; [PWM] leaves the layers open, they are those of its public
code). Parameters carry the public checkpoints' names: ``discs.x1.layers.0.conv``, ``discs.x1.out_convs.0``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.blocks import DownBlock
from ..geom.pyramid import guidance_pyramid


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Size and scales; the defaults are the paper's.

    Attributes:
        scales: ``xN`` judges the picture at 1 / N of its size. [PWM] sec. 1.2: three (256, 128 and 64 px);
            the public code: ``("x1",)``.
        channels: of the blocks. The public code's; the paper does not say.
        spectral_norm: of the blocks' convolutions, as in the public code.
    """

    scales: tuple[str, ...] = ("x1", "x2", "x4")
    channels: tuple[int, ...] = (32, 64, 128, 256)
    spectral_norm: bool = True


PAPER = DiscriminatorConfig()
OFFICIAL = DiscriminatorConfig(scales=("x1",))


@dataclass(frozen=True)
class Judgement:
    """What the discriminators make of a batch, by scale in the config's order.

    Attributes:
        features: the blocks' outputs, fine to coarse, for `losses.matching.feature_matching`.
        logits: ``(B, 1, h, w)`` a scale; above 0 speaks for a true picture.
    """

    features: tuple[tuple[Tensor, ...], ...]
    logits: tuple[Float[Tensor, "B 1 _ _"], ...]


class PatchDiscriminator(nn.Module):
    """One scale; 695,201 parameters with the default channels.

    Args:
        channels: of the blocks.
        spectral_norm: of their convolutions.
        inputs: channels of what is judged: a picture, or one with masks beside it.
    """

    def __init__(
        self, channels: tuple[int, ...] = PAPER.channels, *, spectral_norm: bool = True, inputs: int = 3
    ) -> None:
        super().__init__()
        pairs = zip((inputs, *channels[:-1]), channels, strict=True)
        self.layers = nn.ModuleList(
            DownBlock(inputs, outputs, 4, padding=2, spectral_norm=spectral_norm) for inputs, outputs in pairs
        )
        self.out_convs = nn.ModuleList([nn.Conv2d(channels[-1], 1, 4, padding=2)])

    def forward(self, image: Float[Tensor, "B C H W"]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Features of every block, and the logits."""
        features = []
        for layer in self.layers:
            image = layer(image)
            features.append(image)
        return tuple(features), self.out_convs[0](image)


class Discriminator(nn.Module):
    """`PatchDiscriminator` at every scale of the config; scales share nothing, as in the public code.

    Smaller sizes are made by `geom.pyramid.guidance_pyramid`, as there.

    Args:
        config: sizes and scales; `DiscriminatorConfig()` if None.

    Raises:
        HeadwarpError: a scale that is not ``x`` and a power of two, one given twice, or no scale or channels.

    Example:
        >>> import torch
        >>> judgement = Discriminator(OFFICIAL)(torch.rand(2, 3, 64, 64))
        >>> [tuple(logits.shape) for logits in judgement.logits], len(judgement.features[0])
        ([(2, 1, 5, 5)], 4)
    """

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or DiscriminatorConfig()
        self.strides = tuple(_stride(scale) for scale in self.config.scales)
        if len(set(self.strides)) != len(self.strides) or not self.strides or not self.config.channels:
            got = f"scales {self.config.scales}, channels {self.config.channels}"
            raise HeadwarpError(f"discriminator: expected different scales and some channels, got {got}")
        self.discs = nn.ModuleDict(
            {
                scale: PatchDiscriminator(self.config.channels, spectral_norm=self.config.spectral_norm)
                for scale in self.config.scales
            }
        )

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Judgement:
        """Judge pictures, RGB in [0, 1], their sides multiples of the largest scale.

        Raises:
            ShapeError: not (B, 3, H, W) floats, or a side does not divide.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ShapeError(f"discriminator: image: expected (B, 3, H, W), got {tuple(image.shape)}")
        levels = guidance_pyramid(image, self.strides)
        judged = [disc(level) for disc, level in zip(self.discs.values(), levels, strict=True)]
        return Judgement(tuple(features for features, _ in judged), tuple(logits for _, logits in judged))


def _stride(scale: str) -> int:
    match = re.fullmatch(r"x(1|2|4|8|16)", scale)
    if match is None:
        raise HeadwarpError(f"discriminator: scale: expected x1, x2, x4, x8 or x16, got {scale!r}")
    return int(match[1])
