"""The clips that training without faces is given: those of `pairs`, and rows of frames in one picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ....geom.errors import MediaError
from ..inputs import Input
from ..inputs.listing import PHOTOS, natural_order
from ..pairs.clips import FoundClip, clip_inputs, named_clips
from ..portrait import Frame
from ..vox import PARTITIONS

LEAST_IN_A_ROW = 3


def find_frame_clips(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[FoundClip]:
    """The clips that are meant, sorted by name.

    Layouts of [FOMM]'s data sets: ``train/`` and ``test/`` (of which ``train`` is taken) with clips
    (``.mp4``, ``.gif``: taichi, mgif), with folders of frames, which may end in ``.mp4`` (vox, taichi, bair),
    or with pictures that hold all frames of a clip side by side, each a square (nemo, mgif). Any folder of
    these, several, and lists will do; see `find_clips`, which says who is in a clip, too.

    Raises:
        MediaError: no clip there.
    """
    several = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    return named_clips([found for one in several for found in _inputs(os.fspath(one))], several)


def _inputs(path: str) -> list[Input]:
    if rows := _rows(Path(path)):
        return rows
    return clip_inputs(path)


def _rows(place: Path) -> list[Input]:
    """Pictures of frames side by side: this one, or those of a folder whose first picture is one."""
    if place.is_file():
        return [Input(str(place), place.name)] if is_row(place) else []
    folder = next((place / part for part in PARTITIONS if (place / part).is_dir()), place)
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _is_picture(path)]
    pictures = sorted(found, key=lambda path: natural_order(path.name))
    return [Input(str(path), path.name) for path in pictures] if pictures and is_row(pictures[0]) else []


def is_row(path: Path) -> bool:
    """Whether a file is a picture of three or more square frames side by side."""
    from ..media import probe

    if not _is_picture(path) or not path.is_file():
        return False
    try:
        found = probe(path)
    except MediaError:
        return False
    return found.width % found.height == 0 and found.width // found.height >= LEAST_IN_A_ROW


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PHOTOS and not path.name.startswith(".")


def clip_pictures(clip: Path) -> Iterator[Frame]:
    """The frames of a clip that `find_frame_clips` found, one in memory (of a row of them all).

    Raises:
        MediaError: it cannot be read, or is a picture of no frames side by side.
    """
    from ..media import VideoReader, read_image

    if clip.is_dir() or not _is_picture(clip):
        with VideoReader(clip) as reader:
            yield from reader
        return
    if not is_row(clip):
        raise MediaError(f"{clip}: expected square frames side by side, three or more, got a single picture")
    row = read_image(clip)
    side = row.shape[0]
    for left in range(0, row.shape[1], side):
        yield row[:, left : left + side]
