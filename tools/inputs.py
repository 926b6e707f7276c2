"""What commands share that take files and make a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..geom.errors import HeadwarpError
from ..training.data.inputs import list_inputs


def expand(inputs: Iterable[Path]) -> list[Path]:
    """The files that are meant, in order, each once: folders and patterns stand for the photos and clips in
    them. What does not exist or holds nothing is passed on: reading it says so.
    """
    return [Path(found.path) for found in list_inputs(inputs) if found.member is None]


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
