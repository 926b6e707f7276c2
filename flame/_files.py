"""Reading files that a user downloaded: bounded, never unpickled by numpy, one clear sentence on refusal."""

from __future__ import annotations

import contextlib
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..geom.errors import ModelFileError
from ._arrays import npy_array, npz_arrays, open_zip

MAX_BYTES = 2 << 30  # no head model comes near 2 GiB
ZIP_MAGIC = b"PK\x03\x04"
NPY_MAGIC = b"\x93NUMPY"


def read_bytes(path: Path) -> bytes:
    """The content of a file that can be read, is not empty and not absurdly large.

    Raises:
        ModelFileError: otherwise, or if a web page was saved in its place.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelFileError(
                f"{path}: expected at most {MAX_BYTES} bytes, got {size}; this is no head model"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ModelFileError(f"{path}: the file is empty; download it again")
    if data[:64].lstrip()[:1] == b"<":
        raise ModelFileError(
            f"{path}: a web page was saved in place of the file; log in and download it again"
        )
    return data


def read_npz(path: Path, data: bytes | None = None) -> dict[str, np.ndarray]:
    """Every array of an ``.npz``, never a pickle; ``data`` is the file's content where it was read already.

    Raises:
        ModelFileError: damaged, too large, or something other than plain arrays is inside.
    """
    content = read_bytes(path) if data is None else data
    try:
        return npz_arrays(open_zip(content, limit=MAX_BYTES))
    except ModelFileError as error:
        raise ModelFileError(f"{path}: not a sound .npz of plain arrays: {error}") from error.__cause__


def read_npy(path: Path) -> np.ndarray:
    """The plain array of an ``.npy``, never a pickle.

    Raises:
        ModelFileError: damaged, or an array of Python objects.
    """
    data = read_bytes(path)
    try:
        return npy_array(data)
    except ModelFileError as error:
        reason = str(error).removeprefix("not a sound .npy: ")
        raise ModelFileError(f"{path}: not a sound .npy of plain numbers: {reason}") from error.__cause__


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well, and is gone otherwise.

    Raises:
        ModelFileError: the folder is missing or not writable, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed ``.npz``, whole or not at all; equal arrays give equal bytes.

    Not by ``numpy.savez_compressed``: on a full disk its archive complains on stderr when it is collected.

    Raises:
        ModelFileError: the folder is missing or not writable, or the disk is full.
        ValueError: an array of Python objects.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            # opened by its name, an entry is dated 1980
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
