"""Inception-V3 [Inception] up to its pooled features, with torchvision's key names; for the Frechet distance.

Two variants. They differ in weights and in four pools, and their features are not comparable:

==========  ============================================  ==================================================
variant     ``torchvision``                               ``fid``
==========  ============================================  ==================================================
weights     trained for torchvision's port, 1000 classes  TensorFlow's of 2015-12-05, 1008 classes, which
                                                          published FID numbers are of
mean pools  divide by 9, zeros beyond the frame included  divide by the pixels inside the frame
Mixed_7c    mean pool                                     maximum (as in TensorFlow's graph)
==========  ============================================  ==================================================

The last layer ``fc`` is kept, so that a file of the other variant does not load; torchvision's auxiliary
classifier (``AuxLogits``) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError

Variant = Literal["fid", "torchvision"]
CLASSES: dict[Variant, int] = {"fid": 1008, "torchvision": 1000}
SIDE = 299
FEATURES = 2048


def inception_input(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 299 299"]:
    """RGB in [0, 1] resized to 299 px (bilinear, half-pixel centres, no low-pass) and scaled to [-1, 1].

    As the PyTorch port of FID does. Other ports resize differently, which moves the distance by more than
    many published differences: say which one a number is of.

    Example:
        >>> inception_input(torch.zeros(1, 3, 64, 64)).unique().tolist()
        [-1.0]
    """
    resized = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return resized * 2 - 1


@dataclass(frozen=True)
class _Conv:
    """A convolution, batch norm and ReLU: key, channels out, kernel, stride, and zeros around the frame."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


Branch = tuple["_Conv | tuple[_Conv, _Conv]", ...]  # convolutions in a row; the last may fork into two
Pool = Literal["mean", "mean_inside", "max", "halve"]
_ROW, _COLUMN, _SQUARE = (1, 7), (7, 1), (3, 3)


def _block_a() -> tuple[Branch, ...]:
    return (
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5))),
        (
            _Conv("branch3x3dbl_1", 64),
            _Conv("branch3x3dbl_2", 96, _SQUARE),
            _Conv("branch3x3dbl_3", 96, _SQUARE),
        ),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (_Conv("branch3x3", 384, _SQUARE, 2, False),),
        (
            _Conv("branch3x3dbl_1", 64),
            _Conv("branch3x3dbl_2", 96, _SQUARE),
            _Conv("branch3x3dbl_3", 96, _SQUARE, 2, False),
        ),
    )


def _block_c(inner: int) -> tuple[Branch, ...]:
    return (
        (_Conv("branch1x1", 192),),
        (_Conv("branch7x7_1", inner), _Conv("branch7x7_2", inner, _ROW), _Conv("branch7x7_3", 192, _COLUMN)),
        (
            _Conv("branch7x7dbl_1", inner),
            _Conv("branch7x7dbl_2", inner, _COLUMN),
            _Conv("branch7x7dbl_3", inner, _ROW),
            _Conv("branch7x7dbl_4", inner, _COLUMN),
            _Conv("branch7x7dbl_5", 192, _ROW),
        ),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, _SQUARE, 2, False)),
        (
            _Conv("branch7x7x3_1", 192),
            _Conv("branch7x7x3_2", 192, _ROW),
            _Conv("branch7x7x3_3", 192, _COLUMN),
            _Conv("branch7x7x3_4", 192, _SQUARE, 2, False),
        ),
    )


def _block_e() -> tuple[Branch, ...]:
    def fork(name: str) -> tuple[_Conv, _Conv]:
        return _Conv(f"{name}a", 384, (1, 3)), _Conv(f"{name}b", 384, (3, 1))

    return (
        (_Conv("branch1x1", 320),),
        (_Conv("branch3x3_1", 384), fork("branch3x3_2")),
        (_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, _SQUARE), fork("branch3x3dbl_3")),
    )


