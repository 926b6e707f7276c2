"""A file from the web: resumed where it was broken off, verified, and in its place only when whole.

The bytes go to ``.NAME.part`` beside the target and stay there when a download is interrupted; the next one
asks the server for the rest (HTTP Range).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..geom.errors import HeadwarpError
from ..training.data.jobs._lock import try_lock

_BLOCK = 1 << 18
_TIMEOUT_S = 30.0
_MIB = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How often a broken connection is taken up again.

    Attributes:
        attempts: in a row without a new byte, before the download gives up.
        pause_s: before the second attempt; doubled before each further one.
    """

    attempts: int = 4
    pause_s: float = 1.0


class _BrokenOff(Exception):
    """The connection ended early; the text says why. Another attempt may go on."""


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    patience: Patience | None = None,
) -> str:
    """Get a file, or the rest of it, verify it and put it in its place.

    Args:
        url: where from.
        target: where to; missing parent folders are made. Replaced only by a whole, verified file.
        size: in bytes, where known: checked against the free disk before anything is read.
        sha256: all or the first digits of the hash; None takes any.
        patience: with broken connections.

    Returns:
        The hash of the file.

    Raises:
        HeadwarpError: no connection, refused by the server, broken off for good (what came is kept), another
            hash (what came is thrown away), no room, another download of the same file under way.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab", buffering=0) as file:
            _lock(file, part, target)
            _check_room(target, size, have=_length(file))
            _receive(url, file, patience or Patience())
            digest = _sha256(part)
            if sha256 is not None and not digest.startswith(sha256.lower()):
                part.unlink()
                raise HeadwarpError(
                    f"{url}: expected sha256 {sha256}, got {digest}; what came was thrown away: run again, "
                    f"or get the file from elsewhere and put it to {target}"
                )
            os.replace(part, target)
    except OSError as error:
        raise HeadwarpError(f"{target}: cannot be written: {error.strerror or error}") from error
    return digest


def _receive(url: str, file: IO[bytes], patience: Patience) -> None:
    """Attempts until all is there; an attempt that brought something does not count."""
    failures, reason = 0, ""
    with _progress(url) as bar:
        while failures < patience.attempts:
            if failures:
                time.sleep(patience.pause_s * 2 ** (failures - 1))
            before = _length(file)
            try:
                return _attempt(url, file, bar)
            except _BrokenOff as error:
                reason = str(error)
                failures = 1 if _length(file) > before else failures + 1
    have = _length(file)
    kept = f"{have / _MIB:.1f} MiB are kept: run again to go on" if have else "is this machine offline?"
    raise HeadwarpError(
        f"{url}: broken off ({reason}); {kept}, or get the file on another machine and copy it here"
    )


def _attempt(url: str, file: IO[bytes], bar: Any) -> None:
    """One connection: what the file lacks, appended to it.

    Raises:
        _BrokenOff: it ended early.
        HeadwarpError: the server refuses.
    """
    have = _length(file)
    headers = {"User-Agent": f"headwarp/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
        ) as reply:
            if have and not _continues(reply, have):
                file.truncate(0)
            total = _expected(reply, _length(file))
            bar.total, bar.n = total, _length(file)
            while block := _read(reply):
                _append(file, block)
                bar.update(len(block))
    except urllib.error.HTTPError as error:
        _refused(error, url, file, have)
        return
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(_why(error)) from error
    if total is not None and _length(file) != total:
        raise _BrokenOff(f"after {_length(file)} of {total} bytes")


def _read(reply: http.client.HTTPResponse) -> bytes:
    try:
        return reply.read(_BLOCK)
    except http.client.IncompleteRead as error:
        return error.partial


def _append(file: IO[bytes], block: bytes) -> None:
    """Unbuffered, so that a full disk is told from a broken connection; the system may write less at once."""
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise HeadwarpError(f"{file.name}: cannot be written: {error.strerror or error}") from error


def _continues(reply: http.client.HTTPResponse, have: int) -> bool:
    """Whether the reply is the rest asked for; a server without ranges sends the whole again."""
    match = re.match(r"bytes (\d+)-", reply.headers.get("Content-Range", ""))
    return reply.status == 206 and match is not None and int(match[1]) == have


def _expected(reply: http.client.HTTPResponse, have: int) -> int | None:
    """Bytes of the whole file, if the server says."""
    rest = reply.headers.get("Content-Length", "")
    return have + int(rest) if rest.isdigit() else None


def _refused(error: urllib.error.HTTPError, url: str, file: IO[bytes], have: int) -> None:
    """Nothing if the file was whole already.

    Raises:
        _BrokenOff: an error of the moment, or a part that is no beginning of this file.
        HeadwarpError: an error that stays.
    """
    if error.code == 416:  # nothing behind what we have
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return
        file.truncate(0)
        raise _BrokenOff("the part that was kept is of another file")
    if error.code in (408, 429) or error.code >= 500:
        raise _BrokenOff(f"the server answers {error.code} {error.reason}")
    raise HeadwarpError(
        f"{url}: the server answers {error.code} {error.reason}; get the file from elsewhere and copy it here"
    )


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _check_room(target: Path, size: int | None, *, have: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size is not None and size - have > free:
        raise HeadwarpError(
            f"{target}: needs {(size - have) / _MIB:.0f} MiB, got {free / _MIB:.0f} MiB of free disk; "
            "make room or name another folder"
        )


def _lock(file: IO[bytes], part: Path, target: Path) -> None:
    """Refuse a second download of the same file, also one that just ended between open and lock."""
    same = try_lock(file.fileno(), wait=0) and part.exists()
    if not same or not os.path.samestat(part.stat(), os.fstat(file.fileno())):
        raise HeadwarpError(f"{target}: another download of it is under way; wait for it")


def _length(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(url: str) -> Iterator[Any]:
    from tqdm import tqdm

    name = url.rpartition("/")[2]
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:
        yield bar
