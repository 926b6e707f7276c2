"""Single arrays of a large ``.npz``, read in pieces: of a gigabyte little is needed."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..geom.errors import ModelFileError
from ._arrays import ZIP_DAMAGE, first_line, header_bytes, npy_header
from ._files import MAX_BYTES

_PIECE = 1 << 24  # bytes read at a time


def member_names(path: Path) -> list[str]:
    """The arrays in an ``.npz``, none of them read.

    Raises:
        ModelFileError: no file, or no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except ZIP_DAMAGE as error:
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
                raise ValueError(f"expected at most {MAX_BYTES} bytes unpacked, got {member.file_size}")
            with archive.open(member) as stream:
                return _read(stream, member.file_size, columns)
    except ZIP_DAMAGE as error:  # a ModelFileError is a ValueError
        raise ModelFileError(f"{path}: {key}: not a sound array: {first_line(error)}") from error


def _read(stream: IO[bytes], size: int, columns: int | None) -> np.ndarray:
    header = npy_header(header_bytes(stream))
    shape, fortran, dtype = header.shape, header.fortran, header.dtype
    if dtype is None or dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, got {header.described}")
    if math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"shape {shape} of {dtype} does not fit its {size} bytes")
    if columns is None or not shape or fortran:
        whole = np.frombuffer(stream.read(size), dtype).reshape(shape, order="F" if fortran else "C")
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
