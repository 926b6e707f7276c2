"""Landmark embedding files of the field, told by their keys: which points of a mesh the landmarks are.

Two embeddings of iBUG's inner 51 are passed around for FLAME, and they differ at 12 points of brows and nose
by up to a centimetre: DECA's (``static_lmk_*``; EMOCA, SMIRK, MICA) and FLAME's own (``lmk_*``;
flame-fitting, TF_FLAME, smplx). Which one a head carries stands in ``LandmarkEmbedding.origin``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..geom.errors import ModelFileError
from ._files import ZIP_MAGIC, read_bytes, read_npz
from ._flame_files import as_array, expect_indices, expect_shape
from ._head_data import CONTOUR_BINS, CONTOUR_COUNT, ContourTable, HeadData, LandmarkEmbedding
from ._pickle import read_pickle
from .landmarks import LEFT_EYE_RIM, LEFT_IRIS, RIGHT_EYE_RIM, RIGHT_IRIS

# Picked up where they lie beside the model; of two for the same family the first wins.
LANDMARK_FILES = (
    *("mediapipe_landmark_embedding.npz", "landmark_embedding.npy", "landmark_embedding_with_eyes.npy"),
    *("flame_static_embedding.pkl", "flame_dynamic_embedding.npy"),
)
DECA, STATIC, DYNAMIC, VHAP = "deca", "flame-static", "flame-dynamic", "vhap"
MEDIAPIPE = "flame-mediapipe"
_INNER = np.arange(CONTOUR_COUNT, 68)  # brows, nose, eyes, mouth: the 51 that FLAME embeds statically
_FIELDS = ("indices", "faces", "bary")
_EYEBALL = 50  # vertices that follow an eye joint alone, at least: a real eyeball


@dataclass(frozen=True)
class EmbeddingFile:
    """What an embedding file holds: landmark families, and a contour table where it has one."""

    families: dict[str, LandmarkEmbedding] = field(default_factory=dict)
    contour: ContourTable | None = None


def read_embeddings(path: Path, face_count: int) -> EmbeddingFile:
    """The landmarks in a file, told by its keys and not by its name.

    Known: ``mediapipe_landmark_embedding.npz`` (105 of the face mesh); DECA's ``landmark_embedding.npy``
    (inner 51 and the contour table); VHAP's with eyes (53 static, 70 in all: the 68, contour at rest, are
    taken; irises are found on the eyeballs, `with_irises`); ``flame_static_embedding.pkl`` (inner 51);
    ``flame_dynamic_embedding.npy`` (the table alone); an ``.npz`` of ours with ``landmarks.FAMILY.indices``,
    ``.faces``, ``.bary``.

    Raises:
        ModelFileError: unreadable, none of these, or of another mesh.
    """
    data = read_bytes(path)
    content = read_npz(path, data) if data.startswith(ZIP_MAGIC) else read_pickle(path)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a dict of landmarks, got {type(content).__name__}")
    own = EmbeddingFile(stored_embeddings(content, path), stored_contour(content, path))
    found = own if own.families or own.contour is not None else _foreign(content, path)
    for embedding in found.families.values():
        expect_indices(f"{path}: faces", embedding.faces.numpy(), face_count)
    if found.contour is not None:
        expect_indices(f"{path}: contour faces", found.contour.faces.flatten().numpy(), face_count)
    return found


def stored_embeddings(content: Mapping[str, object], path: Path) -> dict[str, LandmarkEmbedding]:
    """The embeddings under our own keys ``landmarks.FAMILY.{indices,faces,bary,origin}``."""
    families = sorted({str(k).split(".")[1] for k in content if str(k).startswith("landmarks.")})
    return {
        family: _embedding(
            content,
            tuple(f"landmarks.{family}.{name}" for name in _FIELDS),
            path,
            origin=str(content.get(f"landmarks.{family}.origin", "")),
        )
        for family in families
    }


def stored_contour(content: Mapping[str, object], path: Path) -> ContourTable | None:
    """The table under our own keys ``contour.{faces,bary,origin}``."""
    if "contour.faces" not in content:
        return None
    return _table(content, ("contour.faces", "contour.bary"), path, str(content.get("contour.origin", "")))


def embedding_arrays(
    families: Mapping[str, LandmarkEmbedding], contour: ContourTable | None
) -> dict[str, np.ndarray | Tensor]:
    """The same as arrays under our own keys; the inverse of the two above."""
    arrays: dict[str, np.ndarray | Tensor] = {}
    for family, embedding in families.items():
        arrays |= {f"landmarks.{family}.{name}": getattr(embedding, name) for name in _FIELDS}
        arrays[f"landmarks.{family}.origin"] = np.array(embedding.origin)
    if contour is not None:
        arrays |= {"contour.faces": contour.faces, "contour.bary": contour.bary}
        arrays["contour.origin"] = np.array(contour.origin)
    return arrays


def with_irises(embedding: LandmarkEmbedding, head: HeadData) -> LandmarkEmbedding:
    """Face-mesh landmarks with the two iris centres added, where they lack and the head has eyeballs.

    FLAME's own 105 points have the lids but no iris, without which there is no gaze. A pupil is the foremost
    vertex of those that follow an eye joint alone. Nothing is added to an embedding without the lids.
    """
    there = set(embedding.indices.tolist())
    names, weights = list(head.joint_names), np.asarray(head.weights)
    template, faces = np.asarray(head.template), np.asarray(head.faces)
    pupils = {}
    for number, rim, joint in (
        (RIGHT_IRIS[0], RIGHT_EYE_RIM, "right_eye"),
        (LEFT_IRIS[0], LEFT_EYE_RIM, "left_eye"),
    ):
        ball = np.flatnonzero(weights[:, names.index(joint)] > 0.99) if joint in names else np.zeros(0, int)
        if number in there or not there.issuperset(rim) or len(ball) < _EYEBALL:
            return embedding
        pupils[number] = int(ball[template[ball, 2].argmax()])
    place = [int(np.argmax(faces.reshape(-1) == vertex)) for vertex in pupils.values()]
    return LandmarkEmbedding(
        indices=torch.cat([embedding.indices, torch.tensor(list(pupils))]),
        faces=torch.cat([embedding.faces, torch.tensor([p // 3 for p in place])]),
        bary=torch.cat([embedding.bary, torch.eye(3, dtype=embedding.bary.dtype)[[p % 3 for p in place]]]),
        origin=f"{embedding.origin}+irises" if embedding.origin else "",
    )


def _foreign(content: Mapping[str, object], path: Path) -> EmbeddingFile:
    if "landmark_indices" in content:
        mesh = ("landmark_indices", "lmk_face_idx", "lmk_b_coords")
        return EmbeddingFile({"mediapipe": _embedding(content, mesh, path, origin=MEDIAPIPE)})
    if "static_lmk_faces_idx" in content:
        return _deca(content, path)
    if "lmk_face_idx" in content:
        keys = ("lmk_face_idx", "lmk_b_coords")
        if as_array(content[keys[0]], f"{path}: {keys[0]}").ndim == 2:
            return EmbeddingFile(contour=_table(content, keys, path, DYNAMIC))
        return EmbeddingFile({"ibug68": _part(content, keys, path, _INNER, origin=STATIC)})
    raise ModelFileError(
        f"{path}: expected landmark_indices, static_lmk_faces_idx or lmk_face_idx, "
        f"got {', '.join(sorted(map(str, content))[:12]) or 'no keys'}"
    )


def _deca(content: Mapping[str, object], path: Path) -> EmbeddingFile:
    """DECA's keys: a contour by table; or, as VHAP uses them, all 68 at rest and two irises after them."""
    keys = ("static_lmk_faces_idx", "static_lmk_bary_coords")
    eyes = as_array(content[keys[0]], f"{path}: {keys[0]}").shape == (53,)
    inner = _part(content, keys, path, _INNER, origin=VHAP if eyes else DECA)
    contour = None
    if "dynamic_lmk_faces_idx" in content:
        moving = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
        contour = _table(content, moving, path, inner.origin)
    elif "full_lmk_faces_idx" in content:
        whole = ("full_lmk_faces_idx", "full_lmk_bary_coords")
        resting = _part(content, whole, path, np.arange(68), origin=inner.origin)
        rows = slice(CONTOUR_COUNT)
        inner = replace(
            inner,
            indices=torch.arange(68),
            faces=torch.cat([resting.faces[rows], inner.faces]),
            bary=torch.cat([resting.bary[rows], inner.bary]),
        )
    return EmbeddingFile({"ibug68": inner}, contour)


