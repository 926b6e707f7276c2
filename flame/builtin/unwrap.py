"""Texture coordinates of the built-in head: one seamless disc of skin, small discs for the rest.

u to the right, v up, in [0, 1]. The face is the middle of the disc, the neck its rim, the back of the head
between. Only the rims of the mouth and of the eyes and the back of the eyeballs are seams.
"""

from __future__ import annotations

import numpy as np

from ..landmarks import FACE_MESH_COUNT, FACE_OVAL, INNER_LIP_LOOP, LEFT_EYE_RIM, RIGHT_EYE_RIM
from .surface import COLUMNS, RINGS, coarse_vertex_count, symmetric_face_triangles
from .topology import EYE_COLUMNS, HeadTopology, eyeball_directions

DISC_RADIUS = 0.49
FACE_SHARE = 0.66  # of the radius is the face
ISLANDS = {
    "left_eyeball": (0.925, 0.925, 0.07),
    "right_eyeball": (0.075, 0.925, 0.07),
    "mouth": (0.075, 0.075, 0.07),
    "left_socket": (0.955, 0.045, 0.04),
    "right_socket": (0.875, 0.045, 0.04),
}


def unwrap(topology: HeadTopology, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture points (N, 2) and their faces (F, 3), the faces in the order of the topology's.

    The first V points belong to the vertices; the seams' second points follow.
    """
    uv = np.zeros((topology.vertex_count, 2))
    uv[topology.part("skin")] = topology.subdivision @ _skin_disc(face)
    uv_faces = topology.faces.copy()
    extra: list[np.ndarray] = []
    for name, (u, v, radius) in ISLANDS.items():
        first, last = topology.faces_of[name]
        members = topology.part(name)
        start = len(uv) + sum(map(len, extra))
        if name.endswith("eyeball"):
            flat, seam = _sphere_island()
            uv_faces[last - EYE_COLUMNS : last, 1] = start + np.arange(EYE_COLUMNS)
        else:
            rim = topology.rims[name.removesuffix("_socket")]
            flat, seam = _pocket_island(len(rim), len(members))
            for i, vertex in enumerate(rim):
                uv_faces[first:last][topology.faces[first:last] == vertex] = start + i
        uv[members] = np.array([u, v]) + radius * flat
        extra.append(np.array([u, v]) + radius * seam)
    return np.concatenate([uv, *extra]), uv_faces


def _sphere_island() -> tuple[np.ndarray, np.ndarray]:
    """An eyeball seen from the front, angle from the pole as radius; the back pole once a face."""
    directions = eyeball_directions()
    polar = np.arccos(np.clip(directions[:, 2], -1, 1)) / np.pi
    aside = directions[:, :2] / (np.linalg.norm(directions[:, :2], axis=1, keepdims=True) + 1e-12)
    turn = (np.arange(EYE_COLUMNS) + 0.5) * 2 * np.pi / EYE_COLUMNS
    return polar[:, None] * aside, np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _pocket_island(count: int, members: int) -> tuple[np.ndarray, np.ndarray]:
    """Rings of a pocket as circles, the rim outermost, its end in the middle."""
    rings = (members - 1) // count
    turn = -np.arange(count) * 2 * np.pi / count
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    shares = 1 - (np.arange(rings) + 1) / (rings + 1)
    inner = (shares[:, None, None] * circle).reshape(-1, 2)
    return np.concatenate([inner, np.zeros((1, 2))]), circle


def _skin_disc(face: np.ndarray) -> np.ndarray:
    """Texture points of the coarse skin: the face by mean-value coordinates, the net by its rings."""
    oval = list(FACE_OVAL)
    turn = np.pi / 2 - np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    radius = FACE_SHARE + (1 - FACE_SHARE) * (np.arange(RINGS) + 1) / RINGS
    disc = np.zeros((coarse_vertex_count(), 2))
    disc[FACE_MESH_COUNT:] = (radius[:, None, None] * circle).reshape(-1, 2)
    disc[:FACE_MESH_COUNT] = _planar_face(face[:FACE_MESH_COUNT], oval, FACE_SHARE * circle)
    return 0.5 + DISC_RADIUS * disc


def _planar_face(face: np.ndarray, oval: list[int], boundary: np.ndarray) -> np.ndarray:
    """The face without folds inside a convex boundary [Floater 2003]; holes are closed by a middle point."""
    points, triangles = face, symmetric_face_triangles()
    for loop in (LEFT_EYE_RIM, RIGHT_EYE_RIM, INNER_LIP_LOOP):
        hole = np.array(loop)
        middle = np.full(len(hole), len(points))
        points = np.concatenate([points, face[hole].mean(0, keepdims=True)])
        triangles = np.concatenate([triangles, np.stack([hole, np.roll(hole, -1), middle], axis=1)])
    weights = np.zeros((len(points), len(points)))
    for corner in range(3):
        a, b, c = (triangles[:, (corner + k) % 3] for k in range(3))
        first, second = points[b] - points[a], points[c] - points[a]
        lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
        cosine = np.einsum("ij,ij->i", first, second) / np.maximum(lengths[0] * lengths[1], 1e-12)
        half_tangent = np.tan(np.arccos(np.clip(cosine, -1, 1)) / 2)
        np.add.at(weights, (a, b), half_tangent / np.maximum(lengths[0], 1e-5))
        np.add.at(weights, (a, c), half_tangent / np.maximum(lengths[1], 1e-5))
    rim = np.asarray(oval)
    inside = np.setdiff1d(np.arange(len(points)), rim)
    system = np.diag(weights.sum(1)) - weights
    flat = np.zeros((len(points), 2))
    flat[oval] = boundary
    flat[inside] = np.linalg.solve(system[np.ix_(inside, inside)], weights[np.ix_(inside, rim)] @ boundary)
    return flat[: len(face)]
