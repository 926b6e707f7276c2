"""Tensors of a safetensors file, each in memory for as long as somebody holds it."""

from __future__ import annotations

import json
import math
import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..geom.errors import ModelFileError

_METADATA = "__metadata__"
_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by key, read when they are looked at.

    Whoever copies one after the other out of it holds one of them beside the copies. (The library's own
    reader maps the whole file and lets go of none of it before the last tensor is gone: a network and its
    file then lie in memory together.) What a caller writes into a tensor is the caller's; the next look at
    the same key sees the file. The file stays open: one that takes its name later is not read.

    Args:
        path: a file that ``safetensors.safe_open`` has found to be whole.

    Attributes:
        metadata: texts of its header, by key.

    Raises:
        ModelFileError: tensors of a type that networks do not have, such as 8 bit floats.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._file)
        length = int.from_bytes(os.read(self._file, 8), "little")
        parts: dict[str, Any] = json.loads(os.read(self._file, length))
        self.metadata: Mapping[str, str] = parts.pop(_METADATA, None) or {}
        self._begin, self._parts = 8 + length, parts
        unknown = {part["dtype"] for part in parts.values()} - _TYPES.keys()
        if unknown:
            raise ModelFileError(f"{path}: expected tensors of {', '.join(_TYPES)}, got {min(unknown)}")

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __contains__(self, key: object) -> bool:
        return key in self._parts

    def __getitem__(self, key: str) -> Tensor:
        part = self._parts[key]
        shape, dtype = tuple(part["shape"]), _TYPES[part["dtype"]]
        count = math.prod(shape)
        if not count:
            return torch.empty(shape, dtype=dtype)
        begin = self._begin + part["data_offsets"][0]
        before = begin % mmap.ALLOCATIONGRANULARITY  # a map begins at a page
        length = before + count * dtype.itemsize
        view = mmap.mmap(self._file, length, access=mmap.ACCESS_COPY, offset=begin - before)
        return torch.frombuffer(view, dtype=dtype, count=count, offset=before).view(shape)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Tensor]]]:
        """A copy, also in another process, is a plain dictionary."""
        return dict, (dict(self),)
