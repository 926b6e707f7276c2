"""The connectivity of the built-in head: subdivided skin, eyeballs, eye sockets and mouth pocket.

Nothing here depends on positions, so the asset stores none of it: builder and loader make it anew. Vertices
are ordered face mesh (468), rest of the coarse head, its edge points, then left eyeball, right eyeball, left
socket, right socket, mouth.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from ...geom.mesh import boundary_loops, loop_subdivision
from .surface import coarse_faces, coarse_rings, coarse_vertex_count

EYE_POLAR_DEG = (15.0, 30.0, 60.0, 90.0, 120.0, 150.0, 165.0)
EYE_COLUMNS = 16
IRIS_RING = 1
MOUTH_FOLLOW = (0.85, 0.6, 0.35, 0.2, 0.1)
SOCKET_FOLLOW = 0.7
SIDES = ("left", "right")
RIM_START = {"left": 263, "right": 33, "mouth": 78}


@dataclass(frozen=True)
class HeadTopology:
    """Connectivity of the fine head.

    Attributes:
        faces: (F, 3) int64, outward.
        faces_of: first and last (exclusive) face of each part.
        vertices_of: first and last (exclusive) vertex of each part.
        subdivision: (V_skin, V_coarse) Loop matrix of the skin alone.
        moves: (V, V_coarse) what every vertex makes of displacements of the coarse control points.
        rims: closed vertex loops of the fine skin: ``left``, ``right`` (lids, from the outer corner, 32) and
            ``mouth`` (inner lips, from the subject's right corner, 40), the surface on the left.
        ring: (V_skin,) net ring of the nearest coarse vertices, averaged; -1 on the face.
    """

    faces: np.ndarray
    faces_of: dict[str, tuple[int, int]]
    vertices_of: dict[str, tuple[int, int]]
    subdivision: sparse.csr_matrix
    moves: sparse.csr_matrix
    rims: dict[str, np.ndarray]
    ring: np.ndarray

    @property
    def vertex_count(self) -> int:
        """All vertices."""
        return self.moves.shape[0]

    def part(self, name: str) -> np.ndarray:
        """The vertex numbers of a part."""
        return np.arange(*self.vertices_of[name])


@lru_cache(maxsize=1)
def head_topology() -> HeadTopology:
    """The topology; made once a process."""
    coarse = coarse_faces()
    subdivision, skin = loop_subdivision(coarse, coarse_vertex_count())
    rims = _named_rims(skin)
    parts = {"skin": (skin, subdivision)}
    count = subdivision.shape[0]
    for side in SIDES:
        parts[f"{side}_eyeball"] = (eyeball_faces() + count, _eyeball_moves(subdivision, rims[side]))
        count += parts[f"{side}_eyeball"][1].shape[0]
    for side in SIDES:
        parts[f"{side}_socket"] = _pocket(
            rims[side], subdivision, count, (SOCKET_FOLLOW, 1.0), about_mean=True
        )
        count += parts[f"{side}_socket"][1].shape[0]
    parts["mouth"] = _pocket(rims["mouth"], subdivision, count, MOUTH_FOLLOW)
    return HeadTopology(
        faces=np.concatenate([faces for faces, _ in parts.values()]),
        faces_of=_spans({name: len(faces) for name, (faces, _) in parts.items()}),
        vertices_of=_spans({name: moves.shape[0] for name, (_, moves) in parts.items()}),
        subdivision=subdivision,
        moves=sparse.vstack([moves for _, moves in parts.values()]).tocsr(),
        rims=rims,
        ring=subdivision @ coarse_rings(),
    )


def eyeball_faces() -> np.ndarray:
    """A sphere: front pole 0, rings of 16 from front to back, back pole last; z is the pole axis."""
    rings, columns = len(EYE_POLAR_DEG), EYE_COLUMNS
    here = np.arange(columns)
    there = (here + 1) % columns
    faces = [np.stack([np.zeros(columns, np.int64), 1 + here, 1 + there], axis=1)]
    for i in range(rings - 1):
        a, b = 1 + i * columns + here, 1 + i * columns + there
        faces += [np.stack([a, a + columns, b], axis=1), np.stack([b, a + columns, b + columns], axis=1)]
    last, pole = 1 + (rings - 1) * columns, 1 + rings * columns
    faces.append(np.stack([last + here, np.full(columns, pole), last + there], axis=1))
    return np.concatenate(faces)


def eyeball_directions() -> np.ndarray:
    """Unit vectors of the eyeball's vertices, (114, 3); their mean is zero."""
    polar = np.radians(EYE_POLAR_DEG)[:, None]
    turn = np.arange(EYE_COLUMNS) * 2 * np.pi / EYE_COLUMNS
    rings = np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], axis=-1
    )
    pole = np.array([[0.0, 0.0, 1.0]])
    return np.concatenate([pole, rings.reshape(-1, 3), -pole])


def _eyeball_moves(subdivision: sparse.csr_matrix, rim: np.ndarray) -> sparse.csr_matrix:
    """Every vertex moves like the mean of the lid rim."""
    mean = sparse.csr_matrix(subdivision[rim].mean(axis=0))
    return sparse.vstack([mean] * (len(EYE_POLAR_DEG) * EYE_COLUMNS + 2)).tocsr()


def _pocket(
    rim: np.ndarray,
    subdivision: sparse.csr_matrix,
    first: int,
    follow: tuple[float, ...],
    *,
    about_mean: bool = False,
) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Rings behind a hole of the skin and a closing vertex: its faces and how it follows the rim.

    Ring k moves ``follow[k]`` times its rim vertex, the closing vertex ``follow[-1]`` times the rim's mean;
    with ``about_mean`` the rest of the way is the rim's mean motion, otherwise it stays.
    """
    count, rings = len(rim), len(follow) - 1
    own = subdivision[rim]
    mean = sparse.csr_matrix(own.mean(axis=0))
    means = sparse.vstack([mean] * count)
    rows = [share * own + ((1 - share) * means if about_mean else 0 * means) for share in follow[:-1]]
    rows.append(follow[-1] * mean)
    loops = [rim] + [first + k * count + np.arange(count) for k in range(rings)]
    faces = []
    for outer, inner in itertools.pairwise(loops):
        a, b, c, d = outer, np.roll(outer, -1), inner, np.roll(inner, -1)
        faces += [np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)]
    apex = np.full(count, first + rings * count)
    faces.append(np.stack([np.roll(loops[-1], -1), loops[-1], apex], axis=1))
    return np.concatenate(faces), sparse.vstack(rows).tocsr()


def _named_rims(skin: np.ndarray) -> dict[str, np.ndarray]:
    rims = {}
    for loop in boundary_loops(skin):
        for name, start in RIM_START.items():
            place = np.flatnonzero(loop == start)
            if len(place):
                rims[name] = np.roll(loop, -int(place[0]))
    return rims


def _spans(lengths: dict[str, int]) -> dict[str, tuple[int, int]]:
    ends = np.cumsum(list(lengths.values()))
    return {
        name: (int(end) - length, int(end)) for (name, length), end in zip(lengths.items(), ends, strict=True)
    }
