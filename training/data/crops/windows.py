"""Which square of a picture goes with a face: the windows of the papers, stated on one box.

All windows are measured from the box of the 68 iBUG points (brows to chin, ear to ear), which every landmark
detector gives. Boxes are x0, y0, x1, y1 in pixels; (0, 0) is the picture's outer top-left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ....flame.landmarks import FACE_MESH_COUNT, MEDIAPIPE_68
from ....geom.errors import HeadwarpError

__all__ = [
    "WINDOWS",
    "Square",
    "Window",
    "face_box",
    "get_window",
    "iou",
    "placed",
    "reached",
    "squared",
]

Box = Float[np.ndarray, " 4"]
Border = Literal["drop", "shift", "pad"]


@dataclass(frozen=True)
class Window:
    """How a face's landmarks become a box, and the boxes of a clip its square.

    Attributes:
        reach: how far the box goes to the left, up, right and down from the landmark box's centre.
        unit: what ``reach`` counts in: the ``longer`` or the ``mean`` side of the landmark box.
        increase: what is added on every side of the union of a clip's boxes, in sides of it.
        source: where the numbers come from.
    """

    reach: tuple[float, float, float, float]
    unit: Literal["longer", "mean"]
    increase: float
    source: str


WINDOWS: dict[str, Window] = {
    "vox": Window(
        (0.55, 0.92, 0.55, 0.58),
        "longer",
        0.1,
        "[FOMM]'s VoxCeleb crops (its video-preprocessing), which [DaGAN] and [S2D] train on too: the union "
        "of the face detector's boxes, a tenth of its sides added all round. The detector's box, from above "
        "the brows to below the chin, was measured against the landmarks in such crops.",
    ),
    "pwm": Window(
        (0.7425, 0.891, 0.7425, 0.594),
        "mean",
        0.0,
        "[PWM]'s code: 1.1 x 1.35 times the mean side of the landmark box, whose centre lies 3/5 of the way "
        "down. Here of the union of a clip's boxes; there of every frame.",
    ),
    "heser": Window(
        (0.9, 0.9, 0.9, 0.9),
        "longer",
        0.0,
        "The unofficial code of [HeSer]: 1.8 times the longer side of the landmark box, centred. There every "
        "frame is turned until the eyes are level; a clip's square stays upright.",
    ),
    "head": Window(
        (1.37, 1.60, 1.37, 1.14),
        "longer",
        0.0,
        "headwarp's own (`geom.crops.head_crop`): the whole head with hair and neck.",
    ),
}


def get_window(name: str) -> Window:
    """The window of a name.

    Raises:
        HeadwarpError: unknown name.
    """
    if name not in WINDOWS:
        raise HeadwarpError(f"window: expected one of {', '.join(sorted(WINDOWS))}, got {name!r}")
    return WINDOWS[name]


def face_box(landmarks: Float[np.ndarray, "L D"]) -> Box:
    """The box of the 68 points of one face.

    Args:
        landmarks: (478, 2 or 3), (468, ..) or (68, ..) px, all finite.
    """
    points = landmarks[list(MEDIAPIPE_68)] if len(landmarks) >= FACE_MESH_COUNT else landmarks
    xy = points[:, :2].astype(np.float64)
    return np.concatenate([xy.min(axis=0), xy.max(axis=0)])


def reached(faces: Float[np.ndarray, "N 4"], window: Window) -> Float[np.ndarray, "N 4"]:
    """The boxes that a window makes of faces' boxes: ``window.reach`` around their centres; NaN stays NaN.

    Args:
        faces: left, top, right, bottom of each.
        window: whose reach counts.

    Example:
        >>> reached(np.array([[0.0, 10, 20, 30]]), WINDOWS["heser"]).tolist()
        [[-8.0, 2.0, 28.0, 38.0]]
    """
    low, high = faces[:, :2], faces[:, 2:]
    sides = high - low
    unit = sides.max(axis=1) if window.unit == "longer" else sides.mean(axis=1)
    left, up, right, down = window.reach
    centre = (low + high) / 2
    return np.concatenate(
        [centre - unit[:, None] * [left, up], centre + unit[:, None] * [right, down]], axis=1
    )  # (N, 4)


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 where both are empty.

    Args:
        first, second: left, top, right, bottom.

    Example:
        >>> iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2]))
        0.3333333333333333
    """
    shared = np.prod(np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0.0))
    total = np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared
    return float(shared / total) if total > 0 else 0.0


@dataclass(frozen=True)
class Square:
    """A window of whole pixels: its top-left pixel and its side; may reach over the picture's border."""

    x: int
    y: int
    side: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1; the last two lie one behind the last pixel."""
        return self.x, self.y, self.x + self.side, self.y + self.side

    def contains(self, box: Box) -> bool:
        """Whether the box lies within."""
        x0, y0, x1, y1 = self.box
        return bool(x0 <= box[0] and y0 <= box[1] and box[2] <= x1 and box[3] <= y1)


def squared(box: Box, increase: float) -> Square:
    """The box with ``increase`` of its sides added all round, its shorter side made as long as the longer.

    Both about the centre, as [FOMM]'s preprocessing does it; rounded outwards.

    Args:
        box: left, top, right, bottom.
        increase: share of each side.

    Example:
        >>> squared(np.array([100.0, 100.0, 200.0, 300.0]), 0.1)
        Square(x=30, y=80, side=240)
    """
    centre, side = (box[:2] + box[2:]) / 2, (1 + 2 * increase) * float((box[2:] - box[:2]).max())
    x, y = (math.floor(value + 1e-6) for value in centre - side / 2)
    far = max(centre[0] + side / 2 - x, centre[1] + side / 2 - y)
    return Square(x, y, max(1, math.ceil(far - 1e-6)))


def placed(
    square: Square, face: Box, *, size: tuple[int, int], border: Border = "drop", max_pad: float = 0.1
) -> Square | None:
    """The square as it is cut from a picture, or None where the border forbids it.

    Args:
        square: the window wanted.
        face: what it must hold in any case: the union of the boxes of the clip's 68 points.
        size: (H, W) of the picture.
        border: ``drop`` takes no square that reaches over the border, as [FOMM]'s preprocessing (max_pad 0);
            ``shift`` moves it inwards, and shrinks it to the picture's shorter side, as long as it holds the
            face; ``pad`` lets it reach over.
        max_pad: how far over, in sides of the square, under ``pad``.
    """
    height, width = size
    x0, y0, x1, y1 = square.box
    over = max(-x0, -y0, x1 - width, y1 - height)
    if over <= 0:
        return square
    if border == "pad":
        return square if over <= max_pad * square.side else None
    if border == "drop":
        return None
    side = min(square.side, height, width)
    x, y = (
        min(max(round(start + (square.side - side) / 2), 0), length - side)
        for start, length in ((square.x, width), (square.y, height))
    )
    moved = Square(x, y, side)
    return moved if moved.contains(face) else None
