"""Shoulders and chest under the head's neck, skin down to the neckline and cloth below it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ....flame.model import HeadModel
from .anatomy import Anatomy
from .parts import Material, Part, grid_faces, joint_weights, mesh_normals
from .traits import Traits

COLUMNS, ROWS = 72, 44
# metres below the neck's narrowest place: half width, half depth (against the neck's), shift forwards
_DOWN = (-0.012, 0.004, 0.018, 0.030, 0.044, 0.062, 0.09, 0.15, 0.3, 0.6)
_WIDE = (0.80, 0.95, 1.25, 1.85, 2.60, 3.15, 3.45, 3.55, 3.45, 3.4)
_DEEP = (0.80, 0.95, 1.12, 1.30, 1.50, 1.72, 1.92, 2.05, 2.05, 2.0)
_NECKLINES = {"crew": (0.026, 0.0), "vee": (0.028, 0.085), "high": (-0.002, 0.0), "shirt": (0.008, 0.04)}


@dataclass(frozen=True)
class Torso:
    """The column of ellipses that shoulders and chest are: height of the neck, its middle and half axes."""

    top: float
    middle: float
    across: float
    deep: float
    build: float

    def axes(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half width and half depth at heights, metres."""
        down = self.top - y
        wide = np.interp(down, _DOWN, _WIDE)
        grown = 1 + (wide - 1) * self.build
        return self.across * grown, self.deep * np.interp(down, _DOWN, _DEEP)


def torso_of(
    verts: Float[np.ndarray, "V 3"],
    skin: Bool[np.ndarray, " V"],
    *,
    chin: float,
    scale: float,
    traits: Traits,
) -> Torso:
    """Measured on the neck of the person's own head: where it is narrowest below the chin.

    Args:
        verts: the person's vertices at rest, metres.
        skin: True for vertices of the skin.
        chin: its height, metres.
        scale: size of the face against an adult's.
        traits: of the person.
    """
    low = verts[skin, 1].min()
    heights = np.linspace(chin - 0.018 * scale, low + 0.02 * scale, 12)
    rings = [verts[skin & (np.abs(verts[:, 1] - y) < 0.009 * scale)] for y in heights]
    widths = [np.ptp(ring[:, 0]) if len(ring) else np.inf for ring in rings]
    narrow = int(np.argmin(widths))
    top = heights[narrow] - 0.006 * scale
    below = verts[skin & (np.abs(verts[:, 1] - (top - 0.014 * scale)) < 0.009 * scale)]
    ring = rings[narrow] if len(below) == 0 else below
    depth = np.ptp(rings[narrow][:, 2]) / 2
    return Torso(top, float(ring[:, 2].min() + depth), widths[narrow] / 2, float(depth), traits.build)


def torso_part(head: HeadModel, anatomy: Anatomy, *, torso: Torso, traits: Traits) -> Part:
    """The mesh; coords: metres below the neckline (negative above), angle from the front, height, 0.

    Args:
        head: the head model.
        anatomy: measures of the head.
        torso: from `torso_of`.
        traits: of the person.
    """
    turn = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False)
    down = np.interp(np.linspace(0, 1, ROWS), np.linspace(0, 1, len(_DOWN)), _DOWN) * anatomy.scale
    y = torso.top - down
    across, deep = torso.axes(y)
    net = np.empty((ROWS, COLUMNS, 3))
    square = 0.82  # chests are rounder than boxes, squarer than ellipses
    net[..., 0] = across[:, None] * _rounded(np.sin(turn), square)
    net[..., 1] = y[:, None] - 0.012 * (across[:, None] / across.max()) * np.abs(np.sin(turn))
    net[..., 2] = torso.middle + deep[:, None] * _rounded(np.cos(turn), square)
    points = net.reshape(-1, 3)
    faces = grid_faces(ROWS, COLUMNS, closed=True)
    high, dip = _NECKLINES[traits.neckline]
    spread = np.where(np.abs(np.sin(turn)) < 0.6, 1 - np.abs(np.sin(turn)) / 0.6, 0) * (np.cos(turn) > 0)
    line = torso.top - anatomy.scale * (high + dip * spread)
    coords = np.zeros((ROWS, COLUMNS, 4))
    coords[..., 0] = line[None] - net[..., 1]
    coords[..., 1], coords[..., 2] = turn, net[..., 1]
    return Part(
        points,
        mesh_normals(points, faces),
        faces,
        joint_weights(head.joint_names, len(points), joint="root"),
        coords.reshape(-1, 4),
        Material.CLOTH,
    )


def _rounded(value: np.ndarray, power: float) -> np.ndarray:
    return np.sign(value) * np.abs(value) ** power
