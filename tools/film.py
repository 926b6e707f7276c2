"""What frames of explaining videos are put together from: pictures in their own shape, and curves so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ..training.data.lettering import Colour, write_words
from ..training.data.portrait import Frame

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

PAPER, INK, SOFT = (22, 24, 28), (235, 237, 240), (160, 168, 178)
BAD, DOUBTFUL = (255, 120, 110), (255, 196, 84)
COLOURS: tuple[Colour, ...] = (
    *((110, 168, 254), (255, 159, 90), (111, 208, 140), (212, 155, 224)),
    *((224, 192, 79), (95, 208, 216)),
)
LETTERS = 13
_GRID = (58, 63, 71)
_TICKS = 34  # pixels for the numbers of an axis
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def within(shape: Sequence[int], room: tuple[int, int]) -> tuple[int, int]:
    """The largest (H, W) of a shape in a room.

    Example:
        >>> within((1080, 1920, 3), (200, 200))
        (112, 200)
    """
    scale = min(room[0] / shape[0], room[1] / shape[1])
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def paste_within(frame: Image, picture: Frame, corner: tuple[int, int], room: tuple[int, int]) -> None:
    """Put a picture into the middle of a room, all of it and in its own shape.

    Args:
        frame: what it is put into.
        picture: uint8 (H, W, 3).
        corner: left and top of the room.
        room: (H, W).
    """
    from PIL import Image

    size = within(picture.shape, room)
    shown = Image.fromarray(picture)
    if size != picture.shape[:2]:
        kind = Image.Resampling.BOX if size[0] < picture.shape[0] else Image.Resampling.BICUBIC
        shown = shown.resize(size[::-1], kind)
    frame.paste(shown, (corner[0] + (room[1] - size[1]) // 2, corner[1] + (room[0] - size[0]) // 2))


def draw_axis(draw: ImageDraw, box: Box, high: float) -> Box:
    """Lines at zero, half and the whole of ``high`` with their numbers; returns the box of the curves.

    Args:
        draw: of the picture.
        box: left, top, right, bottom in pixels.
        high: value at the top.
    """
    inner = (box[0] + _TICKS, box[1] + 6, box[2] - 8, box[3] - 8)
    for share in (0.0, 0.5, 1.0):
        y = inner[3] - share * (inner[3] - inner[1])
        draw.line((inner[0], y, inner[2], y), fill=_GRID)
        write_words(draw, (box[0] + 2, y - 7), f"{share * high:g}", width=_TICKS, size=11, colour=SOFT)
    return inner


def round_above(value: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not less.

    Example:
        >>> round_above(0.034), round_above(0.2), round_above(0.0)
        (0.05, 0.2, 0.01)
    """
    value = max(value, 0.01)
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(power * step, 12) for step in (1, 2, 5, 10) if power * step >= value * (1 - 1e-9))


def curve_points(values: Float[ndarray, " T"], box: Box, high: float) -> list[tuple[float, float]]:
    """Places of a curve's known values in a box, one a pixel column at most: of more the mean.

    Args:
        values: NaN where not known.
        box: where.
        high: value at the top.
    """
    known = np.flatnonzero(np.isfinite(values))
    columns = np.floor(known * (box[2] - box[0]) / max(len(values) - 1, 1)).astype(int)
    first = np.flatnonzero(np.diff(columns, prepend=-1))
    if not len(first):
        return []
    means = np.add.reduceat(values[known], first) / np.diff(np.append(first, len(known)))
    heights = box[3] - (box[3] - box[1]) * np.clip(means / high, 0, 1)
    return list(zip((box[0] + columns[first]).tolist(), heights.tolist(), strict=True))
