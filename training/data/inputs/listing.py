"""Files, folders, trees and patterns on the command line to inputs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .csv_list import read_list
from .tar_shards import is_shard, shard_members
from .types import Input

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"})
CLIPS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".gif"})


def list_inputs(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    sequence: bool = False,
    exclude: str | os.PathLike[str] | None = None,
) -> Iterator[Input]:
    """The photos and clips that are meant, one by one, each once, numbers in names in numeric order.

    A folder stands for the photos, clips and tar shards in it; if there are none, for those in the folders
    below. A pattern stands for what it matches, a ``.tar`` for its members, a ``.csv`` for its rows
    (`read_list`). What does not exist, is damaged or holds nothing becomes an input with a ``problem`` or is
    passed on: reading it says so. Hidden files are left out.

    Args:
        paths: as typed.
        recursive: take folders with all folders below them.
        sequence: a folder of pictures, or a pattern, is one clip.
        exclude: a folder that is not looked into: that of the outputs.

    Raises:
        HeadwarpError: a list has no column ``path``, or columns that are not known.
    """
    listing = _Listing(recursive, sequence, frozenset(_identities([exclude] if exclude else [])))
    seen: set[str] = set()
    for path in paths:
        for found in listing.of(os.fspath(path)):
            source = found.source(os.sep)
            if source not in seen:
                seen.add(source)
                yield found


@dataclass(frozen=True)
class _Listing:
    recursive: bool
    sequence: bool
    exclude: frozenset[tuple[int, int]]

    def of(self, path: str) -> Iterator[Input]:
        """What one word stands for."""
        suffix = os.path.splitext(path)[1].lower()
        if os.path.isdir(path):
            yield from self._folder(path)
        elif os.path.isfile(path) and is_shard(path):
            yield from shard_members(path, PHOTOS | CLIPS)
        elif suffix == ".csv" and os.path.isfile(path):
            yield from read_list(path)
        elif not os.path.exists(path) and glob.has_magic(path) and not self.sequence:
            matches = sorted(glob.glob(path, recursive=True), key=natural_order)
            files = [name for name in matches if os.path.isfile(name) and _is_wanted(name)]
            for name in files:
                yield from self.of(name)
            if not files:
                yield Input(path, _plain_name(path), problem=f"{path}: matches no photo, clip or shard")
        else:
            yield Input(path, _plain_name(path))

    def _folder(self, path: str) -> Iterator[Input]:
        root = os.path.basename(os.path.abspath(path))
        if self.sequence and not self.recursive:
            yield Input(path, root)
            return
        depths = [True] if self.recursive else [False, True]
        for deep in depths:
            empty = True
            for found in self._tree(path, "", root, deep=deep, above=self.exclude):
                empty = False
                yield found
            if not empty:
                return
        yield Input(path, root, problem=f"{path}: holds no photo, clip or shard")

    def _tree(
        self, folder: str, place: str, root: str, *, deep: bool, above: frozenset[tuple[int, int]]
    ) -> Iterator[Input]:
        """A folder's files, then the folders below; ``above`` are folders not to enter (again)."""
        try:
            with os.scandir(folder) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
                folders = sorted((e.name for e in entries if e.is_dir()), key=natural_order)
                wanted = (e.name for e in entries if _is_wanted(e.name) and e.is_file())
                files = sorted(wanted, key=natural_order)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            yield Input(folder, place or root, root, problem=f"{folder}: cannot be listed ({reason})")
            return
        pictures = [name for name in files if _suffix(name) in PHOTOS] if self.sequence else []
        if pictures:
            yield Input(folder, place or root, root if place else "")
        for name in files:
            if is_shard(name):
                yield from shard_members(os.path.join(folder, name), PHOTOS | CLIPS, below=_join(place, ""))
            elif not self.sequence or _suffix(name) not in PHOTOS:
                yield Input(os.path.join(folder, name), _join(place, name), root)
        for name in folders if deep else ():
            below = os.path.join(folder, name)
            identity = set(_identities([below]))
            if not identity & above:
                yield from self._tree(below, _join(place, name), root, deep=True, above=above | identity)


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place and name else place or name


def _identities(folders: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[int, int]]:
    """What tells a folder from all others, whatever links lead to it; nothing for one that is not there."""
    for folder in folders:
        try:
            status = os.stat(folder)
        except OSError:
            continue
        yield status.st_dev, status.st_ino


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_wanted(name: str) -> bool:
    suffix = _suffix(name)
    return (suffix in PHOTOS or suffix in CLIPS or is_shard(name)) and not os.path.basename(name).startswith(
        "."
    )


def _plain_name(path: str) -> str:
    """The name of a file; of a pattern its letters, or the folder's name if it has none."""
    folder, name = os.path.split(os.path.abspath(path))
    if glob.has_magic(path) and not os.path.exists(path):
        stem, suffix = os.path.splitext(name)
        name = re.sub(r"[^\w.()+@#-]+", "", stem)
        name = name + suffix if name else os.path.basename(folder)
    return name or "input"


def natural_order(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Sorts ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", os.fspath(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def is_numbered(folder: str | os.PathLike[str], *, least: int = 8) -> bool:
    """Whether a folder looks like the frames of a clip: several photos whose names differ in numbers only.

    Args:
        folder: of pictures.
        least: how many make a clip.
    """
    if not os.path.isdir(folder):
        return False
    names = [name for name in os.listdir(folder) if _suffix(name) in PHOTOS and not name.startswith(".")]
    return len(names) >= least and len({re.sub(r"\d+", "#", name) for name in names}) == 1
