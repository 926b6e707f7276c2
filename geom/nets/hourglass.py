"""The hourglass (U-Net) of first-order motion models ([FOMM] B.1): halved, doubled, every size seen twice.

Its output joins the decoder's last features with the input itself, so that it has ``width + inputs``
channels (`Hourglass.outputs`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError
from .plain import DownBlock, UpBlock


@dataclass(frozen=True)
class HourglassConfig:
    """Size of a `Hourglass`.

    Attributes:
        width: channels at full size; 32 in the keypoint detector, 64 in the dense motion network
            ("block_expansion").
        blocks: halvings; 5 in both ([FOMM] B.1).
        max_channels: limit of the channels; 1024 in the public configs ("max_features").
    """

    width: int = 32
    blocks: int = 5
    max_channels: int = 1024

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.max_channels) < 1:
            raise HeadwarpError(
                "width, blocks, max_channels: expected at least 1 each, got "
                f"{(self.width, self.blocks, self.max_channels)}"
            )

    @property
    def multiple(self) -> int:
        """Both sides of the input are multiples of this."""
        return 1 << self.blocks

    def channels(self, level: int) -> int:
        """Channels after so many halvings, of the decoder at level 0.

        Example:
            >>> [HourglassConfig(64).channels(level) for level in range(6)]
            [64, 128, 256, 512, 1024, 1024]
        """
        return min(self.max_channels, self.width << level)


class Encoder(nn.Module):
    """The halving half; parameters ``down_blocks.N``."""

    def __init__(self, config: HourglassConfig, inputs: int) -> None:
        super().__init__()
        sizes = [inputs, *(config.channels(level + 1) for level in range(config.blocks))]
        self.down_blocks = nn.ModuleList(
            DownBlock(before, after) for before, after in itertools.pairwise(sizes)
        )

    def forward(self, features: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The input and the features after every halving."""
        found = [features]
        for block in self.down_blocks:
            found.append(block(found[-1]))
        return found


class Decoder(nn.Module):
    """The doubling half; parameters ``up_blocks.N``."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.up_blocks = nn.ModuleList(
            UpBlock(
                config.channels(level + 1) * (1 if level == config.blocks - 1 else 2), config.channels(level)
            )
            for level in reversed(range(config.blocks))
        )

    def forward(self, found: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C H W"]:
        """Doubled from the last of the encoder's features, each size joined with its own of them."""
        features = found[-1]
        for block, same_size in zip(self.up_blocks, reversed(found[:-1]), strict=True):
            features = torch.cat([block(features), same_size], dim=1)  # (B, C + C', 2 h, 2 w)
        return features


class Hourglass(nn.Module):
    """See the module.

    Args:
        config: its size.
        inputs: channels of its input.

    Attributes:
        outputs: channels of its output.
    """

    def __init__(self, config: HourglassConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.inputs, self.outputs = inputs, config.width + inputs
        self.encoder = Encoder(config, inputs)
        self.decoder = Decoder(config)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``.

        Raises:
            ShapeError: other channels, or sides that are no multiples of ``config.multiple``.
        """
        if features.ndim != 4 or features.shape[1] != self.inputs:
            raise ShapeError(f"features: expected (B, {self.inputs}, H, W), got {tuple(features.shape)}")
        height, width = features.shape[2:]
        multiple = self.config.multiple
        if not height or not width or height % multiple or width % multiple:
            raise ShapeError(
                f"features: expected sides that are multiples of {multiple} for {self.config.blocks} "
                f"halvings, got {height} x {width}; pad or resize them"
            )
        return self.decoder(self.encoder(features))
