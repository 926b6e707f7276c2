"""The bytes of a tracker's file as a tree of plain arrays, texts and dicts, whatever container they lie in.

Pure functions of bytes: they return a tree or raise `ModelFileError`, run nothing that the bytes name, and
allocate no more than `LIMIT` bytes beyond what they were given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ...geom.errors import ModelFileError
from .._arrays import OBJECTS, npy_array, npy_header, npz_arrays, open_zip
from .._files import NPY_MAGIC, ZIP_MAGIC
from .._pickle import Record, to_array, unpickle
from .._torch_zip import is_torch_zip, read_torch
from ._mat import MAT_MAGIC, read_mat

LIMIT = 1 << 29
"""Bytes: what a file may hold, packed or unpacked. VHAP's with its texture has 50 MB."""
_MOST_NODES = 100_000
_DEEPEST = 12
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
        return Content("npz", npz_arrays(archive))
    if data.startswith(NPY_MAGIC) and npy_header(data).described != OBJECTS:
        return Content("npy", {"": npy_array(data)})
    if data.startswith(MAT_MAGIC):
        arrays, ignored = read_mat(data, limit=LIMIT)
        return Content("mat", arrays, ignored)
    if data[:64].lstrip()[:1] == b"{":
        return Content("json", _object(parse_json(data)))
    if data.startswith((NPY_MAGIC, b"\x80")) or data[:1] in b"(}c]":
        return _pruned("pickle", unpickle(data))
    raise ModelFileError("expected an .npz, .npy, pickle, torch, MATLAB or JSON file, got something else")


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
