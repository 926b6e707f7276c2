"""Landmark clips of faces whose pose is known, and how well a head model fitted to them finds it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...flame.builtin.statistics import align
from ...flame.fitting import FitConfig, SolverConfig, fit_landmarks
from ...flame.landmarks import FACE_MESH_COUNT, MEDIAPIPE_COUNT, mirror_map
from ...flame.model import HeadModel, restrict
from ...flame.params import HeadParams
from ...flame.posing import camera_rotation, project_head
from ...geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from ...geom.transforms import euler_to_matrix, matrix_to_axis_angle, umeyama

SIDE = 256
PIXELS_PER_METRE = 1120.0  # outer canthi 100 px apart
NOISE_PX = 0.3
MOST_DEG = (40.0, 20.0, 15.0)  # yaw, pitch, roll
IDENTITIES, POSES = 10, 16


@dataclass(frozen=True)
class PosedFaces:
    """N persons in T poses each.

    Attributes:
        landmarks: face mesh (N, T, 478, 2) in pixels of a 256 px frame; irises repeat the eye corners.
        rotation: (N, T, 3, 3) from the faces' own frame to the camera's.
        mean: (468, 3) the mean of the family the faces come from, in their own frame, metres.
    """

    landmarks: NDArray[np.float64]
    rotation: NDArray[np.float64]
    mean: NDArray[np.float64]


@dataclass(frozen=True)
class PoseAccuracy:
    """Angles between found and true rotations, and the mean reprojection in % of the canthal distance."""

    rotation_error_deg: float
    rotation_error_p95_deg: float
    reprojection_percent_iod: float


def posed_faces(
    shapes: Float[np.ndarray, "N T 468 3"], mean: Float[np.ndarray, "468 3"], *, seed: int
) -> PosedFaces:
    """Faces turned by yaw +-40, pitch +-20, roll +-15 degrees, in weak perspective, with 0.3 px of noise.

    Args:
        shapes: N persons in T expressions, metres.
        mean: of all of them.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    angles = torch.from_numpy(np.radians(rng.uniform(-1, 1, (*shapes.shape[:2], 3)) * MOST_DEG))
    turn = euler_to_matrix(*angles.unbind(-1)) @ MODEL_TO_CAMERA.double()
    rotation = turn.numpy()
    points = shapes @ np.swapaxes(rotation, 2, 3)
    landmarks = np.empty((*shapes.shape[:2], MEDIAPIPE_COUNT, 2))
    landmarks[:, :, :FACE_MESH_COUNT] = points[..., :2] * PIXELS_PER_METRE + SIDE / 2
    landmarks[:, :, :FACE_MESH_COUNT] += rng.normal(scale=NOISE_PX, size=points[..., :2].shape)
    landmarks[:, :, FACE_MESH_COUNT:] = landmarks[:, :, [33] * 5 + [263] * 5]
    return PosedFaces(landmarks, rotation, mean)


