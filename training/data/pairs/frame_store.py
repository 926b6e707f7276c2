"""Frames of one pack on disk, with person masks or without: plain arrays read in place, or pictures one after
another.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from ....geom.errors import HeadwarpError, ModelFileError

CODECS = ("raw", "jpeg")
QUALITY = 95
LARGEST = 8192  # pixels a side, before anything is decoded
FRAMES, MASKS = "frames", "masks"
WITH_MASKS = (FRAMES, MASKS)
_SUFFIX = {"raw": "npy", "jpeg": "bin"}
_HEADER = 128  # bytes before the numbers of a .npy file, its shape among them

Pictures = Iterable[Sequence[UInt8[np.ndarray, "S S ..."]]]


def check_codec(codec: str) -> None:
    """Raise HeadwarpError for a name that is not in `CODECS`."""
    if codec not in CODECS:
        raise HeadwarpError(f"codec: expected one of {', '.join(CODECS)}, got {codec!r}")


def write_frames(folder: Path, pictures: Pictures, *, codec: str, kinds: Sequence[str] = WITH_MASKS) -> int:
    """Write frames, and masks with them, as they come; memory holds one of each.

    Args:
        folder: exists and is empty.
        pictures: a frame, and its mask if there are masks, after another; all of one size.
        codec: ``raw`` (arrays that are mapped into memory) or ``jpeg`` (with masks as PNG, about a tenth).
        kinds: what each of ``pictures`` holds: `WITH_MASKS`, or ``(FRAMES,)`` alone.

    Returns:
        How many came.
    """
    check_codec(codec)
    written = 0
    shapes: list[tuple[int, ...]] = [()] * len(kinds)
    ends: list[list[int]] = []
    with ExitStack() as opened:
        files = [opened.enter_context(open(_path(folder, kind, codec), "wb")) for kind in kinds]
        if codec == "raw":
            for file in files:
                file.write(bytes(_HEADER))
        for together in pictures:
            for kind, file, picture in zip(kinds, files, together, strict=True):
                file.write(picture.tobytes() if codec == "raw" else _encoded(picture, kind))
            shapes = [picture.shape for picture in together]
            ends.append([file.tell() for file in files])
            written += 1
        if codec == "raw":
            for file, shape in zip(files, shapes, strict=True):
                _write_header(file, (written, *shape))
    if codec != "raw":
        np.save(folder / "ends.npy", np.asarray(ends, np.int64).reshape(-1, len(kinds)))
    return written


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """What numpy begins a file of bytes of this shape with, filled up to `_HEADER` bytes."""
    facts = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    file.seek(0)
    file.write(np.lib.format.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little"))
    file.write(facts.ljust(_HEADER - 11).encode() + b"\n")


def _encoded(picture: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    if kind == MASKS:
        Image.fromarray(picture).save(buffer, "PNG")
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _path(folder: Path, kind: str, codec: str) -> Path:
    return folder / f"{kind}.{_SUFFIX[codec]}"


def read_frame(folder: Path, codec: str, position: int, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """One frame, an array of its own.

    Args:
        folder: of the pack.
        codec: of its frames; see `check_codec`.
        position: of the frame in the pack.
        size: side in pixels.

    Raises:
        ModelFileError: the file is damaged or gone, or the frame of another size.
    """
    return _read(folder, FRAMES, codec, position, (size, size, 3))


def read_mask(folder: Path, codec: str, position: int, size: int) -> UInt8[np.ndarray, "S S"]:
    """Its person mask, 255 for certainly a person.

    Args:
        folder: of the pack.
        codec: of its frames; see `check_codec`.
        position: of the frame in the pack.
        size: side in pixels.

    Raises:
        ModelFileError: the file is damaged or gone, or the mask of another size.
    """
    return _read(folder, MASKS, codec, position, (size, size))


def _read(folder: Path, name: str, codec: str, position: int, shape: tuple[int, ...]) -> np.ndarray:
    """Opened anew every time: a large set has more files than a process may hold open."""
    path = _path(folder, name, codec)
    if codec == "raw":
        return _guarded(path, lambda: _raw(path, position, shape))
    picture = _guarded(path, lambda: _decoded(path, name, position))
    if picture.shape != shape or picture.dtype != np.uint8:
        raise ModelFileError(
            f"{folder}: expected a {name[:-1]} of {shape} bytes, got {picture.dtype} {picture.shape}; "
            "remove the pack and make it again"
        )
    return picture


def _guarded(path: Path, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return read()
    except (OSError, ValueError, EOFError, IndexError, SyntaxError) as error:  # the last of a broken PNG
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(
            f"{path}: cannot be read ({reason}); remove the pack {path.parent} and make it again"
        ) from error


def _raw(path: Path, position: int, shape: tuple[int, ...]) -> np.ndarray:
    """One of the pictures after the header, whose length stands in it; the rest of it was read when the pack
    was opened (`check_frames`), and reading it takes longer than the picture.
    """
    with open(path, "rb", buffering=0) as file:
        begin = file.read(10)
        if len(begin) < 10 or begin[:8] != np.lib.format.magic(1, 0):
            raise ValueError("no array")
        picture = np.empty(shape, np.uint8)
        file.seek(10 + int.from_bytes(begin[8:], "little") + position * picture.nbytes)
        if position < 0 or file.readinto(picture.data) != picture.nbytes:
            raise IndexError(f"picture {position} is not in it")
    return picture


def _decoded(path: Path, name: str, position: int) -> np.ndarray:
    from PIL import Image

    ends = np.load(path.with_name("ends.npy"), mmap_mode="r", allow_pickle=False)
    column = WITH_MASKS.index(name)
    start, end = int(ends[position - 1, column]) if position else 0, int(ends[position, column])
    if not 0 <= start <= end:
        raise ValueError(f"picture {position} ends before it begins")
    with open(path, "rb") as file:
        file.seek(start)
        encoded = io.BytesIO(file.read(end - start))
    try:
        picture = Image.open(encoded)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    if max(picture.size) > LARGEST:
        raise ValueError(f"picture {position} has {picture.size[0]} x {picture.size[1]} pixels")
    return np.array(picture)


def check_frames(
    folder: Path, codec: str, count: int, size: int, *, kinds: Sequence[str] = WITH_MASKS
) -> None:
    """Files of the size that the index says.

    Args:
        folder: of the pack.
        codec: of its frames; see `check_codec`.
        count: of the frames.
        size: side in pixels.
        kinds: what the pack holds of each.

    Raises:
        ModelFileError: missing, cut off or of another size.
    """
    for column, name in enumerate(kinds):
        shape = (count, size, size, 3) if name == FRAMES else (count, size, size)
        path = _path(folder, name, codec)
        if codec == "raw":
            load = lambda path=path: np.load(path, mmap_mode="r", allow_pickle=False)  # noqa: E731
            found = _guarded(path, load)
            good, got = found.shape == shape and found.dtype == np.uint8, f"{found.dtype} {found.shape}"
        else:
            ends = _guarded(path, lambda: np.load(folder / "ends.npy", mmap_mode="r", allow_pickle=False))
            length = path.stat().st_size if path.is_file() else 0
            whole = ends.ndim == 2 and ends.shape == (count, len(kinds))
            good = whole and int(ends[-1, column]) == length
            got = f"{len(ends)} pictures in {length} bytes"
        if not good:
            raise ModelFileError(
                f"{path}: expected {shape} as the index says, got {got}; remove the pack {folder} and make "
                "it again"
            )
