"""The bytes of a tracker's file as a tree of plain arrays, texts and dicts, whatever container they lie in.

Pure functions of bytes: they return a tree or raise `ModelFileError`, run nothing that the bytes name, and
allocate no more than `LIMIT` bytes beyond what they were given.
"""

from __future__ import annotations

import ast
import json
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ...geom.errors import ModelFileError
from .._files import NPY_MAGIC, ZIP_MAGIC
from .._pickle import Record, to_array, unpickle
from .._torch_zip import is_torch_zip, open_zip, read_member, read_torch
from ._mat import MAT_MAGIC, read_mat

LIMIT = 1 << 29
"""Bytes: what a file may hold, packed or unpacked. VHAP's with its texture has 50 MB."""
_MOST_NODES = 100_000
_DEEPEST = 12
_LONGEST_HEADER = 10_000
_LONGEST_SENTENCE = 500
_KINDS = "biufU"

Tree = Mapping[str, object]
"""Names to arrays (numbers or text), strings, or trees."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        container: ``npz``, ``npy`` (one plain array, named ""), ``pickle`` (an ``.npy`` of a dict, too),
            ``torch``, ``mat`` or ``json``.
        tree: its arrays; of JSON what Python makes of it.
        ignored: names whose values are neither arrays nor text nor dicts of them.
    """

    container: str
    tree: Tree
    ignored: tuple[str, ...] = ()


def parse(data: bytes) -> Content:
    """The tree in the bytes of an ``.npz``, ``.npy``, pickle, ``torch.save``, MATLAB 5 or JSON file.

    Raises:
        ModelFileError: empty, damaged, too large, unsafe, or none of these; one sentence without a file name.
    """
    try:
        return _parse(data)
    except ModelFileError as error:
        raise ModelFileError(sentence(str(error))) from error.__cause__


def sentence(text: str) -> str:
    """A text on one line and of bounded length: names in a damaged file hold anything."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= _LONGEST_SENTENCE else f"{plain[:_LONGEST_SENTENCE]}..."


def _parse(data: bytes) -> Content:
    if not data:
        raise ModelFileError("the file is empty")
    if len(data) > LIMIT:
        raise ModelFileError(f"expected at most {LIMIT} bytes, got {len(data)}; this is no fit")
    if data.startswith(ZIP_MAGIC):
        archive = open_zip(data, limit=LIMIT)
        if is_torch_zip(archive):
            return _pruned("torch", read_torch(data, limit=LIMIT))
        return Content("npz", _npz(archive))
    if data.startswith(NPY_MAGIC) and _npy_header(data).described != "Python objects":
        return Content("npy", {"": plain_array(data)})
    if data.startswith(MAT_MAGIC):
        arrays, ignored = read_mat(data, limit=LIMIT)
        return Content("mat", arrays, ignored)
    if data[:64].lstrip()[:1] == b"{":
        return Content("json", _object(parse_json(data)))
    if data.startswith((NPY_MAGIC, b"\x80")) or data[:1] in b"(}c]":
        return _pruned("pickle", unpickle(data))
    raise ModelFileError("expected an .npz, .npy, pickle, torch, MATLAB or JSON file, got something else")


def plain_array(data: bytes) -> np.ndarray:
    """The array in the bytes of an ``.npy``: numbers or text, never objects, as large as the bytes say.

    Raises:
        ModelFileError: otherwise.
    """
    header = _npy_header(data)
    dtype, shape, size = header.dtype, header.shape, len(data) - header.end
    if dtype is None or dtype.kind not in _KINDS:
        raise ModelFileError(f"expected numbers or text, got an array of {header.described}")
    if math.prod(shape) * dtype.itemsize != size:
        raise ModelFileError(f"shape {shape} of {dtype} does not fit {size} bytes")
    flat = np.frombuffer(data, dtype, offset=header.end)
    return flat.reshape(shape, order="F" if header.fortran else "C").copy()


def parse_json(data: bytes) -> object:
    """What JSON bytes say.

    Raises:
        ModelFileError: they are no JSON, or nested without end.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"not sound JSON: {str(error)[:100]}") from error


def _object(value: object) -> Tree:
    if not isinstance(value, dict):
        raise ModelFileError(f"expected a JSON object, got {type(value).__name__}")
    return MappingProxyType(value)


@dataclass(frozen=True)
class _Header:
    """Of an ``.npy``: its dtype (None where it is no plain one) and how it says so, and where data begin."""

    dtype: np.dtype | None
    described: str
    shape: tuple[int, ...]
    fortran: bool
    end: int


def _npy_header(data: bytes) -> _Header:
    """Numpy's parser raises nearly anything at damage and compiles what it reads; this one does neither.

    Raises:
        ModelFileError: damaged.
    """
    wide = data[6:7] != b"\x01"
    start = 12 if wide else 10
    if len(data) < start or data[6] not in (1, 2, 3):
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
    objects = "Python objects" if described.lstrip("<>|=") == "O" else described
    return _Header(dtype, objects, shape, said["fortran_order"], start + length)


def _npz(archive: zipfile.ZipFile) -> Tree:
    arrays = {}
    for name in archive.namelist():
        key = name.removesuffix(".npy")
        try:
            arrays[key] = plain_array(read_member(archive, name))
        except ModelFileError as error:
            raise ModelFileError(f"{key}: {error}") from error.__cause__
    return arrays


def _pruned(container: str, value: object) -> Content:
    walk = _Walk()
    tree = walk.tree(value, "", 0)
    if not isinstance(tree, Mapping):
        raise ModelFileError(f"expected a dict of arrays, got {type(value).__name__}")
    return Content(container, tree, tuple(walk.ignored))


class _Walk:
    """Turns what an unpickler built into a tree; counts, so that shared or cyclic parts end it."""

    def __init__(self) -> None:
        self.nodes, self.bytes = 0, 0
        self.ignored: list[str] = []
        self._arrays: dict[int, np.ndarray] = {}

    def tree(self, value: object, name: str, depth: int) -> object:
        self.nodes += 1
        if self.nodes > _MOST_NODES or depth > _DEEPEST:
            raise ModelFileError("expected a dict of arrays, got a structure without end")
        if isinstance(value, Mapping):
            items = {
                str(key): self.tree(v, f"{name}.{key}".lstrip("."), depth + 1) for key, v in value.items()
            }
            return MappingProxyType({key: item for key, item in items.items() if item is not None})
        if isinstance(value, str):
            return value
        array = self._array(value, name)
        if array is None:
            self.ignored.append(name)
        return array

    def _array(self, value: object, name: str) -> np.ndarray | None:
        if isinstance(value, (bool, int, float)):
            array = np.asarray(value)
        elif isinstance(value, Record):
            if id(value) in self._arrays:
                return self._arrays[id(value)]
            array = self._arrays[id(value)] = to_array(value, name)
        elif isinstance(value, (list, tuple)) and 0 < len(value) <= _MOST_NODES:
            array = _numbers(value)
        else:
            return None
        self.bytes += array.nbytes
        if self.bytes > LIMIT:
            raise ModelFileError(f"expected at most {LIMIT} bytes of arrays, got more")
        return array if array.dtype.kind in _KINDS else None


def _numbers(values: list | tuple) -> np.ndarray:
    """A flat list of numbers or texts; objects (which the caller leaves out) for anything else."""
    if all(isinstance(v, (bool, int, float)) for v in values) or all(isinstance(v, str) for v in values):
        return np.asarray(values)
    return np.asarray(None, dtype=object)
