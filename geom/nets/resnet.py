"""ResNet-18 and ResNet-50 encoders [ResNet] with torchvision's key names, for any number of input channels.

What a decoder with skips needs: the features after the stem and after each of the four stages. There is no
pooling at the end and no classifier; a file of torchvision has ``fc.weight`` and ``fc.bias`` besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Residual blocks of the four stages, by the number in the network's name."""
MEAN, DEVIATION = 0.45, 0.225
"""Of every channel: what monodepth2's networks subtract and divide by, in place of ImageNet's own."""


@dataclass(frozen=True)
class ResNetConfig:
    """Size of an encoder.

    Attributes:
        layers: 18 (basic blocks) or 50 (bottlenecks).
        channels: of the input; 6 for a pair of pictures.
        width: channels of the stem, 64 in the published networks; all others grow and shrink with it.
    """

    layers: Literal[18, 50] = 18
    channels: int = 3
    width: int = 64


class ResNet(nn.Module):
    """The encoder: five feature maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size.

    The bottleneck's stride lies on its 3 x 3 convolution, as in torchvision. New weights are He's, of the
    fan out.

    Args:
        config: its size.

    Raises:
        HeadwarpError: no such number of layers, or no channels.
    """

    def __init__(self, config: ResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResNetConfig()
        if config.layers not in BLOCKS or config.channels < 1 or config.width < 1:
            got = f"layers={config.layers}, channels={config.channels}, width={config.width}"
            raise HeadwarpError(f"ResNet: expected 18 or 50 layers, channels and width above 0, got {got}")
        self.conv1 = nn.Conv2d(config.channels, config.width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        block = _Basic if config.layers == 18 else Bottleneck
        inputs = config.width
        for stage, count in enumerate(BLOCKS[config.layers]):
            inner = config.width * 2**stage
            blocks = []
            for place in range(count):
                blocks.append(block(inputs, inner, stride=2 if stage > 0 and place == 0 else 1))
                inputs = inner * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def outputs(self) -> tuple[int, ...]:
        """Channels of the five feature maps, largest map first."""
        config = self.config
        expansion = 1 if config.layers == 18 else Bottleneck.expansion
        return (config.width, *(config.width * 2**stage * expansion for stage in range(4)))

    def forward(self, image: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B D h w"], ...]:
        """Features of pictures in [0, 1], largest map first.

        Raises:
            ShapeError: not (B, C, H, W) with the encoder's number of channels.
        """
        if image.ndim != 4 or image.shape[1] != self.config.channels:
            got = tuple(image.shape)
            raise ShapeError(f"image: expected (B, {self.config.channels}, H, W), got {got}")
        return self.stages((image - MEAN) / DEVIATION)

    def stages(self, values: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B D h w"], ...]:
        """`forward` of pictures that a network's own mean and deviation were taken from already."""
        stem = F.relu(self.bn1(self.conv1(values)))
        features = [stem]
        values = F.max_pool2d(stem, 3, 2, padding=1)
        for number in range(1, 5):
            values = self.get_submodule(f"layer{number}")(values)
            features.append(values)
        return tuple(features)


class _Basic(nn.Module):
    """Two 3 x 3 convolutions beside the input."""

    expansion = 1

    def __init__(self, inputs: int, inner: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = _shortcut(inputs, inner, stride)

    def forward(self, values: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(values)))
        inner = self.bn2(self.conv2(inner))
        return F.relu(inner + (values if self.downsample is None else self.downsample(values)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside the input; the residual block of ResNet-50 and ResNeXt-50.

    Args:
        inputs: channels.
        inner: a quarter of the channels that come out.
        stride: of the 3 x 3 convolution.
        groups: of the 3 x 3 convolution [ResNeXt].
        width: channels of the 3 x 3 convolution, ``inner`` if None.
    """

    expansion = 4

    def __init__(
        self, inputs: int, inner: int, *, stride: int, groups: int = 1, width: int | None = None
    ) -> None:
        super().__init__()
        outputs, inner = inner * self.expansion, inner if width is None else width
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """``(B, inputs, H, W)`` to ``(B, 4 inner, H / stride, W / stride)``."""
        inner = F.relu(self.bn1(self.conv1(values)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        return F.relu(inner + (values if self.downsample is None else self.downsample(values)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
