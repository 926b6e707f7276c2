"""Charts of studies, drawn with PIL alone: means with bands of their spread, bars, matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from ...geom.errors import ShapeError
from ..curves import PALETTE, runs, ticks

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Picture = UInt8[np.ndarray, "H W 3"]
Box = tuple[int, int, int, int]  # left, top, right, bottom
_PAPER, _INK, _GRID, _FAINT = (255, 255, 255), (40, 40, 40), (225, 225, 225), (120, 120, 120)
_LEFT, _RIGHT, _TITLE, _FOOT, _ROW = 56, 16, 20, 22, 18


@dataclass(frozen=True)
class Band:
    """A curve with its spread.

    Attributes:
        mean: at each place along x; NaN leaves a gap.
        deviation: half the height of the band about it.
    """

    mean: Float[np.ndarray, " N"]
    deviation: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class BandPanel:
    """One set of axes.

    Attributes:
        title: with the unit.
        bands: name -> curve; at most four.
        levels: name -> what does not depend on x, drawn dashed.
    """

    title: str
    bands: Mapping[str, Band]
    levels: Mapping[str, float] = field(default_factory=dict)


def draw_bands(
    panels: Sequence[BandPanel],
    places: Sequence[str],
    title: str,
    *,
    width: int = 640,
    height: int = 170,
) -> Picture:
    """Panels under each other with common places along x, evenly spaced.

    Args:
        panels: at least one.
        places: what stands under each of the N places, such as numbers of shots.
        title: over all.
        width: of the picture in pixels.
        height: of each panel's axes.

    Raises:
        ShapeError: no panel or place, or a curve of another length.
    """
    from PIL import Image, ImageDraw

    for panel in panels:
        for name, band in panel.bands.items():
            if not len(band.mean) == len(band.deviation) == len(places):
                raise ShapeError(f"draw_bands: {name}: expected {len(places)} values, got {len(band.mean)}")
    if not panels or not places:
        raise ShapeError(f"draw_bands: expected panels and places, got {len(panels)} and {len(places)}")
    total = _TITLE + len(panels) * (_TITLE + height) + _FOOT
    picture = Image.new("RGB", (width, total), _PAPER)
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.text((6, 4), _ascii(title), fill=_INK)
    xs = [_LEFT + (width - _LEFT - _RIGHT) * (n + 0.5) / len(places) for n in range(len(places))]
    for number, panel in enumerate(panels):
        top = _TITLE + number * (_TITLE + height) + _TITLE
        _bands(draw, (_LEFT, top, width - _RIGHT, top + height - 6), panel, xs)
    for x, place in zip(xs, places, strict=True):
        draw.text((x - draw.textlength(_ascii(place)) / 2, total - _FOOT + 2), _ascii(place), fill=_INK)
    return np.asarray(picture)


def _bands(draw: ImageDraw, box: Box, panel: BandPanel, xs: Sequence[float]) -> None:
    low, high = _span(panel)

    def y(value: float) -> float:
        return box[3] - (box[3] - box[1]) * min(max((value - low) / (high - low), 0.0), 1.0)

    for tick in ticks(low, high):
        draw.line((box[0], y(tick), box[2], y(tick)), fill=_GRID)
        draw.text((4, y(tick) - 6), f"{tick:g}", fill=_INK)
    draw.rectangle(box, outline=(180, 180, 180))
    draw.text((box[0], box[1] - 16), _ascii(panel.title), fill=_INK)
    place = float(box[2])
    for (name, band), colour in zip(panel.bands.items(), PALETTE, strict=False):
        for first, last in runs(np.isfinite(band.mean)):
            some = range(first, last)
            upper = [(xs[n], y(band.mean[n] + band.deviation[n])) for n in some]
            lower = [(xs[n], y(band.mean[n] - band.deviation[n])) for n in some]
            if len(upper) > 1:
                draw.polygon([*upper, *reversed(lower)], fill=(*colour, 45))
                draw.line([(xs[n], y(band.mean[n])) for n in some], fill=colour, width=2)
            for n, above, below in zip(some, upper, lower, strict=True):
                draw.line([above, below], fill=(*colour, 110))
                dot = y(band.mean[n])
                draw.ellipse((xs[n] - 3, dot - 3, xs[n] + 3, dot + 3), fill=colour)
        place = _named(draw, name, place, box[1] - 16, colour)
    for name, level in panel.levels.items():
        for x in range(box[0], box[2], 8):
            draw.line((x, y(level), min(x + 4, box[2]), y(level)), fill=_FAINT)
        place = _named(draw, f"- - {name}", place, box[1] - 16, _FAINT)


def _named(draw: ImageDraw, name: str, right: float, top: float, colour: tuple[int, int, int]) -> float:
    """A name that ends left of a place; where the next one ends."""
    left = right - draw.textlength(_ascii(name)) - 14
    draw.text((left, top), _ascii(name), fill=colour)
    return left


def _span(panel: BandPanel) -> tuple[float, float]:
    """Ends of a panel's axis: all means with their bands and all levels, finite and apart."""
    parts = [np.concatenate([b.mean - b.deviation, b.mean + b.deviation]) for b in panel.bands.values()]
    values = np.concatenate([*parts, np.array(list(panel.levels.values()), float)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def draw_bars(
    panels: Mapping[str, Mapping[str, tuple[float, float]]], title: str, *, width: int = 640
) -> Picture:
    """Lying bars from 0 with a line for their spread and the value behind.

    Args:
        panels: title with the unit -> name -> mean, not below 0, and deviation.
        title: over all.
        width: of the picture in pixels.

    Raises:
        ShapeError: no bar, or a value that is below 0 or not finite.
    """
    from PIL import Image, ImageDraw

    values = [value for bars in panels.values() for pair in bars.values() for value in pair]
    if not values or not all(np.isfinite(values)) or min(values) < 0:
        raise ShapeError(f"draw_bars: expected finite values from 0 on, got {values}")
    total = _TITLE + sum(_TITLE + _ROW * len(bars) + 8 for bars in panels.values())
    picture = Image.new("RGB", (width, total), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((6, 4), _ascii(title), fill=_INK)
    left = 20 + max(int(draw.textlength(_ascii(name))) for bars in panels.values() for name in bars)
    top = _TITLE
    for heading, bars in panels.items():
        draw.text((6, top + 4), _ascii(heading), fill=_FAINT)
        top += _TITLE
        most = max(mean + deviation for mean, deviation in bars.values()) or 1.0
        scale = (width - left - 60) / most
        for number, (name, (mean, deviation)) in enumerate(bars.items()):
            draw.text((12, top + 2), _ascii(name), fill=_INK)
            colour = PALETTE[number % len(PALETTE)]
            draw.rectangle((left, top + 2, left + mean * scale, top + _ROW - 4), fill=colour)
            ends = [left + max(mean - deviation, 0) * scale, left + (mean + deviation) * scale]
            draw.line((ends[0], top + 8, ends[1], top + 8), fill=_INK)
            draw.text((ends[1] + 6, top + 2), f"{mean:.3g}", fill=_INK)
            top += _ROW
        top += 8
    return np.asarray(picture)


def draw_matrix(
    values: Float[np.ndarray, "R C"], rows: Sequence[str], columns: Sequence[str], title: str
) -> Picture:
    """Shares in [0, 1] as grey cells with their percent; NaN stays blank.

    Args:
        values: one row a line.
        rows, columns: their names.
        title: over all.

    Raises:
        ShapeError: names that are not as many as rows and columns.
    """
    from PIL import Image, ImageDraw

    if values.shape != (len(rows), len(columns)) or not values.size:
        raise ShapeError(f"draw_matrix: expected {(len(rows), len(columns))} values, got {values.shape}")
    cell, left, top = 46, 104, 62
    picture = Image.new("RGB", (left + cell * len(columns) + 8, top + 24 * len(rows) + 8), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((6, 4), _ascii(title), fill=_INK)
    for column, name in enumerate(columns):
        for line, word in enumerate(_ascii(name).split(" ", 1)):
            draw.text((left + column * cell + 2, top - 28 + 12 * line), word[:8], fill=_INK)
    for row, name in enumerate(rows):
        y = top + 24 * row
        draw.text((6, y + 6), _ascii(name), fill=_INK)
        for column, value in enumerate(values[row]):
            x = left + column * cell
            if not np.isfinite(value):
                continue
            dark = float(np.clip(value, 0, 1)) ** 0.5
            shade = tuple(round(255 - (255 - end) * dark) for end in PALETTE[0])
            draw.rectangle((x, y, x + cell - 2, y + 22), fill=shade)
            draw.text((x + 6, y + 6), f"{100 * value:.0f}", fill=_PAPER if dark > 0.6 else _INK)
    return np.asarray(picture)


def _ascii(text: str) -> str:
    """PIL's built-in font has no other letters."""
    return text.encode("ascii", "replace").decode()
