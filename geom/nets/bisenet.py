"""BiSeNet with a ResNet-18 context path [BiSeNet], as the public face parsers have it, with their key names.

Departures of those parsers from the paper: the spatial path is left out and the ResNet's features at 1/8
stand in for it; upsampling between stages is nearest. The two heads that only training looks at
(``conv_out16``, ``conv_out32``) are left out here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError
from .resnet import ResNet, ResNetConfig

CLASSES = 19
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of RGB in [0, 1]."""
_STRIDE = 32


class BiSeNet(nn.Module):
    """Scores of face regions.

    Args:
        classes: of the output; 19 are those of `FaceRegion`.
        width: channels of the ResNet's stem, 64 in the published network; all others grow and shrink with it.

    Raises:
        HeadwarpError: a width that is no multiple of 8.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int = CLASSES, *, width: int = 64) -> None:
        super().__init__()
        if width < 8 or width % 8 or classes < 1:
            got = f"classes={classes}, width={width}"
            raise HeadwarpError(f"BiSeNet: expected classes and a width that is a multiple of 8, got {got}")
        self.cp = _ContextPath(width)
        self.ffm = _Fusion(4 * width)
        self.conv_out = _Output(4 * width, classes)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            # No file fills them: on the CPU even where a network is made without memory to be filled.
            constant = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(name, constant, persistent=False)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K H W"]:
        """Scores (before a softmax) of every pixel of pictures in [0, 1]; the public weights saw 512 x 512.

        Raises:
            ShapeError: not (B, 3, H, W) with sides that are multiples of 32.
        """
        if (
            image.ndim != 4
            or image.shape[1] != 3
            or any(side % _STRIDE or not side for side in image.shape[2:])
        ):
            raise ShapeError(
                f"image: expected (B, 3, H, W) with sides that are multiples of {_STRIDE}, got "
                f"{tuple(image.shape)}; resize it to 512 x 512"
            )
        spatial, context = self.cp((image - self.mean) / self.deviation)
        scores = self.conv_out(self.ffm(spatial, context))
        return F.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=True)


class _ContextPath(nn.Module):
    """Features at 1/8: the ResNet's own, and what it sees at 1/16, 1/32 and in the whole picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.resnet = ResNet(ResNetConfig(width=width))
        self.arm16 = _Refinement(4 * width, inner)
        self.arm32 = _Refinement(8 * width, inner)
        self.conv_head32 = _ConvBatchRelu(inner, inner)
        self.conv_head16 = _ConvBatchRelu(inner, inner)
        self.conv_avg = _ConvBatchRelu(8 * width, inner, kernel=1)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        _, _, eighth, sixteenth, last = self.resnet.stages(values)
        whole = self.conv_avg(last.mean((2, 3), keepdim=True))
        coarse = self.conv_head32(_nearest(self.arm32(last) + whole, sixteenth))
        fine = self.conv_head16(_nearest(self.arm16(sixteenth) + coarse, eighth))
        return eighth, fine


class _Refinement(nn.Module):
    """Attention over channels by the mean of the picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _ConvBatchRelu(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, values: Tensor) -> Tensor:
        values = self.conv(values)
        weight = self.bn_atten(self.conv_atten(values.mean((2, 3), keepdim=True)))
        return values * weight.sigmoid()


class _Fusion(nn.Module):
    """Both paths side by side, weighed by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = _ConvBatchRelu(channels, channels, kernel=1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        values = self.convblk(torch.cat([spatial, context], 1))
        weight = self.conv2(F.relu(self.conv1(values.mean((2, 3), keepdim=True)))).sigmoid()
        return values * weight + values


class _Output(nn.Module):
    """Scores of classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = _ConvBatchRelu(channels, channels)
        self.conv_out = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.conv_out(self.conv(values))


class _ConvBatchRelu(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, values: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(values)))


def _nearest(values: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(values, like.shape[2:], mode="nearest")
