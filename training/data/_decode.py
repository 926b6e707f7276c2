"""One pass over a container: packets to displayed RGB frames, with a record of what was wrong."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._probe import ClipLayout, open_clip, promised_seconds

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.reformatter import Colorspace
    from av.video.stream import VideoStream

_SEEK_FROM = 48  # frames; below, decoding from the start costs less than a look through the packets
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass
class Health:
    """What was wrong with a file in the pass under way.

    Attributes:
        damaged: packets or pictures that were skipped.
        truncated: None, or a sentence on where the clip ends and where it should.
        time: seconds of the frame yielded last, from the start of the stream; None where the file does not
            say.
    """

    damaged: int = 0
    truncated: str | None = None
    time: float | None = None


@dataclass(frozen=True)
class Window:
    """The frames asked for: ``range(start, stop, stride)``, ``stop`` None for all."""

    start: int
    stop: int | None
    stride: int

    def wants(self, index: int) -> bool:
        """Whether the frame is one of them."""
        return index >= self.start and (index - self.start) % self.stride == 0

    def ends_at(self, index: int) -> bool:
        """Whether this frame and all later ones are unwanted."""
        return self.stop is not None and index >= self.stop


def clip_frames(
    path: str | os.PathLike[str], layout: ClipLayout, window: Window, health: Health
) -> Iterator[NDArray[np.uint8]]:
    """Displayed frames (H, W, 3) of ``window``, the only ones converted; ``health`` is filled on the way."""
    matrix = assumed_matrix(layout)
    for frame in window_frames(path, window, health):
        yield oriented(to_rgb(frame, layout.size, matrix)[: layout.crop[1], : layout.crop[0]], layout)


def window_frames(path: str | os.PathLike[str], window: Window, health: Health) -> Iterator[VideoFrame]:
    """Decoded frames of ``window`` as they are stored; ``health`` is filled on the way."""
    with open_clip(path) as (container, stream):
        end = None
        target = _frame_pts(path, window.start) if window.start >= _SEEK_FROM else None
        for index, frame in _numbered(container, stream, health, target=target, start=window.start):
            if window.ends_at(index):
                return
            if window.wants(index):
                health.time = _frame_time(frame, stream)
                yield frame
            end = _frame_end(frame, stream)
        health.truncated = _early_end(container, stream, end) or health.truncated


def _numbered(
    container: InputContainer, stream: VideoStream, health: Health, *, target: int | None, start: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their index in the clip: from the first, or from ``start`` whose pts is ``target``."""
    frames = decoded_frames(container, stream, health)
    if target is None:
        yield from enumerate(frames)
        return
    container.seek(target, stream=stream)  # to the key frame at or before
    yield from enumerate(itertools.dropwhile(lambda f: f.pts is None or f.pts < target, frames), start)


def _frame_pts(path: str | os.PathLike[str], index: int) -> int | None:
    """Presentation time of a frame, read from the packets without decoding; None where they do not tell."""
    import av

    times = []
    with open_clip(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    if packet.pts is None:
                        return None
                    times.append(packet.pts)
        except av.FFmpegError:
            return None
    return sorted(times)[index] if index < len(times) else None


def decoded_frames(container: InputContainer, stream: VideoStream, health: Health) -> Iterator[VideoFrame]:
    """Frames in display order; packets that do not decode are counted, a file that breaks off is noted."""
    import av

    packets = container.demux(stream)
    finished = False
    while not finished:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            health.truncated = "The file breaks off."
            packet = None
        finished = packet is None
        try:
            # None drains the decoder: after a break the demuxer's own empty packet is missing
            frames = stream.decode(None) if packet is None else packet.decode()
        except av.error.EOFError:  # drained before
            return
        except av.FFmpegError:
            health.damaged += 1
            continue
        health.damaged += sum(frame.is_corrupt for frame in frames)
        yield from frames


def _frame_time(frame: VideoFrame, stream: VideoStream) -> float | None:
    """Seconds from the start of the stream at which the frame is due."""
    if frame.pts is None or not frame.time_base:
        return None
    return float(frame.pts * frame.time_base - (stream.start_time or 0) * (stream.time_base or 0))


def _frame_end(frame: VideoFrame, stream: VideoStream) -> float | None:
    """Seconds from the start of the stream at which the next frame is due."""
    start = _frame_time(frame, stream)
    if start is None:
        return None
    return start + float(frame.duration * frame.time_base or 1 / (stream.average_rate or 25))


def _early_end(container: InputContainer, stream: VideoStream, reached: float | None) -> str | None:
    """A sentence where the last frame ends more than a frame before the end that the header states."""
    promised = promised_seconds(container, stream)
    if promised is None or reached is None:
        return None
    if reached > promised - 1.5 / float(stream.average_rate or 25):
        return None
    return f"The clip ends after {reached:.2f} s; its header states {promised:.2f} s."


def assumed_matrix(layout: ClipLayout) -> Colorspace:
    """Colour matrix of a clip that names none, as players take it: BT.709 for HD, BT.601 below."""
    from av.video.reformatter import Colorspace

    return Colorspace.ITU709 if is_hd(*layout.size) else Colorspace.ITU601


def is_hd(width: int, height: int) -> bool:
    """Whether players take an untagged clip of this size for HD."""
    return width >= 1280 or height > 576


def to_rgb(frame: VideoFrame, size: tuple[int, int], matrix: Colorspace) -> NDArray[np.uint8]:
    """RGB of a decoded frame at ``size`` (width, height); ``matrix`` is that of a frame that names none."""
    from av.video.reformatter import Interpolation

    # the default conversion is quicker but darkens by a whole grey level and takes the nearest colour sample
    quality = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
    quality |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    return frame.to_ndarray(
        format="rgb24",
        width=size[0],
        height=size[1],
        interpolation=quality,
        src_colorspace=matrix if frame.colorspace == _UNSPECIFIED else None,
    )


def oriented(rgb: NDArray[np.uint8], layout: ClipLayout) -> NDArray[np.uint8]:
    """A stored picture, or a part of one, turned and mirrored for display."""
    if layout.swap:
        rgb = rgb.transpose(1, 0, 2)  # (W, H, 3)
    if layout.flip_rows:
        rgb = rgb[::-1]
    if layout.flip_columns:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)