def _part(
    content: Mapping[str, object], keys: Sequence[str], path: Path, numbers: np.ndarray, *, origin: str
) -> LandmarkEmbedding:
    """Points under two keys, perhaps with a batch axis, perhaps with two irises last."""
    faces, bary = (as_array(content.get(key), f"{path}: {key}") for key in keys)
    faces, bary = (x[0] if x.ndim == n and len(x) == 1 else x for x, n in ((faces, 2), (bary, 3)))
    count = len(numbers)
    if faces.shape not in ((count,), (count + 2,)):
        raise ModelFileError(f"{path}: {keys[0]}: expected ({count},), got {faces.shape}")
    expect_shape(f"{path}: {keys[1]}", bary, (len(faces), 3))
    points = {"indices": numbers, keys[0]: faces[:count], keys[1]: bary[:count]}
    return _embedding(points, ("indices", *keys), path, origin=origin)


def _table(content: Mapping[str, object], keys: Sequence[str], path: Path, origin: str) -> ContourTable:
    faces, bary = (as_array(content.get(key), f"{path}: {key}") for key in keys)
    expect_shape(f"{path}: {keys[0]}", faces, (CONTOUR_BINS, CONTOUR_COUNT))
    expect_shape(f"{path}: {keys[1]}", bary, (CONTOUR_BINS, CONTOUR_COUNT, 3))
    _expect_whole(f"{path}: {keys[0]}", faces)
    numbers = torch.from_numpy(faces.astype(np.int64))
    return ContourTable(numbers, torch.from_numpy(bary.astype(np.float64)), origin)


def _embedding(
    content: Mapping[str, object], keys: Sequence[str], path: Path, *, origin: str
) -> LandmarkEmbedding:
    absent = [key for key in keys if key not in content]
    if absent:
        raise ModelFileError(f"{path}: expected {', '.join(keys)}, {', '.join(absent)} missing")
    indices, faces, bary = (as_array(content[key], f"{path}: {key}") for key in keys)
    expect_shape(f"{path}: {keys[1]}", faces, (len(np.atleast_1d(indices)),))
    expect_shape(f"{path}: {keys[2]}", bary, (len(faces), 3))
    for key, numbers in zip(keys[:2], (indices, faces), strict=True):
        _expect_whole(f"{path}: {key}", numbers)
    return LandmarkEmbedding(
        indices=torch.from_numpy(np.atleast_1d(indices).astype(np.int64)),
        faces=torch.from_numpy(faces.astype(np.int64)),
        bary=torch.from_numpy(bary.astype(np.float64)),
        origin=origin,
    )


def _expect_whole(name: str, numbers: np.ndarray) -> None:
    if numbers.dtype.kind not in "iu":
        raise ModelFileError(f"{name}: expected whole numbers, got {numbers.dtype}")
