"""Meshes for `headwarp info`: glTF from its JSON alone, OBJ line by line."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..geom.errors import HeadwarpError
from ._info_arrays import opened

MAX_JSON = 1 << 26  # bytes; parsed they take ten times as much
_MAX_LINE = 1 << 16
_MALFORMED = (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError)


def explain_glb(path: Path) -> dict[str, Any]:
    """A .glb: its JSON chunk; the binary one is not read."""
    with opened(path) as file:
        header = file.read(20)
        if len(header) < 20:
            raise HeadwarpError(f"{path}: the file ends within its header; download or export it again")
        _, version, length, size = struct.unpack_from("<4sIII", header)
        if version != 2 or header[16:20] != b"JSON":
            raise HeadwarpError(f"{path}: expected glTF 2, got version {version}; export it as glTF 2.0")
        if size > MAX_JSON:
            raise HeadwarpError(f"{path}: expected at most {MAX_JSON} bytes of JSON, got {size}")
        text = file.read(size)
    actual = path.stat().st_size
    if len(text) < size or actual < length:
        raise HeadwarpError(f"{path}: expected {length} bytes, got {actual}; the file is cut off")
    return explain_gltf(path, parsed(path, text))


def parsed(path: Path, text: bytes) -> Any:
    """What JSON says.

    Raises:
        HeadwarpError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeadwarpError(f"{path}: not sound JSON: {str(error)[:100]}") from error


def explain_gltf(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a glTF file.

    Raises:
        HeadwarpError: it breaks the standard where it is looked at.
    """
    try:
        return {"kind": "glTF", **_gltf(document)}
    except _MALFORMED as error:
        reason = f"{type(error).__name__}: {str(error)[:80]}"
        raise HeadwarpError(
            f"{path}: not sound glTF ({reason}); validate it with Khronos' validator"
        ) from error


def _gltf(document: Mapping[str, Any]) -> dict[str, Any]:
    asset, accessors = document["asset"], document.get("accessors", [])
    primitives = [p for mesh in document.get("meshes", []) for p in mesh["primitives"]]
    names = [n for mesh in document.get("meshes", []) for n in mesh.get("extras", {}).get("targetNames", [])]
    animations = document.get("animations", [])
    times = [accessors[s["input"]]["max"][0] for animation in animations for s in animation["samplers"]]
    moved = Counter(c["target"]["path"] for animation in animations for c in animation["channels"])
    nodes = document.get("nodes", [])
    return {
        "version": asset["version"],
        "generator": asset.get("generator"),
        "vertices": sum(accessors[p["attributes"]["POSITION"]]["count"] for p in primitives),
        "triangles": sum(accessors[p["indices"]]["count"] // 3 for p in primitives if "indices" in p),
        "morph_targets": max((len(p.get("targets", [])) for p in primitives), default=0),
        "morph_target_names": grouped(map(str, names)) or None,
        "joints": ", ".join(
            str(nodes[j].get("name", j)) for skin in document.get("skins", []) for j in skin["joints"]
        )
        or None,
        "animations": len(animations),
        "animated": ", ".join(f"{count} {path}" for path, count in moved.items()) or None,
        "seconds": max(times, default=None),
        "cameras": ", ".join(str(camera["type"]) for camera in document.get("cameras", [])) or None,
        "textures": len(document.get("images", [])),
        "extensions": ", ".join(map(str, document.get("extensionsUsed", []))) or None,
        "extras": dict(asset["extras"]) if asset.get("extras") else None,
        "animation_extras": dict(animations[0]["extras"])
        if animations and animations[0].get("extras")
        else None,
    }


def grouped(names: Iterable[str]) -> str:
    """Names, those that differ in their last part alone taken together.

    Example:
        >>> grouped(["expression_000", "expression_001", "eyelid_left", "smile"])
        '2 expression_*, eyelid_left, smile'
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("_")[0] or name, []).append(name)
    return ", ".join(f"{len(g)} {stem}_*" if len(g) > 1 else g[0] for stem, g in groups.items())


def explain_obj(path: Path) -> dict[str, Any]:
    """An OBJ file: what is in it, counted, and the comment at its head."""
    counted: Counter[str] = Counter()
    low, high = [float("inf")] * 3, [float("-inf")] * 3
    header: list[str] = []
    with opened(path) as file:
        for raw in iter(lambda: file.readline(_MAX_LINE), b""):
            words = raw.decode("utf-8", "replace").split()
            if not words:
                continue
            if words[0].startswith("#"):
                header += [" ".join(words).lstrip("# ")] if not counted and len(header) < 8 else []
                continue
            counted[words[0]] += 1
            if words[0] == "v":
                place = _numbers(path, words[1:4])
                low, high = list(map(min, low, place)), list(map(max, high, place))
    if not counted["v"]:
        raise HeadwarpError(f"{path}: expected an OBJ mesh, got no vertex")
    return {
        "kind": "OBJ mesh",
        "vertices": counted["v"],
        "faces": counted["f"],
        "texture_coordinates": counted["vt"],
        "normals": counted["vn"],
        "extent": " x ".join(f"{b - a:.4g}" for a, b in zip(low, high, strict=True)),
        "header": "; ".join(header) or None,
    }


def _numbers(path: Path, words: list[str]) -> list[float]:
    try:
        x, y, z = map(float, words)
    except ValueError as error:
        raise HeadwarpError(f"{path}: not a sound OBJ: vertex {' '.join(words)[:60]!r}") from error
    return [x, y, z]


def explain_obj_folder(path: Path) -> dict[str, Any] | None:
    """A folder of numbered OBJ files, by its first; None if it is something else."""
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".obj" and not p.name.startswith("."))
    if not files:
        return None
    first = explain_obj(files[0])
    return {
        **first,
        "kind": "OBJ sequence",
        "frames": len(files),
        "first": files[0].name,
        "last": files[-1].name,
    }


def explain_other_mesh(path: Path) -> dict[str, Any]:
    """PLY, STL or OFF."""
    from ..geom.mesh import load_mesh

    vertices, faces = load_mesh(path)
    extent = vertices.max(0) - vertices.min(0)
    return {
        "kind": f"{path.suffix[1:].upper()} mesh",
        "vertices": len(vertices),
        "faces": len(faces),
        "extent": " x ".join(f"{value:.4g}" for value in extent),
    }
