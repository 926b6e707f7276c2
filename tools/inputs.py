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


def check_folder(folder: Path) -> None:
    """Make the output folder, or say why it cannot be.

    Raises:
        HeadwarpError: a file of that name, or no permission.
    """
    if folder.exists() and not folder.is_dir():
        raise HeadwarpError(f"--output: expected a folder, got the file {folder}; name another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadwarpError(
            f"--output: cannot make the folder {folder} ({error.strerror or error})"
        ) from error
    if not os.access(folder, os.W_OK):
        raise HeadwarpError(f"--output: the folder {folder} cannot be written to; name another one")
