"""Raw footage whose faces, times and sounds are known, and a tracker that knows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from headwarp.flame.detect import Detection

RATE = 48000


class KnownFaces:
    """A tracker that answers from boxes of 68 points: one list of (track, x0, y0, x1, y1) a frame."""

    def __init__(
        self, frames: Sequence[Iterable[tuple[int, float, float, float, float]]], confirmed: bool = True
    ):
        self._frames, self._confirmed, self._next = frames, confirmed, 0

    def step(self, frame: np.ndarray) -> list[Detection]:
        faces = self._frames[self._next]
        self._next += 1
        return [self._detection(track, np.array(box, np.float32)) for track, *box in faces]

    def _detection(self, track: int, box: np.ndarray) -> Detection:
        points = np.zeros((68, 3), np.float32)
        points[:, :2] = (box[:2] + box[2:]) / 2
        points[0, :2], points[1, :2] = box[:2], box[2:]
        return Detection(points, 1.0, box, self._confirmed, track)


def numbered(index: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A picture that tells its number: 12 fields in the middle third spell it in Gray code.

    Neighbours differ in one field, so that nothing looks like a cut.
    """
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([60 + x * 80 // width, 60 + y * 80 // height, 90 + 0 * x], axis=-1).astype(np.uint8)
    top, field = height // 3, width // 36
    for bit in range(12):
        left = width // 3 + bit * field
        picture[top : 2 * top, left : left + field] = 200 if (index ^ index >> 1) >> bit & 1 else 40
    return picture


def number_of(
    picture: np.ndarray, box: tuple[int, int, int, int], height: int = 240, width: int = 320
) -> int:
    """The number in a window of `numbered`, whose box in the whole picture is given."""
    scale = picture.shape[0] / (box[3] - box[1])
    field = width // 36
    row = round((height / 2 - box[1]) * scale)
    columns = [round((width // 3 + (bit + 0.5) * field - box[0]) * scale) for bit in range(12)]
    gray = sum(int(picture[row, column].mean() > 120) << bit for bit, column in enumerate(columns))
    number = 0
    while gray:
        number, gray = number ^ gray, gray >> 1
    return number


def clicks(seconds: float, moments: Sequence[float]) -> np.ndarray:
    """(N,) samples: silence with bursts of 4 ms that begin at the moments."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 3000 * np.arange(192) / RATE)
    for moment in moments:
        start = round(moment * RATE)
        samples[start : start + 192] = burst[: len(samples) - start]
    return samples


def onsets(samples: np.ndarray, rate: int) -> list[float]:
    """Seconds at which bursts begin."""
    loud = np.flatnonzero(np.abs(samples) > 0.25)
    firsts = loud[np.diff(loud, prepend=-rate) > rate // 50]
    return [float(first) / rate for first in firsts]


def write_footage(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    fps: Fraction = Fraction(25),
    sound: np.ndarray | None = None,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound_codec: str = "aac",
    rotation: int = 0,
) -> Path:
    """A clip of these frames and sound; ``times`` are those of the frames where they do not come evenly."""
    with av.open(str(path), "w") as container:
        options = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = pix_fmt
        track = None
        for index, image in enumerate(frames):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
                if rotation:
                    stream.set_display_rotation(rotation)
                if times is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
                track = (
                    container.add_stream(sound_codec, rate=RATE, layout="mono") if sound is not None else None
                )
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            for start in range(0, len(sound), 1024):
                piece = (sound[start : start + 1024] * 32767).astype(np.int16)
                chunk = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
                chunk.sample_rate, chunk.pts = RATE, start
                container.mux(track.encode(chunk))
            container.mux(track.encode(None))
    return path
