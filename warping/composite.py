"""Layers put together: a window back into its picture, and one layer over another."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geom.crops import Crop, crop_image
from ..geom.displacement import dilate
from ..geom.errors import ShapeError

FEATHER = 0.08  # of the window's side
CHANGE = 1.5 / 255  # a pixel that changed by less is the same
REACH = 0.02  # of the window's side: how far a mask of changes goes around them, and how soft its rim is
COARSE = 256  # pixels: masks of changes are made at up to this side


def over(
    front: Float[Tensor, "B C H W"], back: Float[Tensor, "B C H W"], alpha: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B C H W"]:
    """``alpha front + (1 - alpha) back``; where alpha is 0 or 1 exactly the one layer, bit for bit.

    Args:
        front, back: two layers.
        alpha: opacity of the front, in [0, 1].

    Example:
        >>> half = over(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 0.25))
        >>> float(half[0, 0, 0, 0])
        0.25
    """
    mixed = back + alpha * (front - back)
    return torch.where(alpha <= 0, back, torch.where(alpha >= 1, front, mixed))


def window_feather(size: int, *, feather: float = FEATHER, sides: str = "tblr") -> Float[Tensor, "1 1 S S"]:
    """1 within a window, falling smoothly to 0 at its outermost pixels over ``feather`` of the side.

    A feather of 0 is 1 everywhere. Only at the ``sides`` named (top, bottom, left, right).

    Args:
        size: side in pixels.
        feather: share of the side.
        sides: ``t`` top, ``b`` bottom, ``l`` left, ``r`` right.

    Raises:
        ShapeError: a feather that is not in 0 to 0.5.

    Example:
        >>> window_feather(8, feather=0.25)[0, 0, 4].tolist()
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    if not 0 <= feather <= 0.5:
        raise ShapeError(f"feather: expected 0 to 0.5 of the window's side, got {feather}")
    index = torch.arange(size, dtype=torch.float32)  # pixels from the outermost row
    ramp = (index / (feather * size)).clamp(0, 1) if feather > 0 else torch.ones(size)
    smooth = ramp * ramp * (3 - 2 * ramp)
    top, bottom, left, right = (side in sides for side in "tblr")
    rows, columns = (
        (smooth if first else torch.ones(size)).minimum(smooth.flip(0) if last else torch.ones(size))
        for first, last in ((top, bottom), (left, right))
    )
    return (rows[:, None] * columns[None, :])[None, None]  # (1, 1, S, S)


