"""The video of a fitted clip: every frame beside its mesh, with how far off that is, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from ..flame.fitting.percent import eye_pixels, residual_percent
from ..flame.model import HeadModel
from ..flame.params import DETECTED, INTERPOLATED, MISSING, HeadFit
from ..training.data.lettering import Colour, write_words
from ..training.data.portrait import Frame
from .curves import runs
from .drivers import DEFAULT_FPS
from .film import BAD, DOUBTFUL, INK, LETTERS, PAPER, SOFT, curve_points, draw_axis, round_above
from .overlay import FOUND, meshed, scaled_fit, scaled_frame, shown_points

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

LARGEST, SMALLEST = 720, 320  # pixels of a picture's longer side
FAR = 5.0  # a point that is farther from the mesh is marked, % of the eye distance
STATES: dict[int, tuple[str, Colour]] = {
    DETECTED: ("face detected", INK),
    INTERPOLATED: ("no face detected: fit from its neighbours", DOUBTFUL),
    MISSING: ("this face was not found: nothing fitted", BAD),
}
_HEADER, _CURVE, _GAP = 44, 96, 4
_SHADE = (52, 34, 36)
_CRF = 20


@dataclass(frozen=True)
class Screen:
    """What is the same in all frames of a video.

    Attributes:
        title: name of the clip.
        tile: (H, W) of a picture.
        percent: residual of every frame in percent of the eye distance, NaN where no face was detected.
        far: pixels of the tile, a frame each, from which on a point is far from the mesh.
        times: seconds from the start, a frame each; None where the file does not say.
    """

    title: str
    tile: tuple[int, int]
    percent: Float[ndarray, " T"]
    far: Float[ndarray, " T"]
    times: Float[ndarray, " T"] | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a frame, even."""
        height, width = _HEADER + self.tile[0] + _CURVE, 2 * self.tile[1] + _GAP
        return height + height % 2, width + width % 2


def screen_of(model: HeadModel, fit: HeadFit, title: str) -> Screen:
    """The screen for a fit.

    Args:
        model: the head of the fit.
        fit: T frames.
        title: above the film.
    """
    longest = min(LARGEST, max(SMALLEST, *fit.size))
    scale = longest / max(fit.size)
    tile = (max(16, round(fit.size[0] * scale)), max(240, round(fit.size[1] * scale)))
    return Screen(
        title, tile, residual_percent(model, fit), FAR / 100 * eye_pixels(model, fit) * scale, _times(fit)
    )


def _times(fit: HeadFit) -> Float[ndarray, " T"] | None:
    """Seconds of every frame from the start of the clip."""
    if "times" in fit.report:
        return np.asarray(fit.report["times"], np.float64)
    fps = fit.report.get("fps")
    if not fps:
        return None
    return (int(fit.report.get("start", 0)) + np.arange(fit.frames)) / float(Fraction(fps))


def film_frames(frames: Iterable[Frame], model: HeadModel, fit: HeadFit, screen: Screen) -> Iterator[Frame]:
    """A frame of the video for every frame of the clip, made as it is asked for.

    The clip's frame stands on the left, the parametric mesh (before the 2D residual) with the detected points
    on the right: green, or red where they are farther from the mesh than `FAR`. Under them is the residual
    over the whole clip, shaded where no face was detected, with a line at the frame. A frame without a fit is
    shown twice and says so.

    Args:
        frames: of the clip, uint8 of the fit's size, as many as it has or more.
        model: the head of the fit.
        fit: of all of the frames.
        screen: of the fit.

    Yields:
        uint8 (H, W, 3).
    """
    below = _background(screen, fit)
    for index, frame in zip(range(fit.frames), frames, strict=False):
        yield _frame(frame, fit.select([index]), model, screen, below, index)


