"""A list of inputs: a CSV file with a row for each."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping

from ....geom.errors import HeadwarpError
from .types import Input

COLUMNS = ("path", "name", "start", "stop", "face")


def read_list(path: str | os.PathLike[str]) -> Iterator[Input]:
    """The rows of a list, one by one.

    Columns: ``path`` (a photo, clip, or folder of numbered pictures, seen from the folder of the list), and
    as wanted ``name`` (of the output, folders by ``/``), ``start`` and ``stop`` (frames, the last one
    excluded) and ``face`` (rank). A row that makes no sense becomes an input with a ``problem``.

    Raises:
        HeadwarpError: the file cannot be read, has no column ``path``, or has columns that are not known.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="more", strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            _check_columns(name, columns)
            reader.fieldnames = columns
            for row in reader:
                yield _input(name, reader.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise HeadwarpError(f"{name}: cannot be read as a list ({reason}); expected UTF-8 CSV") from error


def _check_columns(name: str, columns: list[str]) -> None:
    unknown = sorted(set(columns) - set(COLUMNS))
    if "path" not in columns or unknown or len(set(columns)) != len(columns):
        raise HeadwarpError(
            f"{name}: expected a first line with the columns path and, as wanted, {', '.join(COLUMNS[1:])}; "
            f"got {', '.join(columns) or 'nothing'}"
        )


def _input(name: str, line: int, row: Mapping[str, object]) -> Input:
    """The input of a row, or one that says what is wrong with the row."""
    cells = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
    stem = os.path.splitext(os.path.basename(name))[0]
    try:
        if "more" in row:
            raise ValueError(f"expected {len(row) - 1} cells, got {len(row) - 1 + len(row['more'])}")  # type: ignore[arg-type]
        if any("\0" in cell for cell in cells.values()):
            raise ValueError("expected text, got zero bytes")
        if "path" not in cells:
            raise ValueError("expected a path, got none")
        start, stop, face = (_number(cells, column) for column in ("start", "stop", "face"))
        if stop is not None and stop <= (start or 0):
            raise ValueError(f"expected start < stop, got {start or 0} and {stop}")
        path = os.path.join(os.path.dirname(name), cells["path"])
        place = _place(cells, start=start, stop=stop, face=face)
        return Input(path, place, start=start or 0, stop=stop, face=face, name=cells.get("name"))
    except ValueError as error:
        place = f"{stem}_line{line}"
        return Input(name, place, name=place, problem=f"{name}, line {line}: {error}")


def _number(cells: Mapping[str, str], column: str) -> int | None:
    text = cells.get(column)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise ValueError(f"{column}: expected a whole number, 0 or more, got {text!r}")
    return int(text)


def _place(cells: Mapping[str, str], *, start: int | None, stop: int | None, face: int | None) -> str:
    """The name asked for; else that of the file, and the frames and face if they are limited."""
    base, suffix = os.path.splitext(os.path.basename(cells["path"].rstrip("/\\")))
    if "name" in cells:
        parts = cells["name"].split("/")
        if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
            raise ValueError(f"name: expected names joined by /, none hidden or empty, got {cells['name']!r}")
        return cells["name"] + suffix
    frames = "" if start is None and stop is None else f"_{start or 0}-{'' if stop is None else stop}"
    return f"{base}{frames}{'' if face is None else f'_face{face}'}{suffix}"
