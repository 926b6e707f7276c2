"""What a photo, clip, animation or folder of pictures is, before its frames are read."""

from __future__ import annotations

import contextlib
import glob
import itertools
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...geom.errors import MediaError
from ._images import check_file, open_image, rotation_deg, upright_size
from .inputs.listing import PHOTOS, natural_order

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Named, so that text is never rendered as a terminal, and no playlist makes the demuxer open other files.
_CONTAINERS = (
    "3gp,aac,aiff,asf,avi,dv,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,"
    "nut,obu,ogg,rm,wav,webm,wtv,yuv4mpegpipe"
)
_COVER_DISPOSITION = 0x400  # libavformat's AV_DISPOSITION_ATTACHED_PIC
_HEIF = ("heic", "heix", "mif1", "msf1")
_COUNTED = 300
_RATE_OFF = 0.02  # of a rate that is stated, from which the one that is counted holds
_NO_MEDIA = "is not a photo or clip that can be read, or it is damaged or cut off."


@dataclass(frozen=True)
class MediaInfo:
    """What a file, or a folder of pictures, holds.

    Attributes:
        kind: ``photo`` (one picture) or ``video`` (a clip, an animation, a folder of pictures).
        width: displayed width in pixels: after rotation, with square pixels.
        height: displayed height in pixels.
        fps: average frames per second; None for a photo, a folder, or where the file does not say.
        frames: number of frames as the file states it (the truth may be less in a damaged file), or None.
        duration: seconds as the file states them, or None.
        rotation: clockwise turn in degrees that was needed for display: 0, 90, 180 or 270. Frames come
            turned.
        has_audio: whether there is a sound track.
    """

    kind: Literal["photo", "video"]
    width: int
    height: int
    fps: Fraction | None
    frames: int | None
    duration: float | None
    rotation: int
    has_audio: bool


@dataclass(frozen=True)
class ClipLayout:
    """How a decoded frame becomes the displayed one: scale to ``size``, crop, swap axes, flip.

    Attributes:
        size: (width, height) with square pixels, before cropping and turning.
        crop: (width, height) kept from the top-left corner: without the padding of an odd size.
        swap: rows become columns.
        flip_rows: upside down, after the swap.
        flip_columns: left to right, after the swap.
        rotation: clockwise degrees, for the record.
    """

    size: tuple[int, int]
    crop: tuple[int, int]
    swap: bool
    flip_rows: bool
    flip_columns: bool
    rotation: int

    @property
    def displayed(self) -> tuple[int, int]:
        """(width, height) of the displayed frame."""
        return (self.crop[1], self.crop[0]) if self.swap else self.crop


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """Tell what a photo, clip, animation, folder or pattern of pictures holds; at most one frame is decoded.

    Args:
        path: a file; a folder of pictures; or a pattern such as ``frames/*.png``.

    Raises:
        MediaError: missing, empty, no photo or clip, no picture in it, or the first frame does not decode.
    """
    images = image_list(path)
    if images is not None:
        first = _first_readable(images)
        return MediaInfo("video", first.width, first.height, None, len(images), None, 0, False)
    return _probe_picture(path) if is_picture(path) else probe_clip(path)[0]


def _first_readable(images: list[Path]) -> MediaInfo:
    """What the first picture of a folder is; a damaged one is passed over."""
    for path in images[:-1]:
        with contextlib.suppress(MediaError):
            return _probe_picture(path)
    return _probe_picture(images[-1])


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Pictures in a folder, by file suffix, hidden files left out, numbers in names in numeric order.

    Raises:
        MediaError: the folder is missing or holds no picture.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise MediaError(f"{os.fspath(folder)}: cannot be listed ({error.strerror or error}).") from error
    return _pictures([Path(folder) / name for name in names], os.fspath(folder))


def image_list(path: str | os.PathLike[str]) -> list[Path] | None:
    """The sorted pictures that a folder or pattern stands for; None where ``path`` is one file."""
    text = os.fspath(path)
    if os.path.isdir(path):
        return list_images(path)
    if os.path.exists(path) or not glob.has_magic(text):
        return None
    return _pictures([Path(name) for name in glob.glob(text)], text)


def _pictures(paths: list[Path], name: str) -> list[Path]:
    found = [path for path in paths if path.suffix.lower() in PHOTOS and not path.name.startswith(".")]
    if not found:
        raise MediaError(f"{name}: holds no pictures (looked for {', '.join(sorted(PHOTOS))}).")
    return sorted(found, key=natural_order)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether the picture reader knows the file's header; the file must exist and not be empty."""
    from PIL import UnidentifiedImageError

    check_file(path)
    try:
        with open_image(path):
            return True
    except MediaError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return False
        raise


def _probe_picture(path: str | os.PathLike[str]) -> MediaInfo:
    with open_image(path) as image:
        width, height = upright_size(image)
        frames = animation_frames(image)
        if frames == 1:
            return MediaInfo("photo", width, height, None, 1, None, rotation_deg(image), False)
        image.seek(0)
        image.load()
        milliseconds = float(image.info.get("duration") or 0)
        fps = Fraction(1000 / milliseconds).limit_denominator(1001) if milliseconds > 0 else None
        duration = frames / float(fps) if fps else None
        return MediaInfo("video", *image.size, fps, frames, duration, 0, False)


