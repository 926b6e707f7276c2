"""The sound of one file taken along into another, no longer than the pictures last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import MediaError
from ._probe import moving_streams, open_media

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

_WARM_UP = 1.0  # seconds decoded before the first sample that counts
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class AudioFeed(Protocol):
    """Sound that is given to an output piece by piece."""

    def pump(self, until: float) -> None:
        """Write the sound up to ``until`` seconds of the output; less where it ends before."""

    def close(self) -> None:
        """Write what the encoder still holds."""


def check_audio(path: str | os.PathLike[str], start: float) -> None:
    """Raise MediaError unless ``path`` has a sound track and ``start`` is 0 or more seconds."""
    if not start >= 0:
        raise MediaError(f"audio_start: expected 0 or more seconds, got {start}.")
    with open_media(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{os.fspath(path)}: has no sound; leave audio_from out for a silent clip.")


def attach_audio(source: InputContainer, output: OutputContainer, *, start: float) -> AudioFeed:
    """Add a sound stream to ``output``, before its first packet is written, and return what fills it.

    AAC that starts with the first picture is copied packet by packet (its end is then exact to a packet,
    about 20 ms); anything else is decoded and encoded to AAC, exact to a sample. Damaged packets are left
    out.

    Args:
        source: opened file with sound.
        output: the file being made.
        start: seconds after the source's first picture (its first sound, where it has no pictures) to begin
            with.
    """
    stream = source.streams.audio[0]
    clock = next(iter(moving_streams(source)), stream)
    offset = start + float((clock.start_time or 0) * (clock.time_base or 0))
    if offset == 0 and stream.codec_context.name == "aac":
        return CopiedAudio(source, output, stream)
    return EncodedAudio(source, output, stream, offset=offset)


class CopiedAudio:
    """Packets passed on as they are."""

    def __init__(self, source: InputContainer, output: OutputContainer, stream: AudioStream) -> None:
        self._output, self._target = output, output.add_stream_from_template(stream)
        self._packets = _whole_packets(source, stream)
        self._next = next(self._packets, None)

    def pump(self, until: float) -> None:
        """Write the packets that begin before ``until``."""
        while self._next is not None and float(self._next.pts * self._next.time_base) < until:
            self._next.stream = self._target
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Nothing is held back."""


class EncodedAudio:
    """Sound decoded, resampled where AAC asks for it, and encoded again at 192 kbit/s."""

    def __init__(
        self, source: InputContainer, output: OutputContainer, stream: AudioStream, *, offset: float
    ) -> None:
        rate = stream.codec_context.sample_rate
        self._rate = rate if rate in _AAC_RATES else 48000
        self._layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        self._output = output
        self._target = output.add_stream("aac", rate=self._rate, layout=self._layout)
        self._target.codec_context.bit_rate = 192_000
        self._chunks = self._samples(source, stream, offset)
        self._pending = np.zeros((1, 0), np.float32)
        self._written = 0  # samples

    def pump(self, until: float) -> None:
        """Write the samples before ``until``."""
        limit = round(until * self._rate)
        while self._written < limit:
            if not self._pending.shape[1]:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._pending = chunk
            count = min(limit - self._written, self._pending.shape[1])
            self._encode(self._pending[:, :count])
            self._pending = self._pending[:, count:]

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._output.mux(self._target.encode(None))

    def _encode(self, samples: NDArray[np.float32]) -> None:
        from av import AudioFrame

        if not samples.shape[1]:
            return
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts = self._rate, self._written
        self._output.mux(self._target.encode(frame))
        self._written += samples.shape[1]

    def _samples(
        self, source: InputContainer, stream: AudioStream, offset: float
    ) -> Iterator[NDArray[np.float32]]:
        """(C, N) pieces of the sound from ``offset`` on; silence first where it begins later."""
        import av

        _seek(source, stream, offset - _WARM_UP)
        resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
        skip: int | None = None
        for packet in _whole_packets(source, stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if skip is None:
                    skip = round((offset - (frame.time or 0.0)) * self._rate)
                    if skip < 0:
                        yield np.zeros((1 if self._layout == "mono" else 2, -skip), np.float32)
                        skip = 0
                for piece in resampler.resample(frame):
                    samples = piece.to_ndarray()
                    yield samples[:, skip:]
                    skip = max(0, skip - samples.shape[1])


def _seek(source: InputContainer, stream: AudioStream, seconds: float) -> None:
    """Go to the last packet before a moment, so that what is far from it is not decoded; where the file has
    no index, stay at its start.
    """
    import av

    if seconds > _WARM_UP and stream.time_base:
        with contextlib.suppress(av.FFmpegError):
            source.seek(int(seconds / stream.time_base), stream=stream)


def _whole_packets(source: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    """Packets with content and a time, up to where the file ends or breaks off."""
    import av

    try:
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet
    except av.FFmpegError:
        return
