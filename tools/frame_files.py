"""Frames into a picture or a clip, a preview first where asked; what commands that make frames share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame
from ..training.data.provenance import Provenance
from .performance import PICTURES, progress

PREVIEW_SECONDS = 3
PREVIEW_SIDE = 360  # pixels, the longer side


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        frames: how many.
        height, width: of a frame.
    """

    frames: int
    height: int
    width: int


def write_frames(
    path: Path,
    frames: Iterator[Frame],
    *,
    fps: Fraction | float,
    count: int | None = None,
    what: str = "animate",
    audio_from: Path | None = None,
    provenance: Provenance | None = None,
) -> Written:
    """The one picture, or the clip, whole or not at all.

    Args:
        path: with the suffix of a picture: the first frame is written.
        frames: at least one.
        fps: of a clip.
        count: frames that are expected, for the progress bar.
        what: is done, for the progress bar.
        audio_from: a file with sound.
        provenance: what to say about the making.
    """
    from ..training.data.media import VideoWriter, write_image

    if path.suffix.lower() in PICTURES:
        frame = next(frames)
        write_image(path, frame, provenance=provenance)
        return Written(1, frame.shape[0], frame.shape[1])
    number = 0
    with VideoWriter(path, fps, audio_from=audio_from, provenance=provenance) as writer:
        for frame in progress(frames, count, what):
            writer.write(frame)
            number += 1
    return Written(number, frame.shape[0], frame.shape[1])


def preview_path(path: Path) -> Path:
    """The preview's name beside a clip's.

    Raises:
        HeadwarpError: a picture, which has none.

    Example:
        >>> preview_path(Path("out/a.mov")).as_posix()
        'out/a.preview.mp4'
    """
    if path.suffix.lower() in PICTURES:
        raise HeadwarpError(f"--preview: belongs to a clip (.mp4), got {path.name}; leave it out")
    return path.with_name(f"{path.stem}.preview.mp4")


def write_preview(
    path: Path,
    make: Callable[[], Iterator[Frame]],
    *,
    fps: Fraction | float,
    audio_from: Path | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """The first seconds of a clip in little, written before the clip is made; returns where.

    Args:
        path: of the clip.
        make: its frames, anew at every call.
        fps, audio_from, provenance: as of the clip.
    """
    there = preview_path(path)
    first = islice(make(), max(1, round(PREVIEW_SECONDS * float(fps))))
    write_frames(
        there,
        (in_little(frame) for frame in first),
        fps=fps,
        what="preview",
        audio_from=audio_from,
        provenance=provenance,
    )
    return there


def in_little(frame: Frame, side: int = PREVIEW_SIDE) -> Frame:
    """A frame whose longer side is ``side``; a smaller one as it is."""
    height, width = frame.shape[:2]
    ratio = side / max(height, width)
    if ratio >= 1:
        return frame
    size = (max(2, round(height * ratio)), max(2, round(width * ratio)))
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    small = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    return small[0].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
