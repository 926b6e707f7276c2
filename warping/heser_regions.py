"""Which pixels of two heads are compared by [HeSer]'s blender, and the masks around a head.

Labels are the 19 of `geom.face_regions`; two more are made here, for what lies about a head: `RING`, which
the blender has to fill, and `SCENE`, the rest of the target, which a ring without a counterpart is filled
from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..geom.face_regions import (
    COARSE_CORRESPONDENCE_REGIONS,
    CORRESPONDENCE_REGIONS,
    HEAD,
    FaceRegion,
    regions_mask,
)
from ..geom.region_correlation import RegionRule

NONE, RING, SCENE = 0, 19, 20
_COUNT = 21
_BESIDE = 2  # cells that a reference is grown by
_SIDE = 512  # px of the pictures that [HeSer] dilates masks in
_R = FaceRegion
_AROUND = (frozenset({RING}),)
_MERGED = (
    frozenset({_R.SKIN, _R.NOSE, _R.LEFT_EAR, _R.RIGHT_EAR, _R.EARRING}),
    frozenset({_R.UPPER_LIP, _R.LOWER_LIP, _R.MOUTH_INTERIOR}),
    frozenset({RING, SCENE}),
)
_SKIN = (int(_R.SKIN), int(_R.NOSE))


def _level(groups: Iterable[Collection[int]]) -> tuple[int, ...]:
    classes = [0] * _COUNT
    for number, labels in enumerate(groups, start=1):
        for label in labels:
            classes[label] = number
    return tuple(classes)


_FINE, _COARSE = (
    _level([*groups.values(), *_AROUND]) for groups in (CORRESPONDENCE_REGIONS, COARSE_CORRESPONDENCE_REGIONS)
)
RULES = {
    "paper": RegionRule((_FINE, _COARSE, _level(_MERGED)), _SKIN),
    "unofficial": RegionRule((_COARSE, _level(_MERGED)), _SKIN),
}
"""``paper``: regions as [HeSer] Fig. 5 names them; ``unofficial``: those of the unofficial code, left and
right together. What the target lacks is sought in a merged region (one eye in both, then lips in the mouth,
nose and ears in the skin, the ring in all of the scene), and then is the mean of its skin. The fallbacks are
ours: the unofficial code fails on an empty region."""


def head_mask(labels: Int[Tensor, "B H W"]) -> Bool[Tensor, "B 1 H W"]:
    """Where a head is: face, ears, hair, what is worn on it.

    Example:
        >>> head_mask(torch.tensor([[[0, 1, 14, 17]]])).tolist()
        [[[[False, True, False, True]]]]
    """
    return regions_mask(labels, HEAD)[:, None]


def dilated(mask: Bool[Tensor, "B 1 H W"], width: int) -> Bool[Tensor, "B 1 H W"]:
    """A mask grown by half a square window on all sides.

    Args:
        mask: in pictures of any size.
        width: side of the window in pixels of a picture of 512; in others as much of their side, odd.

    Raises:
        HeadwarpError: a width below 1.
    """
    if width < 1:
        raise HeadwarpError(f"dilation: expected 1 or more pixels, got {width}")
    half = max(1, round(width * mask.shape[3] / _SIDE / 2 - 0.5)) if width > 1 else 0
    return F.max_pool2d(mask.float(), 2 * half + 1, 1, half) > 0


def composed_labels(
    labels: Int[Tensor, "B H W"], ring: Bool[Tensor, "B 1 H W"], *, scene: bool
) -> Int[Tensor, "B H W"]:
    """The head's labels, `RING` in the ring, and elsewhere `SCENE` or nothing.

    Args:
        labels: `FaceRegion` of the made head's picture.
        ring: True around the head, where it is painted in.
        scene: what lies further out is `SCENE`; else `NONE`.
    """
    rest = torch.full_like(labels, SCENE if scene else NONE, dtype=torch.long)
    around = torch.where(ring[:, 0], RING, rest)
    return torch.where(head_mask(labels)[:, 0], labels.long(), around)


def subsampled(labels: Int[Tensor, "B H W"], stride: int) -> Int[Tensor, "B h w"]:
    """Labels of every cell's middle pixel: those of a cell are never blended.

    Args:
        labels: of pixels.
        stride: pixels a cell.
    """
    return labels[:, stride // 2 :: stride, stride // 2 :: stride]


def cell_means(
    image: Float[Tensor, "B 3 H W"], labels: Int[Tensor, "B H W"], cells: Int[Tensor, "B h w"]
) -> Float[Tensor, "B 3 h w"]:
    """Mean colours of cells over the pixels that have the cell's label, so that no border is blended over.

    Args:
        image: colours.
        labels: of its pixels.
        cells: of its cells, `subsampled` from them.
    """
    stride = image.shape[2] // cells.shape[1]
    wanted = cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    same = (labels == wanted)[:, None].to(image)  # (B, 1, H, W)
    pooled = F.avg_pool2d(torch.cat([image * same, same], 1), stride)
    return pooled[:, :3] / pooled[:, 3:]


def grown(
    values: Float[Tensor, "B D h w"], known: Float[Tensor, "B 1 h w"], size: tuple[int, int]
) -> Float[Tensor, "B D H W"]:
    """Values of cells at pixels, bilinearly, of known cells alone; cells beside them take their mean first,
    others are 0.

    Args:
        values: of the cells.
        known: 1 where a cell has them, else 0.
        size: (H, W) of the result.
    """
    for _ in range(_BESIDE):
        beside = F.avg_pool2d(torch.cat([values * known, known], 1), 3, 1, 1)
        means = beside[:, :-1] / beside[:, -1:].clamp_min(1e-3)
        values = torch.where(known > 0, values, means)
        known = (beside[:, -1:] > 0).to(known)
    drawn = F.interpolate(torch.cat([values * known, known], 1), size, mode="bilinear", align_corners=False)
    return drawn[:, :-1] / drawn[:, -1:].clamp_min(1e-3)


def resized_corners(values: Float[Tensor, "B D h w"], size: tuple[int, int]) -> Float[Tensor, "B D H W"]:
    """Resized so that the middles of the corner pixels stay, as the unofficial code does it."""
    return F.interpolate(values, size, mode="bilinear", align_corners=True)
