"""What the words on a command line stand for: folders and patterns to files, files to names of outputs."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..geom.errors import HeadwarpError

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"})
CLIPS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".gif"})


def expand(inputs: Iterable[Path], *, sequence: bool) -> list[Path]:
    """The files that are meant, in order, each once.

    A folder stands for the photos and clips in it (not in folders below), sorted with numbers by value; a
    pattern for what it matches. With ``sequence`` a folder or pattern stays one input. What does not exist is
    passed on: reading it says so.
    """
    files: dict[str, Path] = {}
    for path in inputs:
        for file in [path] if sequence else _files_of(path):
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        found = list(path.iterdir())
    elif not path.exists() and glob.has_magic(str(path)):
        found = [Path(name) for name in glob.glob(str(path))]
    else:
        return [path]
    return sorted(filter(_is_medium, found), key=natural_order) or [path]


def _is_medium(path: Path) -> bool:
    return path.suffix.lower() in PHOTOS | CLIPS and not path.name.startswith(".") and path.is_file()


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorts ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def is_numbered(folder: Path, *, least: int = 8) -> bool:
    """Whether a folder looks like the frames of a clip: several photos whose names differ in numbers only."""
    if not folder.is_dir():
        return False
    names = [p.name for p in folder.iterdir() if p.suffix.lower() in PHOTOS and not p.name.startswith(".")]
    return len(names) >= least and len({re.sub(r"\d+", "#", name) for name in names}) == 1


def output_names(inputs: Sequence[Path]) -> dict[Path, str]:
    """A name for every input, no two alike whatever the file system makes of capitals.

    The stem; where several share it, stem_suffix; where that is not enough, folder_stem_suffix; then a number
    by order. Until numbers are needed, a name does not depend on the order of the inputs.

    Example:
        >>> names = output_names([Path("a/x.mp4"), Path("b/x.jpg"), Path("b/y.jpg")])
        >>> list(names.values())
        ['x_mp4', 'x_jpg', 'y']
    """
    names = {path: _stem(path) for path in inputs}
    for longer in (_with_suffix, _with_folder):
        for path in _sharing(names):
            names[path] = longer(path)
    taken: set[str] = set()
    for path, name in names.items():
        number, unique = 1, name
        while unique.lower() in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique.lower())
        names[path] = unique
    return names


def _sharing(names: dict[Path, str]) -> list[Path]:
    """Inputs whose name another one has too."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        groups[name.lower()].append(path)
    return [path for group in groups.values() if len(group) > 1 for path in group]


def _stem(path: Path) -> str:
    """The name without its suffix; of a pattern, of the folder it lies in if the pattern has no letters.

    A stem x.face1 becomes x_face1: x.face1.npz is the second face of x.
    """
    absolute = Path(os.path.abspath(path))
    plain = re.sub(r"[^\w.()+@#-]+", "", absolute.stem) if glob.has_magic(str(path)) else absolute.stem
    return re.sub(r"\.(face\d+)$", r"_\1", plain, flags=re.IGNORECASE) or absolute.parent.name or "input"


def _with_suffix(path: Path) -> str:
    return "_".join(filter(None, (_stem(path), path.suffix.lstrip(".").lower())))


def _with_folder(path: Path) -> str:
    return "_".join(filter(None, (Path(os.path.abspath(path)).parent.name, _with_suffix(path))))


def check_folder(folder: Path) -> None:
    """Make the output folder, or say why it cannot be.

    Raises:
        HeadwarpError: a file of that name, or no permission.
    """
    if folder.exists() and not folder.is_dir():
        raise HeadwarpError(f"--output: expected a folder, got the file {folder}; name another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadwarpError(
            f"--output: cannot make the folder {folder} ({error.strerror or error})"
        ) from error
    if not os.access(folder, os.W_OK):
        raise HeadwarpError(f"--output: the folder {folder} cannot be written to; name another one")
