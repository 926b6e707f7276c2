"""Frames of a clip one by one: memory stays that of a few frames, however long the clip is."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import MediaError
from ._decode import Health, Window, assumed_matrix, clip_frames, window_frames
from ._images import open_image, read_image, to_rgb_array
from ._partial_frame import PartialFrame, can_be_cut
from ._probe import ClipLayout, image_list, is_picture, probe, probe_clip

Frame = NDArray[np.uint8]
Picture = TypeVar("Picture")
_LARGEST_WHOLE = 500_000  # pixels; below, a face's region is about as much work as the frame


class VideoReader:
    """Frames of a clip, as an iterable context manager.

    Reads the usual containers and codecs, animated GIF, WebP and PNG, a folder or a pattern of pictures
    (numbers in names in numeric order), and a photo (one frame). Rotation and mirroring of the container,
    non-square pixels and our own padding of odd sizes are undone. A variable frame rate is read frame by
    frame; ``info.fps`` is the average. Each ``for`` loop is a fresh pass over the file; each frame is an
    array of its own.

    Damage is survived and told: packets or pictures that do not decode are skipped and counted in
    ``damaged``; a clip that ends before its header says sets ``truncated`` to a sentence. Both describe the
    latest pass.

    Attributes:
        info: what the clip holds, all of it: ``start``, ``stop`` and ``stride`` do not change it.

    Example:
        >>> with VideoReader("driver.mp4", start=100, stop=200, stride=2) as reader:  # doctest: +SKIP
        ...     for frame in reader:  # uint8 (H, W, 3)
        ...         ...
    """

    def __init__(
        self, path: str | os.PathLike[str], *, start: int = 0, stop: int | None = None, stride: int = 1
    ) -> None:
        """Open and probe.

        Args:
            path: clip, animation, photo, folder of pictures, or pattern such as ``frames/*.png``.
            start: index of the first frame; a late one is reached by seeking.
            stop: index after the last frame; None for all.
            stride: step between frames; those between are decoded but not converted.

        Raises:
            MediaError: no such file, empty, no photo or clip, no video stream, no frame decodes, or an empty
                range.
        """
        if start < 0 or stride < 1 or (stop is not None and stop <= start):
            asked = f"start={start}, stop={stop}, stride={stride}"
            raise MediaError(f"{os.fspath(path)}: expected 0 <= start < stop and stride >= 1, got {asked}.")
        self._path, self._window = path, Window(start, stop, stride)
        self._images = image_list(path)
        self._layout: ClipLayout | None = None
        if self._images is None and not is_picture(path):
            self.info, self._layout = probe_clip(path)
        else:
            self.info = probe(path)
        self._health = Health()
        self._pass: Generator[Any, None, None] | None = None

    @property
    def damaged(self) -> int:
        """Packets or pictures skipped so far in the latest pass."""
        return self._health.damaged

    @property
    def truncated(self) -> str | None:
        """None, or a sentence on where the clip ended in the latest pass and where it should have."""
        return self._health.truncated

    @property
    def time(self) -> float | None:
        """Seconds from the start of the clip at which the latest frame is due; None if the file is silent
        on it.
        """
        return self._health.time

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file of a pass that was left before its end."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def __iter__(self) -> Iterator[Frame]:
        """Start a pass: (H, W, 3) uint8 RGB frames, H and W as in ``info``.

        Raises:
            MediaError: within the pass: ``start`` lies beyond the end, no frame decodes, or pictures differ
                in size.
        """
        self.close()
        self._health = Health()
        frames = self._not_empty(self._source(self._health))
        self._pass = frames
        return frames

    def in_parts(self) -> Iterator[Frame | PartialFrame]:
        """Start a pass, as a ``for`` loop does, in which the frames of a large clip are converted to RGB only
        where they are looked at; those of 0.5 megapixels and less, photos and folders come whole.

        Raises:
            MediaError: as within a ``for`` loop.
        """
        if self._layout is None or self.info.width * self.info.height <= _LARGEST_WHOLE:
            return iter(self)
        self.close()
        self._health = Health()
        frames = self._not_empty(self._parts(self._layout, self._health))
        self._pass = frames
        return frames

    def _parts(self, layout: ClipLayout, health: Health) -> Iterator[Frame | PartialFrame]:
        matrix = assumed_matrix(layout)
        for frame in window_frames(self._path, self._window, health):
            part = PartialFrame(frame, layout, matrix)
            yield part if can_be_cut(frame, layout) else np.asarray(part)

    def _not_empty(self, frames: Iterator[Picture]) -> Generator[Picture, None, None]:
        empty = True
        for frame in frames:
            empty = False
            yield frame
        if empty and self._window.start:
            raise MediaError(
                f"{os.fspath(self._path)}: ends before frame {self._window.start}, the first asked for."
            )
        if empty:
            raise MediaError(f"{os.fspath(self._path)}: no frame can be decoded.")

    def _source(self, health: Health) -> Iterator[Frame]:
        window = self._window
        if self._layout is not None:
            yield from clip_frames(self._path, self._layout, window, health)
        elif self._images is not None:
            for path in self._images[window.start : window.stop : window.stride]:
                yield from self._folder_picture(path, health)
        elif self.info.kind == "photo":
            yield from [read_image(self._path)][window.start :]
        else:
            yield from self._animation(health)

    def _animation(self, health: Health) -> Iterator[Frame]:
        due = 0.0  # seconds; each picture of an animation says how long it stays
        with open_image(self._path) as image:
            stop = min(self._window.stop or self.info.frames or 0, self.info.frames or 0)
            for index in range(stop):
                image.seek(index)
                frame = to_rgb_array(image) if self._window.wants(index) else None
                if frame is not None:
                    health.time = due
                    yield frame
                due += float(image.info.get("duration") or 0) / 1000

    def _folder_picture(self, path: Path, health: Health) -> Iterator[Frame]:
        """The picture, or nothing where it is damaged."""
        try:
            frame = read_image(path)
        except MediaError:
            health.damaged += 1
            return
        width, height = self.info.width, self.info.height
        if frame.shape[:2] != (height, width):
            got = f"{frame.shape[1]} x {frame.shape[0]}"
            raise MediaError(f"{path}: expected {width} x {height} like the first picture, got {got}.")
        yield frame
