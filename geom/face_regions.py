"""Names and numbers of the regions of a face picture: what segmentation gives and head swapping reads.

A label map is (H, W) uint8 in numpy or (B, H, W) int64 in torch, one `FaceRegion` a pixel. The 19 classes are
those of CelebAMask-HQ [MaskGAN] in the order of the public BiSeNet parsers; the data set's own script for one
map a picture numbers the same classes otherwise (nose 2, eyeglasses 3, ..), so its maps must be renumbered.

Left and right are the picture's, as in that data set: of a person who faces the camera, the left eye is the
one in the left half of the picture, the person's own right one. A mirrored picture needs `flip_labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Integer, UInt8
from torch import Tensor

from .errors import ShapeError


class FaceRegion(IntEnum):
    """One of the 19 classes; left and right are the picture's."""

    BACKGROUND = 0
    SKIN = 1
    LEFT_BROW = 2
    RIGHT_BROW = 3
    LEFT_EYE = 4
    RIGHT_EYE = 5
    GLASSES = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    EARRING = 9
    NOSE = 10
    MOUTH_INTERIOR = 11
    UPPER_LIP = 12
    LOWER_LIP = 13
    NECK = 14
    NECKLACE = 15
    CLOTH = 16
    HAIR = 17
    HAT = 18


REGION_NAMES: tuple[str, ...] = tuple(region.name.lower().replace("_", " ") for region in FaceRegion)
"""Names by number: "background", "skin", "left brow", .."""

HEAD: frozenset[FaceRegion] = frozenset(FaceRegion) - {
    FaceRegion.BACKGROUND,
    FaceRegion.NECK,
    FaceRegion.NECKLACE,
    FaceRegion.CLOTH,
}
"""What a head swap replaces: the face, ears, hair and what is worn on them; not the neck."""

_R = FaceRegion
_EARS = frozenset({_R.LEFT_EAR, _R.RIGHT_EAR, _R.EARRING})
_TOP = frozenset({_R.HAIR, _R.HAT})

CORRESPONDENCE_REGIONS: Mapping[str, frozenset[FaceRegion]] = MappingProxyType(
    {
        "skin": frozenset({_R.SKIN}),
        "nose": frozenset({_R.NOSE}),
        "left eye": frozenset({_R.LEFT_EYE}),
        "right eye": frozenset({_R.RIGHT_EYE}),
        "left brow": frozenset({_R.LEFT_BROW}),
        "right brow": frozenset({_R.RIGHT_BROW}),
        "upper lip": frozenset({_R.UPPER_LIP}),
        "lower lip": frozenset({_R.LOWER_LIP}),
        "hair": _TOP,
        "mouth interior": frozenset({_R.MOUTH_INTERIOR}),
        "ears": _EARS,
        "glasses": frozenset({_R.GLASSES}),
    }
)
"""Regions within which [HeSer] looks for correspondence. The first nine are named in its Fig. 5 (supplement);
the last three, which it does not name, make the groups a partition of `HEAD`."""

COARSE_CORRESPONDENCE_REGIONS: Mapping[str, frozenset[FaceRegion]] = MappingProxyType(
    {
        "skin": frozenset({_R.SKIN}),
        "hair": _TOP,
        "eyes": frozenset({_R.LEFT_EYE, _R.RIGHT_EYE, _R.GLASSES}),
        "brows": frozenset({_R.LEFT_BROW, _R.RIGHT_BROW}),
        "ears": _EARS,
        "nose": frozenset({_R.NOSE}),
        "lips": frozenset({_R.UPPER_LIP, _R.LOWER_LIP}),
        "mouth interior": frozenset({_R.MOUTH_INTERIOR}),
    }
)
"""The eight groups of [HeSer]'s public reimplementation, another partition of `HEAD`. Each is a union of
groups of `CORRESPONDENCE_REGIONS`: what an empty one of those falls back to."""

_OTHER_SIDE = {"LEFT": "RIGHT", "RIGHT": "LEFT"}
MIRRORED: tuple[FaceRegion, ...] = tuple(
    FaceRegion["_".join(_OTHER_SIDE.get(word, word) for word in region.name.split("_"))]
    for region in FaceRegion
)
"""By number: what a region is called in the mirrored picture."""


def check_labels(labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The label map itself.

    Raises:
        ShapeError: not (H, W) uint8, or numbers that are no region's.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ShapeError(f"labels: expected (H, W) uint8, got {labels.shape} {labels.dtype}")
    if labels.size and labels.max() > max(FaceRegion):
        raise ShapeError(f"labels: expected regions 0 to {max(FaceRegion):d}, got {labels.max()}")
    return labels


def regions_mask(
    labels: Integer[Tensor, "*shape"], regions: Collection[FaceRegion]
) -> Bool[Tensor, "*shape"]:
    """True where a label map shows one of some regions.

    Args:
        labels: of any shape, on any device.
        regions: `HEAD`, or a group of `CORRESPONDENCE_REGIONS`.

    Raises:
        ShapeError: numbers that are no region's.

    Example:
        >>> regions_mask(torch.tensor([0, 1, 17, 14]), HEAD).tolist()
        [False, True, True, False]
    """
    table = torch.tensor([region in regions for region in FaceRegion], device=labels.device)
    return _looked_up(table, labels)


def flip_labels(labels: Integer[Tensor, "*batch H W"]) -> Integer[Tensor, "*batch H W"]:
    """The label map of the mirrored picture: columns reversed, left and right exchanged.

    Raises:
        ShapeError: numbers that are no region's.

    Example:
        >>> flip_labels(torch.tensor([[2, 0, 1]])).tolist()
        [[1, 0, 3]]
    """
    table = torch.tensor(MIRRORED, dtype=labels.dtype, device=labels.device)
    return _looked_up(table, labels).flip(-1)


def _looked_up(table: Tensor, labels: Tensor) -> Tensor:
    low, high = (int(value) for value in labels.aminmax()) if labels.numel() else (0, 0)
    if low < 0 or high >= len(table):
        got = f"{low} to {high}"
        raise ShapeError(f"labels: expected regions 0 to {len(table) - 1}, got {got}")
    return table[labels.long()]
