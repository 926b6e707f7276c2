"""The outside of the head where no landmark lies: skull, neck and ears, grown from the rim of the face mesh.

The surface is a smooth union of simple solids; a net of 22 rings of 36 points is spread over it between the
face oval and the bottom of the neck, relaxed along the surface and faired. Metres, FLAME's axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ...geom.mesh import adjacency
from ..landmarks import FACE_MESH_COUNT, FACE_OVAL, face_mesh_triangles, mirror_map

RINGS = 22
COLUMNS = 36
HEAD_CENTRE = np.array([0.0, 0.025, -0.045])
NECK_DIRECTION = np.array([0.0, -0.945, -0.325])
NECK_HALF_ANGLE = np.radians(21.0)
NECK_PLANE = -0.18
NECK_RING_CENTRE = np.array([0.0, NECK_PLANE, -0.085])
NECK_RING_RADII = (0.072, 0.066)
NECK_RADIUS = (0.055, 0.052)


@dataclass(frozen=True)
class CoarseHead:
    """The head before subdivision: ``vertices (1260, 3)``, ``faces (2436, 3)``, ``ring (1260,)``.

    ``ring`` is -1 on the face mesh and 0 (next to the oval) .. 21 (neck) on the grown part.
    """

    vertices: np.ndarray
    faces: np.ndarray
    ring: np.ndarray


def coarse_head(face: np.ndarray) -> CoarseHead:
    """The open head surface (holes: eyes, mouth, neck) around a symmetric face (468, 3)."""
    face = np.asarray(face, np.float64)[:FACE_MESH_COUNT]
    faces = coarse_faces()
    ring = coarse_rings()
    vertices = np.concatenate([face, _first_net(face).reshape(-1, 3)])
    vertices[ring == RINGS - 1] = _neck_ring()
    vertices = _fair(_relax(vertices, ring), faces, ring)
    vertices = (vertices + (vertices * [-1, 1, 1])[coarse_mirror()]) / 2
    vertices[:FACE_MESH_COUNT] = face
    return CoarseHead(vertices, faces, ring)


def coarse_vertex_count() -> int:
    """Vertices of the coarse head."""
    return FACE_MESH_COUNT + RINGS * COLUMNS


def coarse_rings() -> np.ndarray:
    """The net ring of each coarse vertex, -1 on the face mesh; (1260,)."""
    return np.concatenate([np.full(FACE_MESH_COUNT, -1), np.repeat(np.arange(RINGS), COLUMNS)])


def coarse_faces() -> np.ndarray:
    """Faces of the coarse head, (2436, 3): the face mesh and the net; they mirror onto themselves."""
    return np.concatenate([symmetric_face_triangles(), _net_faces()])


def symmetric_face_triangles() -> np.ndarray:
    """The face-mesh triangles with the subject's right half mirrored onto the left: exactly symmetric."""
    triangles, mirror = face_mesh_triangles(), mirror_map()
    columns = np.full(FACE_MESH_COUNT, 0)
    columns[list(_right_half(triangles, mirror))] = 1
    right = triangles[columns[triangles].any(axis=1)]
    return np.concatenate([right, mirror[right][:, ::-1]])


def _right_half(triangles: np.ndarray, mirror: np.ndarray) -> set[int]:
    """Vertices right of the midline: what is reached from the right eye without crossing it."""
    links = adjacency(triangles, FACE_MESH_COUNT)
    seen, stack = set(), [33]
    while stack:
        here = stack.pop()
        if here in seen or mirror[here] == here:
            continue
        seen.add(here)
        stack.extend(links.indices[links.indptr[here] : links.indptr[here + 1]].tolist())
    return seen


def coarse_mirror() -> np.ndarray:
    """The twin of each vertex of the coarse head in the mirror, (1260,)."""
    column = (-np.arange(COLUMNS)) % COLUMNS
    net = FACE_MESH_COUNT + np.arange(RINGS)[:, None] * COLUMNS + column  # (RINGS, COLUMNS)
    return np.concatenate([mirror_map()[:FACE_MESH_COUNT], net.reshape(-1)])


def signed_distance(points: np.ndarray) -> np.ndarray:
    """Approximate distance (N,) of points (N, 3) to skull, temples, jaw and neck; negative inside."""
    solids = (
        _solid(points, (0.0, 0.0654, -0.0495), (0.0704, 0.0801, 0.0973), 2.3),
        _solid(points, (0.0, 0.0179, -0.0434), (0.0722, 0.1104, 0.0879), 2.3),
        _solid(points, (0.0, -0.0117, 0.0105), (0.0617, 0.0814, 0.0718), 2.0),
    )
    distance = solids[0]
    for solid in solids[1:]:
        distance = _smooth_minimum(distance, solid, 0.025)
    return _smooth_minimum(distance, _neck(points), 0.025)


