"""Curves over frames as a picture: panels under each other, drawn with PIL alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..geom.errors import ShapeError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]
PALETTE: tuple[Colour, ...] = ((31, 98, 180), (214, 96, 20), (32, 140, 60), (150, 60, 160))
_PAPER, _INK, _GRID, _GAP = (255, 255, 255), (40, 40, 40), (225, 225, 225), (238, 224, 224)
_LEFT, _RIGHT, _TITLE, _FOOT = 52, 10, 18, 18


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: with the unit.
        series: name -> value a frame, ``(T,)`` each; NaN leaves a gap. At most four.
        limits: lower and upper end of the axis; None for either: what the values need.
        least: the axis spans at least so much, so that noise does not look like motion.
    """

    title: str
    series: dict[str, NDArray[np.floating]]
    limits: tuple[float | None, float | None] = (None, None)
    least: float = 0.0


def draw_curves(
    panels: Sequence[Panel],
    title: str,
    *,
    absent: NDArray[np.bool_] | None = None,
    marks: Sequence[int] = (),
    width: int = 960,
    height: int = 110,
) -> Frame:
    """Panels with common frames along x.

    Args:
        panels: at least one, all of T frames.
        title: over all.
        absent: frames to shade, ``(T,)``.
        marks: frames to mark with a red line.
        width: of the picture in pixels.
        height: of each panel's axes.

    Returns:
        ``(H, width, 3)`` uint8.

    Raises:
        ShapeError: no panel, no frame, or series of different lengths.
    """
    from PIL import Image, ImageDraw

    lengths = {len(values) for panel in panels for values in panel.series.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ShapeError(f"draw_curves: expected series of one length above 0, got {sorted(lengths)}")
    (frames,) = lengths
    total = _TITLE + len(panels) * (_TITLE + height) + _FOOT
    picture = Image.new("RGB", (width, total), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((6, 3), _ascii(title), fill=_INK)
    for number, panel in enumerate(panels):
        top = _TITLE + number * (_TITLE + height) + _TITLE
        box = (_LEFT, top, width - _RIGHT, top + height - 4)
        _background(draw, box, frames, absent, marks)
        _panel(draw, box, panel, frames)
    _frame_numbers(draw, (_LEFT, total - _FOOT, width - _RIGHT, total), frames)
    return np.asarray(picture)


Box = tuple[int, int, int, int]  # left, top, right, bottom


def _x(box: Box, frame: float, frames: int) -> float:
    return box[0] + (box[2] - box[0]) * (frame + 0.5) / frames


def _background(
    draw: ImageDraw, box: Box, frames: int, absent: NDArray[np.bool_] | None, marks: Sequence[int]
) -> None:
    for first, last in runs(np.zeros(frames, bool) if absent is None else absent):
        left, right = _x(box, first - 0.5, frames), _x(box, last - 0.5, frames)
        draw.rectangle((left, box[1], max(right, left + 1), box[3]), fill=_GAP)
    for frame in marks:
        draw.line((_x(box, frame, frames), box[1], _x(box, frame, frames), box[3]), fill=(220, 60, 60))


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of every run of True.

    Example:
        >>> runs(np.array([True, False, True, True]))
        [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _panel(draw: ImageDraw, box: Box, panel: Panel, frames: int) -> None:
    low, high = _span(panel)
    for tick in ticks(low, high):
        y = _y(box, tick, low, high)
        draw.line((box[0], y, box[2], y), fill=_GRID)
        draw.text((4, y - 6), f"{tick:g}", fill=_INK)
    draw.rectangle(box, outline=(180, 180, 180))
    draw.text((box[0], box[1] - _TITLE + 3), _ascii(panel.title), fill=_INK)
    place = box[2]
    for (name, values), colour in reversed(list(zip(panel.series.items(), PALETTE, strict=False))):
        place -= int(draw.textlength(_ascii(name))) + 14
        draw.text((place, box[1] - _TITLE + 3), _ascii(name), fill=colour)
        for first, last in runs(np.isfinite(values)):
            points = [
                (_x(box, frame, frames), _y(box, float(values[frame]), low, high))
                for frame in range(first, last)
            ]
            if len(points) == 1:
                points = [(points[0][0] - 1, points[0][1]), (points[0][0] + 1, points[0][1])]
            draw.line(points, fill=colour, width=1)


def _y(box: Box, value: float, low: float, high: float) -> float:
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return box[3] - share * (box[3] - box[1])


def _span(panel: Panel) -> tuple[float, float]:
    """Ends of a panel's axis; finite and apart."""
    finite = [v[np.isfinite(v)] for v in panel.series.values()]
    values = np.concatenate(finite) if finite else np.zeros(0)
    low = float(values.min()) if len(values) else 0.0
    high = float(values.max()) if len(values) else 1.0
    short = max(panel.least, 1e-6) - (high - low)
    if short > 0:
        low, high = low - short / 2, high + short / 2
    low = low if panel.limits[0] is None else panel.limits[0]
    high = high if panel.limits[1] is None else panel.limits[1]
    return (low, high) if high > low else (low, low + max(panel.least, 1e-6))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, at most ``most``.

    Args:
        low, high: the range.
        most: how many at most.

    Example:
        >>> ticks(-0.2, 1.1)
        [0.0, 0.5, 1.0]
    """
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame_numbers(draw: ImageDraw, box: Box, frames: int) -> None:
    for tick in ticks(0, max(frames - 1, 1), 10):
        if float(tick).is_integer() and tick < frames:
            draw.text((_x(box, tick, frames) - 6, box[1] + 3), f"{tick:.0f}", fill=_INK)


def _ascii(text: str) -> str:
    """PIL's built-in font has no other letters."""
    return text.encode("ascii", "replace").decode()
