"""GNM's landmark text: 68 points as weights of three vertices each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from ..geom.errors import ModelFileError
from ..geom.nearest import barycentric, nearest_on_surface
from ._arrays import first_line
from ._files import read_bytes
from ._head_data import LandmarkEmbedding

LANDMARK_FILE = "head_sparse_68.txt"
_REVERSED = slice(2, 7)  # of the 68, in one release
_CONTOUR = 17
_EVEN = 2.5  # longest step of a contour in order, in median steps; out of order it has 4.4


def sparse_landmarks(
    path: Path, vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> LandmarkEmbedding:
    """The 68 landmarks in a text of ``i0 w0 i1 w1 i2 w2`` rows: three vertices of GNM and their weights.

    One release lists points 2 to 6 of the jaw's contour backwards; they are put in order, which ``origin``
    says.

    Raises:
        ModelFileError: not such a text, vertices beyond the mesh, or the contour is in no order.
    """
    corners, weights = _rows_of(path, len(vertices))
    points = np.einsum("lk,lkc->lc", weights, vertices[corners])
    order, origin = np.arange(68), "gnm"
    if _unevenness(points) > _EVEN:
        order[_REVERSED] = order[_REVERSED][::-1]
        origin = "gnm, points 2 to 6 put in order"
        if _unevenness(points[order]) > _EVEN:
            raise ModelFileError(
                f"{path}: expected iBUG's 68 points in order, but its first 17 are no even contour "
                f"(longest step {_unevenness(points):.1f} median steps); take {LANDMARK_FILE} of this model"
            )
    if points[order][:8, 0].mean() > points[order][9:17, 0].mean():
        raise ModelFileError(
            f"{path}: expected point 0 on the subject's right (smaller x), got it on the left; it is mirrored"
        )
    nearest, on_faces = nearest_on_surface(points[order], vertices, triangles)
    return LandmarkEmbedding(
        indices=torch.arange(68),
        faces=torch.from_numpy(on_faces),
        bary=torch.from_numpy(barycentric(nearest, vertices[triangles[on_faces]])),
        origin=origin,
    )


def _rows_of(path: Path, count: int) -> tuple[Int[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]:
    text = read_bytes(path)
    try:
        rows = np.array([line.split() for line in text.decode("ascii").splitlines() if line.strip()], float)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path}: expected 68 rows of i0 w0 i1 w1 i2 w2: {first_line(error)}") from error
    if rows.shape != (68, 6):
        raise ModelFileError(f"{path}: expected 68 rows of i0 w0 i1 w1 i2 w2, got {rows.shape}")
    corners, weights = rows[:, ::2], rows[:, 1::2]
    whole = np.isfinite(corners).all() and (corners == np.floor(corners)).all()
    if not (whole and corners.min() >= 0 and corners.max() < count):
        raise ModelFileError(f"{path}: expected vertices below {count}, got others; it is of another mesh")
    total = weights.sum(1, keepdims=True)
    if not (np.abs(total - 1) < 0.01).all():
        raise ModelFileError(f"{path}: expected weights that sum to 1 in every row")
    return corners.astype(np.int64), weights / total


def _unevenness(points: Float[np.ndarray, "68 3"]) -> float:
    """The longest step along the jaw's contour in median steps."""
    steps = np.linalg.norm(np.diff(points[:_CONTOUR], axis=0), axis=1)
    return float(steps.max() / max(float(np.median(steps)), 1e-12))
