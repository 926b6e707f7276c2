"""Fits that were never fitted: a head in chosen poses, and the landmarks a detector would give for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from headwarp.flame.model import HeadModel, landmark_points
from headwarp.flame.params import DETECTED, HeadFit, HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import MODEL_TO_CAMERA, WeakPerspective
from headwarp.geom.transforms import euler_to_matrix, matrix_to_axis_angle


def posed_fit(
    head: HeadModel,
    yaw_deg: Sequence[float] = (0.0,),
    *,
    size: tuple[int, int] = (96, 128),
    shift: Sequence[tuple[float, float]] | None = None,
) -> HeadFit:
    """A frame for every yaw, the head's template in the middle of the picture (moved by ``shift`` pixels)."""
    frames = len(yaw_deg)
    angles = torch.deg2rad(torch.tensor([[yaw, 0.0, 0.0] for yaw in yaw_deg]))
    turn = MODEL_TO_CAMERA @ euler_to_matrix(angles[:, 0], angles[:, 1], angles[:, 2]) @ MODEL_TO_CAMERA
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], frames)
    params = dataclasses.replace(neutral, rotation=matrix_to_axis_angle(turn))
    extent = float(head.template[:, 1].max() - head.template[:, 1].min())
    middle = (head.template.amax(0) + head.template.amin(0)) / 2
    scale = 0.8 * size[0] / extent
    centre = torch.tensor([size[1] / 2, size[0] / 2]) - scale * torch.tensor([middle[0], -middle[1]])
    moved = torch.zeros(frames, 2) if shift is None else torch.tensor(shift)
    camera = WeakPerspective(torch.full((frames,), scale), centre + moved)
    points = landmark_points(head, project_head(head, params, camera), "mediapipe")[..., :2]
    return HeadFit(
        params=params,
        camera=camera,
        size=size,
        model_id=head.model_id,
        landmark_indices=head.landmarks["mediapipe"].indices.clone(),
        landmarks=points,
        residual=torch.zeros_like(points),
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=torch.zeros(frames, 6, 6),
        report={"fps": "10", "family": "mediapipe"},
    )


def detected_points(fit: HeadFit) -> np.ndarray:
    """The fit's landmarks as a detector's array (T, 478, 2)."""
    points = np.full((fit.frames, 478, 2), np.nan)
    points[:, fit.landmark_indices.numpy()] = fit.landmarks.numpy()
    return points
