"""Ears of the built-in head: a tilted shell with a rim and a hollow, raised out of the side of the skull."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ...geom.mesh import adjacency

EAR_CENTRE = (0.010, -0.047)  # y, z
EAR_HALF_SIZE = (0.032, 0.0185)  # up and down, front to back
EAR_TILT = np.radians(14.0)  # the upper end leans backwards
EAR_HEIGHT = 0.017  # of the rear rim above the skull
SMOOTHINGS = 2
EAR_DIRECTION = np.array([0.90, 0.0, -0.44])  # of the subject's left ear's rim


def raise_ears(points: np.ndarray, movable: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The skin's points (N, 3) with ears raised from those that may move (N,) bool.

    The height is averaged over neighbours: the net is coarser than the ear's edge.

    Args:
        points: of the skin, metres.
        movable: True for points that may move.
        faces: triangles of the skin.
    """
    across, along = _ear_coordinates(points)
    raisable = movable & (np.abs(points[:, 0]) > 0.03)
    links = adjacency(faces, len(points))
    average = sparse.diags(1 / np.asarray(links.sum(1)).ravel()) @ links
    height = ear_height(across, along) * raisable
    for _ in range(SMOOTHINGS):
        height = (height + average @ height) / 2 * raisable
    direction = np.where(points[:, :1] > 0, 1.0, [[-1.0, 1.0, 1.0]]) * EAR_DIRECTION  # (N, 3)
    return points + height[:, None] * direction


def ear_mask(points: np.ndarray, movable: np.ndarray) -> np.ndarray:
    """Which points (N, 3) of the skin, before the ears are raised, belong to them."""
    across, along = _ear_coordinates(points)
    return movable & (np.abs(points[:, 0]) > 0.03) & (_radius(across, along) < 1.05)


def _ear_coordinates(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place in the ear's own outline: -1 at its front .. 1 at its back, -1 at the lobe .. 1 at its top."""
    up, back = points[:, 1] - EAR_CENTRE[0], EAR_CENTRE[1] - points[:, 2]
    along = np.cos(EAR_TILT) * up + np.sin(EAR_TILT) * back
    across = np.cos(EAR_TILT) * back - np.sin(EAR_TILT) * up
    return across / EAR_HALF_SIZE[1], along / EAR_HALF_SIZE[0]


def _radius(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """1 on the outline, which is narrower towards the lobe."""
    narrow = 1 - 0.28 * np.clip(-along, 0, 1)
    return np.hypot(across / narrow, along)


def ear_height(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Metres above the skull: a slope from the cheek to the rear rim, the rim, the hollow of the concha."""
    radius = _radius(across, along)
    front = -1.0 - 0.3 * _step(along, 0.1, 0.9)
    slope = _step(across, front, front + 1.35) * (1 - 0.30 * np.clip(-along, 0, 1))
    rim = 0.30 * np.exp(-(((radius - 0.84) / 0.14) ** 2)) * _step(across - 0.9 * along, -1.3, -0.4)
    hollow = 0.70 * np.exp(-(((across - 0.0) / 0.36) ** 2) - ((along + 0.10) / 0.34) ** 2)
    fold = 0.22 * np.exp(-(((across - 0.20) / 0.36) ** 2) - ((along - 0.52) / 0.16) ** 2)
    edge = 1 - _step(radius, 0.92, 1.22)
    return EAR_HEIGHT * edge * np.clip(slope + rim - hollow - fold, 0, None)


def _step(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
