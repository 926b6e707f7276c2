"""What became of each stretch of each video, as records and as the dataset's CSV table.

The first eight columns are those of [FOMM]'s ``vox-metadata.csv``: its readers take the table as it is, but
for the rows of what was dropped, whose ``clip`` is empty.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ....geom.errors import MediaError
from ..atomic import atomic_path

__all__ = ["CropRow", "VideoRecord", "read_table", "rows_of", "write_table"]

_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class CropRow:
    """A clip, or a stretch of a track that was dropped.

    Attributes:
        video_id: ``VIDEO#IDENTITY``.
        start: first frame, counted at ``fps`` from the video's first.
        end: frame after the last.
        bbox: the window x0, y0, x1, y1 in pixels of the upright video.
        fps: frames a second of the clip.
        width: of the upright video.
        height: of the upright video.
        partition: ``train`` or ``test``.
        identity: the person.
        track: number of the face track in the video.
        clip: path of the clip in the dataset; empty where dropped.
        dropped: empty, or ``short``, ``small``, ``border``, ``unconfirmed``.
        detail: the numbers behind the reason.
        missing: frames in which the face was not detected.
        audio: whether the clip has sound.
    """

    video_id: str
    start: int
    end: int
    bbox: tuple[int, int, int, int]
    fps: float
    width: int
    height: int
    partition: str
    identity: str
    track: int
    clip: str
    dropped: str
    detail: str
    missing: int
    audio: bool

    @property
    def frames(self) -> int:
        """Length."""
        return self.end - self.start


@dataclass(frozen=True)
class VideoRecord:
    """What became of one video.

    Attributes:
        video: its name in the dataset.
        rows: clips and dropped stretches, by track and time.
        frames: frames read.
        fps: frames a second of the clips.
        notes: what a reader should know: damage, repeated frames.
    """

    video: str
    rows: tuple[CropRow, ...]
    frames: int
    fps: float
    notes: tuple[str, ...]

    @property
    def clips(self) -> tuple[CropRow, ...]:
        """The rows that are clips."""
        return tuple(row for row in self.rows if not row.dropped)

    def facts(self) -> dict[str, Any]:
        """The record in what JSON can hold; :func:`rows_of` reads the rows back."""
        return dataclasses.asdict(self)


def rows_of(facts: Mapping[str, Any]) -> Iterator[CropRow]:
    """The rows of :meth:`VideoRecord.facts`, after a way through JSON."""
    for row in facts["rows"]:
        yield CropRow(**{**row, "bbox": tuple(row["bbox"])})


def write_table(path: str | os.PathLike[str], rows: Iterable[CropRow]) -> None:
    """Write the rows as CSV, in their order and as they come, whole or not at all.

    Raises:
        HeadwarpError: the file cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_columns())
        writer.writerows([_text(getattr(row, name)) for name in _columns()] for row in rows)


def read_table(path: str | os.PathLike[str]) -> tuple[CropRow, ...]:
    """Read what :func:`write_table` wrote.

    Raises:
        MediaError: no such file, not a table of this kind, or a row that does not read; the text names it.
    """
    name = os.fspath(path)
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise MediaError(f"{name}: expected a table of clips, got more than a gigabyte.")
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not {*_columns()} <= {*(reader.fieldnames or ())}:
                missing = sorted({*_columns()} - {*(reader.fieldnames or ())})
                raise MediaError(
                    f"{name}: expected columns {', '.join(_columns())}; missing {', '.join(missing)}."
                )
            return tuple(_row(row, f"{name}, line {reader.line_num}") for row in reader)
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file (sought in {Path(path).absolute().parent}).") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{name}: is not a table of clips that can be read ({error}).") from error


def _columns() -> list[str]:
    return [field.name for field in dataclasses.fields(CropRow)]


def _text(value: object) -> object:
    if isinstance(value, tuple):  # negative numbers keep their sign: 10--4-300-286
        return "-".join(map(str, value))
    return int(value) if isinstance(value, bool) else value


def _row(row: dict[str, str], place: str) -> CropRow:
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(CropRow).items():
        text = row[name]
        try:
            values[name] = _box(text) if name == "bbox" else bool(int(text)) if kind is bool else kind(text)
        except (TypeError, ValueError) as error:
            raise MediaError(f"{place}: column {name} cannot be {text!r}.") from error
    return CropRow(**values)


def _box(text: str) -> tuple[int, int, int, int]:
    match = re.fullmatch(r"(-?\d{1,9})-(-?\d{1,9})-(-?\d{1,9})-(-?\d{1,9})", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])
