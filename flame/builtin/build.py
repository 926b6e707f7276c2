"""Builds the built-in head from the mean face: ``python -m headwarp.flame.builtin.build`` rewrites the asset.

The face is the mean of many measured persons; all else is made by rule: the skull from simple solids, the
bases from the mesh's harmonics, the weights from harmonic solves. Bases are stored coarse.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._files import write_npz
from ..landmarks import FACE_MESH_COUNT
from .bases import control_points, expression_basis, head_weights, jaw_weights, shape_basis
from .ears import ear_mask, raise_ears
from .eyelids import eyelid_basis, outside
from .parts import (
    LID_CLEARANCE,
    Eye,
    eyeball_vertices,
    fit_eye,
    mouth_vertices,
    part_lips,
    skin_weights,
    socket_vertices,
)
from .regions import region_masks
from .surface import coarse_head
from .topology import SIDES, HeadTopology, head_topology
from .unwrap import unwrap

ASSET = Path(__file__).with_name("builtin_head.npz")
MEAN_FACE = Path(__file__).with_name("mean_face.npz")
ASSET_VERSION = 1
BASIS_UNIT = 1e-3  # bases are stored in millimetres, where float16 has its best digits
JOINTS = {"root": (0.0, -0.18, -0.085), "neck": (0.0, -0.10, -0.08), "jaw": (0.0, -0.01, -0.03)}
JOINT_FIRST_RING = 7  # vertices in front of it move with the expression


def build_head(mean_face: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the asset: a whole head around a mean face (478, 3) in metres (FLAME's axes).

    Returns:
        ``template`` (V, 3), ``shape_control_mm`` and ``expression_control_mm`` (1260, 3, K) float16 (control
        points of the bases in millimetres), ``eyelid_basis_mm`` (V, 3, 2) float16, ``weights`` (V, 5),
        ``joint_regressor`` (5, V), ``uv`` (N, 2), ``uv_faces`` (F, 3) and the ``region_*`` masks (V,).
    """
    face = np.asarray(mean_face, np.float64)
    coarse, topology = coarse_head(face[:FACE_MESH_COUNT]), head_topology()
    skin = topology.subdivision @ control_points(topology, coarse.vertices)
    behind_face = topology.ring > -0.5
    ears = ear_mask(skin, behind_face)
    first, last = topology.faces_of["skin"]
    skin = raise_ears(skin, behind_face, topology.faces[first:last])
    skin, eyes = _with_lids(topology, skin, face)
    template = _assembled(topology, skin, eyes)
    weights = skin_weights(
        topology, head_weights(coarse), jaw_weights(coarse), template[topology.rims["mouth"]]
    )
    uv, uv_faces = unwrap(topology, face)
    arrays = {
        "version": np.array(ASSET_VERSION),
        "template": template.astype(np.float32),
        "shape_control_mm": _packed(control_points(topology, shape_basis(coarse))),
        "expression_control_mm": _packed(control_points(topology, expression_basis(coarse))),
        "eyelid_basis_mm": _packed(eyelid_basis(topology, template, eyes)),
        "weights": weights.astype(np.float32),
        "joint_regressor": joint_regressor(topology, template).astype(np.float32),
        "uv": uv.astype(np.float32),
        "uv_faces": uv_faces.astype(np.uint16),
    }
    masks = region_masks(topology, template, weights, ears)
    return arrays | {f"region_{name}": mask for name, mask in masks.items()}


def _with_lids(
    topology: HeadTopology, skin: np.ndarray, face: np.ndarray
) -> tuple[np.ndarray, dict[str, Eye]]:
    """The skin with lips apart and lids in front of the eyeballs, and the eyeballs."""
    skin = skin.copy()
    mouth = topology.rims["mouth"]
    skin[mouth] = part_lips(skin[mouth])
    eyes = {side: fit_eye(face, skin[topology.rims[side]], side) for side in SIDES}
    for eye in eyes.values():
        skin = outside(skin, eye, LID_CLEARANCE / 2)
    return skin, eyes


def _assembled(topology: HeadTopology, skin: np.ndarray, eyes: dict[str, Eye]) -> np.ndarray:
    template = np.zeros((topology.vertex_count, 3))
    template[topology.part("skin")] = skin
    for side, eye in eyes.items():
        template[topology.part(f"{side}_eyeball")] = eyeball_vertices(eye)
        template[topology.part(f"{side}_socket")] = socket_vertices(eye, skin[topology.rims[side]])
    template[topology.part("mouth")] = mouth_vertices(skin[topology.rims["mouth"]])
    return template


def joint_regressor(topology: HeadTopology, template: np.ndarray) -> np.ndarray:
    """Weights (5, V) that give the joints from the vertices, from skin that no expression moves.

    Of all weights that sum to one and hit the joint exactly the smallest; the eyes' are the eyeballs' means.
    """
    regressor = np.zeros((5, topology.vertex_count))
    quiet = np.flatnonzero(topology.ring >= JOINT_FIRST_RING)
    for row, place in enumerate(JOINTS.values()):
        near = quiet[np.abs(template[quiet, 1] - place[1]) < 0.025]
        system = np.concatenate([template[near].T, np.ones((1, len(near)))])
        regressor[row, near] = np.linalg.pinv(system) @ np.array([*place, 1.0])
    for row, side in enumerate(SIDES, start=len(JOINTS)):
        members = topology.part(f"{side}_eyeball")
        regressor[row, members] = 1 / len(members)
    return regressor


def _packed(values: np.ndarray) -> np.ndarray:
    return (values / BASIS_UNIT).astype(np.float16)


def read_mean_face(path: Path = MEAN_FACE) -> np.ndarray:
    """The shipped mean face (478, 3), float64 metres."""
    with np.load(path, allow_pickle=False) as file:
        return file["landmarks"].astype(np.float64)


if __name__ == "__main__":
    write_npz(ASSET, build_head(read_mean_face()))
