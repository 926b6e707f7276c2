"""Plays a glTF file by the letter of the standard, with numpy alone: it shares no code with the writer."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Gltf:
    json: dict[str, Any]
    data: bytes

    def view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.data[start : start + view["byteLength"]]

    def array(self, index: int) -> np.ndarray:
        """An accessor's values, float64 or integers, (count, width)."""
        accessor = self.json["accessors"][index]
        width, kind = _WIDTHS[accessor["type"]], _TYPES[accessor["componentType"]]
        count = accessor["count"]
        if "bufferView" in accessor:
            values = np.frombuffer(self.view(accessor["bufferView"]), kind, count * width).copy()
        else:
            values = np.zeros(count * width, kind)
        values = values.reshape(count, width)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            kind_of_index = _TYPES[sparse["indices"]["componentType"]]
            rows = np.frombuffer(self.view(sparse["indices"]["bufferView"]), kind_of_index, sparse["count"])
            new = np.frombuffer(self.view(sparse["values"]["bufferView"]), kind, sparse["count"] * width)
            values[rows] = new.reshape(-1, width)
        if "min" in accessor:
            assert values.min(0).tolist() == accessor["min"]
            assert values.max(0).tolist() == accessor["max"]
        return values.astype(np.float64) if kind == "<f4" else values


def read_gltf(path: Path) -> Gltf:
    raw = path.read_bytes()
    if path.suffix == ".gltf":
        document = json.loads(raw)
        return Gltf(document, (path.parent / unquote(document["buffers"][0]["uri"])).read_bytes())
    magic, version, length = struct.unpack_from("<4sII", raw)
    assert (magic, version, length) == (b"glTF", 2, len(raw))
    size, kind = struct.unpack_from("<I4s", raw, 12)
    assert (kind, size % 4) == (b"JSON", 0)
    document = json.loads(raw[20 : 20 + size])
    data_size, kind = struct.unpack_from("<I4s", raw, 20 + size)
    assert (kind, 28 + size + data_size) == (b"BIN\0", len(raw))
    return Gltf(document, raw[28 + size :])


def vertices_at(gltf: Gltf, time: float) -> np.ndarray:
    """The skinned mesh in the scene's frame at a time, (N, 3)."""
    state = _animated(gltf, time)
    mesh_node = next(i for i, node in enumerate(gltf.json["nodes"]) if "mesh" in node)
    mesh = gltf.json["meshes"][gltf.json["nodes"][mesh_node]["mesh"]]
    primitive = mesh["primitives"][0]
    points = gltf.array(primitive["attributes"]["POSITION"])
    weights = state[mesh_node].get("weights", mesh.get("weights", []))
    for weight, target in zip(weights, primitive.get("targets", []), strict=True):
        points = points + weight * gltf.array(target["POSITION"])
    skin = gltf.json["skins"][gltf.json["nodes"][mesh_node]["skin"]]
    binds = gltf.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    world = _world(gltf, state)
    matrices = np.stack([world[joint] for joint in skin["joints"]]) @ binds
    blend = np.zeros((len(points), 4, 4))
    for number in range(2):
        if f"JOINTS_{number}" in primitive["attributes"]:
            joints = gltf.array(primitive["attributes"][f"JOINTS_{number}"])
            share = gltf.array(primitive["attributes"][f"WEIGHTS_{number}"])
            blend += np.einsum("nk,nkij->nij", share, matrices[joints])
    return np.einsum("nij,nj->ni", blend, np.c_[points, np.ones(len(points))])[:, :3]


def world_matrix(gltf: Gltf, name: str, time: float) -> np.ndarray:
    """Where a node is at a time, (4, 4)."""
    index = next(
        i for i, node in enumerate(gltf.json["nodes"]) if node.get("name") == name and "skin" not in node
    )
    return _world(gltf, _animated(gltf, time))[index]


def _animated(gltf: Gltf, time: float) -> list[dict[str, Any]]:
    """The nodes with what the animation sets at a time."""
    nodes = [dict(node) for node in gltf.json["nodes"]]
    for animation in gltf.json.get("animations", []):
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            assert sampler["interpolation"] == "LINEAR"
            times = gltf.array(sampler["input"])[:, 0]
            values = gltf.array(sampler["output"]).reshape(len(times), -1)
            path = channel["target"]["path"]
            nodes[channel["target"]["node"]][path] = _sampled(
                times, values, time, spherical=path == "rotation"
            )
    return nodes


def _sampled(times: np.ndarray, values: np.ndarray, time: float, *, spherical: bool) -> np.ndarray:
    after = int(np.clip(np.searchsorted(times, time, side="right"), 1, len(times) - 1))
    share = float(np.clip((time - times[after - 1]) / (times[after] - times[after - 1]), 0, 1))
    first, second = values[after - 1], values[after]
    if not spherical:
        return first + share * (second - first)
    cosine = float(np.clip(first @ second, -1, 1))
    second, cosine = (second, cosine) if cosine >= 0 else (-second, -cosine)
    angle = np.arccos(cosine)
    if angle < 1e-6:
        return first
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)


def _world(gltf: Gltf, nodes: list[dict[str, Any]]) -> list[np.ndarray]:
    local = [_local(node) for node in nodes]
    world: list[np.ndarray] = [np.eye(4)] * len(nodes)

    def visit(index: int, above: np.ndarray) -> None:
        world[index] = above @ local[index]
        for child in nodes[index].get("children", []):
            visit(child, world[index])

    for top in gltf.json["scenes"][gltf.json["scene"]]["nodes"]:
        visit(top, np.eye(4))
    return world


def _local(node: dict[str, Any]) -> np.ndarray:
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
