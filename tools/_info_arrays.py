"""Files of arrays for `headwarp info`: fits, heads, the files around FLAME, other trackers' parameters.

Of an ``.npz`` only the headers of its arrays are read to tell the kind; pickles are read by the reader
that builds arrays and nothing else.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..flame._arrays import OBJECTS, header_bytes, npy_header
from ..geom.errors import HeadwarpError, ModelFileError
from ._info_weights import explain_weights

MAX_PICKLE = 1 << 29  # bytes; a FLAME model has 53 million
MAX_MEMBERS = 10_000
_OWN_HEAD, _FLAME_HEAD = {"template", "shape_basis"}, {"v_template", "shapedirs"}
_GNM_HEAD = {"template_vertex_positions", "vertex_identity_basis"}
_FIT_KEYS = {"convention", "model_id"}
_TEXTURES = ({"mean", "tex_dir"}, {"MU", "PC"})
_EMBEDDINGS = ("lmk_face_idx", "static_lmk_faces_idx", "dynamic_lmk_faces_idx", "full_lmk_faces_idx")
_DAMAGE = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def explain_zip(path: Path) -> dict[str, Any]:
    """An ``.npz``, or a file of ``torch.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > MAX_MEMBERS:
                raise HeadwarpError(f"{path}: expected at most {MAX_MEMBERS} arrays, got {len(names)}")
            if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
                return explain_weights(path) or tracked(path)
            arrays = {}
            for name in names:
                with archive.open(name) as member:
                    arrays[name.removesuffix(".npy")] = array_header(path, member)
    except _DAMAGE as error:
        raise HeadwarpError(f"{path}: not a sound .npz file: {error}") from error
    return {**_npz_kind(path, arrays), "arrays": arrays}


def _npz_kind(path: Path, arrays: Mapping[str, str]) -> dict[str, Any]:
    keys = set(arrays)
    if keys >= _OWN_HEAD or keys >= _FLAME_HEAD:
        return explain_head(path)
    if keys >= _GNM_HEAD:
        return {"kind": "GNM head", "read_by": f"headwarp convert head {path.name}"}
    if keys >= _FIT_KEYS:
        return _fit(path)
    if any(keys >= wanted for wanted in _TEXTURES):
        return _texture(arrays)
    if _is_embedding(keys):
        return _embedding(path)
    return tracker_or_none(path) or {"kind": "arrays"}


def explain_npy(path: Path) -> dict[str, Any]:
    """One array; one of Python objects is a pickle."""
    with opened(path) as file:
        header = array_header(path, file)
    if header.startswith("Python objects"):
        return explain_pickle(path)
    return {"kind": "arrays", "arrays": {path.stem: header}}


def explain_pickle(path: Path) -> dict[str, Any]:
    """A FLAME model, its masks or embeddings, or a tracker's parameters; anything but arrays is refused."""
    from ..flame._pickle import read_pickle

    if path.stat().st_size > MAX_PICKLE:
        raise HeadwarpError(f"{path}: expected a pickle of at most {MAX_PICKLE} bytes, got a larger one")
    content = read_pickle(path)
    keys = {str(key) for key in content} if isinstance(content, dict) else set()
    if keys & _FLAME_HEAD:
        return explain_head(path)
    if _is_embedding(keys):
        return _embedding(path)
    return tracker_or_none(path) or _masks(path, content)


def tracked(path: Path) -> dict[str, Any]:
    """A file or folder of another tracker.

    Raises:
        HeadwarpError: damaged, or of none that is known.
    """
    from ..flame.formats import describe

    facts = describe(path)
    name, title = facts.pop("format"), facts.pop("title")
    return {"kind": title, "format": name, "read_by": f"headwarp convert fit {path.name}", **facts}


def tracker_or_none(path: Path) -> dict[str, Any] | None:
    """The same, or None."""
    from ..flame.formats import sniff

    return tracked(path) if sniff(path) else None


def array_header(path: Path, file: IO[bytes]) -> str:
    """Type and shape of one stored array, such as ``float32 (478, 3)``."""
    try:
        header = npy_header(header_bytes(file))
    except ModelFileError as error:
        raise HeadwarpError(f"{path}: expected arrays of numpy, got something else: {error}") from error
    kind = header.dtype or header.described
    return f"{kind}{' (not read)' if kind == OBJECTS else ''} {header.shape}"


