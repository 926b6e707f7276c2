"""MobileNetV2 with torchvision's key names: a picture to a vector, in few operations [MobileNetV2]."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError
from .resnext import LEAST_SIDE, check_pictures

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of the first block of each stage, [MobileNetV2] Table 2."""
_STEM, _LAST, _DIVISOR = 32, 1280, 8


@dataclass(frozen=True)
class MobileNetConfig:
    """Size of the network; the defaults are torchvision's ``mobilenet_v2``.

    Attributes:
        multiplier: of all channels, the paper's width multiplier.
        outputs: numbers that come out.
        dropout: before the last layer, in training.
    """

    multiplier: float = 1.0
    outputs: int = 1000
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.multiplier <= 0 or self.outputs < 1 or not 0 <= self.dropout < 1:
            raise HeadwarpError(
                "MobileNetConfig: expected multiplier above 0, outputs of at least 1 and dropout in [0, 1), "
                f"got {self.multiplier:g}, {self.outputs} and {self.dropout:g}"
            )


class MobileNetV2(nn.Module):
    """See the module. New weights are He's, of the fan out, those of the last layer normal with 0.01, as
    torchvision's.

    Args:
        config: its size.
    """

    def __init__(self, config: MobileNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MobileNetConfig()
        inputs = divisible(_STEM * config.multiplier)
        layers: list[nn.Module] = [_convolution(3, inputs, 3, stride=2)]
        for expansion, channels, count, stride in STAGES:
            outputs = divisible(channels * config.multiplier)
            for place in range(count):
                first = stride if place == 0 else 1
                layers.append(_InvertedResidual(inputs, outputs, stride=first, expansion=expansion))
                inputs = outputs
        last = divisible(_LAST * max(1.0, config.multiplier))
        self.features = nn.Sequential(*layers, _convolution(inputs, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(last, config.outputs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Numbers of pictures, which the caller has normalised as the weights want them.

        Raises:
            ShapeError: not (B, 3, H, W), or too small.
        """
        check_pictures(image, least=LEAST_SIDE, by="MobileNetV2")
        return self.classifier(self.features(image).mean((2, 3)))


def divisible(channels: float) -> int:
    """The multiple of 8 that is nearest, but never a tenth below what was asked for.

    Example:
        >>> divisible(24 * 0.5), divisible(16 * 0.25), divisible(36)
        (16, 8, 40)
    """
    nearest = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * channels else nearest


def _convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU up to 6."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class _InvertedResidual(nn.Module):
    """Channels are expanded, filtered each by itself, and projected without activation."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        inner = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_convolution(inputs, inner, 1)]
        layers += [
            _convolution(inner, inner, 3, stride=stride, groups=inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, values: Tensor) -> Tensor:
        made = self.conv(values)
        return values + made if self.residual else made
