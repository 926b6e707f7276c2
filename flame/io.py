"""Head files: load the built-in head, a user's FLAME file or this library's own ``.npz``; save and convert.

A FLAME pickle is read without chumpy and without running anything it names (`_pickle`). Our own file is an
``.npz`` of plain arrays that carries ``schema_version`` and ``model_id``; the id of a converted file is that
of its original.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..geom.errors import ModelFileError, ShapeError
from ._files import NPY_MAGIC, ZIP_MAGIC, read_bytes, read_npz, write_npz
from ._flame_files import eyelids_beside, flame_head, masks_beside
from ._flame_landmarks import (
    LANDMARK_FILES,
    EmbeddingFile,
    embedding_arrays,
    read_embeddings,
    stored_contour,
    stored_embeddings,
    with_irises,
)
from ._gnm_landmarks import sparse_landmarks
from ._head_data import ContourTable, HeadData, LandmarkEmbedding
from ._pickle import read_pickle
from .gnm import gnm_head, is_gnm
from .model import HeadModel
from .texture import uv_beside

SCHEMA_VERSION = 1
HEAD_VARIABLE = "HEADWARP_HEAD"
_ARRAYS = ("template", "faces", "shape_basis", "expression_basis", "pose_basis", "joint_regressor", "weights")
_OPTIONAL = ("eyelid_basis", "uv", "uv_faces")
_TEXTS = ("name", "licence", "model_id")
_NAMES = ("shape_names", "expression_names")  # of the columns, where a model has them
_JOINTS = ("joint_template", "joint_shape_basis")  # where a model has joints of their own
_NOTES = ("version",)  # texts that older files lack


def load_head(
    name_or_file: str | Path | None = None,
    *,
    landmarks: str | Path | Iterable[str | Path] = (),
    shape_count: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> HeadModel:
    """A head model on the CPU.

    Args:
        name_or_file: ``"builtin"``, a FLAME ``.pkl`` (2019, 2020, 2023), an ``.npz`` of ours or one
            with FLAME's keys, GNM's ``gnm_head.npz`` (see `flame.gnm`), or the ``FaceXModel`` folder of
            ICT-FaceKit (see `flame.ict`).
            None: the file that ``$HEADWARP_HEAD`` names, else the built-in head.
        landmarks: landmark embedding file(s); they win over those found beside the head. Without any,
            a FLAME file loads with ``landmarks == {}``; `headwarp.fit` then finds them by drawing the head.
        shape_count: how many columns of ``shapedirs`` are identity (FLAME's keys only); None: 300.
        dtype: of the model; float64 keeps every digit of a FLAME file. The ``model_id`` is the same.

    Files lying beside a FLAME file are picked up: ``mediapipe_landmark_embedding.npz``,
    ``landmark_embedding.npy``, ``landmark_embedding_with_eyes.npy``, ``flame_static_embedding.pkl``,
    ``flame_dynamic_embedding.npy``, ``l_eyelid.npy`` with ``r_eyelid.npy``, ``FLAME_masks.pkl``, and
    the texture coordinates of ``FLAME_texture.npz`` or an albedo file (`texture`). Of two files for the same
    landmarks the first in this order wins; ``landmarks[..].origin`` says which it was. ``version`` says what
    can be told of the release.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or no head; the text says which.

    Example:
        >>> load_head("builtin").joint_names
        ('root', 'neck', 'jaw', 'left_eye', 'right_eye')
    """
    embeddings = [Path(landmarks)] if isinstance(landmarks, (str, Path)) else [Path(p) for p in landmarks]
    if name_or_file is None:
        name_or_file = os.environ.get(HEAD_VARIABLE) or "builtin"
    if str(name_or_file) == "builtin":
        return _load_builtin(embeddings, dtype)
    path = Path(name_or_file).expanduser()
    head, wanted_id = _read_head(path, shape_count)
    given = _embeddings(embeddings, head, unique=True)
    contour = head.contour if given.contour is None else given.contour
    head = replace(head, landmarks={**head.landmarks, **given.families}, contour=contour)
    return _build(head, path, wanted_id, dtype)


def save_head_npz(model: HeadModel, path: str | Path) -> Path:
    """Writes a head as our ``.npz``, atomically: float32 arrays, landmarks, regions, stored expressions, id.

    Args:
        model: any head.
        path: ends in ``.npz``.

    Raises:
        ModelFileError: ``path`` does not end in ``.npz`` or cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ModelFileError(f"{path}: expected a name that ends in .npz")
    arrays: dict[str, np.ndarray | Tensor] = {key: getattr(model, key) for key in _ARRAYS}
    optional = {key: getattr(model, key) for key in _OPTIONAL}
    arrays |= {key: value for key, value in optional.items() if value is not None}
    arrays |= {key: np.array(getattr(model, key)) for key in (*_TEXTS, *_NOTES)}
    arrays |= {"schema_version": np.array(SCHEMA_VERSION), "parents": np.array(model.parents)}
    arrays |= {"joint_names": np.array(model.joint_names)}
    arrays |= {key: np.array(getattr(model, key)) for key in _NAMES if getattr(model, key)}
    arrays |= {key: getattr(model, key) for key in _JOINTS if model.explicit_joints}
    arrays |= embedding_arrays(model.landmarks, model.contour)
    arrays |= {f"region_masks.{name}": mask for name, mask in model.region_masks.items()}
    arrays |= {f"named_expressions.{name}": value for name, value in model.stored_expressions.items()}
    write_npz(path, {key: _plain(value) for key, value in arrays.items()})
    return path


def convert_head(
    source: str | Path,
    output: str | Path,
    *,
    landmarks: str | Path | Iterable[str | Path] = (),
    shape_count: int | None = None,
) -> HeadModel:
    """Reads any head that :func:`load_head` reads, writes our ``.npz``; both have the same ``model_id``.

    Args:
        source: what `load_head` takes.
        output: the ``.npz`` to write.
        landmarks: as for `load_head`.
        shape_count: as for `load_head`.

    Returns:
        The head that was written.

    Raises:
        ModelFileError: the source is refused or the output cannot be written.
    """
    model = load_head(source, landmarks=landmarks, shape_count=shape_count)
    save_head_npz(model, output)
    return model


def _load_builtin(embeddings: list[Path], dtype: torch.dtype) -> HeadModel:
    if embeddings:
        raise ModelFileError("landmarks: the built-in head carries its own; give them with a FLAME file only")
    from .builtin.load import load_builtin

    return load_builtin().to(dtype)


def _read_head(path: Path, shape_count: int | None) -> tuple[HeadData, str]:
    """What a file or folder holds, and the id it says it has (empty where it says none)."""
    if path.is_dir():
        head, wanted_id, kind = _folder_head(path), "", "meshes of this folder"
    elif not path.is_file():
        raise ModelFileError(_missing(path))
    else:
        content = _content(path)
        if is_gnm(content):
            head, wanted_id, kind = gnm_head(content, path), "", "components of GNM"
        elif "schema_version" in content:
            head, wanted_id = _own_head(content, path), str(content.get("model_id", ""))
            kind = "columns of this file"
        else:
            return _with_files_beside(flame_head(content, path, shape_count=shape_count), path.parent), ""
    if shape_count is not None:
        raise ModelFileError(
            f"{path}: shape_count: the {kind} say themselves which are identity; leave it out"
        )
    return head, wanted_id


def _folder_head(path: Path) -> HeadData:
    """An ICT-FaceKit folder, complete or not."""
    from .ict import ict_head, is_ict_folder

    if not is_ict_folder(path):
        raise ModelFileError(
            f"{path}: expected a head file, or the FaceXModel folder of ICT-FaceKit, got another folder"
        )
    return ict_head(path)


def _content(path: Path) -> Mapping[str, object]:
    data = read_bytes(path)
    if data.startswith(NPY_MAGIC):
        raise ModelFileError(f"{path}: expected a head model (.pkl or .npz), got a single .npy array")
    content = read_npz(path, data) if data.startswith(ZIP_MAGIC) else read_pickle(path)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a dict of arrays, got {type(content).__name__}")
    return content


def _own_head(content: Mapping[str, object], path: Path) -> HeadData:
    """A head under our own key names."""
    plain = {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
    version = plain.get("schema_version", np.array(""))
    if version.shape != () or version.dtype.kind not in "iu":
        raise ModelFileError(f"{path}: schema_version: expected a whole number")
    if int(version) != SCHEMA_VERSION:
        raise ModelFileError(
            f"{path}: schema_version: expected {SCHEMA_VERSION}, got {int(version)}; update headwarp"
        )
    absent = [key for key in (*_ARRAYS, *_TEXTS, "parents", "joint_names") if key not in plain]
    if absent:
        raise ModelFileError(f"{path}: expected the keys of a head file, {', '.join(absent)} missing")
    needed = {key: plain[key] for key in _ARRAYS}
    return HeadData(
        **needed,
        eyelid_basis=plain.get("eyelid_basis"),
        uv=plain.get("uv"),
        uv_faces=plain.get("uv_faces"),
        name=str(plain["name"]),
        licence=str(plain["licence"]),
        version=str(plain.get("version", "")),
        parents=_parents(plain["parents"], path),
        joint_names=tuple(str(n) for n in plain["joint_names"].ravel()),
        landmarks=stored_embeddings(plain, path),
        contour=stored_contour(plain, path),
        region_masks=_group(plain, "region_masks."),
        named_expressions=_group(plain, "named_expressions."),
        shape_names=_names(plain, "shape_names", path),
        expression_names=_names(plain, "expression_names", path),
        joint_template=plain.get("joint_template"),
        joint_shape_basis=plain.get("joint_shape_basis"),
    )


def _parents(values: np.ndarray, path: Path) -> tuple[int, ...]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ModelFileError(
            f"{path}: parents: expected whole numbers (J,), got {values.dtype} {values.shape}"
        )
    return tuple(int(p) for p in values)


def _names(content: Mapping[str, np.ndarray], key: str, path: Path) -> tuple[str, ...]:
    values = content.get(key, np.zeros(0, dtype="U1"))
    if values.ndim != 1 or values.dtype.kind != "U":
        raise ModelFileError(f"{path}: {key}: expected names, got {values.dtype} {values.shape}")
    return tuple(str(value) for value in values)


def _group(content: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}


def _with_files_beside(head: HeadData, folder: Path) -> HeadData:
    """Landmarks, eyelids and regions that lie in the folder of a FLAME file."""
    files = [folder / name for name in LANDMARK_FILES if (folder / name).is_file()]
    found = _embeddings(files, head, unique=False)
    uv = uv_beside(folder, len(head.faces))
    return replace(
        head,
        landmarks=found.families,
        contour=found.contour,
        uv=None if uv is None else uv[0],
        uv_faces=None if uv is None else uv[1],
        eyelid_basis=eyelids_beside(folder, np.asarray(head.template)),
        region_masks=masks_beside(folder, len(head.template)),
    )


def _embeddings(files: list[Path], head: HeadData, *, unique: bool) -> EmbeddingFile:
    """Families from several files; of two for one family the first wins, or is an error where ``unique``."""
    found: dict[str, LandmarkEmbedding] = {}
    contour: ContourTable | None = None
    for path in files:
        if not path.is_file():
            raise ModelFileError(f"{path}: no such landmark file; known are {', '.join(LANDMARK_FILES)}")
        if path.suffix == ".txt":  # GNM's, by vertices
            points = sparse_landmarks(path, np.asarray(head.template, np.float64), np.asarray(head.faces))
            read = EmbeddingFile({"ibug68": points})
        else:
            read = read_embeddings(path, len(head.faces))
        for family, embedding in read.families.items():
            if family in found and unique:
                raise ModelFileError(f"{path}: landmarks {family!r} were given by an earlier file already")
            found.setdefault(family, with_irises(embedding, head) if family == "mediapipe" else embedding)
        contour = read.contour if contour is None else contour
    return EmbeddingFile(found, contour)


def _build(head: HeadData, path: Path, wanted_id: str, dtype: torch.dtype) -> HeadModel:
    try:
        model = HeadModel(head, dtype=dtype)
    except ShapeError as error:
        raise ModelFileError(f"{path}: {error}") from error
    if wanted_id and wanted_id != model.model_id:
        raise ModelFileError(
            f"{path}: model_id: expected {model.model_id} from its arrays, got {wanted_id}; "
            "the file was altered, convert the original again"
        )
    return model


def _plain(value: np.ndarray | Tensor) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _missing(path: Path) -> str:
    return (
        f"{path}: no such head file (sought as {path.absolute()}); name 'builtin' or a file, or set "
        f"${HEAD_VARIABLE}. To use FLAME: register at https://flame.is.tue.mpg.de, download a model and its "
        "landmark embeddings into one folder, then `headwarp convert head FILE --output flame.npz`"
    )
