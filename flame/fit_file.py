"""The ``.npz`` of a fit: our own key names, no pickles, version and convention inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..geom.cameras import Perspective, WeakPerspective
from ..geom.errors import ModelFileError, ShapeError
from ._files import write_npz
from .params import CONVENTION, SCHEMA_VERSION, HeadFit, HeadParams, report_json

PARAMETERS = ("shape", "expression", "rotation", "translation", "neck", "jaw", "eyes", "eyelids")
PER_FRAME = ("landmarks", "residual", "status", "confidence", "covariance")
CAMERA_FIELDS = {"weak": ("scale", "center"), "perspective": ("focal", "principal")}
_SHAPES: dict[str, tuple[str | int, ...]] = {
    "shape": ("S",),
    "expression": ("T", "E"),
    "rotation": ("T", 3),
    "translation": ("T", 3),
    "neck": ("T", 3),
    "jaw": ("T", 3),
    "eyes": ("T", 6),
    "eyelids": ("T", 2),
    "landmark_indices": ("L",),
    "landmarks": ("T", "L", 2),
    "residual": ("T", "L", 2),
    "status": ("T",),
    "confidence": ("T",),
    "covariance": ("T", 6, 6),
    "camera_scale": ("T",),
    "camera_center": ("T", 2),
    "camera_focal": ("T", 2),
    "camera_principal": ("T", 2),
    "size": (2,),
}
_WHOLE_NUMBERS = ("landmark_indices", "status", "size")
_MAY_BE_NAN = ("landmarks", "residual", "covariance")


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

    Args:
        fit: any.
        path: of the ``.npz``.

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
    _check_arrays(path, arrays, [*PARAMETERS, *PER_FRAME, "size", "landmark_indices"])
    _check_arrays(path, arrays, [f"camera_{name}" for name in CAMERA_FIELDS[kind]], arrays["expression"])
    try:
        return _built(arrays, kind)
    except (ShapeError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: {error}") from error


def _built(arrays: Mapping[str, np.ndarray], kind: str) -> HeadFit:
    tensor = lambda name: torch.from_numpy(arrays[name])  # noqa: E731
    fields = [tensor(f"camera_{name}") for name in CAMERA_FIELDS[kind]]
    height, width = arrays["size"].tolist()
    return HeadFit(
        params=HeadParams(**{name: tensor(name) for name in PARAMETERS}),
        camera=WeakPerspective(*fields) if kind == "weak" else Perspective(*fields),
        size=(int(height), int(width)),
        model_id=str(arrays["model_id"]),
        landmark_indices=tensor("landmark_indices"),
        report=json.loads(str(arrays.get("report", "{}"))),
        deviation=tensor("deviation") if "deviation" in arrays else None,
        **{name: tensor(name) for name in PER_FRAME},
    )


def _check_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], names: list[str], frames: np.ndarray | None = None
) -> None:
    """Kinds, shapes that agree, and finite numbers where numbers are needed.

    Raises:
        ModelFileError: otherwise.
    """
    known: dict[str, int] = {} if frames is None else {"T": len(frames)}
    for name in names:
        value, wanted = arrays[name], _SHAPES[name]
        kinds = "iu" if name in _WHOLE_NUMBERS else "f"
        pairs = zip(wanted, value.shape, strict=False)
        sizes = [known.setdefault(n, got) if isinstance(n, str) else n for n, got in pairs]
        if value.dtype.kind not in kinds or list(value.shape) != sizes or value.ndim != len(wanted):
            raise ModelFileError(
                f"{path}: {name}: expected {tuple(known.get(n, n) for n in wanted)} "  # type: ignore[arg-type]
                f"{'whole numbers' if kinds == 'iu' else 'numbers'}, got {value.dtype} {value.shape}; "
                "fit the input again"
            )
        if name not in _MAY_BE_NAN and not np.isfinite(value).all():
            raise ModelFileError(f"{path}: {name}: expected finite numbers, got NaN or infinity")


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ModelFileError(
            f"{path}: expected a fit file, found none; make one with `headwarp fit INPUT --output DIR`"
        )
    from .formats import read_arrays

    try:
        return dict(read_arrays(path))
    except ModelFileError as error:
        raise ModelFileError(
            f"{path}: expected a fit (.npz), got something that does not read as one "
            f"({str(error).removeprefix(f'{path}: ')})"
        ) from error


def _check_version(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if "schema_version" not in arrays:
        raise ModelFileError(
            f"{path}: expected a headwarp fit, got an .npz with keys {', '.join(sorted(arrays)[:8])}"
        )
    version = arrays["schema_version"]
    if version.shape != () or version.dtype.kind not in "iu":
        raise ModelFileError(f"{path}: schema_version: expected a whole number; fit the input again")
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{path}: expected fit version {SCHEMA_VERSION} or older, got {version}; "
            "upgrade headwarp to read it"
        )
    if str(arrays.get("convention", CONVENTION)) != CONVENTION:
        raise ModelFileError(f"{path}: expected convention {CONVENTION!r}, got {arrays['convention']!s}")
