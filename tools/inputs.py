"""What commands share that take files and make a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ..geom.errors import HeadwarpError
from ..training.data.inputs import PHOTOS, list_inputs


def expand(inputs: Iterable[Path]) -> list[Path]:
    """The files that are meant, in order, each once: folders and patterns stand for the photos and clips in
    them. What does not exist or holds nothing is passed on: reading it says so.
    """
    return [Path(found.path) for found in list_inputs(inputs) if found.member is None]


WRITTEN = ("output", "html", "sheet", "picture", "json")
"""Options that name a file to be written, in every command that has them."""


SHOWN = ("source", "driving", "target", "input", "photo")
"""Options of pictures, where a folder stands for the photos in it."""


def check_apart(config: Any, json_path: Path | None = None) -> None:
    """Refuse to write over a file that is read, or two things into one file, before the work is done.

    Args:
        config: a command's; every other path or text in it that names a file counts as read.
        json_path: the file of ``--json``.

    Raises:
        HeadwarpError: by whatever name or link they go, in a folder that is read, too.
    """
    written = {name: getattr(config, name, None) for name in WRITTEN} | {"json": json_path}
    targets = {f"--{name}": Path(path) for name, path in written.items() if isinstance(path, (str, Path))}
    read = [path for path in _named(config) if os.path.isfile(path)]
    folders = [each for name in SHOWN for each in _named(getattr(config, name, ())) if os.path.isdir(each)]
    seen: dict[str, str] = {}
    for option, path in targets.items():
        named = os.path.isfile(path) and any(os.path.samefile(path, other) for other in read)
        held = os.path.isfile(path) and path.suffix.lower() in PHOTOS
        if named or (held and any(os.path.samefile(path.parent, folder) for folder in folders)):
            raise HeadwarpError(f"{option}: {path} is one of the inputs; give another name")
        if not path.is_dir() and (first := seen.setdefault(os.path.realpath(path), option)) != option:
            raise HeadwarpError(f"{option}: {path} is what {first} writes; give another name")


def check_places(config: Any) -> None:
    """Say before the work that a file cannot be written where it is wanted, as far as that can be known.

    Raises:
        HeadwarpError: a file on the way to it, or no permission.
    """
    for name in WRITTEN:
        path = getattr(config, name, None)
        if isinstance(path, Path) and not path.is_dir():  # a folder's own place does not matter
            there = next(above for above in path.absolute().parents if os.path.lexists(above))
            if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
                reason = f"{there} cannot be written to" if there.is_dir() else f"{there} is a file"
                raise HeadwarpError(f"--{name}: cannot write {path} ({reason}); name another one")


def _named(value: Any) -> Iterator[str | Path]:
    """Every path in a config, and every text, which may be one."""
    if is_dataclass(value):
        for each in fields(value):
            if each.name not in WRITTEN:
                yield from _named(getattr(value, each.name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _named(item)
    elif isinstance(value, (str, Path)):
        yield value


def check_folder(folder: Path, *, option: str = "--output") -> None:
    """Say why the output folder cannot be made or written to, if so; it is not made: what writes the first
    file does that, so that a command that is refused leaves nothing behind.

    Raises:
        HeadwarpError: a file of that name or on the way to it, or no permission.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise HeadwarpError(f"{option}: expected a folder, got the file {folder}; name another one")
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if there == folder and not writable:
        raise HeadwarpError(f"{option}: the folder {folder} cannot be written to; name another one")
    if not writable:
        reason = f"{there} cannot be written to" if there.is_dir() else f"{there} is a file"
        raise HeadwarpError(f"{option}: cannot make the folder {folder} ({reason}); name another one")
