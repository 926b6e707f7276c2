"""The blocks of first-order motion models ([FOMM] B.1; what it leaves open follows the public code).

Every convolution has a bias, every activation is a ReLU, every norm a batch norm. Parameters have the names
of the public checkpoints (``conv``, ``norm``, ``conv1``, ``norm1``, ..). The discriminator's and DaGAN's
SPADE blocks are elsewhere. For inference `geom.nets.folding` makes plain convolutions of them.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .upsampling import double_and_convolve, one_step_pays


class SameBlock(nn.Module):
    """Convolution, batch norm, ReLU; the size stays.

    Args:
        inputs, outputs: channels.
        kernel_size: taps a side, odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        return F.relu_(self.norm(self.conv(features)))


class DownBlock(SameBlock):
    """A `SameBlock`, then the mean of every 2 x 2 pixels."""

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / 2, W / 2)``."""
        return F.avg_pool2d(super().forward(features), 2)


class UpBlock(SameBlock):
    """Every pixel becomes 2 x 2 of it, then a `SameBlock`; on the CPU in one step where that pays."""

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2 H, 2 W)``."""
        if features.is_cpu and one_step_pays(features, self.conv):
            return F.relu_(self.norm(double_and_convolve(features, self.conv.weight, self.conv.bias)))
        return super().forward(F.interpolate(features, scale_factor=2, mode="nearest"))


class ResidualBlock(nn.Module):
    """Batch norm, ReLU and 3 x 3 convolution, twice, added to the input; channels and size stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """``(B, C, H, W)`` to the same."""
        inner = self.conv1(F.relu_(self.norm1(features)))
        return features + self.conv2(F.relu_(self.norm2(inner)))
