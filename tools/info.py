"""``headwarp info FILE``: what a file holds, without running anything that is inside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..geom.errors import HeadwarpError, MediaError
from ._info_arrays import (
    explain_head,
    explain_npy,
    explain_pickle,
    explain_zip,
    opened,
    tracked,
    tracker_or_none,
)
from ._info_meshes import explain_glb, explain_obj, explain_obj_folder, explain_other_mesh
from ._info_packs import BLOCK, explain_safetensors, explain_tar, is_tar, safetensors_header
from ._info_texts import explain_csv, explain_json
from ._info_weights import OLD, explain_weights

_PICKLES = (".pkl", ".pickle")
_MESHES = (".ply", ".stl", ".off")


@dataclass(frozen=True)
class Info:
    """Say what is in a file: fit, head, other trackers' files, export, manifest, shard, photo or clip.

    Only headers are read where they tell enough, and nothing inside a file is ever run.
    """

    file: Positional[Path]
    """The file, or a folder: of pictures, of OBJ files, of another tracker, or an output folder."""


def run(config: Info) -> dict[str, Any]:
    """The kind of a file and what belongs to that kind.

    Returns:
        ``file``, ``kind`` and the kind's own entries. Kinds: ``fit``, ``head``, ``landmark embedding``,
        ``region masks``, ``texture space``, ``arrays``; other trackers' by their titles; ``glTF``, ``OBJ
        mesh``, ``OBJ sequence``, ``PLY mesh`` and so on; ``ARKit blendshapes (Live Link Face)``, ``pose
        track``, ``CSV``; ``manifest of ..``, ``report of ..``, ``JSON``; ``tar shard``, ``checkpoint``,
        ``safetensors``; other projects' checkpoints by their titles; ``photo``, ``video``.

    Raises:
        HeadwarpError: missing, damaged, or none of these kinds.
    """
    path = config.file
    if not path.exists():
        raise HeadwarpError(f"{path}: no such file; sought in {path.absolute().parent}")
    explained = _folder(path) if path.is_dir() else _file(path)
    return {"file": path, **explained}


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


def _file(path: Path) -> dict[str, Any]:
    """By the first bytes, then by the suffix."""
    with opened(path) as file:
        head = file.read(BLOCK)
    suffix = path.suffix.lower()
    if head.startswith(b"PK\x03\x04"):
        return explain_zip(path)
    if head.startswith(b"\x93NUMPY"):
        return explain_npy(path)
    if head.startswith(b"glTF"):
        return explain_glb(path)
    if head.startswith(b"MATLAB 5.0"):
        return tracked(path)
    if is_tar(head):
        return explain_tar(path)
    size = safetensors_header(head)
    if size is not None:
        return explain_safetensors(path, size)
    if head.startswith(OLD):
        return explain_weights(path) or explain_pickle(path)
    if head.startswith(b"\x80") or suffix in _PICKLES:
        return explain_pickle(path)
    if head.lstrip()[:1] in (b"{", b"["):
        return explain_json(path)
    by_suffix = {".csv": explain_csv, ".obj": explain_obj, **dict.fromkeys(_MESHES, explain_other_mesh)}
    return by_suffix.get(suffix, _medium)(path)


def _folder(path: Path) -> dict[str, Any]:
    from ..flame.ict import is_ict_folder

    if is_ict_folder(path):
        return explain_head(path)
    explained = _output_folder(path) or explain_obj_folder(path) or tracker_or_none(path)
    return explained or _medium(path)


def _output_folder(path: Path) -> dict[str, Any] | None:
    """The output folder of a run, by its manifest, else by its report; None for another folder."""
    for pattern in ("*.jsonl", "report.json"):
        for file in sorted(path.glob(pattern)):
            explained = explain_json(file)
            if explained["kind"].startswith(("manifest of", "report of")):
                return {**explained, "kind": f"output folder: {explained['kind']}", "read": file.name}
    return None


def _medium(path: Path) -> dict[str, Any]:
    from ..training.data.media import probe
    from ..training.data.provenance import read_provenance

    try:
        info = probe(path)
    except MediaError as error:
        hint = "expected a fit, a head model, an array file, a mesh, a photo or a clip"
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
