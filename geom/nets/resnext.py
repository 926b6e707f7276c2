"""ResNeXt-50 (32 x 4d) with torchvision's key names: a picture to a vector [ResNeXt].

ResNet-50 whose 3 x 3 convolutions have groups, twice as many channels, and a linear layer at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError
from .resnet import Bottleneck

LEAST_SIDE = 32
"""Pixels a side of the smallest picture: the last stage is a 32nd of it."""


@dataclass(frozen=True)
class ResNextConfig:
    """Size of the network; the defaults are torchvision's ``resnext50_32x4d``.

    Attributes:
        blocks: residual blocks of the four stages.
        width: channels of the stem; all others grow and shrink with it.
        groups: of the 3 x 3 convolutions.
        group_width: channels of a group in the first stage for a stem of 64.
        outputs: numbers that come out.
    """

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    groups: int = 32
    group_width: int = 4
    outputs: int = 1000

    def __post_init__(self) -> None:
        sizes = (*self.blocks, self.width, self.groups, self.group_width, self.outputs)
        if min(sizes) < 1 or self.inner(0) < 1:
            raise HeadwarpError(
                f"ResNextConfig: expected blocks, width, groups, group_width and outputs above 0, got {sizes}"
            )

    def inner(self, stage: int) -> int:
        """Channels of a stage's 3 x 3 convolutions; stages count from 0."""
        return int(self.width * 2**stage * self.group_width / 64) * self.groups


class ResNext(nn.Module):
    """See the module. New weights are He's, of the fan out, as torchvision's; norms and the linear layer are
    as torch makes them.

    Args:
        config: its size.
    """

    def __init__(self, config: ResNextConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResNextConfig()
        self.conv1 = nn.Conv2d(3, config.width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        inputs = config.width
        for stage, count in enumerate(config.blocks):
            inner, blocks = config.width * 2**stage, []
            for place in range(count):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(
                    Bottleneck(inputs, inner, stride=stride, groups=config.groups, width=config.inner(stage))
                )
                inputs = inner * Bottleneck.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, config.outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Numbers of pictures, which the caller has normalised as the weights want them.

        Raises:
            ShapeError: not (B, 3, H, W), or too small.
        """
        check_pictures(image, least=LEAST_SIDE, by="ResNext")
        values = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, padding=1)
        for number in range(1, 5):
            values = self.get_submodule(f"layer{number}")(values)
        return self.fc(values.mean((2, 3)))


def check_pictures(image: Tensor, *, least: int, by: str) -> None:
    """Raise ShapeError for what is no batch of colour pictures of at least ``least`` pixels a side."""
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < least:
        raise ShapeError(
            f"{by}: image: expected (B, 3, H, W) of at least {least} px a side, got {tuple(image.shape)}"
        )
