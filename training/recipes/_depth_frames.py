"""What the recipes of depth do to pictures and to batches: sizes, the target among its frames, rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geom.relative_pose import HeadPose
from ...geom.rigid_alignment import SurfaceMotion


def reduced(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Means of whole pixels."""
    return picture if tuple(picture.shape[2:]) == size else F.interpolate(picture, size=size, mode="area")


def resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    """Between the pixels, for enlarging."""
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=False)


Part = TypeVar("Part")


def about_middle(parts: tuple[Part, ...]) -> tuple[Part, tuple[Part, ...]]:
    """What belongs to the middle frame, and to the others in their order."""
    middle = len(parts) // 2
    return parts[middle], (*parts[:middle], *parts[middle + 1 :])


Parts = TypeVar("Parts", SurfaceMotion, HeadPose)


def rows(parts: Parts, chosen: Tensor | slice) -> Parts:
    """Rows of the batch."""
    return type(parts)(*(getattr(parts, part.name)[chosen] for part in dataclasses.fields(parts)))


def joined(parts: Sequence[Parts]) -> Parts:
    """One after the other along the batch."""
    names = [part.name for part in dataclasses.fields(parts[0])]
    return type(parts[0])(*(torch.cat([getattr(one, name) for one in parts]) for name in names))
