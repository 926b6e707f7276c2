"""Maps of many frames written to one ``.npz`` without holding them in memory."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..geom.errors import HeadwarpError
from ..training.data.atomic import atomic_path

_DATE = (1980, 1, 1, 0, 0, 0)  # equal maps give equal bytes


def write_stacks(
    path: Path, frames: Iterable[Mapping[str, NDArray]], count: int, *, facts: Mapping[str, object]
) -> dict[str, str]:
    """Write an array ``(T, C, H, W)`` for each named map, and facts beside them; whole or not at all.

    Args:
        path: the ``.npz``.
        frames: the maps ``(C, H, W)`` of each frame, always the same names, shapes and types.
        count: how many frames will come.
        facts: numbers and texts, stored as arrays.

    Returns:
        Name of each map -> its type and shape.

    Raises:
        HeadwarpError: the file cannot be written, or fewer or more frames came than promised.
    """
    with (
        atomic_path(path) as target,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".maps-") as folder,
    ):
        stacks: dict[str, NDArray] = {}
        written = 0
        for written, maps in enumerate(frames, 1):
            if written > count:
                raise HeadwarpError(f"{path}: expected {count} frames, got more")
            for name, values in maps.items():
                if name not in stacks:
                    file = Path(folder) / f"{name}.npy"
                    shape = (count, *values.shape)
                    stacks[name] = np.lib.format.open_memmap(file, mode="w+", dtype=values.dtype, shape=shape)
                stacks[name][written - 1] = values
        if written != count:
            raise HeadwarpError(f"{path}: expected {count} frames, got {written}")
        described = {name: f"{stack.dtype} {stack.shape}" for name, stack in stacks.items()}
        for name, value in facts.items():
            np.save(Path(folder) / f"{name}.npy", np.asarray(value), allow_pickle=False)
        stacks.clear()  # closes the maps: their pages are on disk before they are read again
        _zip(target, sorted(Path(folder).iterdir()))
    return described


def _zip(target: Path, files: Iterable[Path]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member, 1 << 20)
