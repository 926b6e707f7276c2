"""The blending network of [HeSer]'s unofficial code: that of [ColorVid], which colours frames by an exemplar.

Plain convolutions in ten stages, dilated at the coarsest, instance norms without weights, three shortcuts.
Parameters carry the unofficial checkpoint's names below its ``decoder``.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import ShapeError

_SLOPE = 0.2  # of the last leaky ReLU


class ColorVidUNet(nn.Module):
    """See the module.

    Args:
        inputs, outputs: channels.
        width: channels of the first stage; 64 in the unofficial code.

    Example:
        >>> import torch
        >>> tuple(ColorVidUNet(12, 3, 8)(torch.rand(1, 12, 16, 24)).shape)
        (1, 3, 16, 24)
    """

    multiple = 8

    def __init__(self, inputs: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        first, second, third, last = width, 2 * width, 4 * width, 8 * width
        self.conv1_1 = nn.Sequential(_conv(inputs, width // 2), nn.ReLU(), _conv(width // 2, first))
        self.conv1_2 = _conv(first, first)
        self.conv1_2norm_ss = _halving(first)
        self.conv2_1, self.conv2_2 = _conv(first, second), _conv(second, second)
        self.conv2_2norm_ss = _halving(second)
        self.conv3_1, self.conv3_2, self.conv3_3 = (
            _conv(second, third),
            _conv(third, third),
            _conv(third, third),
        )
        self.conv3_3norm_ss = _halving(third)
        self.conv4_1, self.conv4_2, self.conv4_3 = _conv(third, last), _conv(last, last), _conv(last, last)
        self.conv5_1, self.conv5_2, self.conv5_3 = (_conv(last, last, dilation=2) for _ in range(3))
        self.conv6_1, self.conv6_2, self.conv6_3 = (_conv(last, last, dilation=2) for _ in range(3))
        self.conv7_1, self.conv7_2, self.conv7_3 = (_conv(last, last) for _ in range(3))
        self.conv8_1, self.conv3_3_short = _doubling(last, third), _conv(third, third)
        self.conv8_2, self.conv8_3 = _conv(third, third), _conv(third, third)
        self.conv9_1, self.conv2_2_short = _doubling(third, second), _conv(second, second)
        self.conv9_2 = _conv(second, second)
        self.conv10_1, self.conv1_2_short = _doubling(second, second), _conv(first, second)
        self.conv10_2 = _conv(second, second)
        self.conv10_ab = nn.Conv2d(second, outputs, 1)

    def forward(self, planes: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Planes of any meaning to as many pixels, unbounded.

        Raises:
            ShapeError: sides that are no multiples of 8.
        """
        if planes.shape[2] % self.multiple or planes.shape[3] % self.multiple:
            raise ShapeError(
                f"blending network: expected sides that are multiples of {self.multiple}, got "
                f"{tuple(planes.shape[2:])}; pad or resize the pictures"
            )
        one = F.instance_norm(self._stage("1", planes, 2))
        two = F.instance_norm(self._stage("2", self.conv1_2norm_ss(one), 2))
        three = F.instance_norm(self._stage("3", self.conv2_2norm_ss(two), 3))
        deep = self.conv3_3norm_ss(three)
        for stage in "4567":
            deep = F.instance_norm(self._stage(stage, deep, 3))
        deep = F.relu(self.conv8_1(deep) + self.conv3_3_short(three))
        deep = F.instance_norm(F.relu(self.conv8_3(F.relu(self.conv8_2(deep)))))
        deep = F.relu(self.conv9_1(deep) + self.conv2_2_short(two))
        deep = F.instance_norm(F.relu(self.conv9_2(deep)))
        deep = F.relu(self.conv10_1(deep) + self.conv1_2_short(one))
        return self.conv10_ab(F.leaky_relu(self.conv10_2(deep), _SLOPE))

    def _stage(self, name: str, features: Tensor, count: int) -> Tensor:
        """Convolutions of a stage, each with a ReLU."""
        for place in range(1, count + 1):
            features = F.relu(getattr(self, f"conv{name}_{place}")(features))
        return features


def _conv(inputs: int, outputs: int, *, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)


def _halving(channels: int) -> nn.Conv2d:
    """Every second pixel of every second row, each channel times a weight."""
    return nn.Conv2d(channels, channels, 1, stride=2, bias=False, groups=channels)


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _conv(inputs, outputs))
