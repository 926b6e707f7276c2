"""Wavefront OBJ read fast: thousands of numbers at once, for folders of a hundred meshes of one topology."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ..geom.errors import ModelFileError
from ._arrays import first_line
from ._files import read_bytes

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class ObjMesh:
    """A mesh of triangles and quads, quads split along their first diagonal.

    Attributes:
        vertices: in the file's unit.
        faces: vertex indices of the triangles.
        uv: texture coordinates; None without.
        uv_faces: their indices, a row a triangle; None without.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "N 2"] | None
    uv_faces: Int[np.ndarray, "F 3"] | None


def read_text(path: Path) -> bytes:
    """The file's bytes, line ends as ``\\n``.

    Raises:
        ModelFileError: unreadable, empty, or far too large.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size > MAX_BYTES:
        raise ModelFileError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}; this is no head mesh")
    data = read_bytes(path)
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data


def read_vertices(data: bytes, path: Path) -> Float[np.ndarray, "V 3"]:
    """Positions of the ``v`` lines, which stand together.

    Raises:
        ModelFileError: there are none, they do not stand together, or one is not three finite numbers.
    """
    return _numbers(data, b"v ", 3, path)


def read_mesh(data: bytes, path: Path) -> ObjMesh:
    """Vertices, faces and texture coordinates.

    Raises:
        ModelFileError: not an OBJ file of triangles and quads.
    """
    vertices = read_vertices(data, path)
    rows = [line[2:] for line in data.split(b"\n") if line.startswith(b"f ")]
    corners = np.array([len(row.split()) for row in rows], dtype=np.int64)
    if not len(rows):
        raise ModelFileError(f"{path}: expected faces (f lines), got none")
    if not np.isin(corners, (3, 4)).all():
        wrong = int(corners[~np.isin(corners, (3, 4))][0])
        raise ModelFileError(f"{path}: expected faces of 3 or 4 corners, got one of {wrong}")
    text = b" ".join(rows)
    textured = b"/" in text
    numbers = _parsed(text.replace(b"/", b" "), "faces as f 1/1 2/2 3/3 or f 1 2 3", path)
    width = 2 if textured else 1
    if b"//" in text or len(numbers) != width * corners.sum():
        raise ModelFileError(f"{path}: expected faces as f 1/1 2/2 3/3 or f 1 2 3, got a mixture of kinds")
    columns = numbers.reshape(-1, width)  # (corners of all faces, vertex and texture)
    place = _triangulated(corners)
    faces = _indices(columns[:, 0][place], len(vertices), path)
    if not textured:
        return ObjMesh(vertices, faces, None, None)
    uv = _numbers(data, b"vt ", 2, path)
    return ObjMesh(vertices, faces, uv, _indices(columns[:, 1][place], len(uv), path))


def same_faces(data: bytes, other: bytes) -> bool:
    """Whether two files list the same faces, whatever stands before them."""
    if data[data.find(b"\nf ") :] == other[other.find(b"\nf ") :]:
        return True
    return _faces_of(data) == _faces_of(other)


def _faces_of(data: bytes) -> bytes:
    """The file from its first face on, materials left out."""
    start = data.find(b"\nf ")
    tail = data[start:] if start >= 0 else b""
    if b"usemtl" not in tail:
        return tail.strip()
    return b"\n".join(line for line in tail.split(b"\n") if line.startswith(b"f ")).strip()


def _numbers(data: bytes, tag: bytes, width: int, path: Path) -> np.ndarray:
    marked = b"\n" + tag
    start = 0 if data.startswith(tag) else data.find(marked) + 1
    if start == 0 and not data.startswith(tag):
        raise ModelFileError(f"{path}: expected an OBJ mesh with {tag.decode()}lines, got none")
    last = data.rfind(marked)
    end = data.find(b"\n", max(last + 1, start))
    block = data[start : end if end >= 0 else len(data)]
    count = block.count(marked) + 1
    values = _parsed(block.replace(tag, b" "), f"{tag.decode()}lines of {width} numbers in one block", path)
    if len(values) != width * count or block.count(b"\n") != count - 1:
        raise ModelFileError(
            f"{path}: expected {count} {tag.decode()}lines of {width} numbers in one block, got "
            f"{len(values)} numbers in {block.count(chr(10).encode()) + 1} lines"
        )
    if not np.isfinite(values).all():
        raise ModelFileError(f"{path}: expected finite numbers, got NaN or infinity")
    return values.reshape(count, width)


def _parsed(text: bytes, wanted: str, path: Path) -> Float[np.ndarray, " N"]:
    """Numbers between spaces and line ends."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # of text that is no number
            return np.fromstring(text.decode("ascii"), sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise ModelFileError(f"{path}: expected {wanted}: {first_line(error)}") from error


def _triangulated(corners: Int[np.ndarray, " P"]) -> Int[np.ndarray, "F 3"]:
    """Places of the triangles' corners in the list of all faces' corners; a quad makes two, one after the
    other.
    """
    first = np.cumsum(corners) - corners
    pieces = corners - 2
    start = np.repeat(first, pieces)
    second = np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # 0, or 1 of a quad
    return np.stack([start, start + 1 + second, start + 2 + second], axis=1)


def _indices(numbers: Float[np.ndarray, "F 3"], count: int, path: Path) -> Int[np.ndarray, "F 3"]:
    """0-based."""
    low, high = numbers.min(), numbers.max()
    if not (low >= 1 and high <= count and (numbers == np.floor(numbers)).all()):
        raise ModelFileError(f"{path}: expected face indices from 1 to {count}, got {low:g} to {high:g}")
    return numbers.astype(np.int64) - 1
