"""The decoder of [DaGAN]'s second public generator: SPADE blocks ([SPADE]) instead of residual ones.

The paper does not describe it; the public code has it beside the paper's generator. Features of the warped
and attended source are decoded under the guidance of seven channels: a compression of these features to
four, every position repeated over its pixels, and the warped source picture where the occlusion shows it.
That guidance says scale and shift of every normalised feature, at 1/4, 1/2 and the whole of the frame's size.

Five times the arithmetic of the paper's decoder: 274 GMAC a frame of 256 px. Layers carry the names of the
public checkpoints (``decoder.G_middle_0.norm_0.mlp_shared.0``), the spectral norms torch's parametrisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.blocks import convolution

SLOPE = 0.2
"""Of the leaky ReLUs below zero; [SPADE]."""


@dataclass(frozen=True)
class SpadeDecoderConfig:
    """Size of a `SpadeDecoder`; the defaults are the public code's.

    Attributes:
        channels: of the features that come in.
        compressed: channels of the guidance that are made of them.
        hidden: channels between guidance and modulation.
        middle: channels of the blocks at the features' size.
        blocks: how many of these.
        doublings: channels after each doubling; two for features of a quarter of the frame's size.
    """

    channels: int = 256
    compressed: int = 4
    hidden: int = 128
    middle: int = 512
    blocks: int = 3
    doublings: tuple[int, ...] = (256, 64)

    def __post_init__(self) -> None:
        sizes = (self.channels, self.compressed, self.hidden, self.middle, *self.doublings)
        if min(sizes) < 1 or self.blocks < 0:
            raise HeadwarpError(f"spade decoder: expected positive channels, got {self}")

    @property
    def guidance(self) -> int:
        """Channels of the guidance: the compressed features and a picture."""
        return self.compressed + 3

    @property
    def multiple(self) -> int:
        """The frame is so many times the features' size."""
        return 1 << len(self.doublings)


class SpatialNorm(nn.Module):
    """[SPADE]: ``norm(x) (1 + gamma(guidance)) + beta(guidance)`` with an instance norm.

    `geom.nets.blocks.Spade` is [PWM]'s: a batch norm, leaky ReLU and spectral norms.
    """

    def __init__(self, channels: int, guidance: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(guidance, hidden, 3, padding=1), nn.ReLU(inplace=True))
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B C H W"]:
        """The features, normalised and modulated."""
        hidden = self.mlp_shared(guidance)
        return F.instance_norm(features) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeBlock(nn.Module):
    """Two times norm, leaky ReLU and convolution; beside it the input, or a 1 x 1 convolution of it, normed.

    Args:
        inputs, outputs: channels; between the two convolutions it is the fewer of them.
        guidance: channels of the guidance.
        hidden: channels between guidance and modulation.
    """

    def __init__(self, inputs: int, outputs: int, guidance: int, hidden: int) -> None:
        super().__init__()
        inner = min(inputs, outputs)
        self.conv_0, self.conv_1 = convolution(inputs, inner), convolution(inner, outputs)
        self.norm_0 = SpatialNorm(inputs, guidance, hidden)
        self.norm_1 = SpatialNorm(inner, guidance, hidden)
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.conv_s = nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.norm_s = SpatialNorm(inputs, guidance, hidden)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B D H W"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        inner = self.conv_0(F.leaky_relu(self.norm_0(features, guidance), SLOPE))
        inner = self.conv_1(F.leaky_relu(self.norm_1(inner, guidance), SLOPE))
        return inner + (self.conv_s(self.norm_s(features, guidance)) if self.learned_shortcut else features)


class SpadeDecoder(nn.Module):
    """Features and the warped source to a picture.

    Args:
        config: its size; the public code's if None.

    Example:
        >>> config = SpadeDecoderConfig(8, compressed=2, hidden=4, middle=8, blocks=1, doublings=(8, 4))
        >>> tuple(SpadeDecoder(config)(torch.rand(1, 8, 16, 16), torch.rand(1, 3, 64, 64)).shape)
        (1, 3, 64, 64)
    """

    def __init__(self, config: SpadeDecoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SpadeDecoderConfig()
        options = config.guidance, config.hidden
        self.compress = nn.Conv2d(config.channels, config.compressed, 3, padding=1)
        self.fc = nn.Conv2d(config.channels, config.middle, 3, padding=1)
        self._middle = [f"G_middle_{index}" for index in range(config.blocks)]
        self._up = [f"up_{index}" for index in range(len(config.doublings))]
        for name in self._middle:
            self.add_module(name, SpadeBlock(config.middle, config.middle, *options))
        widths = (config.middle, *config.doublings)
        for name, inputs, outputs in zip(self._up, widths, widths[1:], strict=False):
            self.add_module(name, SpadeBlock(inputs, outputs, *options))
        self.conv_img = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "B C h w"], image: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The picture, RGB in [0, 1].

        Args:
            features: of the source, warped, masked by the occlusion and attended.
            image: the warped source times the occlusion, ``multiple`` times the features' size.

        Raises:
            ShapeError: the sizes are not so.
        """
        self._check(features, image)
        guidance = F.interpolate(self.compress(features), size=image.shape[2:], mode="nearest")
        guidance = torch.cat([guidance, image.to(guidance.dtype)], dim=1)
        hidden, level = self.fc(features), _reduced(guidance, features)
        for name in self._middle:
            hidden = self.get_submodule(name)(hidden, level)
        for name in self._up:
            hidden = F.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = self.get_submodule(name)(hidden, _reduced(guidance, hidden))
        return torch.sigmoid(self.conv_img(F.leaky_relu(hidden, SLOPE)).float())

    def _check(self, features: Tensor, picture: Tensor) -> None:
        wanted = tuple(self.config.multiple * side for side in features.shape[2:])
        if features.shape[1] != self.config.channels or tuple(picture.shape[2:]) != wanted:
            raise ShapeError(
                f"spade decoder: expected features (B, {self.config.channels}, h, w) and a picture "
                f"{self.config.multiple} times as large, got {tuple(features.shape)} and "
                f"{tuple(picture.shape)}"
            )


def _reduced(guidance: Tensor, like: Tensor) -> Tensor:
    """The guidance at a level's size: the first pixel of every square, as torch's ``nearest`` takes it."""
    return F.interpolate(guidance, size=like.shape[2:], mode="nearest")
