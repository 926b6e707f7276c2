"""Tar shards in the layout of WebDataset: each photo or clip in them is an input, read without unpacking."""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from ....geom.errors import HeadwarpError, MediaError
from .types import Input, Member

_BLOCK = 512
_COPY_BYTES = 1 << 20
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_shard(path: str) -> bool:
    """Whether the name is that of a tar shard, compressed or not."""
    return path.lower().endswith((".tar", *_COMPRESSED))


def shard_members(path: str, suffixes: Collection[str], *, below: str = "") -> Iterator[Input]:
    """The photos and clips in a shard, one by one; only headers are read.

    Names that lead out of the folder, links and sparse files become inputs with a ``problem``, and so does
    what follows a damaged place. Other members (``.json``, ``.txt``) belong to them and are left out.

    Args:
        path: the shard.
        suffixes: of photos and clips.
        below: folder of the shard below what was named on the command line.
    """
    root = os.path.basename(path)
    root = root[: root.lower().rindex(".tar")] if ".tar" in root.lower() else os.path.splitext(root)[0]
    place = f"{below}/{root}" if below else root
    whole = Input(path, place + ".tar", start=0)
    if path.lower().endswith(_COMPRESSED):
        yield _with_problem(whole, f"{path}: is compressed, its members cannot be reached; unpack it to .tar")
        return
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            size, empty, reached = os.fstat(file.fileno()).st_size, True, 0
            while (entry := archive.next()) is not None:
                if archive.offset <= reached:  # a negative size leads back, again and again
                    raise tarfile.ReadError("a header states an impossible size")
                reached = archive.offset
                archive.members.clear()  # type: ignore[attr-defined]  # else they all stay in memory
                found = _member(path, place, entry, suffixes, size)
                if found is not None:
                    empty = False
                    yield found
            file.seek(archive.offset)
            if file.read(_BLOCK).strip(b"\0"):  # tarfile takes damage for the end
                raise tarfile.ReadError("a header does not read")
            if empty:
                yield _with_problem(whole, f"{path}: holds no photo or clip")
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        text = f"{path}: is damaged ({reason}); what stands before the damage was taken, nothing behind it"
        yield _with_problem(whole, text)


def _member(
    path: str, place: str, entry: tarfile.TarInfo, suffixes: Collection[str], size: int
) -> Input | None:
    """The input of a member; None if it is no photo or clip."""
    parts = entry.name.replace("\\", "/").split("/")
    suffix = os.path.splitext(parts[-1])[1].lower()
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    if entry.isdir() or suffix not in suffixes or hidden:
        return None
    member = Member(entry.name, entry.offset_data, entry.size, int(entry.mtime))
    inside = "/".join(part for part in parts if part not in ("", ".", ".."))
    found = Input(path, f"{place}/{inside}", place, member)
    if ".." in parts or entry.name.startswith(("/", "\\")) or parts[0].endswith(":"):
        return _with_problem(found, f"{found.label}: the name leads out of the shard")
    if not entry.isreg() or entry.issparse():
        return _with_problem(found, f"{found.label}: is a link or no plain file")
    if entry.size < 0 or entry.offset_data + entry.size > size:
        return _with_problem(found, f"{found.label}: is cut off, the shard ends before it")
    return found


def _with_problem(found: Input, problem: str) -> Input:
    return Input(found.path, found.place, found.root, found.member, problem=problem)


@contextlib.contextmanager
def opened(found: Input, folder: Path) -> Iterator[Path]:
    """A path at which the input can be read: its own, or a copy of the shard's member that is removed again.

    What is raised in the block names the input.

    Args:
        found: the input.
        folder: for the copy.

    Raises:
        MediaError: the input has a problem, or the shard cannot be read.
    """
    if found.problem is not None:
        raise MediaError(found.problem)
    copy = None if found.member is None else folder / f"member{os.path.splitext(found.member.name)[1]}"
    try:
        if copy is not None and found.member is not None:
            _copy(found.path, found.member, copy)
        yield copy or Path(found.path)
    except HeadwarpError as error:
        text = str(error)
        text = text if copy is None else text.replace(os.fspath(copy), found.label)  # nobody knows the copy
        named = text if os.path.basename(found.path) in text else f"{found.label}: {text}"
        raise type(error)(named) from error
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)


def _copy(path: str, member: Member, target: Path) -> None:
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; only its opening is the shard's fault)
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened ({(error.strerror or str(error)).lower()})") from error
    with file, target.open("wb") as copy:
        file.seek(member.offset)
        left = member.size
        while left:
            data = file.read(min(left, _COPY_BYTES))
            if not data:
                raise MediaError(f"{path}:{member.name}: is cut off, the shard ends before it")
            copy.write(data)
            left -= len(data)
