"""Identity and expression bases and skinning weights of the built-in head: harmonics of its mesh, no data.

The harmonics of the face mesh under a bi-Laplacian prior describe measured faces about as well as a learned
basis of that size, and hold nothing of anyone. Metres; coefficients are N(0, 1).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ...geom.mesh import harmonics, laplacian_extension, uniform_laplacian
from ..landmarks import FACE_MESH_COUNT, LIPS_LOWER, LIPS_UPPER, mirror_map
from .surface import (
    RINGS,
    CoarseHead,
    coarse_faces,
    coarse_rings,
    coarse_vertex_count,
    symmetric_face_triangles,
)
from .topology import HeadTopology

SHAPE_HARMONICS = 30
EXPRESSION_HARMONICS = 24
SHAPE_SPREAD = 0.0021  # metres times eigenvalue, of a unit-norm harmonic
EXPRESSION_SPREAD = 0.0014
EIGENVALUE_FLOOR = 0.1
DEPTH_SPREAD = 0.6
SHAPE_LAST_RING = RINGS - 1
EXPRESSION_LAST_RING = 5
JAW_LAST_RING = 7

_CHIN: tuple[int, ...]
_CHIN = (152, 148, 377, 176, 400, 149, 378, 150, 379, 18, 200, 199, 175, 83, 313, 201, 421)
_CHIN += (194, 418, 169, 394, 170, 395, 140, 369, 171, 396, 208, 428, 32, 262)
_SKULL: tuple[int, ...]
_SKULL = (234, 454, 127, 356, 93, 323, 1, 2, 98, 327, 97, 326, 94, 19, 164, 165, 391, 92, 322, 167, 393)
_SKULL += (206, 426, 203, 423, 205, 425, 50, 280, 187, 411, 123, 352)
_FREE_UPPER_LIP = (185, 409, 191, 415)  # next to the corners; held, they pinch


def harmonic_basis(face: np.ndarray, count: int, spread: float) -> np.ndarray:
    """Displacements (468, 3, K) of the face mesh by its smoothest harmonics, similarity motions taken out.

    A harmonic has the standard deviation ``spread / eigenvalue`` (eigenvalue at least 0.1) along x and y, and
    0.6 of it along z; the modes are then orthogonalised to uncorrelated unit-variance coefficients.

    Args:
        face: (468, 3) rest positions, metres.
        count: harmonics including the constant one, which is left out.
        spread: metres.
    """
    laplacian = uniform_laplacian(symmetric_face_triangles(), FACE_MESH_COUNT)
    eigenvalues, vectors = harmonics(laplacian, count)
    deviation = spread / np.maximum(eigenvalues[1:], EIGENVALUE_FLOOR)
    axes = np.diag([1.0, 1.0, DEPTH_SPREAD])
    basis = np.einsum("vk,k,ca->vcka", vectors[:, 1:], deviation, axes).reshape(FACE_MESH_COUNT, 3, -1)
    return orthogonal_modes(project_out(basis, similarity_fields(face)))


def project_out(basis: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Basis (N, 3, K) less its part in the span of ``fields`` (N, 3, M)."""
    orthonormal, _ = np.linalg.qr(fields.reshape(-1, fields.shape[-1]))
    flat = basis.reshape(-1, basis.shape[-1])
    return (flat - orthonormal @ (orthonormal.T @ flat)).reshape(basis.shape)


def similarity_fields(points: np.ndarray) -> np.ndarray:
    """How points (N, 3) move under small shifts, rotations and scaling about their mean, (N, 3, 7)."""
    loose = points - points.mean(0)
    axes = np.eye(3)
    shifts = np.broadcast_to(axes, (len(points), 3, 3))  # (N, 3, 3), last axis: which shift
    turns = np.stack([np.cross(axis, loose) for axis in axes], axis=-1)  # (N, 3, 3)
    return np.concatenate([shifts, turns, loose[..., None]], axis=-1)


