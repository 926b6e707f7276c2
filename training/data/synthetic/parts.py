"""What a person wears and has besides the head's skin, as meshes that move with the head's joints."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ....flame.landmarks import LIPS_INNER_LOWER, LIPS_INNER_UPPER


class Material(enum.IntEnum):
    """What a triangle is made of; the values are those of the label pictures, 0 is the background."""

    BACKGROUND = 0
    SKIN = 1
    EYE = 2
    MOUTH = 3
    TEETH = 4
    HAIR = 5
    CLOTH = 6
    FRAME = 7
    OBJECT = 8
    HAND = 9


NOT_PERSON = (Material.BACKGROUND, Material.OBJECT)


@dataclass(frozen=True)
class Part:
    """A mesh beside the head, in the rest frame of the person's own head, metres.

    Attributes:
        points, normals: (N, 3).
        faces: its own triangles.
        weights: of the head's joints.
        coords: what its material looks up, see `albedo`.
        material: of all its triangles.
        tangents: along hair; zero elsewhere.
        follow: vertex of the head whose expression it follows, -1 for none.
    """

    points: Float[np.ndarray, "N 3"]
    normals: Float[np.ndarray, "N 3"]
    faces: Int[np.ndarray, "F 3"]
    weights: Float[np.ndarray, "N J"]
    coords: Float[np.ndarray, "N 4"]
    material: Material
    tangents: Float[np.ndarray, "N 3"] | None = None
    follow: Int[np.ndarray, " N"] | None = None


def joint_weights(names: tuple[str, ...], count: int, *, joint: str) -> Float[np.ndarray, "N J"]:
    """Points that move with one joint alone.

    Args:
        names: of all joints, in order.
        count: of the points.
        joint: that they move with.
    """
    weights = np.zeros((count, len(names)), np.float32)
    weights[:, names.index(joint)] = 1
    return weights


def grid_faces(rows: int, columns: int, *, closed: bool = False) -> Int[np.ndarray, "F 3"]:
    """Triangles of a net of points, row by row; ``closed`` joins the last column to the first.

    Args:
        rows: of the net.
        columns: of the net.
        closed: the last column is joined to the first.

    Example:
        >>> grid_faces(2, 2).tolist()
        [[0, 2, 3], [0, 3, 1]]
    """
    here = np.arange(rows * columns).reshape(rows, columns)
    there = np.roll(here, -1, axis=1) if closed else here[:, 1:]
    here = here if closed else here[:, :-1]
    a, b, c, d = here[:-1].ravel(), there[:-1].ravel(), here[1:].ravel(), there[1:].ravel()
    return np.concatenate([np.stack([a, c, d], 1), np.stack([a, d, b], 1)])


def mesh_normals(points: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Unit normals of the vertices, weighted by area."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, faces[:, corner], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def tube(
    line: Float[np.ndarray, "K 3"], radius: Float[np.ndarray, " K"], *, closed: bool = False, sides: int = 6
) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"], Int[np.ndarray, "F 3"]]:
    """A round bar along a line, or around a loop: its points, normals and triangles.

    Args:
        line: its points, metres.
        radius: at each of them, metres.
        closed: the last point is joined to the first.
        sides: corners of its section.
    """
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    helper = np.eye(3)[np.abs(along).sum(0).argmin()] + 0.2
    aside = np.cross(along, helper)
    aside = aside / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-12)
    up = np.cross(along, aside)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[None, :, None] * aside[:, None] + np.sin(turn)[None, :, None] * up[:, None]
    net = line[:, None] + radius[:, None, None] * ring
    if closed:
        net, ring = (np.concatenate([a, a[:1]]) for a in (net, ring))
    faces = grid_faces(len(net), sides, closed=True)
    return net.reshape(-1, 3), ring.reshape(-1, 3), faces


def teeth(points: Float[np.ndarray, "478 3"], joints: tuple[str, ...], *, scale: float) -> list[Part]:
    """An upper row of teeth that stays with the skull and a lower one that goes with the jaw.

    Each is a bow behind the lips' rim; coords: metres from the middle along the bow, from the biting edge.

    Args:
        points: the face mesh's 478 on the head at rest, metres.
        joints: names of all joints.
        scale: size of the face against an adult's.
    """
    upper, lower = points[list(LIPS_INNER_UPPER)], points[list(LIPS_INNER_LOWER)]
    rim = np.concatenate([upper, lower])
    middle, half = rim.mean(0), 0.5 * np.ptp(rim[:, 0])
    curve = np.polyfit(rim[:, 0] - middle[0], rim[:, 2], 2)
    columns, rows = 33, 4
    across = np.linspace(-0.92, 0.92, columns) * half
    made = []
    for joint, up, edge, back in (("neck", 1.0, -0.0040, 0.0038), ("jaw", -1.0, -0.0035, 0.0054)):
        y = middle[1] + scale * (up * np.linspace(0.0, 0.011, rows) + edge)
        depth = np.polyval(curve, across) - scale * back - 6.0 * across**2 / max(half, 1e-6) * 0.2
        net = np.empty((rows, columns, 3))
        net[..., 0], net[..., 1], net[..., 2] = middle[0] + across, y[:, None], depth
        net[..., 2] -= scale * 0.0008 * np.linspace(0, 1, rows)[:, None]
        coords = np.zeros((rows, columns, 4))
        coords[..., 0], coords[..., 1] = across, np.linspace(0.0, 0.011 * scale, rows)[:, None]
        flat = net.reshape(-1, 3)
        faces = grid_faces(rows, columns)
        normals = mesh_normals(flat, faces)
        normals *= np.sign(normals[:, 2:] + 1e-9)
        made.append(
            Part(
                flat,
                normals,
                faces,
                joint_weights(joints, len(flat), joint=joint),
                coords.reshape(-1, 4),
                Material.TEETH,
            )
        )
    return made
