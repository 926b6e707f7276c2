"""Landmark clips of the toy head with known parameters: what a perfect detector would see."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from headwarp.flame.model import HeadModel, landmark_points, pose_vertices
from headwarp.flame.params import HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from headwarp.geom.transforms import euler_to_matrix, matrix_to_axis_angle


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


def talking(head: HeadModel, frames: int, *, seed: int = 0, turn_deg: float = 20.0) -> HeadParams:
    """A person who turns smoothly to both sides and opens the mouth."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)
    degrees = np.stack(
        [turn_deg * np.sin(time / 9), 0.4 * turn_deg * np.cos(time / 7), 3 * np.sin(time / 5)], 1
    )
    flip = MODEL_TO_CAMERA
    rotation = flip @ euler_to_matrix(*(_float(np.radians(degrees[:, k])) for k in range(3))) @ flip
    jaw = np.zeros((frames, 3))
    jaw[:, 0] = 0.08 * (1 + np.sin(time / 3))
    expressions = head.expression_basis.shape[2]
    waves = np.sin(time[:, None] / rng.uniform(4, 12, expressions) + rng.uniform(0, 6, expressions))
    neutral = HeadParams.neutral(head.shape_basis.shape[2], expressions, frames)
    return dataclasses.replace(
        neutral,
        shape=_float(rng.normal(size=head.shape_basis.shape[2])),
        expression=_float(0.5 * waves),
        rotation=matrix_to_axis_angle(rotation),
        jaw=_float(jaw),
    )


def seen_weakly(head: HeadModel, params: HeadParams, *, scale: float = 900.0) -> np.ndarray:
    """Its landmarks (T, L, 2) in a frame of 256 px, by a weak-perspective camera."""
    steps = torch.arange(params.frames).float()
    camera = WeakPerspective(scale + steps, torch.stack([128 + steps / 3, 120 - steps / 4], 1))
    points = landmark_points(head, project_head(head, params, camera), "mediapipe")[..., :2]
    return _by_number(head, points)


def seen_by_pinhole(
    head: HeadModel, params: HeadParams, *, focal: float, distance: float, size: tuple[int, int] = (256, 256)
) -> np.ndarray:
    """Its landmarks (T, L, 2) by a pinhole at a distance in metres, head in the middle."""
    place = torch.tensor([[0.0, 0.0, -distance]]).expand(params.frames, 3)
    posed = pose_vertices(
        head,
        params.shape,
        params.expression,
        rotation=params.rotation,
        jaw=params.jaw,
        translation=place,
    )
    points = landmark_points(head, posed @ MODEL_TO_CAMERA.T, "mediapipe")
    middle = torch.tensor([size[1] / 2, size[0] / 2])
    return _by_number(head, focal * points[..., :2] / points[..., 2:] + middle)


def _by_number(head: HeadModel, points: torch.Tensor) -> np.ndarray:
    indices = head.landmarks["mediapipe"].indices.numpy()
    full = np.full((len(points), int(indices.max()) + 1, 2), np.nan)
    full[:, indices] = points.double().numpy()
    return full