def _frame(frame: Frame, fit: HeadFit, model: HeadModel, screen: Screen, below: Frame, index: int) -> Frame:
    from PIL import Image, ImageDraw

    scaled = scaled_fit(fit, round(max(fit.size) * screen.tile[0] / fit.size[0]))
    plain = scaled_frame(frame, scaled.size)
    state = int(fit.status[0])
    drawn = plain if state == MISSING else meshed(plain, model, scaled)
    picture = Image.fromarray(below)
    draw = ImageDraw.Draw(picture)
    slack = (screen.tile[1] - plain.shape[1]) // 2
    for column, shown in enumerate((plain, drawn)):
        picture.paste(Image.fromarray(shown), (column * (screen.tile[1] + _GAP) + slack, _HEADER))
    if state == DETECTED:
        _points(draw, scaled, (screen.tile[1] + _GAP + slack, _HEADER), float(screen.far[index]))
    else:
        left, bottom = screen.tile[1] + _GAP, _HEADER + screen.tile[0] - 1
        draw.rectangle((left, _HEADER, screen.size[1] - 1, bottom), outline=STATES[state][1], width=3)
    _words(draw, screen, state, index)
    box = _curve_box(screen)
    x = box[0] + (box[2] - box[0]) * index / max(len(screen.percent) - 1, 1)
    draw.line((x, box[1], x, box[3]), fill=STATES[state][1])
    return np.asarray(picture)


def _points(draw: ImageDraw, fit: HeadFit, corner: tuple[int, int], far: float) -> None:
    """The detected points, by how far they are from the mesh."""
    rows = shown_points(fit)
    offsets: Tensor = fit.residual[0, rows].norm(dim=-1)
    for (x, y), off in zip(fit.landmarks[0, rows].tolist(), offsets.tolist(), strict=True):
        if np.isfinite((x, y)).all():
            x, y, colour = x + corner[0], y + corner[1], FOUND if off <= far else BAD
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)


def _words(draw: ImageDraw, screen: Screen, state: int, index: int) -> None:
    width, (words, colour) = screen.size[1], STATES[state]
    when = f"frame {index}" + ("" if screen.times is None else f"   {screen.times[index]:.2f} s")
    right = 18 + write_words(draw, (6, 4), screen.title, width=width * 0.6, size=15, colour=INK)
    write_words(draw, (right, 4), when, width=width - right, size=15, colour=INK)
    if state == DETECTED:
        words = f"{words}, residual {screen.percent[index]:.2f} % of the eye distance"
    write_words(draw, (6, 25), words, width=width - 12, size=LETTERS, colour=colour)


def _curve_box(screen: Screen) -> tuple[int, int, int, int]:
    top = _HEADER + screen.tile[0]
    return 34, top + 26, screen.size[1] - 8, top + _CURVE - 8


def _background(screen: Screen, fit: HeadFit) -> Frame:
    """What stands under all frames: the paper and the residual over the clip."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", screen.size[::-1], PAPER)
    draw = ImageDraw.Draw(picture)
    top, width = _HEADER + screen.tile[0], screen.size[1]
    known = screen.percent[np.isfinite(screen.percent)]
    title = f"residual, % of the eye distance, over frames; points in red: above {FAR:g} %"
    write_words(draw, (6, top + 4), title, width=width - 12, size=LETTERS, colour=SOFT)
    high = max(2.0, round_above(float(known.max()) if len(known) else 0.0))
    box = _curve_box(screen)
    across = (box[2] - box[0]) / max(fit.frames - 1, 1)
    for first, last in runs(~np.isfinite(screen.percent)):
        draw.rectangle(
            (box[0] + first * across, box[1], box[0] + (last - 1) * across + 1, box[3]), fill=_SHADE
        )
    draw_axis(draw, (0, top + 20, width, top + _CURVE), high)
    for first, last in runs(np.isfinite(screen.percent)):
        part = np.full(fit.frames, np.nan)
        part[first:last] = screen.percent[first:last]
        points = curve_points(part, box, high)
        draw.line(points if len(points) > 1 else [*points, *points], fill=INK, width=1)
    return np.asarray(picture)


def write_film(
    path: Path, frames: Iterable[Frame], model: HeadModel, fit: HeadFit, *, title: str, source: Path | None
) -> None:
    """Write the video as it is made, one frame in memory.

    Args:
        path: of the file.
        frames: of the clip.
        model: the head of the fit.
        fit: of all of the frames.
        title: name of the clip.
        source: the file it was made from; with it provenance goes into the video.

    Raises:
        MediaError: it cannot be written.
    """
    from ..training.data.media import VideoWriter
    from ..training.data.provenance import ENHANCED, Provenance

    made = None
    if source is not None:
        inputs = [source] if source.is_file() else []
        made = Provenance.now("fit overlay", inputs=inputs, digital_source_type=ENHANCED)
    rate = Fraction(fit.report.get("fps") or DEFAULT_FPS)
    with VideoWriter(path, rate, provenance=made, crf=_CRF) as writer:
        for frame in film_frames(frames, model, fit, screen_of(model, fit, title)):
            writer.write(frame)
