"""Glasses: rims, bridge, temples; dark ones have panes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ....flame.model import HeadModel
from .anatomy import Anatomy
from .parts import Material, Part, joint_weights, tube
from .traits import Traits

RIM_POINTS = 40


def glasses_parts(
    head: HeadModel, points: Float[np.ndarray, "478 3"], *, anatomy: Anatomy, traits: Traits
) -> list[Part]:
    """Before the eyes of those who wear them; they turn with the head.

    Args:
        head: the head model.
        points: the face mesh's 478 on the person at rest, metres.
        anatomy: measures of the head.
        traits: of the person.
    """
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
    bars = [tube(line, np.full(len(line), 0.0013 * scale), closed=closed) for line, closed in tubes]
    panes = [_pane(tubes[0][0]), _pane(tubes[2][0])] if traits.glasses == "dark" else []
    return [
        Part(
            points,
            normals,
            faces,
            joint_weights(head.joint_names, len(points), joint="neck"),
            np.zeros((len(points), 4)),
            Material.FRAME,
        )
        for points, normals, faces in [*bars, *panes]
    ]


def _pane(rim: Float[np.ndarray, "N 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A fan of triangles inside a rim, bulging a little."""
    middle = rim.mean(0) + np.array([0.0, 0.0, 0.002])
    count = len(rim)
    here = np.arange(count)
    faces = np.stack([here, np.roll(here, -1), np.full(count, count)], axis=1)
    normals = np.tile([0.0, 0.0, 1.0], (count + 1, 1)) + 4 * (np.vstack([rim, middle]) - middle)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.vstack([rim, middle]), normals, faces
