"""Rest positions of what is not skin: eyeballs, sockets behind the lids, the pocket behind the lips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..landmarks import LEFT_IRIS, RIGHT_IRIS
from .topology import SIDES, HeadTopology, eyeball_directions

EYE_RADIUS = 0.012
LID_CLEARANCE = 0.0004
SOCKET_DEPTH = 0.93  # of the eye's radius
# the mouth pocket, ring by ring: metres back from the lips, half height, width against the lips'
MOUTH_RINGS = ((0.005, 0.0035, 0.97), (0.012, 0.009, 0.92), (0.022, 0.012, 0.85), (0.032, 0.009, 0.7))
MOUTH_END = 0.036


@dataclass(frozen=True)
class Eye:
    """An eyeball at rest: ``centre (3,)`` and ``radius``, metres; it looks along z."""

    centre: np.ndarray
    radius: float


def fit_eye(face: np.ndarray, rim: np.ndarray, side: str) -> Eye:
    """The eyeball behind a lid rim (N, 3): in line with the iris, as far forward as the lids allow.

    The corners, where no eyeball touches the lids, do not count.

    Args:
        face: points of the face mesh, metres.
        rim: points of the lids.
        side: ``left`` or ``right``, the subject's.
    """
    iris = face[(LEFT_IRIS if side == "left" else RIGHT_IRIS)[0]]
    across = np.abs(rim[:, 0] - iris[0])
    lids = rim[across < 0.009]
    aside = np.linalg.norm(lids[:, :2] - iris[:2], axis=1)
    reach = np.sqrt((EYE_RADIUS + LID_CLEARANCE) ** 2 - aside**2)
    depth = (lids[:, 2] - reach).min()
    return Eye(np.array([iris[0], iris[1], depth]), EYE_RADIUS)


def eyeball_vertices(eye: Eye) -> np.ndarray:
    """(114, 3)."""
    return eye.centre + eye.radius * eyeball_directions()


def socket_vertices(eye: Eye, rim: np.ndarray) -> np.ndarray:
    """A wall from the lids into the eyeball, and its closing vertex at the eyeball's centre: (33, 3)."""
    outward = rim - eye.centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return np.concatenate([eye.centre + SOCKET_DEPTH * eye.radius * outward, eye.centre[None]])


def lip_side(rim: np.ndarray, count: int) -> np.ndarray:
    """+1 in the middle of the upper lip, -1 in the middle of the lower one, 0 at the corners; (count,)."""
    wave = np.sin(2 * np.pi * np.arange(count) / count)
    return wave if rim[count // 4, 1] >= rim[3 * count // 4, 1] else -wave


def part_lips(rim: np.ndarray, gap: float = 2e-4) -> np.ndarray:
    """The inner lip loop (N, 3) with upper and lower lip at least ``gap`` metres apart."""
    parted, count = rim.copy(), len(rim)
    side = np.sign(lip_side(rim, count))
    for i in range(1, count // 2):
        upper, lower = (i, count - i) if side[i] > 0 else (count - i, i)
        missing = max(0.0, gap - (rim[upper, 1] - rim[lower, 1]))
        parted[upper, 1] += missing / 2
        parted[lower, 1] -= missing / 2
    return parted


def mouth_vertices(rim: np.ndarray) -> np.ndarray:
    """Four rings behind the inner lip loop (N, 3) and the closing vertex: (4 N + 1, 3)."""
    side = lip_side(rim, len(rim))
    bow = np.sign(side) * np.sqrt(np.abs(side))
    middle = rim.mean(axis=0)
    rings = []
    for depth, height, width in MOUTH_RINGS:
        flat = np.stack([width * rim[:, 0], rim[:, 1] + height * bow, rim[:, 2] - depth], axis=1)
        rings.append(flat)
    end = np.array([[0.0, middle[1], rim[:, 2].max() - MOUTH_END]])
    return np.concatenate([*rings, end])


def mouth_weights(rim: np.ndarray, rim_weights: np.ndarray) -> np.ndarray:
    """How much the mouth pocket follows the jaw: in front like the lips, behind 1 below and 0 above."""
    lower = (1 - lip_side(rim, len(rim))) / 2
    shares = np.linspace(0.5, 1.0, len(MOUTH_RINGS))[:, None]
    rings = (1 - shares) * rim_weights + shares * lower
    return np.concatenate([rings.reshape(-1), [0.5]])


def skin_weights(topology: HeadTopology, head: np.ndarray, jaw: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Skinning weights (V, 5) of root, neck, jaw and eyes from those of the coarse skin (1260,).

    ``rim`` (40, 3) is the inner lip loop at rest.

    Args:
        topology: of the whole head.
        head: share of the head against the shoulders, a value a point of the coarse skin.
        jaw: share of the jaw in that.
        rim: points of the lips.
    """
    fine_head = np.clip(topology.subdivision @ head, 0, 1)
    fine_jaw = np.clip(topology.subdivision @ jaw, 0, 1)
    pocket = mouth_weights(rim, fine_jaw[topology.rims["mouth"]])
    weights = np.zeros((topology.vertex_count, 5))
    weights[:, 1] = 1
    skin, mouth = topology.part("skin"), topology.part("mouth")
    weights[skin, 0] = 1 - fine_head
    weights[skin, 1] = fine_head * (1 - fine_jaw)
    weights[skin, 2] = fine_head * fine_jaw
    weights[mouth, 1] = 1 - pocket
    weights[mouth, 2] = pocket
    for column, side in enumerate(SIDES, start=3):
        weights[topology.part(f"{side}_eyeball")] = np.eye(5)[column]
    return weights
