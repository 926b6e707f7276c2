"""Loads the head that ships with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...geom.errors import ModelFileError
from ..landmarks import FACE_MESH_COUNT, LEFT_IRIS, MEDIAPIPE_68, RIGHT_IRIS
from ..model import HeadData, HeadModel, LandmarkEmbedding
from .build import ASSET, ASSET_VERSION, BASIS_UNIT
from .topology import EYE_COLUMNS, IRIS_RING, HeadTopology, head_topology

LICENCE = "Apache-2.0"


def load_builtin(path: Path = ASSET) -> HeadModel:
    """The built-in head: 5,413 vertices, 87 shape and 69 expression coefficients, no licence needed.

    Returns:
        A float32 model on the CPU, metres, FLAME's axes and joints; landmarks ``mediapipe`` (all 478: the
        first 468 vertices and the irises on the eyeballs) and ``ibug68``.

    Raises:
        ModelFileError: the asset is missing or of another version.

    Example:
        >>> load_builtin().template.shape
        torch.Size([5413, 3])
    """
    arrays = _read(path)
    topology = head_topology()
    return HeadModel(
        HeadData(
            name="builtin",
            licence=LICENCE,
            template=arrays["template"],
            faces=topology.faces,
            shape_basis=_basis(topology, arrays["shape_control_mm"]),
            expression_basis=_basis(topology, arrays["expression_control_mm"]),
            eyelid_basis=arrays["eyelid_basis_mm"].astype(np.float32) * np.float32(BASIS_UNIT),
            joint_regressor=arrays["joint_regressor"],
            weights=arrays["weights"],
            landmarks=landmark_embeddings(topology),
            region_masks={k.removeprefix("region_"): v for k, v in arrays.items() if k.startswith("region_")},
            uv=arrays["uv"],
            uv_faces=arrays["uv_faces"].astype(np.int64),
        )
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ModelFileError(
            f"built-in head: expected the asset at {path}, found none; reinstall headwarp, or rebuild it "
            "with python -m headwarp.flame.builtin.build"
        )
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    version = int(arrays.pop("version", np.array(0)))
    if version != ASSET_VERSION:
        raise ModelFileError(
            f"built-in head {path}: expected version {ASSET_VERSION}, got {version}; rebuild it with "
            "python -m headwarp.flame.builtin.build"
        )
    return arrays


def _basis(topology: HeadTopology, control_mm: np.ndarray) -> np.ndarray:
    """Control points (1260, 3, K) in millimetres to displacements of every vertex (V, 3, K) in metres."""
    flat = control_mm.reshape(len(control_mm), -1).astype(np.float32)
    moves = topology.moves.astype(np.float32) * np.float32(BASIS_UNIT)
    return (moves @ flat).reshape(topology.vertex_count, 3, -1)


def landmark_embeddings(topology: HeadTopology) -> dict[str, LandmarkEmbedding]:
    """Where the face-mesh and the iBUG landmarks lie on the head."""
    vertices = np.concatenate(
        [np.arange(FACE_MESH_COUNT), *(_iris(topology, side) for side in ("right", "left"))]
    )
    order = np.concatenate([np.arange(FACE_MESH_COUNT), RIGHT_IRIS, LEFT_IRIS])
    mediapipe = _at_vertices(topology, vertices[np.argsort(order)], np.arange(len(order)))
    ibug = _at_vertices(topology, np.array(MEDIAPIPE_68), np.arange(len(MEDIAPIPE_68)))
    return {"mediapipe": mediapipe, "ibug68": ibug}


def _iris(topology: HeadTopology, side: str) -> np.ndarray:
    """Centre of the iris, then its rim towards +x, +y, -x, -y."""
    first = topology.vertices_of[f"{side}_eyeball"][0]
    rim = first + 1 + IRIS_RING * EYE_COLUMNS
    return np.array([first, *(rim + np.arange(4) * EYE_COLUMNS // 4)])


def _at_vertices(topology: HeadTopology, vertices: np.ndarray, indices: np.ndarray) -> LandmarkEmbedding:
    """An embedding whose landmarks are vertices: any face of the vertex, all the weight on its corner."""
    corners = topology.faces.reshape(-1)
    order = np.argsort(corners, kind="stable")
    place = order[np.searchsorted(corners[order], vertices)]
    bary = np.eye(3, dtype=np.float32)[place % 3]
    return LandmarkEmbedding(
        indices=torch.from_numpy(indices.astype(np.int64)),
        faces=torch.from_numpy(place // 3),
        bary=torch.from_numpy(bary),
    )
