"""FLAME's own files: what their keys hold, and how they become :class:`~headwarp.flame.model.HeadData`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..geom.errors import ModelFileError
from ._files import read_npy
from ._flame_version import told_version
from ._head_data import JOINT_NAMES, HeadData
from ._pickle import read_pickle, to_array

FLAME_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")
_WHOLE = ("f", "kintree_table")
FLAME_LICENCE = "FLAME model licence, flame.is.tue.mpg.de/modellicense.html (FLAME 2023 Open: CC BY 4.0)"
FLAME_IDENTITY_COUNT = 300
EYELID_FILES = ("l_eyelid.npy", "r_eyelid.npy")
MASKS_FILE = "FLAME_masks.pkl"


def flame_head(content: Mapping[str, object], path: Path, *, shape_count: int | None = None) -> HeadData:
    """The head in a FLAME dict (2019, 2020, 2023), keys as in the released pickles.

    ``shapedirs`` holds identity then expression; 300 columns are identity unless ``shape_count`` says
    otherwise.

    Raises:
        ModelFileError: a key is missing, or has not FLAME's shape or kind of number.
    """
    absent = [key for key in FLAME_KEYS if key not in content]
    if absent:
        raise ModelFileError(
            f"{path}: expected the keys of a FLAME model, {', '.join(absent)} missing; "
            f"got {', '.join(sorted(map(str, content))[:12]) or 'none'}"
        )
    arrays = {key: as_array(content[key], f"{path}: {key}") for key in FLAME_KEYS}
    count, joints = len(arrays["v_template"]), len(JOINT_NAMES)
    wanted: dict[str, tuple[int | None, ...]] = {
        "v_template": (count, 3),
        "f": (None, 3),
        "shapedirs": (count, 3, None),
        "posedirs": (count, 3, 9 * (joints - 1)),
        "J_regressor": (joints, count),
        "kintree_table": (2, joints),
        "weights": (count, joints),
    }
    for key, shape in wanted.items():
        _check(f"{path}: {key}", arrays[key], shape, whole=key in _WHOLE)
    split = _identity_count(arrays["shapedirs"].shape[2], shape_count, path)
    _check_weights(f"{path}: weights", arrays["weights"])
    expressions = arrays["shapedirs"][..., split:]
    return HeadData(
        name="flame",
        version=told_version(path.name, count, len(arrays["f"]), expressions),
        licence=FLAME_LICENCE,
        template=arrays["v_template"],
        faces=arrays["f"],
        shape_basis=arrays["shapedirs"][..., :split],
        expression_basis=expressions,
        pose_basis=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        parents=_parents(arrays["kintree_table"], path),
    )


def eyelids_beside(folder: Path, template: np.ndarray) -> np.ndarray | None:
    """The eyelid shapes ``(V, 3, 2)``, the subject's left first, if both files lie in the folder.

    Tools differ in whose left they name; here the side is where the points move: larger x is the
    subject's left.

    Raises:
        ModelFileError: one of the two is missing, or they are not of this mesh.
    """
    paths = [folder / name for name in EYELID_FILES]
    there = [path for path in paths if path.is_file()]
    if not there:
        return None
    if len(there) == 1:
        raise ModelFileError(
            f"{folder}: expected both {' and '.join(EYELID_FILES)}, got only {there[0].name}"
        )
    lids = [read_npy(path) for path in paths]
    for path, lid in zip(paths, lids, strict=True):
        expect_shape(str(path), lid, (len(template), 3))
    sides = [float((template[:, 0] * np.abs(lid).sum(1)).sum()) for lid in lids]
    ordered = lids if sides[0] >= sides[1] else lids[::-1]
    return np.stack(ordered, -1)


def masks_beside(folder: Path, count: int) -> dict[str, np.ndarray]:
    """The region masks of ``FLAME_masks.pkl`` (lists of vertices) as bool ``(V,)``, if it lies in the folder.

    Raises:
        ModelFileError: unreadable, or of another mesh.
    """
    path = folder / MASKS_FILE
    if not path.is_file():
        return {}
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a dict of regions, got {type(content).__name__}")
    masks = {}
    for name, value in content.items():
        indices = as_array(value, f"{path}: {name}")
        expect_indices(f"{path}: {name}", indices, count)
        masks[str(name)] = np.zeros(count, dtype=bool)
        masks[str(name)][indices.astype(np.int64)] = True
    return masks


def _check(name: str, values: np.ndarray, shape: tuple[int | None, ...], *, whole: bool) -> None:
    """Shape and kind of number, none of them NaN."""
    expect_shape(name, values, shape)
    if values.dtype.kind not in ("iu" if whole else "fiu"):
        raise ModelFileError(f"{name}: expected {'whole ' if whole else ''}numbers, got {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelFileError(f"{name}: expected finite numbers, got NaN or infinity")


def _identity_count(columns: int, given: int | None, path: Path) -> int:
    if given is None and columns <= FLAME_IDENTITY_COUNT:
        raise ModelFileError(
            f"{path}: shapedirs: expected more than {FLAME_IDENTITY_COUNT} columns (identity, expression), "
            f"got {columns}; say how many are identity: shape_count=N"
        )
    split = FLAME_IDENTITY_COUNT if given is None else given
    if not 0 <= split <= columns:
        raise ModelFileError(
            f"{path}: shape_count: expected 0 to {columns} (columns of shapedirs), got {split}"
        )
    return split


def _check_weights(name: str, weights: np.ndarray) -> None:
    if not (np.abs(weights.sum(1) - 1) < 1e-2).all():
        worst = int(np.abs(weights.sum(1) - 1).argmax())
        raise ModelFileError(f"{name}: expected rows that sum to 1, row {worst} is {weights[worst].tolist()}")


def _parents(table: np.ndarray, path: Path) -> tuple[int, ...]:
    """Row 0 of kintree_table; the root's parent is stored as 2**32 - 1."""
    parents = [int(p) for p in table[0].astype(np.int64)]
    return (-1 if parents[0] in (-1, 2**32 - 1, 2**64 - 1) else parents[0], *parents[1:])


def as_array(value: object, name: str) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else to_array(value, name)


def expect_shape(name: str, value: np.ndarray, shape: tuple[int | None, ...]) -> None:
    if value.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, value.shape, strict=True)):
        return
    wanted = ", ".join("*" if s is None else str(s) for s in shape)
    raise ModelFileError(f"{name}: expected ({wanted}), got {value.shape}")


def expect_indices(name: str, values: np.ndarray, count: int) -> None:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ModelFileError(f"{name}: expected a list of indices, got {values.dtype} {values.shape}")
    if values.size and (int(values.min()) < 0 or int(values.max()) >= count):
        raise ModelFileError(f"{name}: expected indices below {count}, got {values.min()}..{values.max()}")
