"""Lists of pairs, source and driving: ours, and those that papers published, found again on the user's disk.

Columns ``source`` and ``driving``, and as wanted ``frame`` or ``best_frame``: the driving frame that
corresponds to the source, a number or the picture itself. An entry is a photo, a clip, a folder of numbered
pictures, or one of its pictures. Lists of [FOMM] name clips; lists of [DaGAN] name frames by paths of the
machine that they were made on, some under a header of one name more than their rows have fields. All are
found by the end of their paths: as many folders as agree.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...geom.errors import HeadwarpError

__all__ = ["Found", "ListedPair", "Pair", "find_entry", "find_pairs", "read_pairs"]

_REFERENCE = ("frame", "best_frame")
_KNOWN = ("source", "driving", *_REFERENCE, "distance")
_CLIPS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class ListedPair:
    """A row of a list.

    Attributes:
        source: as it is written.
        driving: as it is written.
        reference: driving frame that corresponds to the source, for relative motion: its number, or a picture
            as it is written; None where not given.
        line: its line in the file.
    """

    source: str
    driving: str
    reference: int | str | None
    line: int


@dataclass(frozen=True)
class Found:
    """An entry on the disk.

    Attributes:
        path: the photo, the clip, or the folder of frames.
        frame: which frame of it; None for all.
    """

    path: Path
    frame: int | None = None


@dataclass(frozen=True)
class Pair:
    """A pair whose files are there.

    Attributes:
        listed: the row.
        source: the source.
        driving: the driver.
        reference: the picture of the driver that corresponds to the source; None where the list names none.
    """

    listed: ListedPair
    source: Found
    driving: Found
    reference: Found | None = None

    @property
    def name(self) -> str:
        """``SOURCE>DRIVING``, without folders and suffixes."""
        return f"{_short(self.listed.source)}>{_short(self.listed.driving)}"


def read_pairs(path: str | os.PathLike[str]) -> list[ListedPair]:
    """The rows of a list, in order.

    Lines that begin with ``#`` are notes. Fields that a row lacks at its end are empty, whatever the header
    says.

    Raises:
        HeadwarpError: the file cannot be read, lacks a column, has an unknown one, or a row makes no sense.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            rows = [(n, line) for n, line in enumerate(file, 1) if line.strip() and not line.startswith("#")]
        reader = csv.DictReader((line for _, line in rows), restkey="more", strict=True)
        columns = [column.strip().lower() for column in reader.fieldnames or ()]
        _check_columns(name, columns)
        reader.fieldnames = columns
        pairs = [_pair(name, line, row) for (line, _), row in zip(rows[1:], reader, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, HeadwarpError):
            raise
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise HeadwarpError(f"{name}: cannot be read as a list of pairs ({reason}); expected CSV") from error
    if not pairs:
        raise HeadwarpError(f"{name}: expected at least one pair, got none")
    return pairs


def _check_columns(name: str, columns: list[str]) -> None:
    needed = {"source", "driving"} <= set(columns)
    if not needed or set(columns) - set(_KNOWN) or len(set(columns)) != len(columns):
        raise HeadwarpError(
            f"{name}: expected a first line with the columns source, driving and, as wanted, frame or "
            f"best_frame; got {', '.join(columns) or 'nothing'}"
        )


def _pair(name: str, line: int, row: Mapping[str, object]) -> ListedPair:
    cells = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
    if "more" in row or "source" not in cells or "driving" not in cells:
        raise HeadwarpError(
            f"{name}, line {line}: expected a source and a driving, got {list(cells.values())}"
        )
    given = next((cells[column] for column in _REFERENCE if column in cells), None)
    return ListedPair(cells["source"], cells["driving"], _reference(given, f"{name}, line {line}"), line)


def _reference(given: str | None, place: str) -> int | str | None:
    """A frame's number, ``0.0`` included, or the name of a picture."""
    if given is None or PurePosixPath(given).suffix.lower() in _PICTURES:
        return given
    number = given.removesuffix(".0")
    if not (number.isascii() and number.isdecimal() and len(number) < 12):
        raise HeadwarpError(
            f"{place}: frame: expected a whole number, 0 or more, or a picture's name, got {given!r}"
        )
    return int(number)


def find_pairs(listed: list[ListedPair], root: str | os.PathLike[str]) -> tuple[list[Pair], list[str]]:
    """The pairs whose files are under a folder, and the entries that are not, each once.

    Args:
        listed: entries of a list.
        root: folder in which they are sought.

    Raises:
        HeadwarpError: no such folder.
    """
    base = Path(root)
    if not base.is_dir():
        raise HeadwarpError(f"--root: expected the folder of the list's files, found none at {base}")
    known: dict[str, Found | None] = {}
    pairs = []
    for row in listed:
        named = [row.source, row.driving, *([row.reference] if isinstance(row.reference, str) else [])]
        for text in named:
            if text not in known:
                known[text] = find_entry(text, base)
        places = [place for text in named if (place := known[text]) is not None]
        if len(places) == len(named):
            pairs.append(Pair(row, *places))
    return pairs, [text for text, found in known.items() if found is None]


def find_entry(text: str, root: Path) -> Found | None:
    """The file of an entry: the longest end of its path that exists under ``root``.

    A clip's suffix may be another one or missing, and a frame ``CLIP/0000012.png`` may lie in a clip's file:
    then it is that frame, counted from 0. A numbered picture is never found by its number alone.
    """
    parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    last = PurePosixPath(parts[-1] if parts else "")
    numbered = last.stem.isdecimal() and last.suffix.lower() in _PICTURES
    for first in range(len(parts)):
        tail = parts[first:]
        if numbered and len(tail) == 1 and len(parts) > 1:
            break
        found = _found_at(root.joinpath(*tail), numbered=numbered and len(tail) > 1)
        if found is not None:
            return found
    return None


def _found_at(path: Path, *, numbered: bool) -> Found | None:
    for candidate in (path, *_other_suffixes(path)):
        if os.path.exists(candidate):  # unlike Path's own, no name is too long for it
            return Found(candidate)
    if not numbered:
        return None
    clips = [clip for clip in (path.parent, *_other_suffixes(path.parent)) if os.path.isfile(clip)]
    return Found(clips[0], int(path.stem)) if clips else None


def _other_suffixes(path: Path) -> Iterator[Path]:
    """The same name as another kind of file, or as a folder of frames."""
    known = path.suffix.lower() in (*_CLIPS, *_PICTURES)
    kinds = _PICTURES if path.suffix.lower() in _PICTURES else (*_CLIPS, *_PICTURES)
    stem = path.with_suffix("") if known else path
    yield from (stem.with_name(stem.name + suffix) for suffix in kinds if suffix != path.suffix)
    if known and path.suffix.lower() in _CLIPS:
        yield stem


def _short(text: str) -> str:
    parts = PurePosixPath(text.replace("\\", "/")).parts
    stem = PurePosixPath(parts[-1]).stem
    return f"{PurePosixPath(parts[-2]).name}/{stem}" if stem.isdecimal() and len(parts) > 1 else stem
