"""What only some people wear: glasses, caps, headscarves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ....flame.model import HeadModel
from .anatomy import Anatomy
from .parts import Material, Part, grid_faces, joint_weights
from .torso import Torso
from .traits import Traits

RIM_POINTS, RIM_SIDES = 40, 6


def headwear_parts(
    head: HeadModel, verts: Float[np.ndarray, "V 3"], anatomy: Anatomy, torso: Torso, *, traits: Traits
) -> list[Part]:
    """A cap or a headscarf, where the person wears one."""
    return []


def glasses_parts(
    head: HeadModel, points: Float[np.ndarray, "478 3"], anatomy: Anatomy, *, traits: Traits
) -> list[Part]:
    """Rims, bridge and temples before the eyes."""
    if not traits.glasses:
        return []
    scale = anatomy.scale
    tubes = []
    for corner, inner, ear in ((33, 133, 234), (263, 362, 454)):
        centre = (points[corner] + points[inner]) / 2 + scale * np.array([0.0, -0.003, 0.016])
        turn = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False)
        x = 0.0255 * scale * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.8
        y = 0.0205 * scale * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.8
        side = np.sign(centre[0])
        rim = centre + np.stack([x, y, -0.18 * side * x], axis=1)
        tubes.append((rim, True))
        hinge = centre + scale * np.array([0.0255 * side, 0.006, -0.0046])
        temple = points[ear] + scale * np.array([0.006 * side, 0.022, -0.012])
        tubes.append((np.linspace(hinge, temple, 12), False))
    left, right = tubes[0][0], tubes[2][0]
    tubes.append((np.linspace(left[0], right[RIM_POINTS // 2], 8), False))
    return [_tube(head, line, 0.0013 * scale, closed=closed) for line, closed in tubes]


def _tube(head: HeadModel, line: np.ndarray, radius: float, *, closed: bool) -> Part:
    """A round bar along a line that turns with the head."""
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    aside = np.cross(along, [0.0, 1.0, 0.2])
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    up = np.cross(along, aside)
    turn = np.linspace(0, 2 * np.pi, RIM_SIDES, endpoint=False)
    ring = np.cos(turn)[None, :, None] * aside[:, None] + np.sin(turn)[None, :, None] * up[:, None]
    net = line[:, None] + radius * ring
    if closed:
        net, ring = (np.concatenate([a, a[:1]]) for a in (net, ring))
    faces = grid_faces(len(net), RIM_SIDES, closed=True)
    points = net.reshape(-1, 3)
    return Part(
        points,
        ring.reshape(-1, 3),
        faces,
        joint_weights(head.joint_names, len(points), "neck"),
        np.zeros((len(points), 4)),
        Material.FRAME,
    )
