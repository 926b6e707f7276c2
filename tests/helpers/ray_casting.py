"""Whether a mesh hides a point from the camera, by rays against every triangle: for tests, plain and slow."""

from __future__ import annotations

import numpy as np


def hidden_by_rays(
    points: np.ndarray, verts: np.ndarray, faces: np.ndarray, *, eye: np.ndarray, margin: float = 0.0025
) -> np.ndarray:
    """(N,) bool: a triangle lies between a point of ``(N, 3)`` and the eye, farther than ``margin`` from it.

    Args:
        eye: ``(3,)`` a place, or ``(4,)`` with a last 0: a direction, for a camera without perspective.
    """
    first, second, third = (verts[faces[:, i]] for i in range(3))
    one, two = second - first, third - first
    hidden = []
    for point in points:
        ray = eye[:3] if len(eye) == 4 else eye - point
        ray = ray / np.linalg.norm(ray)
        normal = np.cross(ray, two)
        determinant = (one * normal).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = ((point - first) * normal).sum(1) / determinant
            other = np.cross(point - first, one)
            v = (other @ ray) / determinant
            distance = (two * other).sum(1) / determinant
        hidden.append(bool(((u >= 0) & (v >= 0) & (u + v <= 1) & (distance > margin)).any()))
    return np.array(hidden)