def opened(path: Path) -> IO[bytes]:
    """The file open for reading.

    Raises:
        HeadwarpError: it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise HeadwarpError(f"{path}: cannot be read: {error.strerror or error}") from error


def _fit(path: Path) -> dict[str, Any]:
    from ..flame.params import CONVENTION, SCHEMA_VERSION, STATUS_NAMES, HeadFit

    fit = HeadFit.load(path)
    counted = Counter(int(status) for status in fit.status)
    return {
        "kind": "fit",
        "frames": fit.frames,
        **{name: counted[number] for number, name in enumerate(STATUS_NAMES)},
        "size": f"{fit.size[1]} x {fit.size[0]}",
        "model_id": fit.model_id,
        "camera": type(fit.camera).__name__,
        "landmarks": len(fit.landmark_indices),
        "schema_version": SCHEMA_VERSION,
        "convention": CONVENTION,
        "report": dict(fit.report),
    }


def explain_head(path: Path) -> dict[str, Any]:
    """A FLAME file, an ICT-FaceKit folder or a file of ours; nothing but arrays is built."""
    from ..flame.io import load_head

    head = load_head(path)
    named = head.named_expressions if "mediapipe" in head.landmarks else head.stored_expressions
    families = {name: len(embedding.indices) for name, embedding in head.landmarks.items()}
    return {
        "kind": "head",
        "name": head.name,
        "version": head.version or None,
        "model_id": head.model_id,
        "licence": head.licence,
        "vertices": len(head.template),
        "faces": len(head.faces),
        "shape_count": head.shape_basis.shape[-1],
        "expression_count": head.expression_basis.shape[-1],
        "joints": ", ".join(head.joint_names),
        "eyelids": bool(head.eyelid_basis.any()),
        "landmarks": families or "none in its files: fitting finds them by drawing the head",
        "regions": ", ".join(head.region_masks) or None,
        "named_expressions": ", ".join(named) or None,
        "expression_names": ", ".join(head.expression_names) or None,
    }


def _texture(arrays: Mapping[str, str]) -> dict[str, Any]:
    own = "mean" in arrays
    name = "FLAME" if own else "AlbedoMM" if "specMU" in arrays else "BFM"
    return {
        "kind": "texture space",
        "name": name,
        "licence": "FLAME's: non-commercial research" if own else "that of its makers; see load_texture",
        "texture_coordinates": {"vt", "ft"} <= arrays.keys(),
    }


def _is_embedding(keys: set[str]) -> bool:
    return not keys.isdisjoint(_EMBEDDINGS) or any(key.startswith("landmarks.") for key in keys)


def _embedding(path: Path) -> dict[str, Any]:
    from ..flame._flame_landmarks import read_embeddings

    found = read_embeddings(path, 1 << 31)  # of which mesh, the file does not say
    families = {
        name: f"{len(embedding.indices)}{f' ({embedding.origin})' if embedding.origin else ''}"
        for name, embedding in found.families.items()
    }
    return {
        "kind": "landmark embedding",
        "landmarks": families or None,
        "contour_table": None if found.contour is None else f"{tuple(found.contour.faces.shape)}",
        "used_by": "lies beside a FLAME model, or --landmarks of headwarp convert head",
    }


def _masks(path: Path, content: object) -> dict[str, Any]:
    """``FLAME_masks.pkl``: names of regions and their vertices."""
    from ..flame._pickle import to_array

    if not isinstance(content, dict) or not content:
        raise HeadwarpError(
            f"{path}: expected a head model, its masks or embeddings, or a fit; got none of these"
        )
    regions = {}
    for name, value in content.items():
        indices = to_array(value, f"{path}: {name}")
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            keys = ", ".join(sorted(map(str, content))[:10])
            raise HeadwarpError(
                f"{path}: expected a head model, its masks or embeddings, or a fit; "
                f"got a pickle with keys {keys}"
            )
        regions[str(name)] = len(indices)
    return {"kind": "region masks", "regions": regions}
