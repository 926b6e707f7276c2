"""Rotations for the solver: exponential, its left Jacobian, logarithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cross_matrix(vectors: Array) -> Array:
    """(..., 3) -> (..., 3, 3) with ``cross_matrix(v) @ x = v x x``."""
    matrices = np.zeros((*vectors.shape, 3))
    matrices[..., 2, 1], matrices[..., 0, 2], matrices[..., 1, 0] = np.moveaxis(vectors, -1, 0)
    return matrices - np.swapaxes(matrices, -1, -2)


def rotation_exp(vectors: Array) -> Array:
    """Axis-angle (..., 3) to matrices, exact to rounding at zero."""
    sine, cosine, _ = _angle_ratios(vectors)
    cross = cross_matrix(vectors)
    return np.eye(3) + sine * cross + cosine * cross @ cross


def left_jacobian(vectors: Array) -> Array:
    """J (..., 3, 3) with ``rotation_exp(v + d) = rotation_exp(J @ d) @ rotation_exp(v)`` to first order."""
    _, cosine, rest = _angle_ratios(vectors)
    cross = cross_matrix(vectors)
    return np.eye(3) + cosine * cross + rest * cross @ cross


def _angle_ratios(vectors: Array) -> tuple[Array, Array, Array]:
    """sin(a) / a, (1 - cos a) / a^2 and (a - sin a) / a^3 of the angles, (..., 1, 1) each."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    sine = np.where(small, 1.0 - angle**2 / 6, np.sin(safe) / safe)
    cosine = np.where(small, 0.5 - angle**2 / 24, 2 * np.sin(safe / 2) ** 2 / safe**2)
    rest = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    return sine, cosine, rest


def rotation_log(matrices: Array) -> Array:
    """Matrices (..., 3, 3) to axis-angle, safe at zero and at pi (through quaternions)."""
    from scipy.spatial.transform import Rotation

    flat = matrices.reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_rotvec().reshape(*matrices.shape[:-2], 3)
