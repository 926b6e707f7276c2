"""The generator of [HeSer]'s aligner: a learned constant, blown up by residual blocks that a code modulates.

Blocks are those of [LPD], whose generator the supplement takes over: adaptive instance norm, ReLU, nearest
doubling, 3 x 3 convolution, adaptive instance norm, ReLU, 3 x 3 convolution, beside a 1 x 1 shortcut. Every
convolution and both linear layers carry a spectral norm (sec. 3.2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..geom.errors import HeadwarpError

START = 4
"""Side of the constant in pixels."""
_EPSILON = 1e-4  # of instance norms and spectral norms, [LPD]'s public code


@dataclass(frozen=True)
class GeneratorSize:
    """Size of a `CodeGenerator`.

    Attributes:
        size: side of the picture, 4 times a power of two; each doubling is a block.
        channels: of the last block; they double towards the constant, up to ``most_channels``.
        most_channels: see there.
        blocks: residual blocks at the constant's size.
        hidden: of the perceptron between code and norms: 768 ([HeSer] sec. 3.2), 1536 in the public code.
        gain: what multiplies normalised features: the perceptron's number (``"raw"``, the public code), or 1
            plus it (``"unit"``), which begins with features that are seen.
    """

    size: int = 512
    channels: int = 64
    most_channels: int = 512
    blocks: int = 2
    hidden: int = 768
    gain: Literal["raw", "unit"] = "raw"

    def __post_init__(self) -> None:
        if self.size < 2 * START or self.size & (self.size - 1):
            raise HeadwarpError(
                f"size: expected a power of two from {2 * START} pixels on, such as 256, got {self.size}"
            )
        least = min(self.channels, self.most_channels, self.hidden, self.blocks + 1)
        if least < 1 or self.gain not in ("raw", "unit"):
            raise HeadwarpError(f"generator: expected channels, blocks and hidden above 0, got {self}")

    @property
    def doublings(self) -> int:
        """Blocks that double the size."""
        return (self.size // START).bit_length() - 1

    def widths(self) -> tuple[int, ...]:
        """Channels of the constant and after every doubling.

        Example:
            >>> GeneratorSize().widths()
            (512, 512, 512, 512, 512, 256, 128, 64)
        """
        steps = range(self.doublings, -1, -1)
        return tuple(min(self.channels * 2**step, self.most_channels) for step in steps)


class CodeGenerator(nn.Module):
    """See the module.

    Args:
        inputs: numbers of the code.
        config: its size.
    """

    def __init__(self, inputs: int, config: GeneratorSize | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorSize()
        widths = config.widths()
        self.constant = nn.Parameter(torch.ones(1, widths[0], START, START))
        blocks = [_Block(widths[0], widths[0], doubled=False) for _ in range(config.blocks)]
        blocks += [_Block(*pair, doubled=True) for pair in itertools.pairwise(widths)]
        self.blocks = nn.ModuleList(blocks)
        self.last = _convolution(widths[-1], 3, 3, bias=True)
        self.norms = tuple(width for block in blocks for width in block.norms) + (widths[-1],)
        self.first_layer = spectral_norm(nn.Linear(inputs, config.hidden))
        self.second_layer = spectral_norm(nn.Linear(config.hidden, 2 * sum(self.norms)))

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B 3 S S"]:
        """Pictures of codes, RGB in [0, 1]."""
        numbers = self.second_layer(F.relu(self.first_layer(code)))
        modulation = self._modulation(numbers)
        values = self.constant.expand(len(code), -1, -1, -1).to(numbers.dtype)
        for block in self.blocks:
            values = block(values, next(modulation), next(modulation))
        values = self.last(F.relu(_adapted(values, next(modulation))))
        return (torch.tanh(values.float()) + 1) / 2

    def _modulation(self, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Gain and bias of every norm, in the order of computation; among the numbers biases stand first."""
        for part in numbers.split([2 * width for width in self.norms], dim=1):
            bias, gain = part[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
            yield (gain + 1 if self.config.gain == "unit" else gain), bias


class _Block(nn.Module):
    """See the module; without doubling the shortcut is the input."""

    def __init__(self, inputs: int, outputs: int, *, doubled: bool) -> None:
        super().__init__()
        self.doubled, self.norms = doubled, (inputs, outputs)
        self.conv1 = _convolution(inputs, outputs, 3, bias=False)
        self.conv2 = _convolution(outputs, outputs, 3, bias=False)
        self.skip = _convolution(inputs, outputs, 1, bias=True) if doubled else None

    def forward(self, values: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
        inner = F.relu(_adapted(values, first))
        if self.doubled:
            inner = F.interpolate(inner, scale_factor=2, mode="nearest")
        inner = self.conv2(F.relu(_adapted(self.conv1(inner), second)))
        if self.skip is None:
            return values + inner
        # a 1 x 1 convolution and doubling commute
        return F.interpolate(self.skip(values), scale_factor=2, mode="nearest") + inner


def _convolution(inputs: int, outputs: int, size: int, *, bias: bool) -> nn.Module:
    plain = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
    return spectral_norm(plain, eps=_EPSILON)


def _adapted(values: Tensor, modulation: tuple[Tensor, Tensor]) -> Tensor:
    """Adaptive instance norm."""
    gain, bias = modulation
    return F.instance_norm(values, eps=_EPSILON) * gain + bias
