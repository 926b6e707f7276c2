"""glTF's binary side: arrays laid into one buffer, the JSON that says where, and the .glb container.

glTF 2.0 specification, sections 3.6 (buffers, accessors, sparse storage) and 4 (GLB); little-endian
throughout.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

ATTRIBUTES, INDICES = 34962, 34963  # targets of buffer views
_COMPONENTS = {"<f4": 5126, "|u1": 5121, "<u2": 5123, "<u4": 5125}
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_SPARSE_PAYS = 0.75  # of the dense size: below, sparse storage is worth its second array


class Buffers:
    """Grows by arrays; every method returns the index that the JSON refers to.

    Attributes:
        views, accessors: JSON entries so far.
    """

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self._data = bytearray()

    @property
    def data(self) -> bytes:
        """The buffer, its length a multiple of four."""
        return bytes(self._data)

    def view(self, data: bytes, *, target: int | None = None) -> int:
        """A buffer view of its own for these bytes, starting at a multiple of four."""
        entry = {"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)}
        self.views.append(entry if target is None else {**entry, "target": target})
        self._data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """An accessor of ``(N,)`` scalars, ``(N, C)`` vectors or ``(N, 16)`` column-major matrices.

        Args:
            values: float (stored as float32), uint8, uint16 or uint32.
            target: `ATTRIBUTES` or `INDICES` for what a mesh refers to.
            bounds: state min and max, as positions and key times need.
        """
        array = _stored(values)
        entry = {
            **_description(array, bounds=bounds),
            "bufferView": self.view(array.tobytes(), target=target),
        }
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def displacement(self, values: np.ndarray) -> int:
        """An accessor of ``(N, 3)`` displacements with bounds; sparse where most of them are zero."""
        array = _stored(values)
        moved = np.flatnonzero(array.any(axis=1))
        index = _stored(moved.astype(np.uint16 if len(array) <= 1 << 16 else np.uint32))
        size = index.nbytes + array[moved].nbytes
        if len(moved) == 0 or size > _SPARSE_PAYS * array.nbytes:
            return self.accessor(array, target=ATTRIBUTES, bounds=True)
        sparse = {
            "count": len(moved),
            "indices": {
                "bufferView": self.view(index.tobytes()),
                "componentType": _COMPONENTS[index.dtype.str],
            },
            "values": {"bufferView": self.view(array[moved].tobytes())},
        }
        self.accessors.append({**_description(array, bounds=True), "sparse": sparse})
        return len(self.accessors) - 1


def _stored(values: np.ndarray) -> np.ndarray:
    """The array as it lies in the file: contiguous, little-endian, floats as float32."""
    kind = np.dtype(np.float32) if values.dtype.kind == "f" else values.dtype
    return np.ascontiguousarray(values, dtype=kind.newbyteorder("<"))


def _description(array: np.ndarray, *, bounds: bool) -> dict[str, Any]:
    width = 1 if array.ndim == 1 else array.shape[1]
    entry = {
        "componentType": _COMPONENTS[array.dtype.str],
        "count": len(array),
        "type": _KINDS[width],
    }
    if bounds:
        columns = array.reshape(len(array), width)
        entry |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
    return entry


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON without NaN."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def glb_bytes(document: Mapping[str, Any], data: bytes) -> bytes:
    """A .glb: header, JSON chunk padded with spaces, binary chunk padded with zeros."""
    text = json_bytes(document)
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    length = 12 + 8 + len(text) + 8 + len(data)
    header = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
    return header + text + struct.pack("<I4s", len(data), b"BIN\x00") + data
