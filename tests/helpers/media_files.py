"""Clips, photos and sounds made for tests, by PyAV and PIL and not by the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frame = NDArray[np.uint8]


def picture(height: int = 96, width: int = 128, *, seed: int = 0) -> Frame:
    """A smooth colour picture without symmetry: every corner has its own colour."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(seed)
    waves = [
        np.sin(x / width * rng.uniform(2, 6) + y / height * rng.uniform(2, 6) + phase) for phase in (0, 2, 4)
    ]
    return (127.5 + 110 * np.stack(waves, axis=-1)).round().astype(np.uint8)


def moving_frames(count: int, height: int = 96, width: int = 128) -> list[Frame]:
    """Frames that differ from each other: :func:`picture` rolled sideways, with texture."""
    texture = np.random.default_rng(1).integers(-12, 13, (height, width, 1))
    still = (picture(height, width).astype(int) + texture).clip(0, 255).astype(np.uint8)
    return [np.roll(still, 3 * index, axis=1) for index in range(count)]


def tone(seconds: float, *, rate: int = 44100, hertz: float = 440.0) -> NDArray[np.float32]:
    """(N,) samples of a sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_clip(
    path: Path,
    frames: Sequence[Frame],
    *,
    fps: Fraction = Fraction(25),
    rotation: int = 0,
    flip: bool = False,
    audio_seconds: float = 0.0,
    pts_ms: Sequence[int] | None = None,
    key_every: int = 250,
    codec: str = "libx264",
) -> Path:
    """A clip; ``rotation`` degrees counter-clockwise and ``flip`` go to its display matrix."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "8", "g": str(key_every)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=44100, layout="mono") if audio_seconds else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if pts_ms is not None:
                frame.pts, frame.time_base = pts_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _encode_tone(container, sound, audio_seconds)
    return path


def write_sound(path: Path, seconds: float, *, codec: str = "aac") -> Path:
    """A file with a sine and nothing to see."""
    with av.open(str(path), "w") as container:
        _encode_tone(container, container.add_stream(codec, rate=44100, layout="mono"), seconds)
    return path


def _encode_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    samples = (tone(seconds) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 44100, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def decode_clip(path: Path) -> list[Frame]:
    """Frames of a clip as a plain decoder gives them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_of(path: Path) -> tuple[NDArray[np.float32], int]:
    """(N,) samples of the first channel, and their rate."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(pieces), rate


def write_photo(path: Path, image: Frame, *, orientation: int = 1, **options: object) -> Path:
    """A photo by PIL, with an EXIF orientation where it is not 1."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation != 1:
        options["exif"] = exif.tobytes()
    Image.fromarray(image).save(path, **options)
    return path


def mean_error(first: Frame, second: Frame) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(first.astype(int) - second.astype(int)).mean())
