"""The first pass over a video: when each frame is due, where each face is, and where the film was cut."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....flame.detect.tracking import FaceTracker, Steps
from ....geom.errors import MediaError
from ..media import MediaInfo, VideoReader, read_ahead
from .shots import ShotConfig, ShotWatcher, shot_cuts
from .windows import Box, face_box

__all__ = ["FaceTrack", "Seen", "timed", "watch"]


@dataclass
class FaceTrack:
    """Where one face is.

    Attributes:
        frames: numbers of the frames with the face.
        boxes: the box of its 68 points in each of them.
        confirmed: whether a detector, not the landmarks alone, found a face at least once.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    confirmed: bool = False

    def rows(self, frames: int) -> np.ndarray:
        """(frames, 4) boxes, NaN where the face is absent."""
        boxes = np.full((frames, 4), np.nan)
        boxes[self.frames] = self.boxes
        return boxes


@dataclass(frozen=True)
class Seen:
    """What the first pass saw.

    Attributes:
        info: what the file says it holds.
        start: number of the first frame that was looked at.
        times: seconds of each frame from the start of the stream; None where the file does not say.
        faces: by track number.
        cuts: frames that begin a new shot.
        damaged: packets or pictures that did not decode.
        truncated: None, or a sentence on where the file ends too early.
    """

    info: MediaInfo
    start: int
    times: list[float | None]
    faces: dict[int, FaceTrack]
    cuts: list[int]
    damaged: int
    truncated: str | None


def watch(
    path: str | os.PathLike[str],
    *,
    start_tracker: Callable[[], Steps],
    shots: ShotConfig,
    start: int = 0,
    stop: int | None = None,
) -> Seen:
    """Read a video once, or its frames ``start`` to ``stop``; a box and a time a frame are kept.

    Args:
        path: of the video.
        start_tracker: makes what finds the faces.
        shots: what counts as a cut.
        start, stop: frames, from 0; ``stop`` is one past the last, None: to the end.

    Raises:
        MediaError: it cannot be read, or is a photo.
    """
    watcher = ShotWatcher()
    times: list[float | None] = []
    faces: dict[int, FaceTrack] = {}
    with VideoReader(path, start=start, stop=stop) as reader:
        if reader.info.kind == "photo":
            raise MediaError(f"{os.fspath(path)}: is a photo; clips are cut from videos.")
        tracker = start_tracker()
        ahead = read_ahead(timed(reader, in_parts=isinstance(tracker, FaceTracker)))
        with contextlib.closing(ahead):
            for index, (frame, time) in enumerate(ahead):
                times.append(time)
                watcher.step(frame)
                for found in tracker.step(frame):
                    if found.track is not None:
                        face = faces.setdefault(found.track, FaceTrack())
                        face.frames.append(index)
                        face.boxes.append(face_box(found.landmarks))
                        face.confirmed |= found.confirmed
        cuts = shot_cuts(watcher.changes, shots)
        return Seen(reader.info, start, times, faces, cuts, reader.damaged, reader.truncated)


def timed(reader: VideoReader, *, in_parts: bool) -> Iterator[tuple[Any, float | None]]:
    """The frames of a reader, converted where they are looked at if ``in_parts``, and when each is due."""
    for frame in reader.in_parts() if in_parts else reader:
        yield frame, reader.time
