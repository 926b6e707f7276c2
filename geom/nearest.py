"""The nearest points of a mesh's surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def nearest_on_surface(
    points: Float[np.ndarray, "N 3"],
    verts: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    candidates: int = 12,
) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, " N"]]:
    """The nearest points of a mesh, and their triangles, among those that meet the nearest vertices.

    Args:
        points, verts, faces: of one frame, in one unit.
        candidates: how many vertices are looked at for each point (all of them in a mesh with fewer).
    """
    from scipy.sparse import csr_matrix
    from scipy.spatial import cKDTree

    used = np.unique(faces)
    count = min(candidates, len(used))
    close = used[cKDTree(verts[used]).query(points, np.arange(1, count + 1))[1]]  # (N, candidates)
    pick = csr_matrix(
        (np.ones(close.size), (np.arange(len(points)).repeat(count), close.ravel())),
        shape=(len(points), len(verts)),
    )
    pairs = (pick @ faces_at_vertices(faces, len(verts))).tocoo()
    return nearest_among(points, verts, faces, rows=pairs.row, choices=pairs.col)


def nearest_among(
    points: Float[np.ndarray, "N 3"],
    verts: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    rows: Int[np.ndarray, " P"],
    choices: Int[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, " N"]]:
    """The nearest points on given triangles: point ``rows[p]`` may lie on triangle ``choices[p]``.

    Every point has at least one choice.

    Args:
        points: N points.
        verts, faces: the surface.
        rows: of a pair: which point.
        choices: of a pair: which triangle; pairs in any order.

    Returns:
        The nearest point on the surface for each, and its triangle.
    """
    import trimesh

    found = trimesh.triangles.closest_point(verts[faces[choices]], points[rows])
    distance = np.linalg.norm(found - points[rows], axis=1)
    order = np.lexsort((distance, rows))
    first = order[np.searchsorted(rows[order], np.arange(len(points)))]
    return found[first], choices[first].astype(np.int64)


def barycentric(
    points: Float[np.ndarray, "N 3"], corners: Float[np.ndarray, "N 3 3"]
) -> Float[np.ndarray, "N 3"]:
    """Barycentric coordinates of points on triangles: in [0, 1], rows sum to 1; no area: the first corner.

    Args:
        points: one for each triangle.
        corners: of the triangles.

    Example:
        >>> corners = np.array([[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])
        >>> barycentric(np.array([[1.0, 2.0, 0.0]]), corners).tolist()
        [[0.25, 0.25, 0.5]]
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    dot = lambda x, y: np.einsum("nc,nc->n", x, y)  # noqa: E731
    across, along, lean = dot(first, first), dot(second, second), dot(first, second)
    area = across * along - lean**2  # squared, of the parallelogram
    flat = area <= 1e-24 * (across + along) ** 2
    area = np.where(flat, 1.0, area)
    one = (along * dot(offset, first) - lean * dot(offset, second)) / area
    two = (across * dot(offset, second) - lean * dot(offset, first)) / area
    weights = np.stack([1 - one - two, one, two], axis=1).clip(0, 1)
    weights[flat] = [1.0, 0.0, 0.0]
    return weights / weights.sum(1, keepdims=True)


def faces_at_vertices(faces: Int[np.ndarray, "F 3"], vertex_count: int) -> csr_matrix:
    """Which faces meet a vertex, as a sparse (V, F) of ones."""
    from scipy.sparse import csr_matrix

    corners = np.asarray(faces).ravel()
    ones = np.ones(len(corners))
    return csr_matrix((ones, (corners, np.arange(len(faces)).repeat(3))), shape=(vertex_count, len(faces)))
