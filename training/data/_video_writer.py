"""Clips written as H.264, whole or not at all, with the sound of another file where asked."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import MediaError
from ._audio import AudioFeed, attach_audio, check_audio
from ._decode import is_hd
from ._frames import to_uint8_frame
from ._probe import open_media
from .atomic import atomic_path
from .provenance import Provenance, clip_metadata, write_sidecar

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from torch import Tensor

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
_PRESET = "medium"
# Seen of libx264's macroblock tree: where a row is no multiple of eight blocks, the same frames give other
# bytes every time, by what lay in memory. Without it a clip of 224 px grew by a tenth.
_BLOCK, _BLOCKS_AT_ONCE = 16, 8
_LIMITED_RANGE, _BT709, _SMPTE170M = 1, 1, 6  # libavutil's AVCOL_RANGE_MPEG, AVCOL_*_BT709, AVCOL_*_SMPTE170M


def exact_fps(fps: Fraction | float) -> Fraction:
    """A frame rate as a fraction: a float the nearest with a denominator up to 1001, others as they are.

    Raises:
        MediaError: zero, negative, over 1000, or not a number.

    Example:
        >>> exact_fps(23.976023976023978), exact_fps(29.97), exact_fps(10.0)
        (Fraction(24000, 1001), Fraction(2997, 100), Fraction(10, 1))
    """
    if isinstance(fps, float) and not math.isfinite(fps):
        raise MediaError(f"fps: expected a number above 0, got {fps}.")
    rate = Fraction(fps).limit_denominator(1001) if isinstance(fps, float) else Fraction(fps)
    if not 0 < rate <= 1000:
        raise MediaError(f"fps: expected a number above 0 and at most 1000, got {fps}.")
    return rate


class VideoWriter:
    """A clip under construction, as a context manager; the file appears when the block ends well.

    H.264 by libx264 (MPEG-4 part 2 where that encoder is missing), yuv420p, limited range, tagged with the
    matrix that players assume for its size: BT.709 for HD, BT.601 below. An odd width or height is padded by
    repeating the last column or row, because yuv420p needs even sizes; the size before is noted in the
    metadata, and :class:`VideoReader` crops to it. The frame rate is exact. Within the block the data go to a
    hidden temporary file beside the target; an exception, or a block that wrote no frame, leaves nothing
    behind and an older file as it was.

    Example:
        >>> with VideoWriter("out.mp4", 25, audio_from="driver.mp4") as writer:  # doctest: +SKIP
        ...     writer.write(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: Fraction | float,
        *,
        audio_from: str | os.PathLike[str] | None = None,
        audio_start: float = 0.0,
        provenance: Provenance | None = None,
        crf: int = 16,
    ) -> None:
        """Check what was asked; nothing is written yet.

        Args:
            path: ends in ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``; missing parent folders are made.
            fps: frames per second, kept exactly (see :func:`exact_fps`).
            audio_from: file whose first sound track is taken along, trimmed to the length of the clip: AAC is
                copied, anything else is encoded to AAC. None for a silent clip.
            audio_start: seconds into ``audio_from`` that go with the first frame.
            provenance: what to say about the making: inside the file and in ``NAME.ext.json``. None says
                nothing.
            crf: quality, 0 (near lossless, huge) to 51; 16 is hard to tell from the original.

        Raises:
            MediaError: unknown suffix, fps or crf out of range, or ``audio_from`` has no sound.
        """
        self._path, self._rate, self._provenance = path, exact_fps(fps), provenance
        suffix = Path(path).suffix.lower()
        if suffix not in _SUFFIXES:
            got = repr(suffix) if suffix else "no suffix"
            raise MediaError(f"{os.fspath(path)}: expected a name in {', '.join(_SUFFIXES)}, got {got}.")
        if not 0 <= crf <= 51:
            raise MediaError(f"crf: expected 0 to 51, got {crf}.")
        if audio_from is not None:
            check_audio(audio_from, audio_start)
        self._crf, self._audio_from, self._audio_start = crf, audio_from, audio_start
        self._stack = contextlib.ExitStack()
        self._temporary: Path | None = None
        self._output: _Output | None = None
        self.frames = 0
        """Frames written so far."""

    def __enter__(self) -> VideoWriter:
        self._temporary = self._stack.enter_context(atomic_path(self._path))
        return self

    def write(self, frame: NDArray[np.uint8] | Tensor) -> None:
        """Append a frame; the first one fixes the size.

        Args:
            frame: (H, W, 3) uint8 RGB array, or (3, H, W) tensor: uint8, or floats in [0, 1] (clipped,
                rounded).

        Raises:
            MediaError: not as described, another size than the first, or outside the ``with`` block.
        """
        if self._temporary is None:
            raise MediaError(f"{os.fspath(self._path)}: write() needs the writer's with block.")
        image = to_uint8_frame(frame)
        with _encoder_errors(self._path):
            if self._output is None:
                self._output = self._start(image.shape[1], image.shape[0])
            self._output.write(image, self.frames)
        self.frames += 1

    def _start(self, width: int, height: int) -> _Output:
        assert self._temporary is not None
        size = (width, height)
        facts = {"displayed_size": size} if width % 2 or height % 2 else {}
        output = _Output(self._temporary, self._rate, size, crf=self._crf)
        self._stack.callback(output.close)
        output.container.metadata.update(clip_metadata(self._provenance, **facts))
        if self._audio_from is not None:
            source = self._stack.enter_context(open_media(self._audio_from))
            output.audio = attach_audio(source, output.container, start=self._audio_start)
        return output

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary = None
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:  # its exit, the renaming at last, sees what is raised here
            if self._output is None:
                raise MediaError(f"{os.fspath(self._path)}: no frame was written, so there is no clip.")
            with _encoder_errors(self._path):
                self._output.finish(self.frames)
        if self._provenance is not None:
            facts = {"frames": self.frames, "fps": self._rate, "displayed_size": self._output.size}
            write_sidecar(self._path, self._provenance, **facts)