def animation_frames(image: object) -> int:
    """Frames of an animated GIF, WebP, PNG or AVIF; 1 for a still one (a multi-page TIFF is a still)."""
    if getattr(image, "format", None) not in ("GIF", "WEBP", "PNG", "AVIF"):
        return 1
    return int(getattr(image, "n_frames", 1))


@contextlib.contextmanager
def open_media(path: str | os.PathLike[str]) -> Iterator[InputContainer]:
    """The opened container; MediaError where it is none of those known here."""
    import av

    check_file(path)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(os.path.abspath(path), options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(f"{os.fspath(path)}: {_NO_MEDIA}") from error
    with container:
        if not container.streams:  # nothing after the first bytes
            raise MediaError(f"{os.fspath(path)}: {_NO_MEDIA}")
        yield container


@contextlib.contextmanager
def open_clip(path: str | os.PathLike[str]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The opened container and its first moving picture stream, with threaded decoding."""
    with open_media(path) as container:
        streams = moving_streams(container)
        if not streams:
            has = "sound only" if container.streams.audio else "nothing to see"
            raise MediaError(f"{os.fspath(path)}: has no video stream ({has}).")
        if len(streams) > 1 and container.metadata.get("major_brand") in _HEIF:  # each tile is a stream
            seen = "is an HEIC picture in tiles, of which one would be seen"
            raise MediaError(f"{os.fspath(path)}: {seen}; save it as JPEG.")
        if streams[0].codec_context is None:
            raise MediaError(f"{os.fspath(path)}: its video codec is not known here.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams, without the cover picture of a sound file."""
    return [stream for stream in container.streams.video if not int(stream.disposition) & _COVER_DISPOSITION]


def probe_clip(path: str | os.PathLike[str]) -> tuple[MediaInfo, ClipLayout]:
    """What a container holds and how its frames are to be laid out; decodes the first frame."""
    with open_clip(path) as (container, stream):
        frame = _first_frame(container, stream)
        if frame is None:
            raise MediaError(f"{os.fspath(path)}: no frame of the clip can be decoded.")
        layout = _layout(frame, stream, stated_size(container.metadata))
        fps = _counted_rate(container, stream) or stream.average_rate or stream.guessed_rate
        duration = promised_seconds(container, stream)
        if duration is None and container.duration:
            duration = container.duration / 1_000_000
        frames = stream.frames or None
        width, height = layout.displayed
        audio = bool(container.streams.audio)
        info = MediaInfo("video", width, height, fps or None, frames, duration, layout.rotation, audio)
        return info, layout


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    import av

    try:
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.InvalidDataError):  # damaged packet: try the next
                for frame in packet.decode():
                    return frame
    except av.FFmpegError:
        return None
    return None


def _counted_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Frames a second by the times of the first `_COUNTED` packets, in Matroska and WebM.

    Their headers state a rate that a browser's or a telephone's recording need not keep. None elsewhere, and
    where what is stated is right but for the milliseconds that times are rounded to.
    """
    import av

    if "matroska" not in container.format.name or stream.time_base is None:
        return None
    times = []
    with contextlib.suppress(av.FFmpegError):  # what is damaged is met again when it is read
        container.seek(0)
        for packet in itertools.islice(container.demux(stream), _COUNTED):
            if packet.pts is not None:
                times.append(packet.pts)
    steps, seconds = len(times) - 1, float((max(times) - min(times)) * stream.time_base) if times else 0.0
    stated = stream.average_rate
    if seconds <= 0 or (stated and abs(seconds - steps / float(stated)) < 0.002 + _RATE_OFF * seconds):
        return None
    return Fraction(steps / seconds).limit_denominator(1001)


def promised_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Length of the video stream as the header states it; None where only that of the whole file is known."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration and not container.streams.audio:
        return float(container.duration / 1_000_000)
    return None


def stated_size(metadata: dict[str, str]) -> tuple[int, int] | None:
    """(width, height) that our writer noted in the container before it padded an odd size."""
    comments = [value for key, value in metadata.items() if key.lower() == "comment"]
    match = re.search(r'"displayed_size":\[(\d+),(\d+)\]', comments[0]) if comments else None
    return (int(match[1]), int(match[2])) if match else None


def _layout(frame: VideoFrame, stream: VideoStream, stated: tuple[int, int] | None) -> ClipLayout:
    width, height = frame.width, frame.height
    aspect = stream.sample_aspect_ratio
    if aspect and Fraction(1, 4) < aspect < 4:  # outside: nonsense in the header
        width = max(1, round(width * aspect))
    crop = (width, height)
    if stated and 0 <= width - stated[0] <= 1 and 0 <= height - stated[1] <= 1:
        crop = stated
    a, b, c, d = _display_matrix(frame)
    rotation = round(math.degrees(math.atan2(b, a)) / 90) % 4 * 90
    if abs(b) > abs(a):
        return ClipLayout((width, height), crop, True, b < 0, c < 0, rotation)
    return ClipLayout((width, height), crop, False, d < 0, a < 0, rotation)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """a, b, c, d of x' = a x + c y, y' = b x + d y (y down), as the container asks for display."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX" and len(bytes(data)) >= 36:
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            return a, b, c, d
    return 1, 0, 0, 1
