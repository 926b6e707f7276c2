"""Curves and bars as SVG inside a page, in its colours; their size does not grow with what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from ..curves import runs, ticks
from .style import COLOURS
from .text import text

WIDTH, HEIGHT = 360, 140
_LEFT, _RIGHT, _TOP, _FOOT = 40, 14, 8, 18
POINTS = 240  # of a curve; of more the lowest and the highest of each stretch are drawn
MARKS = 8


def curves(
    title: str,
    places: Float[ndarray, " N"],
    series: Mapping[str, Float[ndarray, " N"]],
    *,
    absent: Bool[ndarray, " N"] | None = None,
    marks: Sequence[float] = (),
    zero: bool = False,
) -> str:
    """Curves over common places as a figure; NaN leaves a gap.

    Args:
        title: with the units of both axes.
        places: along x, increasing.
        series: name -> values; colours repeat after six, with dashed lines.
        absent: places to shade.
        marks: places to mark with a red line; the first eight are.
        zero: the axis begins at 0.
    """
    known = [values[np.isfinite(values)] for values in series.values()]
    finite = np.concatenate([np.zeros(0), *known])
    if not len(finite):
        return ""
    low, high = _ends(finite, zero=zero)
    left, right = float(places[0]), float(places[-1])
    left, right = (left, right) if right > left else (left - 0.5, left + 0.5)
    x = _LEFT + (WIDTH - _LEFT - _RIGHT) * (np.asarray(places, np.float64) - left) / (right - left)
    bottom = HEIGHT - _FOOT
    parts = _axes((left, right), (low, high))
    for first, last in [] if absent is None else _merged(runs(absent), len(places)):
        width = max(float(x[last - 1] - x[first]), 1.0)
        parts.append(
            f'<rect class="gap" x="{x[first]:.1f}" y="{_TOP}" width="{width:.1f}" height="{bottom - _TOP}"/>'
        )
    for mark in list(marks)[:MARKS]:
        place = float(np.interp(mark, places, x))
        parts.append(f'<path class="mark" d="M{place:.1f} {_TOP}V{bottom}"/>')
    for number, values in enumerate(series.values()):
        y = bottom - (bottom - _TOP) * (np.asarray(values, np.float64) - low) / (high - low)
        kind = f"l c{number % COLOURS}" + " again" * (number // COLOURS % 2)
        parts.append(f'<path class="{kind}" d="{_path(x, y)}"/>')
    return _figure(title, list(series), parts)


def bars(title: str, values: Float[ndarray, " N"], *, count: int = 24) -> str:
    """How often values are how large, as a figure; the last bar holds all beyond the 99th hundredth.

    Args:
        title: of the figure.
        values: any; those not finite are left out.
        count: of the bars.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    low, high = _ends(np.quantile(finite, [0, 0.99]), zero=False)
    heights, edges = np.histogram(np.clip(finite, low, high), bins=count, range=(low, high))
    bottom = HEIGHT - _FOOT
    parts = _axes((low, high), (0.0, float(heights.max())), whole=True)
    scale = (WIDTH - _LEFT - _RIGHT) / (high - low)
    for amount, first, last in zip(heights, edges[:-1], edges[1:], strict=True):
        if amount:
            size = (bottom - _TOP) * amount / heights.max()
            parts.append(
                f'<rect class="bar" x="{_LEFT + scale * (first - low) + 0.5:.1f}" y="{bottom - size:.1f}" '
                f'width="{max(scale * (last - first) - 1, 0.5):.1f}" height="{size:.1f}"/>'
            )
    return _figure(title, [], parts)


def _ends(values: Float[ndarray, " N"], *, zero: bool) -> tuple[float, float]:
    low, high = (min(0.0, float(values.min())) if zero else float(values.min())), float(values.max())
    short = max(1e-6, 1e-3 * abs(high))
    return (low, high) if high - low > short else (low - short, high + short)


def _axes(across: tuple[float, float], up: tuple[float, float], *, whole: bool = False) -> list[str]:
    """Lines and numbers; ``whole``: upwards whole numbers alone."""
    bottom, parts = HEIGHT - _FOOT, []
    for tick in (tick for tick in ticks(*up, most=4) if not whole or tick.is_integer()):
        y = bottom - (bottom - _TOP) * (tick - up[0]) / (up[1] - up[0])
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(*across, most=6):
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * (tick - across[0]) / (across[1] - across[0])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{tick:g}</text>')
    return parts


def _merged(gaps: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Gaps that stand closer than a pixel as one, so that there are never more than a chart has pixels."""
    merged: list[tuple[int, int]] = []
    for first, last in gaps:
        if merged and first - merged[-1][1] < count / POINTS:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def thinned(values: Float[ndarray, " N"]) -> list[int]:
    """Indices of a curve's points that are drawn: of each stretch its lowest and highest, and gaps.

    Example:
        >>> len(thinned(np.arange(10.0))), len(thinned(np.arange(100_000.0))) <= POINTS
        (10, True)
    """
    if len(values) <= POINTS:
        return list(range(len(values)))
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(values)), POINTS // 2):
        known = part[np.isfinite(values[part])]
        kept |= (
            {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
            if len(known)
            else {int(part[0])}
        )
    return sorted(kept)


def _path(x: Float[ndarray, " N"], y: Float[ndarray, " N"]) -> str:
    rows = thinned(y)
    x, y = x[rows], y[rows]
    pieces = []
    for first, last in runs(np.isfinite(y)):
        points = [f"{a:.1f} {b:.1f}" for a, b in zip(x[first:last], y[first:last], strict=True)]
        pieces.append("M" + "L".join(points) + ("h1" if len(points) == 1 else ""))
    return "".join(pieces)


def _figure(title: str, names: Sequence[str], parts: Sequence[str]) -> str:
    keys = "".join(
        f'<b class="key c{number % COLOURS}">{text(name, longest=40)}'
        f"{', dashed' * (number // COLOURS % 2)}</b>"
        for number, name in enumerate(names)
    )
    caption = f"<figcaption>{text(title)} {keys if len(names) > 1 else ''}</figcaption>"
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>'
    )
    return f'<figure class="chart">{caption}{picture}</figure>'