class Inception(nn.Module):
    """Inception-V3 up to its pooled features.

    Args:
        variant: see the module.

    New weights are random and mean nothing: `geom.nets.weights.load_backbone` reads a file.

    Raises:
        HeadwarpError: no such variant.
    """

    def __init__(self, variant: Variant = "fid") -> None:
        super().__init__()
        if variant not in CLASSES:
            raise HeadwarpError(f"Inception: variant: expected {' or '.join(CLASSES)}, got {variant!r}")
        self.variant = variant
        mean: Pool = "mean_inside" if variant == "fid" else "mean"
        self.Conv2d_1a_3x3 = _ConvNorm(3, _Conv("", 32, _SQUARE, 2, False))
        self.Conv2d_2a_3x3 = _ConvNorm(32, _Conv("", 32, _SQUARE, 1, False))
        self.Conv2d_2b_3x3 = _ConvNorm(32, _Conv("", 64, _SQUARE))
        self.Conv2d_3b_1x1 = _ConvNorm(64, _Conv("", 80))
        self.Conv2d_4a_3x3 = _ConvNorm(80, _Conv("", 192, _SQUARE, 1, False))
        self.Mixed_5b = _Mixed(192, _block_a(), mean, 32)
        self.Mixed_5c = _Mixed(256, _block_a(), mean, 64)
        self.Mixed_5d = _Mixed(288, _block_a(), mean, 64)
        self.Mixed_6a = _Mixed(288, _block_b(), "halve")
        self.Mixed_6b = _Mixed(768, _block_c(128), mean, 192)
        self.Mixed_6c = _Mixed(768, _block_c(160), mean, 192)
        self.Mixed_6d = _Mixed(768, _block_c(160), mean, 192)
        self.Mixed_6e = _Mixed(768, _block_c(192), mean, 192)
        self.Mixed_7a = _Mixed(768, _block_d(), "halve")
        self.Mixed_7b = _Mixed(1280, _block_e(), mean, 192)
        self.Mixed_7c = _Mixed(FEATURES, _block_e(), "max" if variant == "fid" else mean, 192)
        self.fc = nn.Linear(FEATURES, CLASSES[variant])

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2048"]:
        """Features averaged over the last maps, before ``fc``, of pictures of any size, RGB in [0, 1].

        Raises:
            ShapeError: not (B, 3, H, W).
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ShapeError(f"Inception: image: expected (B, 3, H, W), got {tuple(image.shape)}")
        values = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(inception_input(image))))
        values = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(values, 3, 2)))
        values = F.max_pool2d(values, 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            values = self.get_submodule(f"Mixed_{name}")(values)
        return values.mean((2, 3))  # (B, 2048)


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, spec: _Conv) -> None:
        super().__init__()
        rows, columns = spec.kernel
        padding = (rows // 2, columns // 2) if spec.padded else 0
        self.conv = nn.Conv2d(inputs, spec.outputs, spec.kernel, spec.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(spec.outputs, eps=0.001)

    def forward(self, values: Tensor) -> Tensor:
        return F.relu_(self.bn(self.conv(values)))


class _Mixed(nn.Module):
    """Branches beside each other and a pool, joined along the channels."""

    def __init__(
        self, inputs: int, branches: tuple[Branch, ...], pool: Pool, pool_channels: int | None = None
    ) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        for branch in branches:
            channels = inputs
            for step in branch:
                for spec in step if isinstance(step, tuple) else (step,):
                    self.add_module(spec.name, _ConvNorm(channels, spec))
                    outputs = spec.outputs
                channels = outputs
        self.branch_pool = None if pool_channels is None else _ConvNorm(inputs, _Conv("", pool_channels))

    def forward(self, values: Tensor) -> Tensor:
        joined = [self._branch(branch, values) for branch in self.branches]
        pooled = _pooled(values, self.pool)
        joined.append(pooled if self.branch_pool is None else self.branch_pool(pooled))
        return torch.cat(joined, dim=1)

    def _branch(self, branch: Branch, values: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, tuple):
                values = torch.cat([self.get_submodule(spec.name)(values) for spec in step], dim=1)
            else:
                values = self.get_submodule(step.name)(values)
        return values


def _pooled(values: Tensor, pool: Pool) -> Tensor:
    if pool == "halve":
        return F.max_pool2d(values, 3, 2)
    if pool == "max":
        return F.max_pool2d(values, 3, 1, padding=1)
    return F.avg_pool2d(values, 3, 1, padding=1, count_include_pad=pool == "mean")
