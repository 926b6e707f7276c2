"""A fit without a photo: known parameters and camera, landmarks projected from them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from headwarp.flame.model import HeadModel, landmark_points
from headwarp.flame.params import DETECTED, HeadFit, HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import Perspective, WeakPerspective


def toy_fit(
    head: HeadModel,
    frames: int = 1,
    *,
    scale: float = 800.0,
    centre: tuple[float, float] = (128.0, 120.0),
    residual: float = 0.0,
    perspective: bool = False,
    **params: Tensor,
) -> HeadFit:
    """``frames`` frames of a head at rest, or with the given parameters, in a frame of 240 x 256.

    With ``residual`` every landmark was detected up to that many pixels away from where the mesh has it.
    """
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], frames)
    if perspective:
        camera = Perspective(torch.full((frames, 2), 1200.0), torch.tensor([centre]).repeat(frames, 1))
        away = torch.tensor([[0.01, -0.02, -1200.0 / scale]]).repeat(frames, 1)
        neutral = dataclasses.replace(neutral, translation=away)
    else:
        camera = WeakPerspective(torch.full((frames,), scale), torch.tensor([centre]).repeat(frames, 1))
    posed = dataclasses.replace(neutral, **params)
    generator = torch.Generator().manual_seed(0)
    points = landmark_points(head, project_head(head, posed, camera), "mediapipe")[..., :2]
    offset = residual * (2 * torch.rand(points.shape, generator=generator) - 1)
    return HeadFit(
        params=posed,
        camera=camera,
        size=(240, 256),
        model_id=head.model_id,
        landmark_indices=head.landmarks["mediapipe"].indices.clone(),
        landmarks=points + offset,
        residual=offset,
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.ones(frames),
        covariance=torch.eye(6).expand(frames, 6, 6).clone(),
        report={},
    )


def varied(head: HeadModel, frames: int, seed: int = 0) -> dict[str, Tensor]:
    """Per-frame parameters that all differ: small turns, an open jaw, expressions, gaze, lids."""
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int, amount: float) -> Tensor:
        return amount * torch.randn(frames, width, generator=generator)

    return {
        "expression": normal(head.expression_basis.shape[2], 0.5),
        "rotation": normal(3, 0.2),
        "neck": normal(3, 0.05),
        "jaw": normal(3, 0.05),
        "eyes": normal(6, 0.1),
        "eyelids": torch.rand(frames, 2, generator=generator) * 0.5,
        "shape": torch.randn(head.shape_basis.shape[2], generator=generator),
    }