def orthogonal_modes(basis: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    """The same Gaussian (coefficients N(0, 1)) in orthogonal modes, largest first; signs fixed."""
    flat = basis.reshape(-1, basis.shape[-1])
    left, values, _ = np.linalg.svd(flat, full_matrices=False)
    keep = int((values > tolerance * values[0]).sum())
    left = left[:, :keep]
    leading = (np.abs(left) >= 0.9 * np.abs(left).max(axis=0)).argmax(axis=0)
    signs = np.sign(left[leading, np.arange(keep)])
    return (left * signs * values[:keep]).reshape(*basis.shape[:2], keep)


def extended(basis: np.ndarray, *, zero_from_ring: int) -> np.ndarray:
    """A basis of the face mesh (468, 3, K) on the coarse head, zero from a net ring on: (1260, 3, K)."""
    return np.tensordot(_extension(zero_from_ring), basis, axes=1)


def _extension(zero_from_ring: int) -> np.ndarray:
    count = coarse_vertex_count()
    laplacian = uniform_laplacian(coarse_faces(), count)
    walk = sparse.diags(1 / laplacian.diagonal()) @ laplacian
    known = np.arange(FACE_MESH_COUNT)
    zero = np.flatnonzero(coarse_rings() >= zero_from_ring)
    return laplacian_extension(walk.tocsr(), known, zero_index=zero)


def shape_basis(head: CoarseHead) -> np.ndarray:
    """Identity basis at the coarse vertices, (1260, 3, S); the neck ring does not move."""
    basis = harmonic_basis(head.vertices[:FACE_MESH_COUNT], SHAPE_HARMONICS, SHAPE_SPREAD)
    return extended(basis, zero_from_ring=SHAPE_LAST_RING)


def expression_basis(head: CoarseHead) -> np.ndarray:
    """Expression basis at the coarse vertices, (1260, 3, E); zero behind the fifth ring around the face."""
    basis = harmonic_basis(head.vertices[:FACE_MESH_COUNT], EXPRESSION_HARMONICS, EXPRESSION_SPREAD)
    return extended(basis, zero_from_ring=EXPRESSION_LAST_RING)


def jaw_weights(head: CoarseHead) -> np.ndarray:
    """How much each coarse vertex (1260,) follows the jaw: 1 on chin and lower lip, 0 on the skull.

    The part between minimises ``|L w|^2 + 0.05 w L w`` over the face mesh, whose lips are not connected.
    """
    face = head.vertices[:FACE_MESH_COUNT]
    zero = {*LIPS_UPPER, *_SKULL, *np.flatnonzero(face[:, 1] > 0).tolist()} - set(_FREE_UPPER_LIP)
    one = {*LIPS_LOWER, *_CHIN} - zero
    laplacian = uniform_laplacian(symmetric_face_triangles(), FACE_MESH_COUNT)
    weights = smooth_fill(laplacian, sorted(one), sorted(zero), stiffness=0.05)
    weights = (weights + weights[mirror_map()[:FACE_MESH_COUNT]]) / 2
    return np.clip(_extension(JAW_LAST_RING) @ weights, 0, 1)


def head_weights(head: CoarseHead) -> np.ndarray:
    """How much each coarse vertex (1260,) belongs to the head: 1 above the neck, 0 at its lower end."""
    height = head.vertices[:, 1]
    one = np.flatnonzero((head.ring < 2) | (height > -0.05))
    zero = np.flatnonzero((head.ring >= RINGS - 1) | (height < -0.17))
    laplacian = uniform_laplacian(head.faces, len(head.vertices))
    return smooth_fill(laplacian, one, np.setdiff1d(zero, one), stiffness=0.1)


def smooth_fill(
    laplacian: sparse.csr_matrix,
    one: np.ndarray | list[int],
    zero: np.ndarray | list[int],
    *,
    stiffness: float,
) -> np.ndarray:
    """Values in [0, 1] with ones and zeros given, minimising ``|L w|^2 + stiffness * w L w`` between.

    Args:
        laplacian: of the mesh.
        one, zero: vertices whose values are given.
        stiffness: how much the slope counts beside the bend.
    """
    from scipy.sparse.linalg import spsolve

    values = np.zeros(laplacian.shape[0])
    values[one] = 1
    known = np.concatenate([one, zero]).astype(np.int64)
    free = np.setdiff1d(np.arange(len(values)), known)
    energy = (laplacian.T @ laplacian + stiffness * laplacian).tocsr()
    values[free] = spsolve(energy[free][:, free].tocsc(), -(energy[free][:, known] @ values[known]))
    return np.clip(values, 0, 1)


def control_points(topology: HeadTopology, values: np.ndarray) -> np.ndarray:
    """Values (1260, ...) such that subdividing them leaves the coarse vertices where ``values`` puts them.

    Loop's scheme smooths; without this the face would shrink away from its landmarks.
    """
    from scipy.sparse.linalg import splu

    count = topology.subdivision.shape[1]
    flat = values.reshape(count, -1)
    return splu(topology.subdivision[:count].tocsc()).solve(flat).reshape(values.shape)
