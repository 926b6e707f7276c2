"""Single arrays of a large ``.npz``, read in pieces: of a gigabyte little is needed."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..geom.errors import ModelFileError
from ._files import _DAMAGE, MAX_BYTES, first_line

_PIECE = 1 << 24  # bytes read at a time


def member_names(path: Path) -> list[str]:
    """The arrays in an ``.npz``, none of them read.

    Raises:
        ModelFileError: no file, or no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise ModelFileError(f"{path}: not a sound .npz of plain arrays: {first_line(error)}") from error


def read_member(path: Path, key: str, *, columns: int | None = None) -> np.ndarray:
    """One array of an ``.npz``; with ``columns`` only so many leading ones of its last axis, as float32.

    Raises:
        ModelFileError: it is not there, damaged, too large, or no plain numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{key}.npy")
            if member.file_size > MAX_BYTES:
                raise ModelFileError(
                    f"{path}: {key}: expected at most {MAX_BYTES} bytes unpacked, got {member.file_size}"
                )
            with archive.open(member) as stream:
                return _read(stream, member.file_size, columns)
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise ModelFileError(f"{path}: {key}: not a sound array: {first_line(error)}") from error


def _read(stream: IO[bytes], size: int, columns: int | None) -> np.ndarray:
    shape, fortran, dtype = _header(stream)
    if dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, got {dtype}")
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"shape {shape} of {dtype} does not fit its {size} bytes")
    if columns is None or not shape or fortran:
        whole = np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran else "C")
        return whole.copy() if columns is None else whole[..., :columns].astype(np.float32)
    width = shape[-1]
    rows = math.prod(shape[:-1])
    kept = np.empty((rows, min(columns, width)), np.float32)
    step = max(1, _PIECE // max(1, width * dtype.itemsize))
    for first in range(0, rows, step):
        count = min(step, rows - first)
        piece = np.frombuffer(stream.read(count * width * dtype.itemsize), dtype)
        kept[first : first + count] = piece.reshape(count, width)[:, :columns]
    return kept.reshape(*shape[:-1], -1)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype
