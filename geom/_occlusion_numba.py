"""CPU kernel of `geom.occlusion`: points sorted by row, so that a triangle meets only those beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._kernels import compiled

Array = NDArray[np.float64]


def hidden(points: Array, verts: Array, faces: NDArray[np.int64], tolerance: float) -> NDArray[np.bool_]:
    """(T, N) bool; see `geom.occlusion.occluded_points`."""
    out = np.zeros(points.shape[:2], np.bool_)
    for frame in range(len(points)):
        order = np.argsort(points[frame, :, 1], kind="stable")  # NaN last
        _hide(points[frame, order], order, verts[frame], faces, tolerance, out[frame])
    return out


@compiled
def _cross(ax, ay, bx, by):
    return ax * by - ay * bx


@compiled
def _hide(points, order, verts, faces, tolerance, out):
    """Marks in `out` what is hidden; `points` come by increasing y, `order` says where from."""
    rows = points[:, 1].copy()
    for f in range(faces.shape[0]):
        a, b, c = verts[faces[f, 0]], verts[faces[f, 1]], verts[faces[f, 2]]
        top, bottom = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
        left, right = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        nearest = min(a[2], b[2], c[2]) + tolerance
        if not (top <= bottom and left <= right and nearest < np.inf):  # NaN
            continue
        for i in range(np.searchsorted(rows, top), len(rows)):
            x, y, z = points[i]
            if not y <= bottom:
                break
            if out[order[i]] or not (left <= x <= right) or not nearest < z:
                continue
            to_c = _cross(a[0] - x, a[1] - y, b[0] - x, b[1] - y)
            to_a = _cross(b[0] - x, b[1] - y, c[0] - x, c[1] - y)
            to_b = _cross(c[0] - x, c[1] - y, a[0] - x, a[1] - y)
            area = to_a + to_b + to_c
            if area == 0 or min(to_a, to_b, to_c) < 0 < max(to_a, to_b, to_c):
                continue
            depth = (to_a * a[2] + to_b * b[2] + to_c * c[2]) / area
            out[order[i]] = depth < z - tolerance
