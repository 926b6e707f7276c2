"""MATLAB 5 files (``scipy.io.savemat``, which DECA's code calls): their arrays of numbers and texts.

A reader of its own, so that damaged files end in a sentence and never ask for more memory than they hold.
Cells, structs, sparse and complex arrays are passed over by name.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from ...geom.errors import ModelFileError
from .._arrays import first_line

MAT_MAGIC = b"MATLAB 5.0 MAT-file"
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT_TYPES = {16: "utf-8", 17: "utf-16", 18: "utf-32", 4: "utf-16", 2: "latin1"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CHAR = 4
_COMPLEX, _LOGICAL = 0x0800, 0x0200


@dataclass(frozen=True)
class _Element:
    kind: int
    data: bytes
    end: int


def read_mat(data: bytes, *, limit: int) -> tuple[dict[str, object], tuple[str, ...]]:
    """The arrays of a MATLAB 5 file by name, and the names of what is no plain array.

    Args:
        data: the whole file.
        limit: bytes that its compressed parts may unpack to, together.

    Raises:
        ModelFileError: damaged, truncated, too large, or of another version of the format.
    """
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ModelFileError("not a sound MATLAB 5 file: its header is damaged")
    order = "<" if data[126:128] == b"IM" else ">"
    arrays: dict[str, object] = {}
    ignored: list[str] = []
    position, left = _HEADER, limit
    try:
        while position < len(data):
            element = _element(data, position, order)
            position = element.end
            if element.kind == _COMPRESSED:
                unpacked = _inflated(element.data, left)
                left -= len(unpacked)
                element = _element(unpacked, 0, order)
            if element.kind != _MATRIX:
                raise ModelFileError(f"not a sound MATLAB file: an element of type {element.kind}")
            name, value = _matrix(element.data, order)
            left -= 0 if value is None else getattr(value, "nbytes", 0)
            if left < 0:
                raise ModelFileError(f"expected at most {limit} bytes of arrays, got more")
            if value is None:
                ignored.append(name)
            else:
                arrays[name] = value
    except (struct.error, zlib.error, ValueError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"not a sound MATLAB file: {first_line(error)}") from error
    return arrays, tuple(ignored)


def _inflated(data: bytes, limit: int) -> bytes:
    worker = zlib.decompressobj()
    unpacked = worker.decompress(data, max(1, limit))
    if worker.unconsumed_tail or not worker.eof:
        raise ModelFileError("not a sound MATLAB file: a compressed part is truncated or too large")
    return unpacked


def _element(data: bytes, position: int, order: str) -> _Element:
    """The element at a position; small ones keep their data in the tag's second word."""
    first, second = struct.unpack_from(f"{order}II", data, position)
    if first >> 16:
        kind, size, start = first & 0xFFFF, first >> 16, position + 4
        if size > 4:
            raise ModelFileError(f"not a sound MATLAB file: a small element of {size} bytes")
        end = position + 8
    else:
        kind, size, start = first, second, position + 8
        padding = 0 if kind == _COMPRESSED else -size % 8
        end = start + size + padding
    if start + size > len(data):
        raise ModelFileError(f"not a sound MATLAB file: {start + size - len(data)} bytes are missing")
    return _Element(kind, data[start : start + size], end)


def _matrix(data: bytes, order: str) -> tuple[str, object]:
    """Name and value of a matrix; None for a kind that is no plain array."""
    flags = _element(data, 0, order)
    sizes = _element(data, flags.end, order)
    title = _element(data, sizes.end, order)
    word = struct.unpack_from(f"{order}I", flags.data)[0]
    shape = tuple(int(n) for n in np.frombuffer(sizes.data, f"{order}i4"))
    name = title.data.decode("latin1")
    kind = word & 0xFF
    if word & _COMPLEX or (kind not in _CLASSES and kind != _CHAR) or any(n < 0 for n in shape):
        return name, None
    if title.end >= len(data):  # an empty array has no part of numbers
        return name, np.zeros(shape, _CLASSES.get(kind, "u1")) if math.prod(shape) == 0 else None
    part = _element(data, title.end, order)
    if kind == _CHAR:
        return name, part.data.decode(_TEXT_TYPES.get(part.kind, "latin1")).replace("\0", "").strip()
    if part.kind not in _TYPES:
        return name, None
    stored = np.frombuffer(part.data, order + _TYPES[part.kind])
    if math.prod(shape) != len(stored):
        raise ModelFileError(f"not a sound MATLAB file: {name}: shape {shape} for {len(stored)} numbers")
    values = stored.astype(bool if word & _LOGICAL else _CLASSES[kind])
    return name, values.reshape(shape, order="F")