def _solid(
    points: np.ndarray, centre: tuple[float, ...], radii: tuple[float, ...], exponent: float
) -> np.ndarray:
    """A superellipsoid; exponent 2 is an ellipsoid, larger is fuller."""
    ratio = np.abs(points - np.array(centre)) / np.array(radii)
    level = (ratio**exponent).sum(-1) ** (1 / exponent) + 1e-12
    slope = np.linalg.norm(ratio ** (exponent - 1) / np.array(radii), axis=-1) * level ** (1 - exponent)
    return (level - 1) / (slope + 1e-9)


def _neck(points: np.ndarray) -> np.ndarray:
    """A cylinder that starts inside the skull and flares towards the shoulders."""
    top, bottom = np.array([0.0, -0.03, -0.058]), np.array([0.0, -0.18, -0.085])
    axis = (bottom - top) / np.linalg.norm(bottom - top)
    offset = points - top
    along = np.clip(offset @ axis, 0, None)
    across = offset - along[..., None] * axis
    distance = np.linalg.norm(across * np.array([NECK_RADIUS[1] / NECK_RADIUS[0], 1, 1]), axis=-1)
    flare = 1 + 0.30 * np.clip((along - 0.08) / 0.08, 0, None) ** 2
    return distance / flare - NECK_RADIUS[1]


