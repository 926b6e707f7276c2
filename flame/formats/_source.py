"""Where a tracker's output lies: one file, or a folder with a file (EMOCA: a folder) for every frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...geom.errors import ModelFileError
from ._content import LIMIT, Content, parse

DATASET = "transforms.json"
TRACKED = re.compile(r"tracked_flame_params_(\d+)\.npz")
EMOCA_FILES = ("shape", "exp", "tex", "pose", "detail", "cam", "tform")
"""Names of EMOCA's arrays, and the two that it does not write and `write` adds."""
FRAME_SUFFIXES = (".frame", ".npz", ".npy", ".pkl", ".mat", ".pt")
_MOST_FRAMES = 1_000_000


@dataclass(frozen=True)
class Source:
    """The parts of a tracker's output, in order.

    Attributes:
        path: as it was given.
        parts: files, or EMOCA's folders; one for a format with all frames in a file.
        numbers: the last number in each part's name, where all have one and no two the same; else 0, 1, ..
        per_frame: whether a part is a frame.
    """

    path: Path
    parts: tuple[Path, ...]
    numbers: tuple[int, ...]
    per_frame: bool

    def content(self, index: int = 0) -> Content:
        """What a part holds.

        Raises:
            ModelFileError: it cannot be read; the text begins with its path.
        """
        return read_content(self.parts[index])


def find_source(path: Path) -> Source:
    """The parts of what lies at a path.

    A folder is VHAP's dataset (``transforms.json``), VHAP's tracking (of several
    ``tracked_flame_params_N.npz`` the last), a folder of ``.frame`` files or one with such a ``checkpoint``
    folder in it, EMOCA's folder of folders, or a file a frame.

    Raises:
        ModelFileError: nothing there, or nothing of these.
    """
    if not path.exists():
        raise ModelFileError(f"{path}: no such file or folder; sought in {path.absolute().parent}")
    if not path.is_dir():
        return Source(path, (path,), (0,), per_frame=path.suffix == ".frame")
    if (path / DATASET).is_file():
        return Source(path, (path / DATASET,), (0,), per_frame=False)
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    tracked = [(int(match[1]), match[0]) for name in names if (match := TRACKED.fullmatch(name))]
    if tracked:
        return Source(path, (path / max(tracked)[1],), (0,), per_frame=False)
    for folder, found in ((path, names), (path / "checkpoint", None)):
        frames = _of_suffix(folder, found, ".frame")
        if frames:
            return _numbered(path, frames)
    if all((path / name).is_file() for name in ("shape.npy", "exp.npy", "pose.npy")):
        return Source(path, (path,), (0,), per_frame=True)
    folders = [path / name for name in names if (path / name / "exp.npy").is_file()]
    if folders:
        return _numbered(path, folders)
    for suffix in FRAME_SUFFIXES[1:]:
        frames = _of_suffix(path, names, suffix)
        if frames:
            return _numbered(path, frames)
    raise ModelFileError(f"{path}: expected a tracker's folder, got one without {', '.join(FRAME_SUFFIXES)}")


def read_content(path: Path) -> Content:
    """The tree in a file, or in the ``.npy`` files of one of EMOCA's folders.

    Raises:
        ModelFileError: it cannot be read; the text begins with the path.
    """
    if path.is_dir():
        present = [name for name in EMOCA_FILES if (path / f"{name}.npy").is_file()]
        return Content("npy", {name: read_content(path / f"{name}.npy").tree[""] for name in present})
    try:
        return parse(read_limited(path))
    except ModelFileError as error:
        text = str(error)
        raise ModelFileError(text if text.startswith(str(path)) else f"{path}: {text}") from error.__cause__


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``, numbers and texts, as large as the file says and no larger.

    Raises:
        ModelFileError: damaged, or no ``.npz``.
    """
    content = read_content(path)
    if content.container != "npz":
        raise ModelFileError(f"{path}: expected an .npz, got a file of {content.container}")
    return {name: value for name, value in content.tree.items() if isinstance(value, np.ndarray)}


def read_limited(path: Path) -> bytes:
    """The content of a file of at most `LIMIT` bytes.

    Raises:
        ModelFileError: it cannot be read, or is larger.
    """
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise ModelFileError(f"{path}: expected at most {LIMIT} bytes, got {size}; this is no fit")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def _of_suffix(folder: Path, names: Sequence[str] | None, suffix: str) -> list[Path]:
    if names is None:
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return [folder / name for name in names if name.endswith(suffix) and not name.startswith(".")]


def _numbered(path: Path, parts: Sequence[Path]) -> Source:
    """Sorted by the last number in the name; by the name where one has none.

    Raises:
        ModelFileError: EMOCA's folders of several faces of a frame, or numbers that no clip has.
    """
    found = [re.findall(r"\d+", _frame_name(part)) for part in parts]
    numbers = [int(digits[-1]) if digits and len(digits[-1]) < 10 else -1 for digits in found]
    double = (
        next((n for n in numbers if n >= 0 and numbers.count(n) > 1), None) if parts[0].is_dir() else None
    )
    if double is not None:
        same = [part.name for part, number in zip(parts, numbers, strict=True) if number == double]
        raise ModelFileError(
            f"{path}: expected one face a frame, got {', '.join(same[:3])}; keep one's folders"
        )
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        return Source(path, tuple(parts), tuple(range(len(parts))), per_frame=True)
    if max(numbers) - min(numbers) >= _MOST_FRAMES:
        raise ModelFileError(
            f"{path}: expected frames within {_MOST_FRAMES}, got numbers {min(numbers)} to {max(numbers)}"
        )
    order = sorted(range(len(parts)), key=lambda i: numbers[i])
    return Source(path, tuple(parts[i] for i in order), tuple(numbers[i] for i in order), per_frame=True)


def _frame_name(part: Path) -> str:
    """A name without its suffix and without EMOCA's rank of the face (``000012_000`` is frame 12)."""
    return re.sub(r"^(\d{3,})_\d{2,3}$", r"\1", part.name if part.is_dir() else part.stem)
