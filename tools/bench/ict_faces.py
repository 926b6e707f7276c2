"""Faces of ICT-FaceKit with the face mesh laid on them: geometry that no head model here has seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from ...flame._obj import read_text, read_vertices
from ...flame.landmarks import FACE_MESH_COUNT, MEDIAPIPE_68, face_mesh_triangles
from ...flame.model import HeadModel
from ...geom.errors import HeadwarpError
from ...geom.mesh import load_mesh, uniform_laplacian
from ...geom.nearest import barycentric, nearest_on_surface
from ...geom.transforms import umeyama
from .synthetic_faces import IDENTITIES, POSES, PosedFaces, posed_faces

CENTIMETRE = 0.01
FACE_VERTICES = 9409  # the face comes first in the file; then head, mouth, eyes
NEUTRAL, LANDMARKS = "generic_neutral_mesh", "vertex_indices.json"
_INNER = np.arange(17, 68)  # of the 68: without the outline, whose points mean different places
_PINNED = np.array([*range(27, 68), 8])  # nose, eyes, lips, chin: 42 points that mean the same on both
_STIFFNESS = (30, 20, 10, 5, 3, 2, 1, 1, 1, 1)
EXPRESSION_SHARE, EXPRESSION_MOST = 0.3, 0.7


@dataclass(frozen=True)
class IctFaces:
    """At the points of the face mesh, metres: mean (468, 3), identities and expressions (K, 468, 3)."""

    mean: Float[np.ndarray, "468 3"]
    identities: Float[np.ndarray, "I 468 3"]
    expressions: Float[np.ndarray, "E 468 3"]


def load_ict_faces(folder: Path, head: HeadModel) -> IctFaces:
    """The part of ICT-FaceKit light that lies in a folder: ``FaceXModel/*.obj`` and ``vertex_indices.json``.

    Raises:
        HeadwarpError: the neutral mesh, its landmark table, or every identity or expression is missing.
    """
    inner = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    shapes = sorted(path for path in inner.glob("*.obj") if path.stem != NEUTRAL)
    identities = [path for path in shapes if path.stem.startswith("identity")]
    expressions = [path for path in shapes if path not in identities]
    if not (
        (inner / f"{NEUTRAL}.obj").is_file() and (inner / LANDMARKS).is_file() and identities and expressions
    ):
        raise HeadwarpError(
            f"ICT-FaceKit: expected {NEUTRAL}.obj, {LANDMARKS}, identity*.obj and expressions in {inner}; "
            "they are in FaceXModel/ of https://github.com/USC-ICT/ICT-FaceKit"
        )
    vertices, faces = load_mesh(inner / f"{NEUTRAL}.obj")
    vertices = vertices * CENTIMETRE
    faces = faces[(faces < FACE_VERTICES).all(1)]
    table = json.loads((inner / LANDMARKS).read_text(encoding="utf-8"))
    template = head.template[:FACE_MESH_COUNT].double().numpy()
    on_faces, bary = embedded(template, vertices, faces, vertices[table["idx_to_landmark_verts"]])

    def at_points(mesh: np.ndarray) -> np.ndarray:
        return np.einsum("lk,lkc->lc", bary, mesh[faces[on_faces]])

    def moves(paths: list[Path]) -> np.ndarray:
        return np.stack(
            [at_points(read_vertices(read_text(path), path) * CENTIMETRE - vertices) for path in paths]
        )

    return IctFaces(at_points(vertices), moves(identities), moves(expressions))


def embedded(
    template: Float[np.ndarray, "468 3"],
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    landmarks: Float[np.ndarray, "68 3"],
) -> tuple[Int[np.ndarray, " 468"], Float[np.ndarray, "468 3"]]:
    """Where the points of the face mesh lie on another face: triangles and barycentric coordinates.

    A similarity on the inner landmarks, a spline through 42 of them, then ten rounds of moving smoothly
    towards the nearest surface, less and less stiffly.

    Args:
        template: the face mesh at rest.
        vertices, faces: the other face.
        landmarks: its 68 points.
    """
    from scipy.interpolate import RBFInterpolator

    ids = np.array(MEDIAPIPE_68)
    start = umeyama(torch.from_numpy(template[ids[_INNER]]), torch.from_numpy(landmarks[_INNER]))
    points = float(start.scale) * template @ start.rotation.numpy().T + start.translation.numpy()
    pinned = points[ids[_PINNED]]
    spline = RBFInterpolator(pinned, landmarks[_PINNED] - pinned, kernel="linear", smoothing=1e-4, degree=1)
    points = points + spline(points)
    laplacian = uniform_laplacian(face_mesh_triangles(), FACE_MESH_COUNT).toarray()
    laplacian /= np.maximum(laplacian.diagonal(), 1.0)[:, None]
    energy = laplacian.T @ laplacian
    for stiffness in _STIFFNESS:
        towards = nearest_on_surface(points, vertices, faces)[0] - points
        points = points + np.linalg.solve(np.eye(len(points)) + stiffness * energy, towards)
    nearest, on_faces = nearest_on_surface(points, vertices, faces)
    return on_faces, barycentric(nearest, vertices[faces[on_faces]])


def ict_posed_faces(
    faces: IctFaces, *, identities: int = IDENTITIES, poses: int = POSES, seed: int = 0
) -> PosedFaces:
    """Random combinations of the identities, N(0, 1), each with sparse random expressions in every pose.

    Args:
        faces: the head's identities and expressions.
        identities: how many persons.
        poses: of each.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    shapes = np.empty((identities, poses, FACE_MESH_COUNT, 3))
    for person in shapes:
        own = faces.mean + np.tensordot(rng.normal(size=len(faces.identities)), faces.identities, 1)
        for pose in range(poses):
            amount = rng.uniform(0, EXPRESSION_MOST, len(faces.expressions))
            amount *= rng.random(len(faces.expressions)) < EXPRESSION_SHARE
            person[pose] = own + np.tensordot(amount, faces.expressions, 1)
    return posed_faces(shapes, faces.mean, seed=seed + 1)