def _smooth_minimum(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    share = np.clip(0.5 + 0.5 * (second - first) / blend, 0, 1)
    return second * (1 - share) + first * share - blend * share * (1 - share)


def _surface_normal(points: np.ndarray, step: float = 1e-4) -> np.ndarray:
    shifts = step * np.eye(3)
    slope = np.stack([signed_distance(points + h) - signed_distance(points - h) for h in shifts], axis=-1)
    return slope / (np.linalg.norm(slope, axis=-1, keepdims=True) + 1e-12)


def _ray_lengths(directions: np.ndarray) -> np.ndarray:
    """Where rays from the head's centre leave the surface, found from outside."""
    length = np.full(len(directions), 0.4)
    for _ in range(120):
        distance = signed_distance(HEAD_CENTRE + directions * length[:, None])
        length = length - 0.6 * np.clip(distance, -0.01, 0.01)
    return length


def _net_faces() -> np.ndarray:
    oval = np.array(FACE_OVAL)
    index = np.vstack([oval, FACE_MESH_COUNT + np.arange(RINGS * COLUMNS).reshape(RINGS, COLUMNS)])
    faces = []
    for i in range(RINGS):
        for j in range(COLUMNS):
            k = (j + 1) % COLUMNS
            a, b, c, d = index[i, j], index[i, k], index[i + 1, k], index[i + 1, j]
            # the diagonals of the two halves mirror each other
            faces += [[a, b, c], [a, c, d]] if j < COLUMNS // 2 else [[a, b, d], [b, c, d]]
    return np.array(faces)


def _first_net(face: np.ndarray) -> np.ndarray:
    """The net on the surface (RINGS, COLUMNS, 3): circles between two circles, by stereographic projection.

    A Moebius map makes the face oval and the neck concentric; great circles would fail, the way from brow to
    nape being longer than half a turn.
    """
    oval = face[list(FACE_OVAL)]
    rays = oval - HEAD_CENTRE
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = _net_directions(rays)  # (RINGS, COLUMNS, 3)
    flat = directions.reshape(-1, 3)
    points = HEAD_CENTRE + flat * _ray_lengths(flat)[:, None]
    below = points[:, 1] < NECK_PLANE
    to_plane = (NECK_PLANE - HEAD_CENTRE[1]) / np.minimum(flat[:, 1], -1e-6)
    points[below] = HEAD_CENTRE + flat[below] * to_plane[below, None]
    net = points.reshape(RINGS, COLUMNS, 3)
    offset = oval - (HEAD_CENTRE + rays * _ray_lengths(rays)[:, None])
    fade = np.clip(1 - (np.arange(RINGS) + 1) / 7, 0, 1) ** 2
    return net + fade[:, None, None] * offset


def _net_directions(rays: np.ndarray) -> np.ndarray:
    from scipy.optimize import brentq

    front = np.array([0.0, -0.05, 1.0]) / np.hypot(1, 0.05)
    across = np.array([1.0, 0.0, 0.0])
    up = np.cross(front, across)
    oval = ((rays @ across) + 1j * (rays @ up)) / (1 - rays @ front)
    neck = _neck_circle(front, across, up)
    centre = 0.5j * (oval.imag.max() + oval.imag.min())
    radius = np.abs(oval - centre).mean()
    low, high = ((neck.imag.min() - centre.imag) / radius, (neck.imag.max() - centre.imag) / radius)

    def mismatch(shift: float) -> float:
        return (high - shift) / (1 - shift * high) + (low - shift) / (1 - shift * low)

    shift = 1j * brentq(mismatch, low + 1e-9, high - 1e-9)
    outer = (oval - centre) / radius
    outer = (outer - shift) / (1 - np.conj(shift) * outer)
    inner = abs((1j * high - shift) / (1 - np.conj(shift) * 1j * high))
    step = (np.arange(RINGS) + 1)[:, None] / RINGS
    disc = np.exp((1 - step) * np.log(np.abs(outer)) + step * np.log(inner) + 1j * np.angle(outer))
    plane = (disc + shift) / (1 + np.conj(shift) * disc) * radius + centre  # (RINGS, COLUMNS)
    size = np.abs(plane)[..., None] ** 2
    lifted = 2 * plane.real[..., None] * across + 2 * plane.imag[..., None] * up + (size - 1) * front
    return lifted / (size + 1)


def _neck_circle(front: np.ndarray, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    axis = NECK_DIRECTION / np.linalg.norm(NECK_DIRECTION)
    side = np.cross(axis, across)
    side /= np.linalg.norm(side)
    turn = np.linspace(0, 2 * np.pi, 73)[:-1, None]
    ring = np.cos(NECK_HALF_ANGLE) * axis
    ring = ring + np.sin(NECK_HALF_ANGLE) * (np.cos(turn) * across + np.sin(turn) * side)
    return ((ring @ across) + 1j * (ring @ up)) / (1 - ring @ front)


def _neck_ring() -> np.ndarray:
    """The lowest ring: column 0 (over the forehead) ends at the nape, column 18 (chin) at the throat."""
    turn = np.pi / 2 - np.arange(COLUMNS) * 2 * np.pi / COLUMNS
    flat = np.zeros_like(turn)
    circle = np.stack([NECK_RING_RADII[0] * np.cos(turn), flat, -NECK_RING_RADII[1] * np.sin(turn)], axis=1)
    return NECK_RING_CENTRE + circle


def _relax(vertices: np.ndarray, ring: np.ndarray, rounds: int = 150) -> np.ndarray:
    """Even spacing by averaging steps along the surface; the normal part is removed or the skull collapses.

    Points are drawn to the middle of their neighbours up and down their column, a little to those in their
    ring: with equal shares the net folds under the face, whose rim is not convex. Near the face the target
    surface keeps the oval's distance to the solids, fading over six centimetres.
    """
    vertices = vertices.copy()
    average = _net_average()
    moving = np.flatnonzero((ring >= 0) & (ring < RINGS - 1))
    oval = np.tile(vertices[list(FACE_OVAL)], (RINGS - 1, 1))
    at_oval = signed_distance(oval)
    for _ in range(rounds):
        points = vertices[moving]
        level = at_oval * np.clip(1 - np.linalg.norm(points - oval, axis=1) / 0.06, 0, 1) ** 2
        step = average @ vertices - points
        normal = _surface_normal(points)
        points = points + 0.5 * (step - (step * normal).sum(1, keepdims=True) * normal)
        for _ in range(3):
            distance = np.clip(signed_distance(points) - level, -0.02, 0.02)
            points = points - distance[:, None] * _surface_normal(points)
        vertices[moving] = points
    return vertices


def _net_average(across: float = 0.25) -> sparse.csr_matrix:
    """For every movable point of the net the weighted mean of its four neighbours, as a matrix."""
    net = np.vstack([FACE_OVAL, FACE_MESH_COUNT + np.arange(RINGS * COLUMNS).reshape(RINGS, COLUMNS)])
    own = np.arange((RINGS - 1) * COLUMNS)
    middle = net[1:-1]
    neighbours = [net[:-2], net[2:], np.roll(middle, 1, axis=1), np.roll(middle, -1, axis=1)]
    shares = np.array([1.0, 1.0, across, across]) / (2 + 2 * across)
    parts = [
        sparse.csr_matrix((np.full(len(own), share), (own, index.ravel())), (len(own), coarse_vertex_count()))
        for share, index in zip(shares, neighbours, strict=True)
    ]
    return sum(parts[1:], parts[0]).tocsr()


def _fair(vertices: np.ndarray, faces: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """A least-squares smoothing: loose next to the face, firm at the neck, fixed on the face."""
    from scipy.sparse.linalg import splu

    links = adjacency(faces, len(vertices))
    umbrella = sparse.diags(1 / np.asarray(links.sum(1)).ravel()) @ links - sparse.identity(len(vertices))
    oval = np.tile(vertices[list(FACE_OVAL)], (RINGS, 1))
    away = np.linalg.norm(vertices[ring >= 0] - oval, axis=1)
    hold = np.full(len(vertices), 1e4)
    hold[ring >= 0] = np.interp(away, [0.005, 0.03], [0.5, 2.0])
    hold[ring == RINGS - 1] = 50.0
    return splu((umbrella.T @ umbrella + sparse.diags(hold)).tocsc()).solve(hold[:, None] * vertices)
