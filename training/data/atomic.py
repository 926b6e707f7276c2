"""Files and folders that appear whole or not at all: made under a hidden name beside it, then renamed."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError

__all__ = ["atomic_folder", "atomic_path", "plain", "write_json"]

ABANDONED = 6 * 3600.0  # seconds without a change

_WRITE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
)  # never the block's own trouble


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends without an exception.

    The temporary file is hidden, lies beside the target and has the same suffix, so that libraries which go
    by the suffix write the right format. Missing parent folders are made. A symbolic link is written through.
    On any exception (an interrupt too) the temporary file is removed and an older ``path`` stays as it was.

    Args:
        path: the file to make.

    Yields:
        The temporary path: an empty file that the block overwrites.

    Raises:
        HeadwarpError: the target is a folder, its folder cannot be made or written, or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('done', 1)
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise HeadwarpError(f"{os.fspath(path)}: is a folder, not a file; add a file name.")
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # not tempfile.mkstemp: its mode 0600 would outlive the rename
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        reason = error.strerror or str(error)
        raise HeadwarpError(f"{os.fspath(path)}: cannot be written there ({reason.lower()}).") from error
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
            reason = error.strerror or str(error)
            raise HeadwarpError(f"{os.fspath(path)}: writing failed ({reason.lower()}).") from error
        raise


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A hidden folder that becomes ``target`` when the block ends well; an older one gives way.

    What a process that was killed left hidden is removed, once it is too old to be of one that runs.

    Yields:
        The hidden folder, empty.

    Raises:
        HeadwarpError: it, or what the block puts into it, cannot be written.
    """
    hidden = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}")
    try:
        for left in target.parent.glob(f".{glob.escape(target.name[:80])}.????????"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
        hidden.mkdir(parents=True)
        yield hidden
        if target.exists():
            shutil.rmtree(target)
        os.replace(hidden, target)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HeadwarpError(f"{target}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_json(path: str | os.PathLike[str], content: object) -> None:
    """Write ``content`` as indented UTF-8 JSON, whole or not at all.

    Dataclasses become objects, tuples, arrays and tensors lists, paths and fractions strings; NaN and
    infinities become ``null``, because JSON has no word for them. The order of keys is kept.

    Args:
        path: the file to make; missing parent folders are made.
        content: mappings with string keys, sequences, numbers, strings and the kinds above.

    Raises:
        HeadwarpError: the file cannot be written.
        TypeError: ``content`` holds something else; the text names its place.
    """
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:  # bytes of file names that are no UTF-8 become JSON's escapes
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def plain(value: object, place: str = "content") -> Any:
    """``value`` in the types that JSON knows, as `write_json` writes it; ``place`` names it in an error.

    Raises:
        TypeError: it holds something else.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (os.PathLike, Fraction)):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return plain(fields, place)
    if isinstance(value, Mapping):
        return {_key(key, place): plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors, without importing either
        return plain(value.tolist(), place)
    raise TypeError(f"{place}: expected what JSON can hold, got {type(value).__name__}.")


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{place}: expected string keys, got {key!r} of type {type(key).__name__}.")
    return key
