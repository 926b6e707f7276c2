"""Lines on a mesh: where a plane cuts it, followed from triangle to triangle."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError

Array = NDArray[np.float64]
_NUDGE = 1e-7  # of the mesh's size: no vertex lies on the plane exactly


@dataclass(frozen=True)
class Section:
    """A polyline on a mesh, one straight piece a triangle.

    Attributes:
        faces: triangle of every piece, ``(P,)``.
        start, end: barycentric coordinates in that triangle where the piece begins and ends, ``(P, 3)``; each
            piece begins where the one before ended.
        points: the ``P + 1`` corners of the polyline, ``(P + 1, 3)``.
    """

    faces: NDArray[np.int64]
    start: Array
    end: Array
    points: Array

    @property
    def length(self) -> float:
        """Of the polyline, in the mesh's unit."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    def at(self, lengths: Array) -> tuple[NDArray[np.int64], Array]:
        """Triangles ``(N,)`` and barycentric coordinates ``(N, 3)`` at distances along the line, clipped."""
        pieces = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        before = np.concatenate([[0.0], np.cumsum(pieces)])
        wanted = np.clip(lengths, 0.0, before[-1])
        piece = np.clip(np.searchsorted(before, wanted, side="right") - 1, 0, len(pieces) - 1)
        share = ((wanted - before[piece]) / np.maximum(pieces[piece], 1e-30)).clip(0, 1)[:, None]
        return self.faces[piece], (1 - share) * self.start[piece] + share * self.end[piece]


def plane_sections(
    verts: Array, faces: NDArray[np.int64], *, point: Array, normal: Array
) -> tuple[Section, Section]:
    """The two ways along a mesh, within a plane, from where the plane comes nearest to a point.

    Each ends at the rim of the mesh or back at the start. They run over the connected piece of surface that
    holds the start and nowhere else.

    Args:
        verts: ``(V, 3)``.
        faces: ``(F, 3)``.
        point: on the plane and on the mesh, or near it.
        normal: of the plane, any length but zero.

    Raises:
        ShapeError: the plane does not meet the mesh.
    """
    direction = normal / np.linalg.norm(normal)
    size = float(np.ptp(verts, axis=0).max())
    height = (verts - point) @ direction
    height = np.where(np.abs(height) < _NUDGE * size, _NUDGE * size, height)
    cut = np.flatnonzero((height[faces] > 0).any(1) & (height[faces] < 0).any(1))
    if not len(cut):
        raise ShapeError(f"plane_sections: the plane through {point.tolist()} does not meet the mesh")
    pieces = {int(face): _piece(verts, faces[face], height) for face in cut}
    beside = defaultdict(list)
    for face, ends in pieces.items():
        for edge, _, _ in ends:
            beside[edge].append(face)
    first = min(pieces, key=lambda face: _distance(point, *(place for _, _, place in pieces[face])))
    return _followed(pieces, beside, first, 0), _followed(pieces, beside, first, 1)


_End = tuple[tuple[int, int], Array, Array]  # the edge that is crossed, barycentric coordinates, place


def _piece(verts: Array, corners: NDArray[np.int64], height: Array) -> list[_End]:
    """Where the plane enters and leaves one triangle."""
    ends = []
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = int(corners[i]), int(corners[j])
        if (height[a] > 0) == (height[b] > 0):
            continue
        bary = np.zeros(3)
        bary[j] = height[a] / (height[a] - height[b])
        bary[i] = 1.0 - bary[j]
        ends.append(((min(a, b), max(a, b)), bary, bary @ verts[corners]))
    return ends


def _distance(point: Array, start: Array, end: Array) -> float:
    along = end - start
    share = np.clip((point - start) @ along / max(float(along @ along), 1e-30), 0, 1)
    return float(np.linalg.norm(start + share * along - point))


def _followed(
    pieces: dict[int, list[_End]], beside: dict[tuple[int, int], list[int]], first: int, way: int
) -> Section:
    faces, starts, ends, points = [], [], [], []
    face, entered, seen = first, pieces[first][1 - way], set[int]()
    while face not in seen:
        seen.add(face)
        one, other = pieces[face]
        begin, leave = (one, other) if one[0] == entered[0] else (other, one)
        faces.append(face)
        starts.append(begin[1])
        ends.append(leave[1])
        points.append(begin[2])
        entered = leave
        after = [neighbour for neighbour in beside[leave[0]] if neighbour not in seen]
        if not after:
            break
        face = after[0]
    return Section(np.array(faces), np.array(starts), np.array(ends), np.array([*points, entered[2]]))
