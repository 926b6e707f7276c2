"""FLAME's own files: what their keys hold, and how they become :class:`~headwarp.flame.model.HeadData`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..geom.errors import ModelFileError
from ._files import ZIP_MAGIC, read_bytes, read_npy, read_npz
from ._head_data import JOINT_NAMES, HeadData, LandmarkEmbedding
from ._pickle import read_pickle, to_array

FLAME_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")
FLAME_LICENCE = "FLAME model licence, flame.is.tue.mpg.de/modellicense.html (FLAME 2023 Open: CC BY 4.0)"
FLAME_IDENTITY_COUNT = 300
# Picked up where they lie beside the model; of two for the same family the first wins.
LANDMARK_FILES = ("mediapipe_landmark_embedding.npz", "landmark_embedding.npy", "flame_static_embedding.pkl")
EYELID_FILES = ("l_eyelid.npy", "r_eyelid.npy")
MASKS_FILE = "FLAME_masks.pkl"
_INNER_68 = np.arange(17, 68)  # brows, nose, eyes, mouth: the 51 that FLAME embeds statically
_EMBEDDING_FIELDS = ("indices", "faces", "bary")


def flame_head(content: Mapping[str, object], path: Path, *, shape_count: int | None = None) -> HeadData:
    """The head in a FLAME dict (2019, 2020, 2023), keys as in the released pickles.

    ``shapedirs`` holds identity then expression; 300 columns are identity unless ``shape_count`` says
    otherwise.

    Raises:
        ModelFileError: a key is missing, or its shape is not FLAME's.
    """
    absent = [key for key in FLAME_KEYS if key not in content]
    if absent:
        raise ModelFileError(
            f"{path}: expected the keys of a FLAME model, {', '.join(absent)} missing; "
            f"got {', '.join(sorted(map(str, content))[:12]) or 'none'}"
        )
    arrays = {key: _array(content[key], f"{path}: {key}") for key in FLAME_KEYS}
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
        _expect(f"{path}: {key}", arrays[key], shape)
    split = _identity_count(arrays["shapedirs"].shape[2], shape_count, path)
    return HeadData(
        name="flame",
        licence=FLAME_LICENCE,
        template=arrays["v_template"],
        faces=arrays["f"],
        shape_basis=arrays["shapedirs"][..., :split],
        expression_basis=arrays["shapedirs"][..., split:],
        pose_basis=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        parents=_parents(arrays["kintree_table"], path),
    )


def landmark_embeddings(path: Path, face_count: int) -> dict[str, LandmarkEmbedding]:
    """The landmark families in an embedding file, told by its keys and not by its name.

    Known: ``mediapipe_landmark_embedding.npz`` (105 of the face mesh), ``flame_static_embedding.pkl`` and
    DECA's or VHAP's ``landmark_embedding*.npy`` (51 static points: iBUG 17..67; their contour depends on the
    view and is not taken), and an ``.npz`` of ours with ``landmarks.FAMILY.indices``, ``.faces``, ``.bary``.

    Raises:
        ModelFileError: unreadable, none of these, or of another mesh.
    """
    data = read_bytes(path)
    content = read_npz(path, data) if data.startswith(ZIP_MAGIC) else read_pickle(path)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a dict of landmarks, got {type(content).__name__}")
    families = stored_embeddings(content, path) or _flame_embeddings(content, path)
    for embedding in families.values():
        _expect_indices(f"{path}: faces", embedding.faces.numpy(), face_count)
    return families


def stored_embeddings(content: Mapping[str, object], path: Path) -> dict[str, LandmarkEmbedding]:
    """The embeddings under our own keys ``landmarks.FAMILY.{indices,faces,bary}``."""
    families = sorted({str(k).split(".")[1] for k in content if str(k).startswith("landmarks.")})
    return {
        family: _embedding(content, tuple(f"landmarks.{family}.{field}" for field in _EMBEDDING_FIELDS), path)
        for family in families
    }


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
        _expect(str(path), lid, (len(template), 3))
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
        indices = _array(value, f"{path}: {name}")
        _expect_indices(f"{path}: {name}", indices, count)
        masks[str(name)] = np.zeros(count, dtype=bool)
        masks[str(name)][indices.astype(np.int64)] = True
    return masks


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


def _parents(table: np.ndarray, path: Path) -> tuple[int, ...]:
    """Row 0 of kintree_table; the root's parent is stored as 2**32 - 1."""
    parents = [int(p) for p in table[0].astype(np.int64)]
    return (-1 if parents[0] in (-1, 2**32 - 1, 2**64 - 1) else parents[0], *parents[1:])


def _flame_embeddings(content: Mapping[str, object], path: Path) -> dict[str, LandmarkEmbedding]:
    if "landmark_indices" in content:
        return {"mediapipe": _embedding(content, ("landmark_indices", "lmk_face_idx", "lmk_b_coords"), path)}
    for faces, bary in (("static_lmk_faces_idx", "static_lmk_bary_coords"), ("lmk_face_idx", "lmk_b_coords")):
        if faces in content:
            return {"ibug68": _inner_embedding(content, faces, bary, path)}
    raise ModelFileError(
        f"{path}: expected landmark_indices, static_lmk_faces_idx or lmk_face_idx, "
        f"got {', '.join(sorted(map(str, content))[:12]) or 'no keys'}"
    )


def _inner_embedding(content: Mapping[str, object], faces: str, bary: str, path: Path) -> LandmarkEmbedding:
    """51 points, or 53 with VHAP's two irises last, which are not of the 68."""
    face, weights = (_array(content.get(key), f"{path}: {key}") for key in (faces, bary))
    if face.shape not in ((51,), (53,)):
        raise ModelFileError(f"{path}: {faces}: expected (51,), got {face.shape}")
    inner = {"indices": _INNER_68, faces: face[:51], bary: weights[:51]}
    return _embedding(inner, ("indices", faces, bary), path)


def _embedding(content: Mapping[str, object], keys: Sequence[str], path: Path) -> LandmarkEmbedding:
    absent = [key for key in keys if key not in content]
    if absent:
        raise ModelFileError(f"{path}: expected {', '.join(keys)}, {', '.join(absent)} missing")
    indices, faces, bary = (_array(content[key], f"{path}: {key}") for key in keys)
    _expect(f"{path}: {keys[1]}", faces, (len(np.atleast_1d(indices)),))
    _expect(f"{path}: {keys[2]}", bary, (len(faces), 3))
    for key, numbers in zip(keys[:2], (indices, faces), strict=True):
        if numbers.dtype.kind not in "iu":
            raise ModelFileError(f"{path}: {key}: expected whole numbers, got {numbers.dtype}")
    return LandmarkEmbedding(
        indices=torch.from_numpy(np.atleast_1d(indices).astype(np.int64)),
        faces=torch.from_numpy(faces.astype(np.int64)),
        bary=torch.from_numpy(bary.astype(np.float64)),
    )


def _array(value: object, name: str) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else to_array(value, name)


def _expect(name: str, value: np.ndarray, shape: tuple[int | None, ...]) -> None:
    if value.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, value.shape, strict=True)):
        return
    wanted = ", ".join("*" if s is None else str(s) for s in shape)
    raise ModelFileError(f"{name}: expected ({wanted}), got {value.shape}")


def _expect_indices(name: str, values: np.ndarray, count: int) -> None:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ModelFileError(f"{name}: expected a list of indices, got {values.dtype} {values.shape}")
    if values.size and (int(values.min()) < 0 or int(values.max()) >= count):
        raise ModelFileError(f"{name}: expected indices below {count}, got {values.min()}..{values.max()}")
