"""The mesh of a glTF file: vertices with texture coordinates, morph targets, skinning weights, material."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...geom.errors import HeadwarpError
from ...geom.mesh import vertex_normals
from ..model import HeadModel
from ._gltf_buffers import ATTRIBUTES, INDICES, Buffers
from ._gltf_rig import Rig

SKIN_COLOUR = (0.72, 0.6, 0.54, 1.0)
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_LEAST_WEIGHT = 1e-7  # of a joint that counts


@dataclass(frozen=True)
class Corners:
    """Vertices as glTF wants them, one index for position and texture alike.

    Attributes:
        vertex: of each vertex of the file, the model's vertex, ``(N,)``; the model's own come first, in
            order.
        uv: texture coordinates, v downwards, ``(N, 2)``; None for a head without.
        faces: ``(F, 3)`` into the file's vertices.
    """

    vertex: np.ndarray
    uv: np.ndarray | None
    faces: np.ndarray


@dataclass(frozen=True)
class Influences:
    """Skinning weights, the strongest joints first.

    Attributes:
        joints: ``(V, K)`` uint8, K a multiple of 4; 0 where the weight is 0.
        weights: ``(V, K)``, rows summing to 1.
        most: joints a vertex at most.
    """

    joints: np.ndarray
    weights: np.ndarray
    most: int


def corners(model: HeadModel) -> Corners:
    """Split the vertices on texture seams."""
    faces = model.faces.cpu().numpy()
    count = len(model.template)
    if model.uv is None or model.uv_faces is None:
        return Corners(np.arange(count), None, faces)
    coordinates = model.uv.cpu().double().numpy()
    pairs = np.stack([faces.ravel(), model.uv_faces.cpu().numpy().ravel()], axis=1)
    used, corner = np.unique(pairs, axis=0, return_inverse=True)  # sorted by vertex, then by uv
    first = np.r_[True, used[1:, 0] != used[:-1, 0]]
    place = np.where(first, used[:, 0], count + np.cumsum(~first) - 1)
    vertex = np.concatenate([np.arange(count), used[~first, 0]])
    uv = np.zeros((len(vertex), 2))
    uv[place] = coordinates[used[:, 1]] * [1, -1] + [0, 1]
    return Corners(vertex, uv, place[corner.reshape(-1)].reshape(faces.shape))


def influences(weights: np.ndarray) -> Influences:
    """Sorted, normalised skinning weights ``(V, J)`` in sets of four."""
    kept = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
    kept = kept / kept.sum(axis=1, keepdims=True)
    most = max(1, int((kept > 0).sum(axis=1).max()))
    width = -(-most // 4) * 4
    order = np.argsort(-kept, axis=1, kind="stable")[:, :width]
    sorted_weights = np.take_along_axis(kept, order, axis=1)
    pad = ((0, 0), (0, width - order.shape[1]))
    joints = np.pad(np.where(sorted_weights > 0, order, 0), pad).astype(np.uint8)
    return Influences(joints, np.pad(sorted_weights, pad), most)


def mesh_entry(
    model: HeadModel, rig: Rig, split: Corners, skin: Influences, buffers: Buffers
) -> dict[str, Any]:
    """The JSON of the mesh, its arrays added to the buffers."""
    rest = torch.from_numpy(rig.vertices)[None]
    normals = vertex_normals(rest, model.faces.cpu())[0].numpy()
    loose = ~normals.any(axis=1)
    normals[loose] = (0.0, 0.0, 1.0)  # vertices of no face: glTF wants unit normals
    attributes = {
        "POSITION": buffers.accessor(rig.vertices[split.vertex], target=ATTRIBUTES, bounds=True),
        "NORMAL": buffers.accessor(normals[split.vertex], target=ATTRIBUTES),
    }
    if split.uv is not None:
        attributes["TEXCOORD_0"] = buffers.accessor(split.uv, target=ATTRIBUTES)
    for number in range(skin.joints.shape[1] // 4):
        part = (split.vertex, slice(4 * number, 4 * number + 4))
        attributes[f"JOINTS_{number}"] = buffers.accessor(skin.joints[part], target=ATTRIBUTES)
        attributes[f"WEIGHTS_{number}"] = buffers.accessor(skin.weights[part], target=ATTRIBUTES)
    index_type = np.uint16 if len(split.vertex) < 1 << 16 else np.uint32
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": buffers.accessor(split.faces.ravel().astype(index_type), target=INDICES),
        "material": 0,
    }
    mesh: dict[str, Any] = {"name": model.name, "primitives": [primitive]}
    if rig.morph_names:
        primitive["targets"] = [{"POSITION": buffers.displacement(m[split.vertex])} for m in rig.morphs]
        mesh |= {"weights": [0.0] * len(rig.morphs), "extras": {"targetNames": list(rig.morph_names)}}
    return mesh


def skin_entry(model: HeadModel, rig: Rig, buffers: Buffers) -> dict[str, Any]:
    """The skin: joint j is node j; bind matrices undo the rest joints' translations."""
    binds = np.tile(np.eye(4), (len(rig.joints), 1, 1))
    binds[:, :3, 3] = -rig.joints
    columns = binds.transpose(0, 2, 1).reshape(len(binds), 16)  # column-major
    return {
        "name": model.name,
        "inverseBindMatrices": buffers.accessor(columns),
        "joints": list(range(len(rig.joints))),
    }


def material_entry() -> dict[str, Any]:
    """Matt skin, seen from both sides: the mouth and the sockets are open."""
    return {
        "name": "skin",
        "doubleSided": True,
        "pbrMetallicRoughness": {
            "baseColorFactor": list(SKIN_COLOUR),
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        },
    }


def add_texture(document: dict[str, Any], path: Path, model: HeadModel, buffers: Buffers) -> None:
    """Put a picture into the file and on the material.

    Raises:
        HeadwarpError: no PNG or JPEG, or the head has no texture coordinates.
    """
    if model.uv is None:
        raise HeadwarpError(
            f"texture {path}: the head {model.model_id} has no texture coordinates to lay it on"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HeadwarpError(f"texture {path}: cannot be read ({error.strerror or error})") from error
    kind = next((kind for magic, kind in _IMAGES.items() if data.startswith(magic)), None)
    if kind is None:
        raise HeadwarpError(f"texture {path}: expected a PNG or JPEG picture; convert it")
    document["images"] = [{"name": path.stem, "bufferView": buffers.view(data), "mimeType": kind}]
    document["samplers"] = [{}]
    document["textures"] = [{"source": 0, "sampler": 0}]
    surface = document["materials"][0]["pbrMetallicRoughness"]
    surface |= {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "baseColorTexture": {"index": 0}}
