"""glTF 2.0 (.glb, or .gltf with a .bin beside it): mesh, skin, morph targets, animation, camera.

A glTF file of a fit plays in Blender, three.js, Unreal and any other reader of the standard. Its mesh at the
key times equals `pose_vertices` of the fit to float32. Units are metres; glTF's axes are the head model's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import __version__
from ...geom.errors import HeadwarpError
from .._files import replacing
from ..model import HeadModel
from ..params import HeadFit, check_model
from ._frames import frame_rate
from ._gltf_buffers import Buffers, glb_bytes, json_bytes
from ._gltf_mesh import add_texture, corners, influences, material_entry, mesh_entry, skin_entry
from ._gltf_rig import make_rig
from ._gltf_scene import animation, nodes, scene_camera, top_nodes

SUFFIXES = (".glb", ".gltf")


@dataclass(frozen=True)
class GltfReport:
    """What was written.

    Attributes:
        files: the .glb, or the .gltf and its .bin.
        frames: keys of the animation; 1 is a posed mesh without animation.
        fps: keys a second.
        vertices: in the file; a vertex on a texture seam stands there once for each side.
        morph_targets: their names.
        influences: joints a vertex at most. Beyond four there is a second set of weights (JOINTS_1),
            which some readers pass over.
        second_set: the largest share of a vertex's weights in that second set.
        camera: how the fit's camera is represented.
    """

    files: tuple[Path, ...]
    frames: int
    fps: float
    vertices: int
    morph_targets: tuple[str, ...]
    influences: int
    second_set: float
    camera: Mapping[str, Any]


def write_gltf(
    model: HeadModel,
    fit: HeadFit,
    path: str | os.PathLike[str],
    *,
    fps: Fraction | float | None = None,
    texture: str | os.PathLike[str] | None = None,
) -> GltfReport:
    """Write a fit as a skinned, animated glTF 2.0 mesh; every file whole or not at all.

    The rest mesh is the person's (shape applied); joints are the head's; morph targets are the expression
    modes in use, the eyelids, and the pose correctives of joints that move. A fit of one frame becomes a
    posed mesh. The 2D landmark residual is no part of the mesh. A perspective camera stands at the
    origin; a weak-perspective one is represented by a distant pinhole that shows the plane through the
    model's origin as the fit does.

    Args:
        model: the head of the fit.
        fit: T frames; every frame is a key, whatever its status (``extras`` of the animation count them).
        path: ends in .glb or .gltf; the .bin takes the .gltf's stem.
        fps: frames a second; None for the fit's own, else 25. The keys of a clip whose frames are uneven
            in time stand at the times of its report.
        texture: PNG or JPEG in the model's texture coordinates.

    Raises:
        ModelFileError: the fit belongs to another head model, or a file cannot be written.
        HeadwarpError: unknown suffix, parameters that are not finite, or a texture that is no PNG or JPEG
            or for a head without texture coordinates.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise HeadwarpError(
            f"{path}: expected a name ending in .glb or .gltf, got {path.suffix or 'no suffix'}"
        )
    check_model(fit, model.model_id)
    rate = frame_rate(fit, fps)
    if fps is not None:
        fit = dataclasses.replace(fit, report={k: v for k, v in fit.report.items() if k != "times"})
    buffers, rig, camera = Buffers(), make_rig(model, fit.params), scene_camera(fit)
    split, skin = corners(model), influences(model.weights.double().cpu().numpy())
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": f"headwarp {__version__}",
            "extras": {"model_id": model.model_id, "model_licence": model.licence},
        },
        "scene": 0,
        "scenes": [{"name": "fit", "nodes": top_nodes(model)}],
        "nodes": nodes(model, rig, camera, still=fit.frames == 1),
        "meshes": [mesh_entry(model, rig, split, skin, buffers)],
        "skins": [skin_entry(model, rig, buffers)],
        "materials": [material_entry()],
        "cameras": [camera.entry],
    }
    if texture is not None:
        add_texture(document, Path(texture), model, buffers)
    if fit.frames > 1:
        document["animations"] = [animation(model, fit, rig, camera, rate=rate, buffers=buffers)]
    document |= {"accessors": buffers.accessors, "bufferViews": buffers.views}
    return GltfReport(
        files=_write(path, document, buffers.data),
        frames=fit.frames,
        fps=float(rate),
        vertices=len(split.vertex),
        morph_targets=rig.morph_names,
        influences=skin.most,
        second_set=float(skin.weights[:, 4:].sum(axis=1).max()) if skin.most > 4 else 0.0,
        camera=camera.facts,
    )


def _write(path: Path, document: Mapping[str, Any], data: bytes) -> tuple[Path, ...]:
    buffer: dict[str, Any] = {"byteLength": len(data)}
    if path.suffix.lower() == ".glb":
        with replacing(path) as temporary:
            temporary.write_bytes(glb_bytes({**document, "buffers": [buffer]}, data))
        return (path,)
    binary = path.with_suffix(".bin")
    with replacing(binary) as temporary:
        temporary.write_bytes(data)
    buffer["uri"] = quote(binary.name)
    with replacing(path) as temporary:
        temporary.write_bytes(json_bytes({**document, "buffers": [buffer]}))
    return path, binary