def soft_region(
    region: Float[Tensor, "1 1 S S"], *, reach: float = REACH, least: float = 0.5
) -> Float[Tensor, "1 1 S S"]:
    """1 on a region, falling smoothly to 0 around it; holes and gaps up to 4 ``reach`` wide are closed.

    Where it is 0, no pixel within 2 ``reach`` belongs to the region. It is made coarsely, so that its time
    does not hang on the size.

    Args:
        region: over ``least`` where it is.
        reach: in sides of the window.
        least: see ``region``.
    """
    size = region.shape[-1]
    step = max(1, -(-size // COARSE))
    coarse = F.max_pool2d((region > least).to(region.dtype), step, ceil_mode=True)
    radius = max(1, round(reach * coarse.shape[-1]))
    soft = dilate(coarse, 2 * radius)
    for _ in range(2):
        soft = F.avg_pool2d(soft, radius // 2 * 2 + 1, stride=1, padding=radius // 2, count_include_pad=False)
    if step == 1:
        return soft
    return F.interpolate(soft, scale_factor=step, mode="bilinear", align_corners=False)[..., :size, :size]


def changed_region(
    before: Float[Tensor, "1 3 S S"], after: Float[Tensor, "1 3 S S"], *, least: float = CHANGE
) -> Float[Tensor, "1 1 S S"]:
    """`soft_region` of the pixels in which two windows differ by more than ``least`` in some colour.

    Args:
        before, after: RGB in [0, 1].
        least: difference of a colour, in [0, 1].
    """
    return soft_region((after - before).abs().amax(1, keepdim=True), least=least)


def paste_back(
    image: Tensor,
    window: Float[Tensor, "1 3 S S"],
    crop: Crop,
    *,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    feather: float = FEATHER,
) -> Tensor:
    """Put a square window back where it was cut out, at the picture's own resolution.

    A side of the window that lies at the picture's border or beyond has no neighbour to fade into, and is not
    feathered: what was there, such as the eye of a face that the border cuts, would shine through.

    Args:
        image: the whole picture, ``(1, 3, H, W)``, uint8 or floats in [0, 1].
        window: the changed window, RGB in [0, 1].
        crop: where it lies in the picture; parts beyond its border are left out.
        mask: how much of the window is wanted, in [0, 1]; None for all of it. Its edge is softened by the
            caller.
        feather: see `window_feather`; the window's border never shows.

    Returns:
        A new picture of the image's dtype; outside the window, and where the mask is 0, its bits are the
        image's.

    Raises:
        ShapeError: a shape does not fit.

    Example:
        >>> photo = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        >>> pasted = paste_back(photo, torch.ones(1, 3, 4, 4), Crop(2, 2, 4), feather=0.0)
        >>> pasted[0, 0, 3].tolist()
        [0, 0, 255, 255, 255, 255, 0, 0]
    """
    _check(image, window, mask)
    corner = _whole_pixels(window, crop)
    if corner is None:
        return _redrawn(image, window, crop, mask, feather)
    alpha = _alpha(image, window, crop, mask, feather)
    result = image.clone()
    box = _wanted_box(alpha, corner, image)
    if box is not None:
        rows, columns = box
        top, left = corner
        within = (slice(None), slice(None), rows, columns)
        inside = (
            *within[:2],
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        result[within] = _blended(image[within], window[inside], alpha[inside])
    return result


def paste_back_ref(
    image: Tensor,
    window: Float[Tensor, "1 3 S S"],
    crop: Crop,
    *,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    feather: float = FEATHER,
) -> Tensor:
    """`paste_back` with the window drawn on the picture's pixels wherever it lies, all of it."""
    _check(image, window, mask)
    return _redrawn(image, window, crop, mask, feather)


def _redrawn(image: Tensor, window: Tensor, crop: Crop, mask: Tensor | None, feather: float) -> Tensor:
    result = image.clone()
    height, width = image.shape[2:]
    left, right = _covered(crop.x, crop.side, width)
    top, bottom = _covered(crop.y, crop.side, height)
    if right <= left or bottom <= top or crop.side < 1:
        return result
    layer = torch.cat([window, _alpha(image, window, crop, mask, feather)], dim=1)
    region = (slice(None), slice(None), slice(top, bottom), slice(left, right))
    drawn = _drawn_back(layer, crop, left=left, top=top, side=max(right - left, bottom - top))
    drawn = drawn[:, :, : bottom - top, : right - left]
    result[region] = _blended(image[region], drawn[:, :3], drawn[:, 3:])
    return result


def _alpha(image: Tensor, window: Tensor, crop: Crop, mask: Tensor | None, feather: float) -> Tensor:
    """How much of each of the window's pixels is wanted, feathered where it has a neighbour."""
    height, width = image.shape[2:]
    inner = {
        "t": crop.y > 0.5,
        "b": crop.y + crop.side < height - 0.5,
        "l": crop.x > 0.5,
        "r": crop.x + crop.side < width - 0.5,
    }
    sides = "".join(side for side, within in inner.items() if within)
    alpha = window_feather(window.shape[-1], feather=feather, sides=sides).to(window)
    return alpha if mask is None else alpha * mask.to(window)


def _blended(behind: Tensor, front: Tensor, alpha: Tensor) -> Tensor:
    """One over the other, in the type of what is behind."""
    if behind.dtype != torch.uint8:
        return over(front.to(behind), behind, alpha.to(behind))
    mixed = over(front, behind.to(front) / 255, alpha)
    return mixed.clamp(0, 1).mul(255).round().to(torch.uint8)


def _whole_pixels(window: Tensor, crop: Crop) -> tuple[int, int] | None:
    """Top and left of a window whose pixels are the picture's own; None for others."""
    whole = crop.side == window.shape[-1] and float(crop.x).is_integer() and float(crop.y).is_integer()
    return (int(crop.y), int(crop.x)) if whole else None


def _wanted_box(alpha: Tensor, corner: tuple[int, int], image: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that hold all of the window that is wanted; None where nothing is."""
    found = []
    for axis, start in zip((0, 1), corner, strict=True):
        used = (alpha[0, 0] > 0).any(1 - axis).nonzero()
        if not len(used):
            return None
        first, last = max(0, start + int(used[0])), min(image.shape[2 + axis], start + int(used[-1]) + 1)
        if last <= first:
            return None
        found.append(slice(first, last))
    return found[0], found[1]


def _covered(start: float, side: float, limit: int) -> tuple[int, int]:
    """First and one past the last pixel of a row whose centre lies in the window."""
    return max(0, math.ceil(start - 0.5)), min(limit, math.floor(start + side - 0.5) + 1)


def _drawn_back(layer: Tensor, crop: Crop, *, left: int, top: int, side: int) -> Tensor:
    """The layer drawn on the picture's pixel grid: a square of ``side`` pixels from (left, top)."""
    scale = crop.scale(layer.shape[-1])
    return crop_image(layer, Crop((left - crop.x) * scale, (top - crop.y) * scale, side * scale), side)


def _check(image: Tensor, window: Tensor, mask: Tensor | None) -> None:
    if (
        image.ndim != 4
        or image.shape[:2] != (1, 3)
        or not (image.dtype == torch.uint8 or image.is_floating_point())
    ):
        raise ShapeError(
            f"image: expected (1, 3, H, W) uint8 or floats, got {image.dtype} {tuple(image.shape)}"
        )
    if window.ndim != 4 or window.shape[:2] != (1, 3) or window.shape[2] != window.shape[3]:
        raise ShapeError(f"window: expected a square (1, 3, S, S), got {tuple(window.shape)}")
    if mask is not None and mask.shape != (1, 1, *window.shape[2:]):
        raise ShapeError(f"mask: expected {(1, 1, *window.shape[2:])}, got {tuple(mask.shape)}")
