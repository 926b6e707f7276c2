"""From the boxes of one face through a video to the clips that are cut: pure arithmetic, no pictures.

Positions count the pictures of a :class:`~.rate.Timeline`. Every stretch of a track ends up in a clip or is
dropped with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float

from ....geom.errors import HeadwarpError
from .windows import Border, Box, Square, get_window, iou, placed, squared

__all__ = ["CropConfig", "Planned", "Tube", "check_config", "plan_track", "runs", "tubes"]


@dataclass(frozen=True)
class CropConfig:
    """How clips are cut. The defaults are those of [FOMM]'s VoxCeleb preprocessing.

    Attributes:
        window: name of the window, see :data:`~.windows.WINDOWS`.
        size: side of the written pictures in pixels.
        iou: a new clip begins where the face's box overlaps that of the clip's first frame by less.
        min_frames: shorter clips are dropped.
        max_frames: a longer one is ended, and the next begins.
        min_box: least longer side of the union of a clip's boxes in pixels; None for ``size``.
        border: what to do with windows that reach over the picture's border, see :func:`~.windows.placed`.
        max_pad: how far over, in sides of the window, under ``pad``.
        bridge: longest gap in a track, in frames, that does not end a clip. The detector misses a frame at
            times though the face is there; [FOMM]'s preprocessing ends the clip there.
        fps: rate of the clips; None for each video's own.
    """

    window: str = "vox"
    size: int = 256
    iou: float = 0.25
    min_frames: int = 64
    max_frames: int = 1024
    min_box: int | None = None
    border: Border = "drop"
    max_pad: float = 0.1
    bridge: int = 5
    fps: Fraction | None = None

    @property
    def least_box(self) -> int:
        """``min_box`` with its default filled in."""
        return self.size if self.min_box is None else self.min_box


def check_config(config: CropConfig) -> None:
    """Raise HeadwarpError for a config that makes no sense; the text names the option."""
    get_window(config.window)
    if not 16 <= config.size <= 4096 or config.size % 2:
        raise HeadwarpError(f"--size: expected an even number of pixels from 16 to 4096, got {config.size}")
    if not 1 <= config.min_frames <= config.max_frames:
        got = f"{config.min_frames} and {config.max_frames}"
        raise HeadwarpError(f"--min-frames, --max-frames: expected 1 <= least <= most, got {got}")
    if not 0 <= config.iou <= 1:
        raise HeadwarpError(f"--iou: expected 0 to 1, got {config.iou:g}")
    if not 0 <= config.max_pad <= 1:
        raise HeadwarpError(f"--max-pad: expected 0 to 1, got {config.max_pad:g}")
    for name, value in (("bridge", config.bridge), ("min-box", config.least_box)):
        if value < 0:
            raise HeadwarpError(f"--{name}: expected 0 or more, got {value}")
    if config.fps is not None and not 0 < config.fps <= 1000:
        raise HeadwarpError(f"--fps: expected above 0 and at most 1000, got {config.fps}")


@dataclass(frozen=True)
class Tube:
    """A stretch of a track in which the face stays about where it was.

    Attributes:
        start: position of the first picture.
        end: position after the last.
        box: union of the window's boxes.
        face: union of the boxes of the 68 points.
        missing: pictures in it without a box.
    """

    start: int
    end: int
    box: Box
    face: Box
    missing: int

    @property
    def frames(self) -> int:
        """Pictures in it."""
        return self.end - self.start


@dataclass(frozen=True)
class Planned:
    """A clip to be cut, or the reason why it is not.

    Attributes:
        tube: where and when the face is.
        square: the window: the one wanted, where the clip is dropped at the border.
        dropped: empty, or ``short``, ``small``, ``border``.
        detail: the numbers behind the reason.
    """

    tube: Tube
    square: Square
    dropped: str = ""
    detail: str = ""


def runs(
    present: Bool[np.ndarray, " N"], breaks: Bool[np.ndarray, " N"], bridge: int
) -> list[tuple[int, int]]:
    """Stretches with a face: (start, end) positions, a face at both ends.

    Args:
        present: where there is a box.
        breaks: positions at which something new begins; no stretch goes across.
        bridge: longest gap within a stretch.

    Example:
        >>> runs(np.array([0, 1, 1, 0, 1, 0], bool), np.zeros(6, bool), bridge=1)
        [(1, 5)]
    """
    found: list[tuple[int, int]] = []
    for position in np.flatnonzero(present).tolist():
        joins = (
            bool(found)
            and position - found[-1][1] <= bridge
            and not breaks[found[-1][1] : position + 1].any()
        )
        if joins:
            found[-1] = (found[-1][0], position + 1)
        else:
            found.append((position, position + 1))
    return found


def tubes(
    boxes: Float[np.ndarray, "N 4"],
    faces: Float[np.ndarray, "N 4"],
    run: tuple[int, int],
    *,
    min_iou: float,
    max_frames: int,
) -> Iterator[Tube]:
    """Divide a stretch so that every box overlaps the first of its tube by ``min_iou`` at least.

    Args:
        boxes: the window's, a row for every position, NaN where there is none.
        faces: those of the 68 points.
        run: (start, end) of the stretch, a box at both ends.
        min_iou: least overlap.
        max_frames: most pictures of a tube.
    """
    start = last = run[0]
    first = boxes[start]
    for position in range(run[0] + 1, run[1]):
        box = boxes[position]
        if np.isnan(box[0]):
            continue
        if position - start >= max_frames or iou(first, box) < min_iou:
            yield _tube(boxes, faces, start, last + 1)  # what is missing before this box belongs to no tube
            start, first = position, box
        last = position
    yield _tube(boxes, faces, start, last + 1)


def _tube(boxes: np.ndarray, faces: np.ndarray, start: int, end: int) -> Tube:
    there = ~np.isnan(boxes[start:end, 0])
    box, face = (
        np.concatenate([rows[start:end][there][:, :2].min(axis=0), rows[start:end][there][:, 2:].max(axis=0)])
        for rows in (boxes, faces)
    )
    return Tube(start, end, box, face, int((~there).sum()))


def plan_track(
    boxes: Float[np.ndarray, "N 4"],
    faces: Float[np.ndarray, "N 4"],
    breaks: Bool[np.ndarray, " N"],
    config: CropConfig,
    *,
    size: tuple[int, int],
) -> list[Planned]:
    """The clips of one face.

    Args:
        boxes: the window's, a row for every position, NaN where the face is absent.
        faces: those of the 68 points.
        breaks: positions at which a shot begins, or time jumps.
        config: how clips are cut.
        size: (H, W) of the video.

    Returns:
        In order; no two overlap.
    """
    planned = []
    for run in runs(~np.isnan(boxes[:, 0]), breaks, config.bridge):
        for tube in tubes(boxes, faces, run, min_iou=config.iou, max_frames=config.max_frames):
            planned.append(_judged(tube, config, size))
    return planned


def _judged(tube: Tube, config: CropConfig, size: tuple[int, int]) -> Planned:
    square = squared(tube.box, get_window(config.window).increase)
    if tube.frames < config.min_frames:
        return Planned(tube, square, "short", f"{tube.frames} frames, expected {config.min_frames}")
    longer = float((tube.box[2:] - tube.box[:2]).max())
    if longer < config.least_box:
        return Planned(tube, square, "small", f"box of {longer:.0f} px, expected {config.least_box}")
    final = placed(square, tube.face, size=size, border=config.border, max_pad=config.max_pad)
    if final is None:
        x0, y0, x1, y1 = square.box
        return Planned(
            tube, square, "border", f"window {x0} {y0} {x1} {y1} in a picture of {size[1]} x {size[0]}"
        )
    return Planned(tube, final)
