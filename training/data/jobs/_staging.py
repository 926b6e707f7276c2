"""Files that are being made: in a hidden folder of the output folder, moved into place by renaming."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ....geom.errors import HeadwarpError
from ..atomic import atomic_path

HIDDEN = ".headwarp-unfinished"
_OF_THE_DISK = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ESTALE,
        errno.ENOENT,
    }
)


class UnwritableError(HeadwarpError):
    """Nothing can be written to the output folder: no job can be done."""


def new_staging(folder: Path) -> Path:
    """Remove what killed runs left and make a hidden folder for this one; the caller holds the lock.

    Raises:
        UnwritableError: the output folder cannot be written.
    """
    clear_staging(folder)
    staging = folder / HIDDEN / secrets.token_hex(4)
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return staging


def clear_staging(folder: Path) -> None:
    """Remove the hidden folder and all in it."""
    hidden = folder / HIDDEN
    if hidden.is_symlink():
        hidden.unlink()
    shutil.rmtree(hidden, ignore_errors=True)


@contextlib.contextmanager
def work_folder(staging: Path) -> Iterator[Path]:
    """An empty folder in the hidden one, removed afterwards.

    Raises:
        UnwritableError: it cannot be made: the disk is full, or the hidden folder went with its run.
    """
    folder = staging / secrets.token_hex(4)
    try:
        folder.mkdir()
    except OSError as error:
        raise _unwritable(staging.parent.parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """A hidden folder whose files move to their places below ``folder`` when the block ends well.

    For what is written when all jobs are done, by the holder of the manifest; killed, it leaves nothing that
    the next start does not remove.

    Raises:
        HeadwarpError: the folder cannot be written.
    """
    staging = new_staging(folder)
    try:
        with work_folder(staging) as made:
            yield made
            publish(made, folder)
    finally:
        clear_staging(folder)


def publish(made: Path, folder: Path) -> dict[str, int]:
    """Move every file below ``made`` to its place below ``folder``.

    Returns:
        The files, relative to ``folder`` and sorted, and their sizes in bytes.

    Raises:
        UnwritableError: the folder cannot be written, or the disk is full.
        HeadwarpError: a folder stands in the place of a file, or a file in that of a folder.
    """
    files = sorted(Path(root, name) for root, _, names in os.walk(made) for name in names)
    outputs = {}
    for file in files:
        name = file.relative_to(made).as_posix()
        target = folder / name
        try:
            outputs[name] = file.stat().st_size
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(file, target)
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise _unwritable(target, error) from error
            reason = (error.strerror or str(error)).lower()
            raise HeadwarpError(
                f"{target}: cannot be put there ({reason}); move what is in the way"
            ) from error
    return outputs


def _move(file: Path, target: Path) -> None:
    """Rename; on another file system, to which a folder in the output folder may be linked, copy first."""
    try:
        os.replace(file, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(target) as temporary:
            shutil.copyfile(file, temporary)


def is_disk_trouble(error: BaseException) -> bool:
    """Whether an exception, or what it came from, is a disk that takes nothing more."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnwritableError):
            return True
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _unwritable(place: Path, error: OSError) -> UnwritableError:
    reason = (error.strerror or str(error)).lower()
    return UnwritableError(f"{place}: cannot be written ({reason}); make room, or name another folder")