def smooth_faces(
    head: HeadModel, *, identities: int = IDENTITIES, poses: int = POSES, seed: int = 0
) -> PosedFaces:
    """Faces of no head model: the head's mean face under random smooth deformations.

    A family mean 2 % of the canthal distance away from the head's, identities spread by 3 %, expressions by
    1.5 %, as measured on people; Gaussian fields of 40, 30 and 20 mm, and details of 10 mm, three quarters of
    an identity symmetric; jaws opened by up to 20 degrees about an axis that is not the head's. What of a
    deformation is a similarity is taken out, so that the pose is defined.

    Args:
        head: whose mean face is deformed.
        identities: how many persons.
        poses: of each.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    jaw = head.weights[:FACE_MESH_COUNT, head.joint_names.index("jaw")].double().numpy()
    template = head.template[:FACE_MESH_COUNT].double().numpy()
    mean = align((template + _field(template, rng, width=0.040, spread=0.02))[None], template)[0][0]
    shapes = np.empty((identities, poses, FACE_MESH_COUNT, 3))
    for person in shapes:
        own = mean + _field(mean, rng, width=0.030, spread=0.03, symmetric=0.75)
        own = own + _field(mean, rng, width=0.010, spread=0.015, symmetric=0.75)
        for pose in range(poses):
            moved = own + _field(mean, rng, width=0.020, spread=0.015)
            person[pose] = align(moved[None], mean)[0][0]
            person[pose] = _opened(person[pose], jaw, math.radians(rng.uniform(0, 20) * (rng.random() < 0.5)))
    return posed_faces(shapes, mean, seed=seed + 1)


def _field(
    face: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    width: float,
    spread: float,
    symmetric: float = 0.0,
) -> NDArray[np.float64]:
    """A random smooth displacement (468, 3) of mean length ``spread`` times the outer-canthal distance."""
    centres = face[rng.integers(0, len(face), 24)] + rng.normal(scale=width / 2, size=(24, 3))
    distance = np.linalg.norm(face[:, None] - centres[None], axis=2)
    field = np.exp(-np.square(distance / width) / 2) @ rng.normal(size=(24, 3))
    twin = (field * [-1.0, 1.0, 1.0])[mirror_map()[: len(face)]]
    field = (1 - symmetric / 2) * field + symmetric / 2 * twin
    return field * (spread * np.linalg.norm(face[33] - face[263]) / np.linalg.norm(field, axis=1).mean())


def _opened(face: NDArray[np.float64], weight: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    pivot = np.array([0.0, -0.0055, 0.018])
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return face + weight[:, None] * ((face - pivot) @ (turn - np.eye(3)).T)


def pose_accuracy(head: HeadModel, faces: PosedFaces, *, config: FitConfig | None = None) -> PoseAccuracy:
    """Fit every person as one clip, without smoothness in time, and compare the rotations.

    The one rotation between the frames of the two mean faces, a convention, is taken out.

    Args:
        head: that is fitted.
        faces: with their true rotations.
        config: of the fitter.
    """
    config = config or FitConfig(solver=SolverConfig(smooth=0.0))
    own = restrict(head, "mediapipe")
    place = torch.argsort(own.indices)[:FACE_MESH_COUNT]
    offset = umeyama(torch.from_numpy(faces.mean), own.mean[place].double()).rotation
    errors, residuals = [], []
    for landmarks, rotation in zip(faces.landmarks, faces.rotation, strict=True):
        fit = fit_landmarks(head, landmarks, (SIDE, SIDE), config=config)
        between = camera_rotation(fit.params).double() @ offset @ torch.from_numpy(rotation).mT
        errors.append(_angle_deg(between))
        residuals.append(float(fit.report["reprojection_percent_iod"]))
    every = torch.cat(errors)
    return PoseAccuracy(float(every.mean()), float(every.quantile(0.95)), float(np.mean(residuals)))


def _angle_deg(rotation: Float[Tensor, "T 3 3"]) -> Float[Tensor, " T"]:
    cosine = (rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def head_track(head: HeadModel, frames: int, *, seed: int = 0) -> Float[np.ndarray, "T 478 2"]:
    """Landmarks of the head itself, moving and talking, in a 256 px frame, with 0.3 px of noise.

    Args:
        head: that moves.
        frames: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    time = torch.arange(frames) / 25.0
    angles = torch.deg2rad(torch.stack([25 * (2 * time).sin(), 8 * (3 * time).cos(), 5 * time.sin()]))
    flip = MODEL_TO_CAMERA
    turn = flip @ euler_to_matrix(*angles) @ flip
    reduced = restrict(head, "mediapipe")
    wave = rng.uniform(0.5, 3, (2, head.expression_basis.shape[2]))
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], frames)
    params = dataclasses.replace(
        neutral,
        shape=torch.from_numpy(rng.normal(size=head.shape_basis.shape[2])).float(),
        expression=torch.from_numpy(0.7 * np.sin(time.numpy()[:, None] * 2 * wave[0] + wave[1])).float(),
        rotation=matrix_to_axis_angle(turn),
        jaw=0.1 * (1 + (6 * time).sin())[:, None] * torch.tensor([1.0, 0.0, 0.0]),
    )
    camera = WeakPerspective(torch.full((frames,), PIXELS_PER_METRE), torch.full((frames, 2), SIDE / 2))
    points = project_head(reduced, params, camera)[:, torch.argsort(reduced.indices), :2].double().numpy()
    return points + rng.normal(scale=NOISE_PX, size=points.shape)
