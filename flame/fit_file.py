"""The ``.npz`` of a fit: our own key names, no pickles, version and convention inside."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..geom.cameras import Perspective, WeakPerspective
from ..geom.errors import ModelFileError
from ._files import write_npz
from .params import CONVENTION, SCHEMA_VERSION, HeadFit, HeadParams, report_json

PARAMETERS = ("shape", "expression", "rotation", "translation", "neck", "jaw", "eyes", "eyelids")
PER_FRAME = ("landmarks", "residual", "status", "confidence", "covariance")
CAMERA_FIELDS = {"weak": ("scale", "center"), "perspective": ("focal", "principal")}


def fit_arrays(fit: HeadFit) -> dict[str, np.ndarray]:
    """Everything a fit file holds, by key."""
    kind = "weak" if isinstance(fit.camera, WeakPerspective) else "perspective"
    arrays = {
        "schema_version": np.array(SCHEMA_VERSION),
        "convention": np.array(CONVENTION),
        "model_id": np.array(fit.model_id),
        "size": np.array(fit.size, dtype=np.int64),
        "camera": np.array(kind),
        "landmark_indices": fit.landmark_indices.numpy(),
        "report": np.array(report_json(dict(fit.report))),
    }
    arrays |= {name: getattr(fit.params, name).numpy() for name in PARAMETERS}
    arrays |= {name: getattr(fit, name).numpy() for name in PER_FRAME}
    if fit.deviation is not None:
        arrays["deviation"] = fit.deviation.numpy()
    arrays |= {f"camera_{name}": getattr(fit.camera, name).numpy() for name in CAMERA_FIELDS[kind]}
    return arrays


def save_fit(fit: HeadFit, path: str | Path) -> Path:
    """Write a fit, whole or not at all. Equal fits give equal bytes.

    Raises:
        ModelFileError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{path}: its folder cannot be made: {error.strerror or error}") from error
    write_npz(path, fit_arrays(fit))
    return path


def load_fit(path: str | Path) -> HeadFit:
    """Read a fit file; one of schema 1 has no ``deviation``.

    Raises:
        ModelFileError: no such file, not a fit, or written by a newer version.
    """
    path = Path(path)
    arrays = _read(path)
    _check_version(path, arrays)
    missing = sorted(
        {*PARAMETERS, *PER_FRAME, "size", "camera", "model_id", "landmark_indices"} - set(arrays)
    )
    if missing:
        raise ModelFileError(
            f"{path}: expected a fit with keys {', '.join(missing)}, they are missing; fit the input again"
        )
    kind = str(arrays["camera"])
    if kind not in CAMERA_FIELDS or any(f"camera_{n}" not in arrays for n in CAMERA_FIELDS[kind]):
        raise ModelFileError(
            f"{path}: expected a weak or perspective camera, got {kind!r}; fit the input again"
        )
    tensor = lambda name: torch.from_numpy(arrays[name])  # noqa: E731
    fields: list[Tensor] = [tensor(f"camera_{n}") for n in CAMERA_FIELDS[kind]]
    camera = WeakPerspective(*fields) if kind == "weak" else Perspective(*fields)
    height, width = arrays["size"].tolist()
    return HeadFit(
        params=HeadParams(**{name: tensor(name) for name in PARAMETERS}),
        camera=camera,
        size=(int(height), int(width)),
        model_id=str(arrays["model_id"]),
        landmark_indices=tensor("landmark_indices"),
        report=json.loads(str(arrays.get("report", "{}"))),
        deviation=tensor("deviation") if "deviation" in arrays else None,
        **{name: tensor(name) for name in PER_FRAME},
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ModelFileError(
            f"{path}: expected a fit file, found none; make one with `headwarp fit INPUT --output DIR`"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, AttributeError) as error:
        raise ModelFileError(
            f"{path}: expected a fit (.npz), got something that does not read as one"
        ) from error


def _check_version(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if "schema_version" not in arrays:
        raise ModelFileError(
            f"{path}: expected a headwarp fit, got an .npz with keys {', '.join(sorted(arrays)[:8])}"
        )
    version = int(arrays["schema_version"])
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{path}: expected fit version {SCHEMA_VERSION} or older, got {version}; "
            "upgrade headwarp to read it"
        )
    if str(arrays.get("convention", CONVENTION)) != CONVENTION:
        raise ModelFileError(f"{path}: expected convention {CONVENTION!r}, got {arrays['convention']!s}")
