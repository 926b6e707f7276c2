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

    def scale(self, size: int) -> float:
        """Window pixels per picture pixel when the window is drawn at ``size``."""
        return size / self.side


def head_crop(points: Float[Tensor, "L 2"], *, scale: float = 2.3, lift: float = 0.05) -> Crop:
    """The window around face landmarks: ``scale`` times the larger side of their box, shifted up by ``lift`` windows.

    Raises:
        ShapeError: no finite point.
    """
    finite = points[torch.isfinite(points).all(-1)]
    if not len(finite):
        raise ShapeError("head_crop: expected finite landmarks, got none; detect a face first")
    low, high = finite.amin(0), finite.amax(0)
    side = float((high - low).max()) * scale
    centre = (low + high) / 2
    return Crop(float(centre[0]) - side / 2, float(centre[1]) - side / 2 - lift * side, side)


def crop_image(image: Float[Tensor, "B C H W"], crop: Crop, size: int) -> Float[Tensor, "B C S S"]:
    """Draw the window at ``size`` x ``size``, anti-aliased when shrinking; beyond the picture its border repeats."""
    height, width = image.shape[2:]
    left, top = math.floor(crop.x), math.floor(crop.y)
    right, bottom = left + int(crop.side) + 3, top + int(crop.side) + 3
    x = torch.arange(left, right).clamp(0, width - 1)
    y = torch.arange(top, bottom).clamp(0, height - 1)
    window = image[:, :, y][:, :, :, x]
    ratio = size / crop.side
    if ratio < 1:  # shrink the padded window by area first, then place it exactly
        small = max(1, round((bottom - top) * ratio))
        window = F.interpolate(window, size=(small, small), mode="bilinear", align_corners=False, antialias=True)
    factor = window.shape[-1] / (right - left)
    step = (torch.arange(size, dtype=image.dtype, device=image.device) + 0.5) / ratio
    u, v = (crop.x - left + step) * factor, (crop.y - top + step) * factor
    positions = torch.stack([u.expand(size, size), v[:, None].expand(size, size)])[None]  # (1, 2, S, S)
    return sample(window, positions)


def to_crop(points: Float[Tensor, "... 2"], crop: Crop, size: int) -> Float[Tensor, "... 2"]:
    """Picture pixels to window pixels."""
    corner = torch.tensor([crop.x, crop.y], dtype=points.dtype, device=points.device)
    return (points - corner) * crop.scale(size)
