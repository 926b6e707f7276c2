"""The contact sheet of a run of `headwarp fit`: the mesh over a few frames of each clip, worst clips first.

However large the run, a limited number of clips is shown: the worst, and some evenly taken from all. Only
these are opened again.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.fitting.percent import residual_percent
from ..flame.model import HeadModel
from ..flame.params import DETECTED, STATUS_NAMES, HeadFit
from ..flame.posing import posed_vertices, window_fit
from ..geom.crops import crop_image, head_crop
from ..geom.errors import HeadwarpError
from ..training.data.inputs import Input, opened
from ..training.data.lettering import write_words
from ..training.data.portrait import Frame, to_frame, to_image
from .draw import blend, shaded, view_of
from .fit_curves import fit_series, worst_frames

WORST, EVEN = 24, 8  # clips on a sheet
FRAMES = 5  # of a clip: three evenly taken, and the two worst
TILE = 132
BAD_PERCENT = 2.0  # of the eye distance: people's faces leave about 1
OPACITY = 0.6
_LABEL = 200
_RED, _INK, _PAPER, _GREY = (215, 40, 40), (25, 25, 25), (246, 246, 246), (205, 205, 205)


@dataclass(frozen=True)
class Row:
    """One clip on the sheet.

    Attributes:
        lines: its name and numbers.
        bad: whether they are a warning.
        tiles: pictures, each with a caption and whether it is a warning.
        series: numbers frame by frame, of `fit_series`.
    """

    lines: tuple[str, ...]
    bad: bool
    tiles: tuple[tuple[Frame, str, bool], ...]
    series: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)


def badness(entry: Mapping[str, Any]) -> float:
    """How much a clip's fit should be looked at: its residual in percent of the eye distance, a quarter
    of that of its worst frame, and ten for a clip in which no frame of the face's track was detected.
    """
    worst = entry.get("worst_frame") or {}
    absent = 1 - entry["detected"] / max(entry["frames"], 1)
    return float(entry["reprojection_percent_iod"] + 0.25 * worst.get("percent", 0.0) + 10 * absent)


def chosen_clips(entries: Iterable[Mapping[str, Any]], *, worst: int = WORST, even: int = EVEN) -> list[int]:
    """Indices of the clips to show, worst first, then those evenly taken; failed ones are passed over.

    One pass; memory for the chosen ones alone.

    Args:
        entries: of the report, in order.
        worst: how many of the worst.
        even: how many of the others.
    """
    heap: list[tuple[float, int]] = []
    taken: list[int] = []
    step = 1
    for number, entry in enumerate(entries):
        if not entry["ok"]:
            continue
        heapq.heappush(heap, (badness(entry), -number))
        if len(heap) > worst:
            heapq.heappop(heap)
        if number % step == 0:
            taken.append(number)
        if len(taken) >= 4 * max(even, 1):
            taken, step = taken[::2], 2 * step
    first = [-number for _, number in sorted(heap, reverse=True)]
    rest = [number for number in taken if number not in first]
    return first + rest[:: max(1, -(-len(rest) // max(even, 1)))][:even]


def clip_row(path: Path, entry: Mapping[str, Any], model: HeadModel, *, start: int = 0) -> Row:
    """The row of a clip: its fit and its frames are read again.

    Args:
        path: the photo or clip.
        entry: of the report.
        model: the head.
        start: number in the file of the fit's first frame.

    Raises:
        HeadwarpError: one of the files is gone or cannot be read.
    """
    fit = HeadFit.load(entry["output"])
    percent = residual_percent(model, fit)
    worst = worst_frames(percent, 2) if fit.frames > 1 else []
    seen = np.flatnonzero((fit.status == DETECTED).numpy())
    even = (
        seen[np.unique(np.linspace(0, len(seen) - 1, 5).round().astype(int)[1:4])] if len(seen) > 1 else seen
    )
    shown = sorted({*even.tolist(), *worst})[:FRAMES]
    pictures = _frames(path, [start + frame for frame in shown], seek=not entry.get("damaged"))
    tiles = []
    for frame, picture in zip(shown, pictures, strict=True):
        bad = bool(percent[frame] > BAD_PERCENT)
        caption = f"{frame}: {percent[frame]:.1f} %" + (" worst" if worst and frame == worst[0] else "")
        tiles.append((tile(picture, model, fit.select([frame])), caption, bad))
    lines, bad = _lines(entry)
    return Row(lines, bad, tuple(tiles), fit_series(model, fit) if fit.frames > 1 else {})


def _frames(path: Path, numbers: Sequence[int], *, seek: bool) -> list[Frame]:
    """Frames of a file by number; where damage makes numbers uncertain, by the same way through the file."""
    from ..training.data.media import VideoReader

    found: dict[int, Frame] = {}
    if seek:
        for number in numbers:
            with VideoReader(path, start=number) as reader:
                found[number] = next(iter(reader))
    else:
        with VideoReader(path) as reader:
            found = {number: frame for number, frame in enumerate(reader) if number in numbers}
    missing = [number for number in numbers if number not in found]
    if missing:
        raise HeadwarpError(f"{path}: expected frames {missing}, the file ends before")
    return [found[number] for number in numbers]


def tile(frame: Frame, model: HeadModel, fit: HeadFit, *, size: int = TILE) -> Frame:
    """The mesh (before the 2D residual) over the face of a frame, ``(size, size, 3)``.

    Args:
        frame: the whole picture.
        model: the head of the fit.
        fit: of this frame.
        size: side of the tile in pixels.
    """
    window = head_crop(fit.landmarks[0], scale=1.9)
    moved = window_fit(fit, window, size)
    view = view_of(model, posed_vertices(model, moved), (size, size))
    below = crop_image(to_image(frame), window, size)[0]
    return to_frame(blend(below, shaded(view), view.covered, opacity=OPACITY))


def _lines(entry: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Name and numbers of a clip, and whether they are a warning."""
    percent = entry["reprojection_percent_iod"]
    counts = [f"{entry[name]} {name}" for name in STATUS_NAMES[:2] if entry[name]]
    jitter = entry["jitter"]
    lines = [entry["name"], f"residual {percent:.2f} %", f"{entry['frames']} frame(s)", *counts]
    if jitter["fitted"] is not None:
        lines.append(f"jitter {jitter['fitted']:.2f} px, {jitter['rotation_deg']:.2f} deg")
    halves = entry.get("identity_halves_mm")
    lines += [] if halves is None else [f"identity +- {halves:.2f} mm"]
    return tuple(lines), percent > BAD_PERCENT or entry["detected"] < 0.9 * entry["frames"]


