"""The blocks of [PWM]'s network (sec. 2, Fig. 1; what the figure leaves open follows the public code).

Every convolution carries a spectral norm ([Miyato 2018]) and a bias, every activation is a leaky ReLU of
slope 0.1, every norm a batch norm. Parameters have the names of the public checkpoints (``conv``, ``norm``,
``spade1``, ...), except that the spectral norm is torch's parametrisation, not its deprecated hook.

In training a spectral norm takes one step of power iteration a forward pass; in evaluation it still divides
the whole weight in every pass. For inference `geom.nets.folding` makes plain convolutions of it all.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from .upsampling import double_and_convolve, one_step_pays

SLOPE = 0.1
"""Of the leaky ReLU below zero."""


def convolution(
    inputs: int, outputs: int, kernel_size: int = 3, *, padding: int | None = None, spectral_norm: bool = True
) -> nn.Conv2d:
    """A convolution with bias, its weight divided by its largest singular value.

    Args:
        inputs, outputs: channels.
        kernel_size: taps a side.
        padding: zeros around the frame; half the kernel by default, which keeps an odd kernel's size.
        spectral_norm: False for a plain convolution.
    """
    padding = kernel_size // 2 if padding is None else padding
    plain = nn.Conv2d(inputs, outputs, kernel_size, padding=padding)
    if spectral_norm:
        with_spectral_norm(plain)  # in place
    return plain


def activate(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Leaky ReLU in place; neither norm, sum nor product before it needs its own result for its gradient."""
    return F.leaky_relu_(features, SLOPE)


class SameBlock(nn.Module):
    """Convolution, batch norm, leaky ReLU; the size stays (with an odd kernel)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 3,
        *,
        padding: int | None = None,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel_size, padding=padding, spectral_norm=spectral_norm)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        return activate(self.norm(self.conv(features)))


class DownBlock(SameBlock):
    """A `SameBlock`, then the mean of every 2 x 2 pixels."""

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / 2, W / 2)``."""
        return F.avg_pool2d(super().forward(features), 2)


class UpBlock(SameBlock):
    """Every pixel becomes 2 x 2 of it, then a `SameBlock`.

    On the CPU both are one step where that pays (`upsampling`): half the time, forward and backward.
    """

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2 H, 2 W)``."""
        if features.is_cpu and one_step_pays(features, self.conv):
            doubled = double_and_convolve(features, self.conv.weight, self.conv.bias)
            return activate(self.norm(doubled))
        return super().forward(F.interpolate(features, scale_factor=2, mode="nearest"))


class Spade(nn.Module):
    """Spatially adaptive normalisation ([SPADE]): the guidance says scale and shift of every feature.

    ``norm(x) (1 + gamma(guidance)) + beta(guidance)`` with a batch norm that has no parameters of its own.
    """

    def __init__(self, channels: int, guidance: int, hidden: int, *, spectral_norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        shared = convolution(guidance, hidden, spectral_norm=spectral_norm)
        self.shared_conv = nn.Sequential(shared, nn.LeakyReLU(SLOPE, inplace=True))
        self.gamma_conv = convolution(hidden, channels, spectral_norm=spectral_norm)
        self.beta_conv = convolution(hidden, channels, spectral_norm=spectral_norm)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B C H W"]:
        """The features, normalised and modulated."""
        hidden = self.shared_conv(guidance)
        return self.norm(features) * (1 + self.gamma_conv(hidden)) + self.beta_conv(hidden)


class SpadeResBlock(nn.Module):
    """Two times `Spade`, leaky ReLU and convolution, beside a 1 x 1 convolution of the input.

    Args:
        inputs, outputs: channels; where they are equal the input itself is added.
        guidance: channels of the guidance.
        hidden: channels between guidance and modulation; ``outputs`` by default.
        spectral_norm: False leaves it out of every convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        guidance: int,
        *,
        hidden: int | None = None,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        hidden = outputs if hidden is None else hidden
        self.non_identity_shortcut: nn.Module | None = None
        if inputs != outputs:
            self.non_identity_shortcut = convolution(inputs, outputs, 1, spectral_norm=spectral_norm)
        self.spade1 = Spade(inputs, guidance, hidden, spectral_norm=spectral_norm)
        self.conv1 = convolution(inputs, outputs, spectral_norm=spectral_norm)
        self.spade2 = Spade(outputs, guidance, hidden, spectral_norm=spectral_norm)
        self.conv2 = convolution(outputs, outputs, spectral_norm=spectral_norm)

    def forward(
        self, features: Float[Tensor, "B C H W"], guidance: Float[Tensor, "B G H W"]
    ) -> Float[Tensor, "B D H W"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        inner = self.conv1(activate(self.spade1(features, guidance)))
        inner = self.conv2(activate(self.spade2(inner, guidance)))
        return inner + (
            features if self.non_identity_shortcut is None else self.non_identity_shortcut(features)
        )
