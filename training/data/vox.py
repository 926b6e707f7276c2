"""Clip folders laid out like VoxCeleb after [FOMM]'s preprocessing: ``{train,test}/ID#VIDEO#START#END.mp4``.

The identity stands before the first ``#``. A clip is a video file, or a folder of that name with its frames
as pictures. Frames are counted from 0 in the source video; ``END`` is the frame after the last.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...geom.errors import HeadwarpError, MediaError

__all__ = ["PARTITIONS", "ClipName", "VoxClip", "clean_part", "format_name", "list_clips", "parse_name"]

PARTITIONS = ("train", "test")
_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"})
_LONGEST_PART = 80  # bytes: two of them, two numbers and a temporary suffix fit into a file name
_TELLS_NOTHING = re.compile(r"[^\w.()+@=-]+")


@dataclass(frozen=True)
class ClipName:
    """What the name of a clip says.

    Attributes:
        identity: the person; clips of one identity may be paired in training.
        video: the source video; empty where the name has no ``#``.
        start: first frame in the source video; None where the name does not say.
        end: frame after the last; None where the name does not say.
    """

    identity: str
    video: str
    start: int | None
    end: int | None


@dataclass(frozen=True)
class VoxClip:
    """A clip of a folder.

    Attributes:
        path: the video file, or the folder of its frames.
        partition: ``train`` or ``test``; None where the folder is not divided.
        name: what its name says.
    """

    path: Path
    partition: str | None
    name: ClipName


def format_name(name: ClipName) -> str:
    """The file name without its suffix: ``ID#VIDEO#START#END``, numbers with at least six digits.

    Raises:
        HeadwarpError: a part is empty or holds ``#`` or a path separator, or not ``0 <= start < end``.

    Example:
        >>> format_name(ClipName("id10283", "q8UxNj6mBfA", 75, 1030))
        'id10283#q8UxNj6mBfA#000075#001030'
    """
    for label, part in (("identity", name.identity), ("video", name.video)):
        if not part or set(part) & set("#/\\\0"):
            raise HeadwarpError(f"{label}: expected text without '#', '/' and '\\', got {part!r}")
    if name.start is None or name.end is None or not 0 <= name.start < name.end:
        raise HeadwarpError(f"clip: expected 0 <= start < end, got {name.start} and {name.end}")
    return f"{name.identity}#{name.video}#{name.start:06d}#{name.end:06d}"


def parse_name(text: str) -> ClipName:
    """What a file name says; the inverse of :func:`format_name`, and lenient with other names.

    The identity is what stands before the first ``#``, as the readers of this layout take it; a name without
    ``#`` is an identity of its own. Start and end are read where the last two of four parts are numbers, one
    less than the other.

    Args:
        text: file name with or without the suffix of a clip.

    Raises:
        HeadwarpError: nothing stands before the first ``#``.

    Example:
        >>> parse_name("id10283#q8UxNj6mBfA#000075#001030.mp4")
        ClipName(identity='id10283', video='q8UxNj6mBfA', start=75, end=1030)
        >>> parse_name("me.mov").identity
        'me'
    """
    stem, suffix = os.path.splitext(text)
    if suffix.lower() not in _SUFFIXES:
        stem = text
    identity, _, rest = stem.partition("#")
    if not identity:
        raise HeadwarpError(f"{text}: expected IDENTITY#VIDEO#START#END, got nothing before the first '#'")
    numbers = re.fullmatch(r"([^#]+)#([0-9]{1,12})#([0-9]{1,12})", rest)
    if numbers and int(numbers[2]) < int(numbers[3]):
        return ClipName(identity, numbers[1], int(numbers[2]), int(numbers[3]))
    return ClipName(identity, rest, None, None)


def clean_part(text: str) -> str:
    """``text`` as a part of a clip's name: what file systems or ``#`` give a meaning becomes ``-``.

    Longer ones than 80 bytes end in eight digits of their hash, so that two of them stay two.

    Example:
        >>> clean_part("My talk #2"), clean_part("../etc"), clean_part("")
        ('My-talk-2', 'etc', 'clip')
    """
    plain = _TELLS_NOTHING.sub("-", text).strip("-.") or "clip"
    coded = plain.encode("utf-8", "replace")
    if len(coded) <= _LONGEST_PART:
        return coded.decode("utf-8")
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{coded[: _LONGEST_PART - 9].decode('utf-8', 'ignore')}-{digest}"


def list_clips(root: str | os.PathLike[str], *, partition: str | None = None) -> tuple[VoxClip, ...]:
    """The clips of a folder, sorted by partition (train first) and name.

    Args:
        root: holds ``train`` and ``test``, either of them, or the clips themselves.
        partition: only the clips of this one.

    Raises:
        MediaError: no such folder, no such partition, or no clip in it.
        HeadwarpError: an unknown partition, or a name without an identity.
    """
    if partition not in (None, *PARTITIONS):
        raise HeadwarpError(f"partition: expected train or test, got {partition!r}")
    folder = Path(root)
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder (sought in {folder.absolute().parent}).")
    found = [name for name in PARTITIONS if (folder / name).is_dir()]
    wanted = [name for name in found if partition in (None, name)]
    if partition is not None and not wanted:
        raise MediaError(
            f"{folder}: expected a folder {partition} in it, found {', '.join(found) or 'none'}."
        )
    places = [(folder / name, name) for name in wanted] if found else [(folder, None)]
    clips = tuple(clip for place, name in places for clip in _clips_in(place, name))
    if not clips:
        raise MediaError(f"{folder}: holds no clips (looked for {', '.join(sorted(_SUFFIXES))} and folders).")
    return clips


def _clips_in(folder: Path, partition: str | None) -> list[VoxClip]:
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [
        VoxClip(path, partition, parse_name(path.name))
        for path in paths
        if path.is_dir() or path.suffix.lower() in _SUFFIXES
    ]
