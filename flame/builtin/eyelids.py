"""The blink of the built-in head: the upper lid sweeps over the eyeball onto the lower one."""

from __future__ import annotations

import numpy as np

from ...geom.mesh import adjacency, laplacian_extension, uniform_laplacian
from .parts import SOCKET_DEPTH, Eye
from .topology import SIDES, HeadTopology

LOWER_LID_SHARE = 0.12  # of the opening is closed by the lower lid
CLOSED_CLEARANCE = 0.0008  # of the closed lids in front of the eyeball
RETREAT = 0.0004  # the eyeball draws back, so that the straight path of a lid does not cut it
LID_REACH = 6  # edges of the fine mesh that a blink moves


def eyelid_basis(topology: HeadTopology, template: np.ndarray, eyes: dict[str, Eye]) -> np.ndarray:
    """Displacements (V, 3, 2) that close the left and the right eye at coefficient 1.

    Args:
        topology: the head's.
        template: (V, 3) rest positions, metres.
        eyes: eyeballs by side.
    """
    basis = np.zeros((*template.shape, 2))
    for column, side in enumerate(SIDES):
        basis[..., column] = _blink(topology, template, side, eyes[side])
    return basis


def _blink(topology: HeadTopology, template: np.ndarray, side: str, eye: Eye) -> np.ndarray:
    rim = topology.rims[side]
    skin = template[: topology.subdivision.shape[0]]
    closed = closed_rim(skin[rim], eye)
    moved = skin + _carried(topology, rim, closed - skin[rim])
    lid = np.any(moved != skin, axis=1)
    moved[lid] = outside(moved[lid], eye, CLOSED_CLEARANCE)
    moved[rim] = closed
    blink = np.zeros_like(template)
    blink[: len(skin)] = moved - skin
    blink[topology.part(f"{side}_eyeball"), 2] = -RETREAT
    wall = topology.part(f"{side}_socket")[:-1]
    back = np.array([0.0, 0.0, RETREAT])
    outward = closed - eye.centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    blink[wall] = eye.centre - back + SOCKET_DEPTH * eye.radius * outward - template[wall]
    return blink


def closed_rim(rim: np.ndarray, eye: Eye) -> np.ndarray:
    """Where the rim (N, 3), from outer corner to outer corner, meets when shut; in front of the eyeball."""
    half = len(rim) // 2
    first, second = rim[: half + 1], np.concatenate([rim[:1], rim[: half - 1 : -1]])
    upper_first = first[half // 2, 1] > second[half // 2, 1]
    upper, lower = (first, second) if upper_first else (second, first)
    line = outside(lower + LOWER_LID_SHARE * (upper - lower), eye, CLOSED_CLEARANCE)
    line[[0, -1]] = rim[[0, half]]
    return np.concatenate([line, line[-2:0:-1]])


def outside(points: np.ndarray, eye: Eye, clearance: float) -> np.ndarray:
    """Points pushed outwards until they are ``clearance`` in front of the eyeball.

    Args:
        points: metres.
        eye: the eyeball.
        clearance: metres.
    """
    offset = points - eye.centre
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    return eye.centre + offset * np.maximum(1, (eye.radius + clearance) / distance)


def _carried(topology: HeadTopology, rim: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The rim's motion spread smoothly over the skin around it, to nothing ``LID_REACH`` edges away."""
    first, last = topology.faces_of["skin"]
    faces = topology.faces[first:last]
    count = topology.subdivision.shape[0]
    near = np.zeros(count)
    near[rim] = 1
    links = adjacency(faces, count)
    for _ in range(LID_REACH):
        near = np.minimum(near + links @ near, 1)
    free = np.flatnonzero(near)
    local = np.full(count, -1)
    local[free] = np.arange(len(free))
    kept = faces[(near[faces] > 0).all(axis=1)]
    outer = (links @ (near == 0))[free] > 0
    laplacian = uniform_laplacian(local[kept], len(free))
    spread = laplacian_extension(
        laplacian, local[rim], zero_index=np.setdiff1d(np.flatnonzero(outer), local[rim]), regularisation=1e-3
    )
    carried = np.zeros((count, 3))
    carried[free] = spread @ motion
    return carried
