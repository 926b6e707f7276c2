"""Blocks of bytes by key, appended to files by any number of processes and found again by all.

Each process appends to a file of its own. A block stands behind a header with its key, length and checksum,
written in one call: what a killed process left unfinished is passed over, and what is damaged counts as
missing and is made again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ....geom.errors import HeadwarpError

SUFFIX = ".shard"
_HEADER = struct.Struct("<4sIIII")  # magic, key, key, length, checksum
_MAGIC = b"HWS1"
Key = tuple[int, int]


@dataclass(frozen=True)
class _Place:
    path: str
    offset: int
    length: int
    checksum: int


class ShardStore:
    """Keeps blocks in a folder; what other processes append is found when it is asked for. Of one process.

    Args:
        folder: made when the first block is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._own = folder, folder / f"{secrets.token_hex(8)}{SUFFIX}"
        self._places: dict[Key, _Place] = {}
        self._read_to: dict[str, int] = {}

    def __len__(self) -> int:
        self._look()
        return len(self._places)

    def get(self, key: Key) -> bytes | None:
        """The block of a key; None if it was not put or is damaged."""
        if key not in self._places:
            self._look()
        place = self._places.get(key)
        if place is None:
            return None
        try:
            with open(place.path, "rb") as file:
                file.seek(place.offset)
                block = file.read(place.length)
        except OSError:
            block = b""
        if len(block) == place.length and zlib.crc32(block) == place.checksum:
            return block
        del self._places[key]
        return None

    def put(self, key: Key, block: bytes) -> None:
        """Append a block; of several of one key the last one counts.

        Raises:
            HeadwarpError: the folder cannot be written, or the disk is full.
        """
        header = _HEADER.pack(_MAGIC, *key, len(block), zlib.crc32(block))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self._own, "ab", buffering=0) as file:
                start = file.tell()
                written = file.write(header + block)
                if written != len(header) + len(block):
                    os.truncate(self._own, start)
                    raise OSError(28, os.strerror(28))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise HeadwarpError(
                f"{self.folder}: what was computed cannot be kept there ({reason}); free some disk, or keep "
                "nothing"
            ) from error
        self._places[key] = _Place(str(self._own), start + _HEADER.size, len(block), zlib.crc32(block))
        self._read_to[str(self._own)] = start + _HEADER.size + len(block)

    def _look(self) -> None:
        """Headers that were appended since the last look; files that go away meanwhile hold nothing."""
        try:
            with os.scandir(self.folder) as entries:
                paths = sorted(entry.path for entry in entries if entry.name.endswith(SUFFIX))
        except FileNotFoundError:
            return
        for path in paths:
            with contextlib.suppress(OSError):
                size = os.path.getsize(path)
                if size > self._read_to.get(path, 0):
                    self._scan(path, size)

    def _scan(self, path: str, size: int) -> None:
        at = self._read_to.get(path, 0)
        with open(path, "rb") as file:
            while at + _HEADER.size <= size:
                file.seek(at)
                header = file.read(_HEADER.size)
                if len(header) < _HEADER.size:  # cut off meanwhile, as a full disk has it
                    break
                magic, first, second, length, checksum = _HEADER.unpack(header)
                end = at + _HEADER.size + length
                if magic != _MAGIC or end > size:
                    break
                self._places[first, second] = _Place(path, at + _HEADER.size, length, checksum)
                at = end
        self._read_to[path] = at
