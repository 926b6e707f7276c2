"""``headwarp info FILE``: what a file holds, without running anything that is inside it."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from tyro.conf import Positional

from ..geom.errors import HeadwarpError, MediaError

_PICKLE_SUFFIXES = (".pkl", ".pickle")
_HEAD_KEYS = {"template", "v_template"}
_FIT_KEYS = {"convention", "model_id"}
_DAMAGE = (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Info:
    """Say what is in a file: a fit, a head model, arrays, a photo or a clip."""

    file: Positional[Path]
    """The file, or a folder of pictures."""


def run(config: Info) -> dict[str, Any]:
    """The kind of a file and what belongs to that kind.

    Returns:
        ``file``, ``kind`` (``fit``, ``head``, ``arrays``, ``photo`` or ``video``) and the kind's own entries.

    Raises:
        HeadwarpError: missing, damaged, or none of these kinds.
    """
    path = config.file
    if not path.exists():
        raise HeadwarpError(f"{path}: no such file; sought in {path.absolute().parent}")
    if path.is_file():
        with _opened(path) as file:
            magic = file.read(8)
        if magic.startswith(b"PK\x03\x04"):
            return {"file": path, **_archive(path)}
        if magic.startswith(b"\x93NUMPY"):
            with _opened(path) as file:
                return {"file": path, "kind": "arrays", "arrays": {path.stem: _array_header(path, file)}}
        if magic.startswith(b"\x80") or path.suffix.lower() in _PICKLE_SUFFIXES:
            return {"file": path, **_head(path)}
    return {"file": path, **_medium(path)}


def describe(report: Mapping[str, Any]) -> str:
    """The report as lines of ``name: value``; arrays one a line."""
    lines = [f"{report['file']}: {report['kind']}"]
    for key, value in report.items():
        if key in ("file", "kind") or value is None:
            continue
        if isinstance(value, Mapping):
            lines += [f"  {key}:", *(f"    {name}: {item}" for name, item in value.items())]
        else:
            lines.append(f"  {key}: {value}")
    return "\n".join(lines)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise HeadwarpError(f"{path}: cannot be read: {error.strerror or error}") from error


def _archive(path: Path) -> dict[str, Any]:
    """What an ``.npz`` holds; only the headers of its arrays are read to tell the kind."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = _array_header(path, member)
    except _DAMAGE as error:
        raise HeadwarpError(f"{path}: not a sound .npz file: {error}") from error
    if _HEAD_KEYS & arrays.keys():
        return {**_head(path), "arrays": arrays}
    if arrays.keys() >= _FIT_KEYS:
        return {**_fit(path), "arrays": arrays}
    return {"kind": "arrays", "arrays": arrays}


def _array_header(path: Path, file: IO[bytes]) -> str:
    """Type and shape of one stored array, such as ``float32 (478, 3)``."""
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = reader(file)
    except ValueError as error:
        raise HeadwarpError(f"{path}: expected arrays of numpy, got something else: {error}") from error
    return f"{'Python objects (not read)' if dtype.hasobject else dtype} {shape}"


def _fit(path: Path) -> dict[str, Any]:
    from ..flame.params import CONVENTION, SCHEMA_VERSION, STATUS_NAMES, HeadFit

    fit = HeadFit.load(path)
    counted = Counter(int(status) for status in fit.status)
    camera = type(fit.camera).__name__
    return {
        "kind": "fit",
        "frames": fit.frames,
        **{name: counted[number] for number, name in enumerate(STATUS_NAMES)},
        "size": f"{fit.size[1]} x {fit.size[0]}",
        "model_id": fit.model_id,
        "camera": camera,
        "landmarks": len(fit.landmark_indices),
        "schema_version": SCHEMA_VERSION,
        "convention": CONVENTION,
        "report": dict(fit.report),
    }


def _head(path: Path) -> dict[str, Any]:
    """A FLAME file or one of ours, read by the reader that builds arrays and nothing else."""
    from ..flame.io import load_head

    head = load_head(path)
    named = head.named_expressions if "mediapipe" in head.landmarks else head.stored_expressions
    families = {name: len(embedding.indices) for name, embedding in head.landmarks.items()}
    return {
        "kind": "head",
        "name": head.name,
        "model_id": head.model_id,
        "licence": head.licence,
        "vertices": len(head.template),
        "faces": len(head.faces),
        "shape_count": head.shape_basis.shape[-1],
        "expression_count": head.expression_basis.shape[-1],
        "joints": ", ".join(head.joint_names),
        "landmarks": families or "none: pass landmark embeddings to fit with this head",
        "regions": ", ".join(head.region_masks) or None,
        "named_expressions": ", ".join(named) or None,
    }


def _medium(path: Path) -> dict[str, Any]:
    from ..training.data.media import probe
    from ..training.data.provenance import read_provenance

    try:
        info = probe(path)
    except MediaError as error:
        hint = "expected a fit, a head model, an array file, a photo or a clip"
        raise HeadwarpError(f"{str(error).rstrip('.')}; {hint}") from error
    provenance = read_provenance(path) if path.is_file() else None
    return {
        "kind": info.kind,
        "size": f"{info.width} x {info.height}",
        "frames": info.frames,
        "fps": None if info.fps is None else round(float(info.fps), 3),
        "seconds": info.duration,
        "rotation_deg": info.rotation,
        "has_audio": info.has_audio,
        "provenance": None if provenance is None else asdict(provenance),
    }
