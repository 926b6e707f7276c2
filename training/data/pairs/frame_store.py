"""Frames and person masks of one pack on disk: plain arrays read in place, or pictures one after another."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ....geom.errors import HeadwarpError, ModelFileError

CODECS = ("raw", "jpeg")
QUALITY = 95
LARGEST = 8192  # pixels a side, before anything is decoded
_SUFFIX = {"raw": "npy", "jpeg": "bin"}

Pictures = Iterable[tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]]


def check_codec(codec: str) -> None:
    """Raise HeadwarpError for a name that is not in `CODECS`."""
    if codec not in CODECS:
        raise HeadwarpError(f"codec: expected one of {', '.join(CODECS)}, got {codec!r}")


def write_frames(folder: Path, pictures: Pictures, *, codec: str, count: int, size: int) -> int:
    """Write frames and masks as they come; memory holds one of each.

    Args:
        folder: exists and is empty.
        pictures: frame and mask after frame and mask.
        codec: ``raw`` (arrays that are mapped into memory) or ``jpeg`` (with masks as PNG, about a tenth).
        count: how many will come at most.
        size: side of the frames.

    Returns:
        How many came.
    """
    check_codec(codec)
    if codec == "raw":
        return _write_raw(folder, pictures, count, size)
    written = 0
    ends: list[tuple[int, int]] = []
    with open(folder / "frames.bin", "wb") as frames, open(folder / "masks.bin", "wb") as masks:
        for frame, mask in pictures:
            frames.write(_encoded(frame, "JPEG", quality=QUALITY, subsampling=0))
            masks.write(_encoded(mask, "PNG", quality=QUALITY, subsampling=0))
            ends.append((frames.tell(), masks.tell()))
            written += 1
    np.save(folder / "ends.npy", np.asarray(ends, np.int64).reshape(-1, 2))
    return written


def _write_raw(folder: Path, pictures: Pictures, count: int, size: int) -> int:
    open_array = np.lib.format.open_memmap
    frames = open_array(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    masks = open_array(folder / "masks.npy", mode="w+", dtype=np.uint8, shape=(count, size, size))
    written = 0
    for frame, mask in pictures:
        frames[written], masks[written] = frame, mask
        written += 1
    frames.flush()
    masks.flush()
    return written


def _encoded(picture: np.ndarray, kind: str, *, quality: int, subsampling: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": quality, "subsampling": subsampling} if kind == "JPEG" else {}
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def read_frame(folder: Path, codec: str, position: int) -> UInt8[np.ndarray, "S S 3"]:
    """One frame, an array of its own.

    Raises:
        ModelFileError: the file is damaged or gone.
    """
    return _read(folder, "frames", codec, position)


def read_mask(folder: Path, codec: str, position: int) -> UInt8[np.ndarray, "S S"]:
    """Its person mask, 255 for certainly a person.

    Raises:
        ModelFileError: the file is damaged or gone.
    """
    return _read(folder, "masks", codec, position)


def _read(folder: Path, name: str, codec: str, position: int) -> np.ndarray:
    """Opened anew every time: a large set has more files than a process may hold open."""
    path = folder / f"{name}.{_SUFFIX[codec]}"
    return _guarded(path, lambda: _raw(path, position) if codec == "raw" else _decoded(path, name, position))


def _guarded(path: Path, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return read()
    except (OSError, ValueError, EOFError, IndexError, SyntaxError) as error:  # the last of a broken PNG
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(
            f"{path}: cannot be read ({reason}); remove the pack {path.parent} and make it again"
        ) from error


def _raw(path: Path, position: int) -> np.ndarray:
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[position])


def _decoded(path: Path, name: str, position: int) -> np.ndarray:
    from PIL import Image

    ends = np.load(path.with_name("ends.npy"), mmap_mode="r", allow_pickle=False)
    column = ("frames", "masks").index(name)
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


def check_frames(folder: Path, codec: str, count: int, size: int) -> None:
    """Files of the size that the index says.

    Raises:
        ModelFileError: missing, cut off or of another size.
    """
    for name, shape in (("frames", (count, size, size, 3)), ("masks", (count, size, size))):
        path = folder / f"{name}.{_SUFFIX[codec]}"
        if codec == "raw":
            load = lambda path=path: np.load(path, mmap_mode="r", allow_pickle=False)  # noqa: E731
            found = _guarded(path, load)
            good, got = found.shape == shape and found.dtype == np.uint8, f"{found.dtype} {found.shape}"
        else:
            ends = _guarded(path, lambda: np.load(folder / "ends.npy", mmap_mode="r", allow_pickle=False))
            length = path.stat().st_size if path.is_file() else 0
            whole = ends.ndim == 2 and len(ends) == count and ends.shape[1] == 2
            good = whole and int(ends[-1, ("frames", "masks").index(name)]) == length
            got = f"{len(ends)} pictures in {length} bytes"
        if not good:
            raise ModelFileError(
                f"{path}: expected {shape} as the index says, got {got}; remove the pack {folder} and make "
                "it again"
            )
