"""Mask of the person in a picture, by mediapipe's selfie segmentation: stateless, one picture at a time."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, UInt8

from ...geom.errors import MissingDependencyError, ShapeError
from . import check_image
from ._graphs import block_mean, engine, lacking

_INPUT = 256


def segment_person(
    image: UInt8[np.ndarray, "H W 3"], *, box: np.ndarray | None = None
) -> Float[np.ndarray, "H W"]:
    """Return how much each pixel belongs to a person, float32 in [0, 1].

    The network sees 256 x 256 samples of what it is given: for a small person in a large frame pass a `box`
    round head and shoulders, which gives the edges that many samples more; outside it the mask is 0.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) x0, y0, x1, y1 in px; it is clipped to the picture.

    Raises:
        ShapeError: not a picture, or a box that does not meet it.
        MissingDependencyError: mediapipe, whose network makes the mask, is not installed.
    """
    height, width = check_image(image).shape[:2]
    x0, y0, x1, y1 = (
        (0, 0, width, height) if box is None else _clipped(np.asarray(box, np.float64), width, height)
    )
    mask = np.zeros((height, width), np.float32)
    part = image[y0:y1, x0:x1]
    part = block_mean(part, max(1, min(part.shape[:2]) // (2 * _INPUT)))
    small = _resized(part.astype(np.float32), (_INPUT, _INPUT))
    try:
        person = engine().person(np.clip(np.rint(small), 0, 255).astype(np.uint8))
    except MissingDependencyError as error:  # it speaks of landmarks, which may be at hand
        raise MissingDependencyError(lacking("the mask of the person", error.__cause__)) from error
    mask[y0:y1, x0:x1] = np.clip(_resized(person[..., None], (y1 - y0, x1 - x0))[..., 0], 0.0, 1.0)
    return mask


def _clipped(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ShapeError(f"box: expected four finite numbers x0, y0, x1, y1, got {box.tolist()}")
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x1, y1 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    if x1 <= x0 or y1 <= y0:
        raise ShapeError(f"box: {box.tolist()} does not meet the {width} x {height} picture")
    return x0, y0, x1, y1


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, C) float32 bilinearly, with a low-pass filter on the way down only (it is slow)."""
    import torch
    from torch.nn.functional import interpolate

    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]  # (1, C, H, W)
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    out = interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return out[0].permute(1, 2, 0).numpy()  # (H, W, C)
