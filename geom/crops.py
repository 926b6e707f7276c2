"""Square windows of a picture around a head, and moving between window and picture coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .flow import sample


@dataclass(frozen=True)
class Crop:
    """A square window: outer top-left corner and side in pixels of the picture; may reach over its border."""

    x: float
    y: float
    side: float

    def __post_init__(self) -> None:
        if not self.side > 0 or not all(map(math.isfinite, (self.x, self.y, self.side))):
            raise ShapeError(f"Crop: expected a finite corner and a side above 0, got {self}")

    def scale(self, size: int) -> float:
        """Window pixels per picture pixel when the window is drawn at ``size``.

        Example:
            >>> Crop(0, 0, 128).scale(256)
            2.0
        """
        return size / self.side


def head_crop(
    points: Float[Tensor, "L 2"],
    *,
    size: tuple[int, int] | None = None,
    scale: float = 2.3,
    lift: float = 0.05,
) -> Crop:
    """The window around face landmarks: ``scale`` times the larger side of their box, shifted up by ``lift``
    windows.

    Args:
        points: face landmarks in pixels; NaN rows are left out.
        size: (H, W) of the picture: the window shrinks and shifts to stay inside, as far as the face's box
            allows.
        scale: side of the window in face sizes.
        lift: share of the window by which the face's centre lies below the window's.

    Raises:
        ShapeError: no finite point.

    Example:
        >>> head_crop(torch.tensor([[90.0, 80.0], [130.0, 120.0]]), scale=2.0, lift=0.0)
        Crop(x=70.0, y=60.0, side=80.0)
    """
    finite = points[torch.isfinite(points).all(-1)]
    if not len(finite):
        raise ShapeError("head_crop: expected finite landmarks, got none; detect a face first")
    low, high = finite.amin(0), finite.amax(0)
    face = float((high - low).max())
    side = face * scale
    if size is not None:
        side = max(min(side, *map(float, size)), 1.2 * face)
    centre = (low + high) / 2
    x, y = float(centre[0]) - side / 2, float(centre[1]) - side / 2 - lift * side
    if size is not None:
        x, y = _inside(x, side, size[1]), _inside(y, side, size[0])
    return Crop(x, y, side)


def pixel_window(crop: Crop, *, least: int = 256, most: int = 1024) -> tuple[Crop, int]:
    """The nearest window of whole pixels, and the size to draw it at: its own side, so that what is drawn
    back unchanged has the picture's bits; a small one is drawn a whole number of times as large, to
    ``least`` pixels or more, a large one at ``most``.

    Args:
        crop: of any place and side.
        least: side in pixels that a small window is drawn at, or more.
        most: side in pixels that no window is drawn above.

    Returns:
        The window, its corner and side whole numbers, and the side in pixels to draw it at.

    Example:
        >>> pixel_window(Crop(10.3, 4.8, 400.2))
        (Crop(x=10.0, y=5.0, side=400.0), 400)
        >>> pixel_window(Crop(10.3, 4.8, 50.2))[1], pixel_window(Crop(0, 0, 1500))[1]
        (300, 1024)
    """
    side = max(1, round(crop.side))
    size = min(side * max(1, -(-least // side)), most)
    return Crop(float(round(crop.x)), float(round(crop.y)), float(side)), size


def _inside(start: float, side: float, length: int) -> float:
    """The start of an interval shifted into 0..length; centred on it if the interval is longer."""
    return (length - side) / 2 if side >= length else min(max(start, 0.0), length - side)


def crop_image(image: Float[Tensor, "B C H W"], crop: Crop, size: int) -> Float[Tensor, "B C S S"]:
    """Draw the window at ``size`` x ``size``; beyond the picture its border repeats.

    Anti-aliased when shrinking, bilinear when enlarging; a whole-pixel window at its own size is a copy.

    Args:
        image: any channels and value range.
        crop: the window, in pixels of the image.
        size: side of the result in pixels.

    Returns:
        The window; differentiable in the image.

    Example:
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> crop_image(image, Crop(1, 1, 2), 2).tolist()
        [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    left, top = math.floor(crop.x), math.floor(crop.y)
    right, bottom = left + int(crop.side) + 3, top + int(crop.side) + 3
    window = _continued(image, (left, right), (top, bottom))
    ratio = size / crop.side
    if ratio < 1:  # shrink the padded window by area first, then place it exactly
        small = max(1, round((bottom - top) * ratio))
        window = F.interpolate(
            window, size=(small, small), mode="bilinear", align_corners=False, antialias=True
        )
    factor = window.shape[-1] / (right - left)
    step = (torch.arange(size, dtype=image.dtype, device=image.device) + 0.5) / ratio
    u, v = (crop.x - left + step) * factor, (crop.y - top + step) * factor
    positions = torch.stack([u.expand(size, size), v[:, None].expand(size, size)])[None]  # (1, 2, S, S)
    return sample(window, positions)


def _continued(
    image: Float[Tensor, "B C H W"], columns: tuple[int, int], rows: tuple[int, int]
) -> Float[Tensor, "B C h w"]:
    """Pixels of a box that may reach over the picture's border, which repeats there; bounds as in `range`."""
    (left, right), (top, bottom) = columns, rows
    height, width = image.shape[2:]
    inner = image[:, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
    if inner.numel() and not any(beyond):
        return inner.contiguous()
    if inner.numel():
        return F.pad(inner, beyond, mode="replicate")
    x = torch.arange(left, right).clamp(0, width - 1)  # wholly beside the picture
    y = torch.arange(top, bottom).clamp(0, height - 1)
    return image[:, :, y][:, :, :, x]


def to_crop(points: Float[Tensor, "... 2"], crop: Crop, size: int) -> Float[Tensor, "... 2"]:
    """Points of a picture in the pixels of its window, as `crop_image` draws it at ``size`` x ``size``.

    Args:
        points: x, y in pixels of the picture.
        crop: the window.
        size: side in pixels at which it is drawn.

    Example:
        >>> to_crop(torch.tensor([[70.0, 60.0], [110.0, 100.0]]), Crop(70, 60, 80), 256).tolist()
        [[0.0, 0.0], [128.0, 128.0]]
    """
    corner = torch.tensor([crop.x, crop.y], dtype=points.dtype, device=points.device)
    return (points - corner) * crop.scale(size)
