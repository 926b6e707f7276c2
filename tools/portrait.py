"""Pictures as callers have them, read as frames; and a photo made ready to animate."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.params import HeadFit
from ..geom.crops import head_crop, pixel_window
from ..geom.errors import HeadwarpError, ShapeError
from ..training.data.portrait import Frame, Portrait, portrait_of, to_frame
from .faces import fit_frames, naming
from .heads import ready_head


def as_frames(source: Any) -> Iterator[Frame]:
    """Frames of whatever a caller has: a path, PIL, numpy or torch; floats in [0, 1], one picture or many.

    Raises:
        ShapeError: an array that is no picture.
    """
    if isinstance(source, (str, Path)):
        yield from _file_frames(Path(source))
    elif isinstance(source, Tensor):
        array = source.detach().cpu()
        if array.ndim not in (3, 4) or array.shape[-3] != 3:
            raise ShapeError(
                f"frames: expected torch (3, H, W) or (T, 3, H, W) RGB in [0, 1], got {tuple(array.shape)}"
            )
        for picture in array if array.ndim == 4 else array[None]:
            yield picture.permute(1, 2, 0).numpy() if array.dtype == torch.uint8 else to_frame(picture)
    elif hasattr(source, "convert"):  # PIL
        yield _upright(source)
    elif isinstance(source, np.ndarray):
        yield from (_as_uint8(picture) for picture in (source if source.ndim == 4 else source[None]))
    elif isinstance(source, Iterable):
        for item in source:
            yield from as_frames(item)
    else:
        raise ShapeError(
            f"frames: expected a path, PIL, numpy or torch pictures, got {type(source).__name__}"
        )


def frame_of(source: Any, number: int = 0) -> Frame:
    """One frame of whatever a caller has; a photo has the one.

    Raises:
        HeadwarpError: there is no such frame.
        MediaError: the file cannot be read.
    """
    if number < 0:
        raise HeadwarpError(f"--frame: expected 0 or more, got {number}")
    frame = next(itertools.islice(_from(source, number), 1), None)
    if frame is None:
        raise HeadwarpError(f"--frame: no frame {number} in {source if isinstance(source, Path) else 'it'}")
    return frame


def _from(source: Any, number: int) -> Iterator[Frame]:
    """Frames from a number on; a clip's file is not decoded up to there."""
    from ..training.data.media import VideoReader, probe

    if number and isinstance(source, (str, Path)) and probe(source).kind == "video":
        with VideoReader(source, start=number) as reader:
            yield from reader
    else:
        yield from itertools.islice(as_frames(source), number, None)


def fitted_frames(source: Any, fit: HeadFit, *, first: int = 0) -> Iterator[Frame]:
    """The frames that a fit was made of, from its frame ``first`` on; a photo gives its one.

    Of a clip's file of which a part was fitted, as the fit's report says, that part. `as_frames` says what a
    source may be and what it raises.

    Args:
        source: the photo or clip that was fitted.
        fit: of it.
        first: number of a frame of the fit.
    """
    from ..training.data.media import VideoReader, probe

    start = fit.report.get("start")
    part = isinstance(source, (str, Path)) and (first > 0 or start is not None)
    if part and probe(source).kind == "video":
        begin = (start or 0) + first
        with VideoReader(source, start=begin, stop=None if start is None else begin + fit.frames) as reader:
            yield from reader
        return
    frames = as_frames(source)
    head = list(itertools.islice(frames, 2))
    yield from head if len(head) == 1 else itertools.islice(itertools.chain(head, frames), first, None)


def _file_frames(path: Path) -> Iterator[Frame]:
    from ..training.data.media import VideoReader

    with VideoReader(path) as reader:  # a photo is a clip of one frame
        yield from reader


def _upright(picture: Any) -> Frame:
    """A PIL picture as a photo file would be read: turned as its EXIF says, transparency over grey."""
    from PIL import ImageOps

    from ..training.data.media import to_rgb_array

    return to_rgb_array(ImageOps.exif_transpose(picture))


def _as_uint8(picture: NDArray[Any]) -> Frame:
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ShapeError(f"frames: expected numpy (H, W, 3) or (T, H, W, 3) RGB, got {picture.shape}")
    if picture.dtype == np.uint8:
        return picture
    if not np.issubdtype(picture.dtype, np.floating):
        raise ShapeError(f"frames: expected uint8, or floats in [0, 1], got {picture.dtype}")
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def open_portrait(
    photo: Any,
    *,
    head: str | Path | HeadModel = "builtin",
    size: int | None = 512,
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
) -> Portrait:
    """Read, detect, fit and segment one photo.

    Args:
        photo: a path, PIL, numpy or torch picture.
        head: ``"builtin"``, a head file, a loaded model.
        size: side of the square working window around the head; None: as many pixels as it has in the
            photo, see `pixel_window`.
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None: the largest.

    Raises:
        NoFaceError: nothing to fit.
        MediaError: the file cannot be read.
    """
    model = ready_head(head)
    frame = next(iter(as_frames(photo)))
    with naming(photo):
        fit = fit_frames([frame], model, landmarks=landmarks, face=face)
    if size is not None:
        return portrait_of(frame, model, fit, size=size)
    crop, size = pixel_window(head_crop(fit.landmarks[0], size=fit.size))
    return portrait_of(frame, model, fit, size=size, crop=crop)
