"""The arrays in the bytes of ``.npy`` and ``.npz`` files that anybody may have written.

Plain numbers or text, never pickles, and never larger than the bytes that are there. Numpy and zipfile trust
what such files say of themselves: a header of a few bytes makes them allocate gigabytes, a member unpacks to
more than it declares, and damage ends in whatever their parsers happen to raise.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import IO

import numpy as np

from ..geom.errors import ModelFileError

MAX_MEMBERS = 65_535
_CENTRAL_ENTRY = b"PK\x01\x02"
OBJECTS = "Python objects"
"""How :attr:`Header.described` calls an array of them."""
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_KINDS = "biufU"
_LAST_CHARACTER = 0x10FFFF
ZIP_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, cut at 200 characters, or its type where it has none."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


@dataclass(frozen=True)
class Header:
    """What an ``.npy`` says of its array.

    Attributes:
        dtype: None where it is no plain one.
        described: the dtype in words.
        shape: of the array.
        fortran: whether columns come first.
        end: where the array begins in the file.
    """

    dtype: np.dtype | None
    described: str
    shape: tuple[int, ...]
    fortran: bool
    end: int


def header_bytes(stream: IO[bytes]) -> bytes:
    """As much of an ``.npy`` as :func:`npy_header` needs; the stream then stands where the array begins."""
    start = stream.read(10)
    if len(start) == 10 and start[6] != 1:
        start += stream.read(2)
    length = int.from_bytes(start[8:], "little")
    return start + stream.read(min(length, _LONGEST_HEADER + 1))


def npy_header(data: bytes) -> Header:
    """The header of an ``.npy``, by a parser that numpy's own errors and limits do not get through.

    Raises:
        ModelFileError: damaged.
    """
    wide = data[6:7] != b"\x01"
    start = 12 if wide else 10
    if len(data) < start or not data.startswith(_MAGIC) or data[6] not in (1, 2, 3):
        raise ModelFileError("not a sound .npy: its header is damaged")
    length = struct.unpack_from("<I" if wide else "<H", data, 8)[0]
    if length > _LONGEST_HEADER or start + length > len(data):
        raise ModelFileError(f"not a sound .npy: a header of {length} bytes")
    text = re.sub(r"(\d)L\b", r"\1", data[start : start + length].decode("latin1").strip())  # Python 2's
    try:
        said = ast.literal_eval(text)
        shape = tuple(said["shape"])
        if any(type(n) is not int or n < 0 for n in shape) or type(said["fortran_order"]) is not bool:
            raise ValueError("its shape is none")
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ModelFileError("not a sound .npy: its header is damaged") from error
    described = str(said.get("descr"))[:60]
    plain = re.fullmatch(r"[<>|=]?[biufU]\d{1,6}", described) is not None
    dtype = None
    if plain:
        try:
            dtype = np.dtype(described)
        except TypeError as error:
            raise ModelFileError(f"not a sound .npy: dtype {described}") from error
    objects = OBJECTS if described.lstrip("<>|=") == "O" else described
    return Header(dtype, objects, shape, said["fortran_order"], start + length)


def npy_array(data: bytes) -> np.ndarray:
    """The array in the bytes of an ``.npy``: numbers or text, never objects, as large as the bytes say.

    Raises:
        ModelFileError: otherwise.
    """
    header = npy_header(data)
    dtype, shape, size = header.dtype, header.shape, len(data) - header.end
    if dtype is None or dtype.kind not in _KINDS:
        raise ModelFileError(f"expected numbers or text, got an array of {header.described}")
    if math.prod(shape) * dtype.itemsize != size or not dtype.itemsize:
        raise ModelFileError(f"shape {shape} of {dtype} does not fit {size} bytes")
    if dtype.kind == "U":
        _check_text(np.frombuffer(data, f"{dtype.byteorder}u4", offset=header.end) if size else np.empty(0))
    try:
        flat = np.frombuffer(data, dtype, offset=header.end) if size else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if header.fortran else "C").copy()
    except (ValueError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"shape {str(shape)[:60]} is not possible: {first_line(error)}") from error


def _check_text(codes: np.ndarray) -> None:
    """Raise ModelFileError unless all are characters: numpy takes any number for one, ``str`` does not."""
    if ((codes > _LAST_CHARACTER) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise ModelFileError("expected text, got numbers that are no characters")


def open_zip(data: bytes, *, limit: int) -> zipfile.ZipFile:
    """A zip whose members are few and together no larger than ``limit`` bytes, as it declares itself.

    Raises:
        ModelFileError: damaged, or larger; nothing has been unpacked by then.
    """
    if data.count(_CENTRAL_ENTRY) > MAX_MEMBERS:
        raise ModelFileError(f"expected a zip of at most {MAX_MEMBERS} members, got more")
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except ZIP_DAMAGE as error:
        raise ModelFileError(f"not a sound zip: {first_line(error)}") from error
    total = sum(member.file_size for member in archive.infolist())
    if total > limit:
        raise ModelFileError(f"expected at most {limit} bytes unpacked, got {total}")
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of one member, never more than it declares.

    Raises:
        ModelFileError: damaged, encrypted, or not there.
    """
    try:
        member = archive.getinfo(name)
        with archive.open(member) as stream:
            # a length asked for bounds the unpacking; ZipFile.read() unpacks all and then cuts
            return stream.read(member.file_size)
    except ZIP_DAMAGE as error:
        raise ModelFileError(f"{name[:100]}: damaged: {first_line(error)}") from error


def npz_arrays(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Every array of an ``.npz`` by name.

    Raises:
        ModelFileError: one is damaged, or is something else; the text begins with its name.
    """
    arrays = {}
    for name in archive.namelist():
        key = name.removesuffix(".npy")
        try:
            arrays[key] = npy_array(read_member(archive, name))
        except ModelFileError as error:
            raise ModelFileError(f"{key[:100]}: {error}") from error.__cause__
    return arrays
