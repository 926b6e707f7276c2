"""Landmarks that do not hang on where the face happens to lie: the mean of many readings of one picture."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, UInt8

from ._graphs import Roi, engine
from .mediapipe import roi_from_landmarks

_STEPS = (-0.05, 0.0, 0.05)  # of the region's side
_MOVED = tuple((x, y, 1.0, 0.0) for x, y in itertools.product(_STEPS, _STEPS))
_HELD = ((0.0, 0.0, 1.07, 0.0), (0.0, 0.0, 1 / 1.07, 0.0), (0.0, 0.0, 1.0, 0.1), (0.0, 0.0, 1.0, -0.1))
PASSES = 2


def steady_landmarks(
    image: UInt8[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 _"], *, passes: int = PASSES
) -> Float[np.ndarray, "478 2"]:
    """The mean of 13 readings of mediapipe's mesh, the region shifted, scaled and turned a little; twice.

    One reading moves by 0.1 to 0.3 % of the face when the picture is shifted by three pixels or written as a
    JPEG. A fitted expression moves by 5 to 37 % of itself with it, of this mean by 0.3 to 6 %. It costs as
    much as 26 readings: for measuring, not for every frame.

    Args:
        image: RGB.
        landmarks: of one reading, in pixels, such as `detect_faces` gives; columns beyond x, y are left out.
        passes: how often the 13 readings are taken, each time where the last mean says that the face is.

    Returns:
        Pixels.
    """
    points = np.asarray(landmarks, np.float64)[:, :2]
    for _ in range(passes):
        region = roi_from_landmarks(points)
        readings = [engine().mesh(image, _disturbed(region, *by))[0] for by in (*_MOVED, *_HELD)]
        points = np.mean(readings, axis=0, dtype=np.float64)[:, :2]
    return points


def _disturbed(region: Roi, x: float, y: float, scale: float, angle: float) -> Roi:
    side = region.side
    return Roi(region.x + x * side, region.y + y * side, side * scale, region.angle + angle)
