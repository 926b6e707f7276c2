"""Face recognition networks trained as [ArcFace]: IResNet and IR-SE-50, with their published key names.

Both read faces of 112 x 112 px, RGB in [0, 1], cut by five points (`training.metrics.identity.aligned_faces`)
and give 512 numbers, here of unit length. Residual blocks normalise before their first convolution and
reduce by their second one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError

SIDE = 112
"""Pixels a side of the faces that these networks read."""
IRESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Residual blocks of the four stages, by the depth in the network's name."""
_WIDTHS = (64, 128, 256, 512)
_EMBEDDING = 512


def face_normalized(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB in [0, 1] to [-1, 1], as both families read it (``(x - 127.5) / 127.5`` of bytes).

    Example:
        >>> face_normalized(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)).flatten().tolist()
        [-1.0, 0.0, 1.0]
    """
    return image * 2 - 1


class IResNet(nn.Module):
    """InsightFace's improved residual network (``arcface_torch``, ``iresnet18`` to ``iresnet100``).

    Args:
        depth: 18, 34, 50 or 100.

    New weights are random and mean nothing: `geom.nets.weights.load_backbone` reads a file. The public
    network gives embeddings of any length, which its users normalise; this one does it itself.

    Raises:
        HeadwarpError: no such depth.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth not in IRESNET_BLOCKS:
            raise HeadwarpError(f"IResNet: depth: expected 18, 34, 50 or 100, got {depth}")
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        stages = zip((64, *_WIDTHS[:-1]), _WIDTHS, IRESNET_BLOCKS[depth], strict=True)
        for number, (inputs, outputs, count) in enumerate(stages, start=1):
            blocks = [
                _Block(inputs if place == 0 else outputs, outputs, reduce=place == 0)
                for place in range(count)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(_EMBEDDING)
        self.fc = nn.Linear(_EMBEDDING * 7 * 7, _EMBEDDING)
        self.features = nn.BatchNorm1d(_EMBEDDING)

    def forward(self, image: Float[Tensor, "B 3 112 112"]) -> Float[Tensor, "B 512"]:
        """Embeddings of unit length of aligned faces, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, 112, 112).
        """
        values = self.prelu(self.bn1(self.conv1(face_normalized(_checked(image)))))
        for number in range(1, 5):
            values = self.get_submodule(f"layer{number}")(values)
        values = self.bn2(values).flatten(1)  # (B, 512 * 7 * 7)
        return F.normalize(self.features(self.fc(values)), dim=1)


class _Block(nn.Module):
    """A residual block of `IResNet`; the first of a stage halves the size, its shortcut is a convolution."""

    def __init__(self, inputs: int, outputs: int, *, reduce: bool) -> None:
        super().__init__()
        stride = 2 if reduce else 1
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if reduce:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, values: Tensor) -> Tensor:
        inner = self.prelu(self.bn2(self.conv1(self.bn1(values))))
        inner = self.bn3(self.conv2(inner))
        return inner + (values if self.downsample is None else self.downsample(values))


class IrSe50(nn.Module):
    """IR-SE-50 (``model_ir_se50.pth``): residual blocks with squeeze and excitation [SENet], reduction 16.

    New weights are random and mean nothing: `geom.nets.weights.load_backbone` reads a file. Dropout, which
    training alone used, is an identity that keeps its place among the keys.
    """

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.input_layer = nn.Sequential(stem, nn.BatchNorm2d(64), nn.PReLU(64))
        self.body = nn.Sequential(*_ir_se_blocks())
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(_EMBEDDING),
            nn.Identity(),  # dropout
            nn.Flatten(),
            nn.Linear(_EMBEDDING * 7 * 7, _EMBEDDING),
            nn.BatchNorm1d(_EMBEDDING),
        )

    def forward(self, image: Float[Tensor, "B 3 112 112"]) -> Float[Tensor, "B 512"]:
        """Embeddings of unit length of aligned faces, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, 112, 112).
        """
        return self.embedded(self.stages(image)[-1])

    def stages(self, image: Float[Tensor, "B 3 112 112"]) -> tuple[Float[Tensor, "B C h w"], ...]:
        """Features after each of the four stages, 56 px to 7 px, for losses that match them.

        Raises:
            ShapeError: not (B, 3, 112, 112).
        """
        values, features = self.input_layer(face_normalized(_checked(image))), []
        ends = itertools.accumulate(IRESNET_BLOCKS[50])
        for first, end in itertools.pairwise((0, *ends)):
            values = self.body[first:end](values)
            features.append(values)
        return tuple(features)

    def embedded(self, last: Float[Tensor, "B 512 7 7"]) -> Float[Tensor, "B 512"]:
        """Embeddings of the last stage's features."""
        return F.normalize(self.output_layer(last), dim=1)


def _ir_se_blocks() -> Iterator[_SqueezedBlock]:
    inputs = 64
    for width, count in zip(_WIDTHS, IRESNET_BLOCKS[50], strict=True):
        for place in range(count):
            yield _SqueezedBlock(inputs, width, reduce=place == 0)
            inputs = width


class _SqueezedBlock(nn.Module):
    """A residual block of `IrSe50`. Where channels stay, the shortcut takes every second pixel as it is."""

    def __init__(self, inputs: int, outputs: int, *, reduce: bool) -> None:
        super().__init__()
        stride = 2 if reduce else 1
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            _Excitation(outputs),
        )

    def forward(self, values: Tensor) -> Tensor:
        return self.res_layer(values) + self.shortcut_layer(values)


class _Excitation(nn.Module):
    """Every channel times a number that the means of all channels decide."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        means = values.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return values * torch.sigmoid(self.fc2(F.relu(self.fc1(means))))


def _checked(image: Tensor) -> Tensor:
    if image.ndim != 4 or tuple(image.shape[1:]) != (3, SIDE, SIDE):
        got = tuple(image.shape)
        raise ShapeError(f"image: expected aligned faces (B, 3, {SIDE}, {SIDE}), got {got}; cut them first")
    return image