class _Output:
    """The container being written, with its streams."""

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int], *, crf: int) -> None:
        import av
        from av.video.reformatter import Colorspace

        options = {"movflags": "+faststart"} if path.suffix != ".mkv" else {}
        self.container: OutputContainer = av.open(os.fspath(path), "w", options=options)
        self.size, self._rate = size, rate
        self.audio: AudioFeed | None = None
        self._hd = is_hd(*size)
        self._matrix = Colorspace.ITU709 if self._hd else Colorspace.ITU601
        self._stream = self._video_stream(crf)

    def _video_stream(self, crf: int) -> VideoStream:
        codec = check_encoder()
        rate = self._rate
        if codec == "libx264":
            # swscale averages 2 x 2 colours; untagged, they would be taken for left-sited: half a pixel off
            options = {"crf": str(crf), "preset": _PRESET, "chroma_sample_location": "center"}
            if -(-self.size[0] // _BLOCK) % _BLOCKS_AT_ONCE:
                options["x264-params"] = "mbtree=0"
            stream = self.container.add_stream(codec, rate=rate, options=options)
        else:
            rate = 1 / (1 / rate).limit_denominator(65535)  # all that MPEG-4 part 2 can count
            stream = self.container.add_stream(codec, rate=rate)
            stream.bit_rate = max(200_000, int(self.size[0] * self.size[1] * rate / 4))
        stream.width, stream.height = self.size[0] + self.size[0] % 2, self.size[1] + self.size[1] % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / rate
        context.color_range = _LIMITED_RANGE
        context.colorspace = context.color_primaries = context.color_trc = _BT709 if self._hd else _SMPTE170M
        return stream

    def write(self, image: NDArray[np.uint8], index: int) -> None:
        """Encode a frame and the sound that goes with it."""
        import av
        from av.video.reformatter import ColorRange, Interpolation

        if image.shape[:2] != self.size[::-1]:
            got = f"{image.shape[1]} x {image.shape[0]}"
            raise MediaError(
                f"frame: expected {self.size[0]} x {self.size[1]} like the first one, got {got}."
            )
        if image.shape[0] % 2 or image.shape[1] % 2:
            padding = ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0))
            image = np.pad(image, padding, mode="edge")
        rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = rgb.reformat(
            format="yuv420p",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )
        frame.pts, frame.time_base = index, self._stream.codec_context.time_base
        self.container.mux(self._stream.encode(frame))
        if self.audio is not None:
            self.audio.pump(float((index + 1) / self._rate))

    def finish(self, frames: int) -> None:
        """Write what the encoders hold back, and the container's index."""
        self.container.mux(self._stream.encode(None))
        if self.audio is not None:
            self.audio.pump(float(frames / self._rate))
            self.audio.close()
        self.container.close()

    def close(self) -> None:
        """Close the container whatever state it is in; after :meth:`finish` nothing is left to do."""
        import av

        with contextlib.suppress(av.FFmpegError):
            self.container.close()


@contextlib.contextmanager
def _encoder_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the encoder refuses becomes a MediaError; trouble with the disk is for :func:`atomic_path`."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise MediaError(f"{os.fspath(path)}: the clip cannot be encoded ({error}).") from error


def check_encoder() -> str:
    """The encoder of clips: H.264's, or the one that almost every build has.

    Raises:
        MediaError: this build of FFmpeg has neither.
    """
    import av

    for name in ("libx264", "mpeg4"):
        if name in av.codecs_available:
            return name
    raise MediaError("clips: expected an encoder libx264 or mpeg4, PyAV here has neither; pip install av")