def together(rows: Sequence[Row]) -> list[Row]:
    """Rows of clips as they are, then those of photos, several to a row, their names in the captions."""
    clips, photos = [r for r in rows if len(r.tiles) > 1], [r for r in rows if len(r.tiles) == 1]
    packed = []
    for first in range(0, len(photos), FRAMES):
        part = photos[first : first + FRAMES]
        tiles = [
            (row.tiles[0][0], f"{row.lines[0]}: {row.tiles[0][1].partition(': ')[2]}", row.tiles[0][2])
            for row in part
        ]
        packed.append(Row((f"{len(part)} photo(s)",), any(row.bad for row in part), tuple(tiles)))
    return [*clips, *packed]


def draw_sheet(rows: Sequence[Row], title: str) -> Frame:
    """Rows under a title; two columns of rows where there are more than six."""
    from PIL import Image, ImageDraw

    columns = 2 if len(rows) > 6 else 1
    width = _LABEL + FRAMES * TILE
    lines = -(-len(rows) // columns)
    sheet = Image.new("RGB", (columns * width, 22 + lines * (TILE + 4)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    write_words(draw, (6, 4), title, width=columns * width - 12, colour=_INK)
    for number, row in enumerate(rows):
        left, top = (number // lines) * width, 22 + (number % lines) * (TILE + 4)
        for place, text in enumerate(row.lines):
            colour = _RED if row.bad else _INK
            write_words(draw, (left + 6, top + 3 + 17 * place), text, width=_LABEL - 10, colour=colour)
        for place, (picture, caption, bad) in enumerate(row.tiles):
            corner = (left + _LABEL + place * TILE, top)
            sheet.paste(Image.fromarray(picture), corner)
            box = (*corner, corner[0] + TILE - 2, corner[1] + TILE - 1)
            draw.rectangle(box, outline=_RED if bad else _GREY, width=3 if bad else 1)
            below = corner[1] + TILE - 17
            draw.rectangle((corner[0] + 1, below, corner[0] + TILE - 3, corner[1] + TILE - 2), fill=(0, 0, 0))
            colour = (255, 130, 130) if bad else (255, 255, 255)
            write_words(draw, (corner[0] + 4, below + 1), caption, width=TILE - 10, size=12, colour=colour)
    return np.asarray(sheet)


def open_rows(
    entries: Sequence[Mapping[str, Any]], inputs: Sequence[Input], model: HeadModel
) -> tuple[dict[int, Row], list[str]]:
    """The rows of the clips to show, worst first, by the numbers of their inputs.

    Args:
        entries: of the report, one an input.
        inputs: what was fitted.
        model: the head.

    Returns:
        The rows; and clips that were to be shown and could not be read again, a sentence each.
    """
    rows: dict[int, Row] = {}
    refused = []
    for number in chosen_clips(entries):
        found = inputs[number]
        try:
            with tempfile.TemporaryDirectory() as folder, opened(found, Path(folder)) as file:
                rows[number] = clip_row(file, entries[number], model, start=found.start)
        except HeadwarpError as error:
            refused.append(f"sheet.png lacks {entries[number]['name']}: {error}")
    return rows, refused


def write_sheet(path: Path, rows: Sequence[Row], total: int) -> None:
    """Write the contact sheet of a run as PNG; nothing where there is no row.

    Args:
        path: of the sheet.
        rows: of `open_rows`.
        total: inputs of the run.
    """
    from ..training.data.media import write_image

    if rows:
        shown = f"{len(rows)} of {total} inputs" if len(rows) < total else f"{len(rows)} inputs"
        title = f"{shown}, worst first; frame: residual in % of the eye distance, red above {BAD_PERCENT:g} %"
        write_image(path, draw_sheet(together(rows), title), provenance=None)
