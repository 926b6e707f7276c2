"""Normal equations from the plain Jacobian: any weight for every landmark, any camera, sliding landmarks.

The reference of `_sums`, and what takes over where landmarks of a frame weigh differently, where a landmark
is another point of the mesh in every frame, and where the lens is an unknown. About eight times slower.
"""

from __future__ import annotations

import numpy as np

from ._problem import LandmarkProblem, State
from ._projection import POSE_COLUMNS, Points, jacobian, points_at
from ._rotations import Array
from ._sums import NormalRows

AT_ONCE = 8  # frames: a Jacobian has a megabyte


def direct_rows(problem: LandmarkProblem, state: State, *, weight: Array, free_lens: bool) -> NormalRows:
    """The rows of all frames of a (small) problem.

    Args:
        weight: (t, L) of every landmark.
        free_lens: whether the lens is the last of the shared unknowns.
    """
    head = problem.head
    count = POSE_COLUMNS + head.frame_count
    shared = head.shape_count + int(free_lens)
    rows = np.empty((problem.frames, count, count + shared + 1))
    total, gradient = np.zeros((shared, shared)), np.zeros(shared)
    for start in range(0, problem.frames, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        piece, here = problem.select(part), state.select(part)
        points = points_at(piece, here)
        slopes, pulled = _weighted(piece, here, points, weight[part])
        slopes = slopes[..., : count + shared]
        for number, (slope, pull) in enumerate(zip(slopes, pulled, strict=True), start):
            matrix, downhill = slope.T @ slope, -(slope.T @ pull)
            rows[number, :, :-1], rows[number, :, -1] = matrix[:count], downhill[:count]
            total += matrix[count:, count:]
            gradient += downhill[count:]
    return NormalRows(rows, total, gradient)


def _weighted(problem: LandmarkProblem, state: State, points: Points, weight: Array) -> tuple[Array, Array]:
    """Jacobian (t, 2 L, N) and residual (t, 2 L), times the root of the weights."""
    root = np.sqrt(weight)[:, None]
    slopes = jacobian(problem, state, points) * root[..., None]
    pulled = (points.image - problem.target) * root
    return slopes.reshape(*slopes.shape[:1], -1, slopes.shape[3]), pulled.reshape(len(pulled), -1)
