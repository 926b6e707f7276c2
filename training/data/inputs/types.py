"""One input: a file, or a part of one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a tar shard.

    Attributes:
        name: as the shard has it.
        offset: of its first byte in the shard.
        size: in bytes.
        modified: seconds since 1970.
    """

    name: str
    offset: int
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Input:
    """A photo or clip to be worked on.

    Attributes:
        path: a file; a folder or pattern of numbered pictures (one clip); or the shard that holds ``member``.
        place: where it lies below what was named on the command line, parts joined by ``/``, with suffix.
        root: name of the folder or shard that was named; empty for a file.
        member: the file inside the shard; None if ``path`` itself is meant.
        start: first frame.
        stop: index after the last frame; None for all.
        face: rank of the face; None leaves the choice to the command.
        name: asked for by the user; None: made from the place.
        problem: why it cannot be read; None if nothing is known against it.
    """

    path: str
    place: str
    root: str = ""
    member: Member | None = None
    start: int = 0
    stop: int | None = None
    face: int | None = None
    name: str | None = None
    problem: str | None = None

    @property
    def label(self) -> str:
        """What a person is shown."""
        return self.path if self.member is None else f"{self.path}:{self.member.name}"

    def source(self, base: str | os.PathLike[str]) -> str:
        """Which input this is, and nothing else: its real place seen from ``base``, and what part is meant.

        Seen from the output folder, it stays the same when both are moved or mounted elsewhere together.
        """
        folder, name = os.path.split(os.path.abspath(self.path))
        text = f"{_between(folder, os.fspath(base))}/{name}"
        if self.member is not None:
            text += f":{self.member.offset}:{self.member.name}"
        if self.start or self.stop is not None:
            text += f"[{self.start}:{'' if self.stop is None else self.stop}]"
        text += "" if self.face is None else f" face {self.face}"
        return text if self.name is None else f"{text} as {self.name}"

    def stamp(self) -> str:
        """Size and time of change; empty if there is no such file."""
        if self.member is not None:
            return f"{self.member.size} {self.member.modified}"
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return ""
        return f"{status.st_size} {status.st_mtime_ns}"


@lru_cache(maxsize=64)
def _between(folder: str, base: str) -> str:
    """The way from one folder to another, links resolved."""
    return os.path.relpath(os.path.realpath(folder), os.path.realpath(base)).replace(os.sep, "/")
