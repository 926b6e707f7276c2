"""Weights of landmarks: those that a head cannot be made to explain count for less (Geman-McClure).

The cost of a squared residual q (weighted by its frame) is rho(q) = q c^2 / (c^2 + q): q for small ones, c^2
at most. Iteratively reweighted least squares: the weight of a landmark is rho'(q) = (c^2 / (c^2 + q))^2.
"""

from __future__ import annotations

import math

import numpy as np

from ._rotations import Array

ANNEALED = (
    4.0,
    2.0,
)  # the scale of the first steps, when the mean face is still in place, over the final one


def scale_at(step: int, final: float) -> float:
    """The scale c of a step: large at first, so that nothing is given up before it was tried."""
    return final * (ANNEALED[step] if step < len(ANNEALED) else 1.0)


def weigh(residual: Array, frame: Array, confidence: Array | None, scale: float) -> tuple[Array, Array]:
    """Costs and weights of landmarks.

    Args:
        residual: (T, 2, L).
        frame: (T,) weights of the frames.
        confidence: (T, L) or None.
        scale: c; infinite for least squares.

    Returns:
        cost (T, L) and weight (T, L), confidence and frame weight included.
    """
    square = np.square(residual).sum(1)
    square *= frame[:, None]
    sure = 1.0 if confidence is None else confidence
    if math.isinf(scale):
        return sure * square, np.broadcast_to(sure * frame[:, None], square.shape)
    share = scale**2 / (scale**2 + square)
    return sure * square * share, sure * frame[:, None] * np.square(share)


def unevenness(weight: Array) -> Array:
    """(T,): variance of the landmarks' weights over their mean square; 0 where all weigh the same."""
    mean, square = weight.mean(1), np.square(weight).mean(1)
    return 1 - np.square(mean) / np.maximum(square, 1e-300)
