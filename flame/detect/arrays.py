"""Landmarks the caller brings in a file: .npy, .npz or .csv of (T, L, 2 or 3) pixels, NaN where missing.

L is 478 (face mesh with irises), 468 (face mesh without; the irises are then NaN) or 68 (iBUG order). A CSV
has one row a frame and L x 2 or L x 3 numbers in it (x0, y0[, z0], x1, ...), with or without a header line;
empty cells are missing.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ...geom.errors import HeadwarpError, ShapeError
from .._files import read_npy, read_npz
from . import Detection, Track

_COUNTS = (478, 468, 68)
_KEY = "landmarks"


def read_landmarks(path: str | Path) -> Float[np.ndarray, "T L _"]:
    """Read a landmark file.

    Args:
        path: .npy, .npz (key `landmarks`, or the only array) or .csv.

    Returns:
        (T, L, 2 or 3) float64 px, NaN where missing.

    Raises:
        HeadwarpError: the file is absent, unreadable, of another kind, or holds pickled objects.
        ShapeError: not (T, L, 2 or 3) with L of 478, 468, 68.
    """
    path = Path(path)
    if not path.is_file():
        raise HeadwarpError(f"landmarks: no file {path}")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise HeadwarpError(f"landmarks: expected .npy, .npz or .csv, got {path.name}")
    try:
        return _checked(np.asarray(reader(path), np.float64), path.name)
    except ShapeError:
        raise
    except (ValueError, TypeError, OSError, EOFError, csv.Error) as error:
        raise HeadwarpError(f"landmarks: {path.name} cannot be read as numbers ({error})") from error


def track_from_array(
    landmarks: np.ndarray, *, score: np.ndarray | None = None, size: tuple[int, int] = (0, 0)
) -> Track:
    """Make a track of landmarks from elsewhere; it counts as confirmed.

    A frame is present if all its points but the irises are finite; the others of its rows become NaN. 468
    points are put into 478 with NaN irises; z that is not given is 0 and `Track.has_depth` False.

    Args:
        landmarks: (T, L, 2 or 3) or, for one picture, (L, 2 or 3) px; L of 478, 468, 68.
        score: (T,) in [0, 1]; 1 for present frames if not given.
        size: (H, W) of the frames, if known.

    Raises:
        ShapeError: another shape, or a score of another length.
    """
    points = _checked(np.asarray(landmarks, np.float64), "landmarks")
    frames, count, dimensions = points.shape
    full = np.full((frames, 478 if count == 468 else count, 3), np.nan, np.float32)
    full[:, :count, :dimensions] = points
    if dimensions == 2:
        full[..., 2] = 0.0
    present = np.isfinite(full[:, : 468 if count != 68 else 68]).all(axis=(1, 2))
    scores = present.astype(np.float32) if score is None else np.asarray(score, np.float32)
    if scores.shape != (frames,):
        raise ShapeError(f"score: expected ({frames},), got {scores.shape}")
    return Track(
        frames=np.flatnonzero(present),
        points=full[present],
        scores=scores[present],
        length=frames,
        confirmed=True,
        size=size,
        has_depth=dimensions == 3,
    )


class ArrayDetector:
    """A detector whose answers stand in a file: frame t of a clip gets row t."""

    def __init__(self, path: Path) -> None:
        self._name = Path(path).name
        self._track = track_from_array(read_landmarks(path))

    def detect(self, image: np.ndarray, *, max_faces: int) -> list[Detection]:
        """Return the only row of the file, if it is present.

        Raises:
            HeadwarpError: the file has several rows, so that it is not said which one belongs to the picture.
        """
        track = self._track
        if track.length != 1:
            raise HeadwarpError(
                f"landmarks: {self._name} has {track.length} rows for one picture; expected 1"
            )
        if not len(track.frames) or max_faces < 1:
            return []
        return [Detection(track.points[0], float(track.scores[0]), track.boxes[0], True)]

    def track(self, frames: Iterable[np.ndarray], *, max_faces: int) -> list[Track]:
        """Return the file's track.

        Raises:
            HeadwarpError: the file has not as many rows as the clip has frames.
        """
        rows = self._track.length
        count, size = 0, (0, 0)
        for frame in itertools.islice(frames, rows + 1):
            count, size = count + 1, (frame.shape[0], frame.shape[1])
        if count != rows:
            more = "more than " if count > rows else ""
            raise HeadwarpError(
                f"landmarks: {self._name} has {rows} rows, the clip {more}{min(count, rows)} frames"
            )
        return [replace(self._track, size=size)] if len(self._track.frames) and max_faces > 0 else []


def _checked(points: np.ndarray, name: str) -> np.ndarray:
    if points.ndim == 2 and points.shape[0] in _COUNTS:
        points = points[None]  # (1, L, 2|3)
    if points.ndim != 3 or points.shape[1] not in _COUNTS or points.shape[2] not in (2, 3):
        raise ShapeError(
            f"{name}: expected (T, L, 2 or 3) with L of 478, 468 or 68, got {points.shape}; "
            "landmarks are in pixels, one row a frame"
        )
    return points


def _read_npy(path: Path) -> np.ndarray:
    return read_npy(path)


def _read_npz(path: Path) -> np.ndarray:
    arrays = read_npz(path)
    keys = list(arrays)
    if _KEY in keys or len(keys) == 1:
        return arrays[_KEY if _KEY in keys else keys[0]]
    raise ValueError(f"expected a key {_KEY!r} or a single array, got {', '.join(keys) or 'none'}")


def _read_csv(path: Path) -> np.ndarray:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and any(_is_word(cell) for cell in rows[0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    shapes = {count * size: (count, size) for count in _COUNTS for size in (2, 3)}
    if len(widths) != 1 or next(iter(widths)) not in shapes:
        raise ShapeError(
            f"{path.name}: expected rows of 68, 468 or 478 points times 2 or 3 numbers, "
            f"got rows of {', '.join(map(str, sorted(widths))) or 'no'} cells"
        )
    values = [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows]
    return np.array(values).reshape(len(rows), *shapes[next(iter(widths))])


def _is_word(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return bool(cell.strip())
    return False
