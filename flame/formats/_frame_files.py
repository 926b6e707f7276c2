"""``.frame`` files of metrical-tracker and its descendants: a nested dict a frame, written by ``torch.save``.

Rotations are PyTorch3D's six numbers: the first two *rows* of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ModelFileError
from ...geom.transforms import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from .._torch_zip import write_torch
from ..params import MISSING, HeadFit
from ._content import Content, Tree
from ._extras import SIDECAR, as_json, extras_of_fit, json_bytes
from ._files import whole_folder, write_bytes
from ._source import Source
from ._tree import branch, holds, rows

FRAME_NAME = "{:05d}.frame"
Payload = Mapping[str, object]


def rows_to_matrix(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """PyTorch3D's ``rotation_6d_to_matrix``: two rows made orthonormal, and their cross product."""
    return rotation_6d_to_matrix(six).transpose(-1, -2)


def matrix_to_rows(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """PyTorch3D's ``matrix_to_rotation_6d``: the first two rows, one after the other."""
    return matrix_to_rotation_6d(matrix.transpose(-1, -2))


def rows_to_axis_angle(six: np.ndarray) -> np.ndarray:
    """(B, 6 n) to (B, 3 n)."""
    parts = torch.from_numpy(six).unflatten(1, (-1, 6))
    if float(parts.norm(dim=-1).min()) < 1e-6:
        raise ModelFileError("a rotation of six zeros, which is none")
    return matrix_to_axis_angle(rows_to_matrix(parts)).flatten(1).numpy()


def axis_angle_to_rows(values: Float[Tensor, "T C"]) -> Float[np.ndarray, "T D"]:
    """(T, 3 n) to (T, 6 n)."""
    return matrix_to_rows(axis_angle_to_matrix(values.unflatten(1, (-1, 3)))).flatten(1).numpy()


def is_frame(content: Content, *, flame: Sequence[str]) -> bool:
    """Whether a file is a nested dict with ``camera`` and these arrays in ``flame``."""
    tree = content.tree
    inner = tree.get("flame")
    return isinstance(inner, Mapping) and isinstance(tree.get("camera"), Mapping) and holds(inner, *flame)


def frame_summary(source: Source, content: Content, *, camera: str) -> dict[str, object]:
    """For `describe`, from the first file."""
    flame = branch(content.tree, "flame")
    height, width = rows(content.tree, "img_size", 2)[0]
    return {
        "frames": len(source.parts),
        "size": f"{width:.0f} x {height:.0f}",
        "shape": rows(flame, "shape", None).shape[1],
        "expression": rows(flame, "exp", None).shape[1],
        "camera": camera,
    }


def collected(
    source: Source, wanted: Mapping[str, int | None], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Arrays of all files of a source, one row each, by ``branch.name``.

    Args:
        source: a file a frame.
        wanted: ``flame.exp`` -> numbers in a record, None for any.
        optional: those of them that may be missing (in every file).

    Raises:
        ModelFileError: one is missing, has another size than in the first file, or is not finite; the text
            names the file.
    """
    found: dict[str, list[np.ndarray]] = {}
    for index, part in enumerate(source.parts):
        try:
            for name, value in _values(source.content(index).tree, wanted, optional).items():
                found.setdefault(name, []).append(value)
        except ModelFileError as error:
            text = str(error)
            raise ModelFileError(text if text.startswith(str(part)) else f"{part}: {text}") from error
    for name, values in found.items():
        if len(values) != len(source.parts) or len({v.shape for v in values}) > 1:
            raise ModelFileError(f"{source.path}: {name}: expected the same in every frame")
    return {name: np.concatenate(values) for name, values in found.items()}


def _values(tree: Tree, wanted: Mapping[str, int | None], optional: Sequence[str]) -> dict[str, np.ndarray]:
    values = {}
    for name, width in wanted.items():
        outer, _, key = name.rpartition(".")
        inner = branch(tree, outer) if outer else tree
        if name in optional and not holds(inner, key):
            continue
        value = rows(inner, key, width)
        if len(value) != 1:
            raise ModelFileError(f"{name}: expected one frame a file, got {len(value)}")
        values[name] = value
    return values


def write_frames(fit: HeadFit, path: Path, payload: Callable[[int], Payload]) -> int:
    """A ``.frame`` file for every frame that is not missing; their number.

    Args:
        fit: of T frames.
        path: a folder to make; or a name that ends in ``.frame``, for a fit of one frame.
        payload: what the file of a frame holds.

    Raises:
        ModelFileError: several frames for one file, or it cannot be written.
    """
    there = np.flatnonzero(fit.status.numpy() != MISSING)
    if path.suffix == ".frame":
        if fit.frames != 1 or len(there) != 1:
            raise ModelFileError(
                f"{path}: expected a fit of one frame for one file, got {fit.frames}; name a folder"
            )
        write_bytes(path, write_torch(payload(0)))
        return 1
    if path.suffix:
        raise ModelFileError(f"{path}: expected a folder, or one name that ends in .frame")
    with whole_folder(path) as folder:
        for frame in there:
            write_bytes(folder / FRAME_NAME.format(frame), write_torch(payload(int(frame))))
        write_bytes(folder / SIDECAR, json_bytes(as_json(extras_of_fit(fit))))
    return len(there)


def one(values: Tensor | np.ndarray, frame: int) -> np.ndarray:
    """A frame's row with its axis, float32."""
    row = values[frame : frame + 1]
    return np.asarray(row.numpy() if isinstance(row, Tensor) else row, dtype=np.float32)
