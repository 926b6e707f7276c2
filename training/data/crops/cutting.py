"""The second pass over a video: windows of its pictures, scaled and encoded, with the sound that goes with
them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ....flame.detect import LazyPicture
from ....geom.errors import MediaError
from ..media import VideoReader, VideoWriter, read_ahead
from .rate import Timeline
from .watch import Seen, timed
from .windows import Square

__all__ = ["Cut", "cut_out", "write_clips"]


@dataclass(frozen=True)
class Cut:
    """A clip to write: ``target`` shows ``square`` of the pictures at positions ``start`` to ``end``."""

    target: Path
    start: int
    end: int
    square: Square


def cut_out(
    frame: UInt8[np.ndarray, "H W 3"] | LazyPicture, square: Square, size: int
) -> UInt8[np.ndarray, "S S 3"]:
    """The square of a picture at ``size`` x ``size``; beyond the picture its border repeats.

    Areas are averaged when shrinking, bicubic when enlarging; a square of that very side is copied.

    Args:
        frame: RGB.
        square: in pixels of the frame; may reach over its border.
        size: side of the result in pixels.
    """
    from PIL import Image

    height, width = frame.shape[:2]
    x0, y0, x1, y1 = square.box
    rows, columns = np.arange(y0, y1).clip(0, height - 1), np.arange(x0, x1).clip(0, width - 1)
    window = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if window.shape[:2] != (square.side, square.side):
        window = window[(rows - rows[0])[:, None], columns - columns[0]]
    if square.side == size:
        return np.ascontiguousarray(window)
    method = Image.Resampling.BOX if square.side > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(window)).resize((size, size), method))


def write_clips(
    path: str | os.PathLike[str],
    cuts: Sequence[Cut],
    seen: Seen,
    line: Timeline,
    *,
    size: int,
    audio: bool = True,
    crf: int = 16,
) -> None:
    """Write all clips of a video in one pass over it; each appears whole or not at all.

    Args:
        path: the video.
        cuts: the clips, positions on ``line``.
        seen: what the first pass saw.
        line: which frame is shown when.
        size: side of the written pictures.
        audio: take the sound along, where there is one: exact to a sample.
        crf: quality of the encoder.

    Raises:
        MediaError: a clip cannot be encoded, or the file reads differently from the first time.
        HeadwarpError: a file cannot be written.
    """
    if not cuts:
        return
    sound = path if audio and seen.info.has_audio else None
    begins, ends = min(cut.start for cut in cuts), max(cut.end for cut in cuts)
    under_way: dict[Path, tuple[VideoWriter, contextlib.ExitStack]] = {}
    with contextlib.ExitStack() as unfinished:
        for position, frame in _pictures(path, seen, line, (begins, ends)):
            for cut in cuts:
                if cut.start == position:
                    stack = unfinished.enter_context(contextlib.ExitStack())
                    began = (seen.times[0] or 0.0) + float(
                        (line.numbers[position] - line.numbers[0]) / line.fps
                    )
                    writer = VideoWriter(
                        cut.target, line.fps, audio_from=sound, audio_start=max(began, 0.0), crf=crf
                    )
                    under_way[cut.target] = (stack.enter_context(writer), stack)
                if cut.start <= position < cut.end:
                    under_way[cut.target][0].write(cut_out(frame, cut.square, size))
                if cut.end == position + 1:
                    under_way.pop(cut.target)[1].close()  # the clip appears


def _pictures(
    path: str | os.PathLike[str], seen: Seen, line: Timeline, span: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray | LazyPicture]]:
    """Positions of ``span`` with the picture shown there, numbered as in the first pass."""
    first, last = int(line.sources[span[0]]), int(line.sources[span[1] - 1])
    position = span[0]
    for index, frame in _frames_again(path, seen, first, last + 1):
        while position < span[1] and line.sources[position] == index:
            yield position, frame
            position += 1
    if position < span[1]:
        raise MediaError(f"{os.fspath(path)}: reads differently the second time; it may have been changed.")


def _frames_again(
    path: str | os.PathLike[str], seen: Seen, first: int, stop: int
) -> Iterator[tuple[int, np.ndarray | LazyPicture]]:
    """Frames with their numbers in the first pass: sought, or read from the start where a seek miscounts."""
    for start in (first, 0) if first and not seen.damaged else (0,):
        with (
            VideoReader(path, start=seen.start + start, stop=seen.start + stop) as reader,
            contextlib.closing(read_ahead(timed(reader, in_parts=True))) as ahead,
        ):
            for index, (frame, time) in enumerate(ahead, start):
                if index == start and time != seen.times[index]:
                    break
                yield index, frame
            else:
                return
