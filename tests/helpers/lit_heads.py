"""Pictures of the built-in head with known pose, albedo and light, and landmarks with a detector's errors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from posed_fits import posed_fit
from torch import Tensor

from headwarp.flame.fitting.appearance import UNIT_LIGHT
from headwarp.flame.model import HeadModel, landmark_points
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import posed_vertices
from headwarp.geom.mesh import vertex_normals
from headwarp.geom.rasterizer import interpolate, rasterize
from headwarp.geom.shading import shade


@dataclass(frozen=True)
class LitHead:
    """``truth``: the fit that was drawn; ``images (T, 3, S, S)``; ``albedo (V, 3)``; ``light (T, 9, 3)``."""

    truth: HeadFit
    images: Tensor
    albedo: Tensor
    light: Tensor


def lit_head(head: HeadModel, yaw_deg: tuple[float, ...], *, size: int = 160, seed: int = 0) -> LitHead:
    """A person of random shape, expressions and skin pattern under light from one side, before grey."""
    generator = torch.Generator().manual_seed(seed)
    frames, expressions = len(yaw_deg), head.expression_basis.shape[2]
    truth = posed_fit(head, yaw_deg, size=(size, size))
    params = dataclasses.replace(
        truth.params,
        shape=torch.randn(head.shape_basis.shape[2], generator=generator) * 0.6,
        expression=torch.randn(frames, expressions, generator=generator) * 0.5,
        jaw=torch.stack([torch.tensor([0.03 * t, 0.0, 0.0]) for t in range(frames)]),
    )
    truth = dataclasses.replace(truth, params=params)
    albedo = skin_pattern(head, generator)
    light = torch.zeros(frames, 9, 3)
    light[:, 0], light[:, 3], light[:, 1], light[:, 2] = 0.9 * UNIT_LIGHT, 0.7, -0.5, -0.7
    return LitHead(truth, draw(head, truth, albedo, light), albedo, light)


def skin_pattern(head: HeadModel, generator: torch.Generator) -> Tensor:
    """Waves of a centimetre to three on a skin tone, RGB (V, 3)."""
    waves = torch.randn(3, 40, generator=generator) * 250
    phases = 6.28 * torch.rand(40, generator=generator)
    heights = torch.randn(40, 3, generator=generator) * 0.03
    return (torch.tensor([0.7, 0.52, 0.42]) + (head.template @ waves + phases).sin() @ heights).clamp(0.05, 1)


def draw(head: HeadModel, fit: HeadFit, albedo: Tensor, light: Tensor) -> Tensor:
    """The pictures of a fit."""
    verts = posed_vertices(head, fit)
    fragments = rasterize(verts, head.faces, fit.size, cull=True)
    normals = vertex_normals(verts, head.faces)
    carried = interpolate(fragments, torch.cat([normals, albedo.expand(len(verts), -1, -1)], -1), head.faces)
    covered = fragments.face[:, None] >= 0
    unit = torch.nn.functional.normalize(carried[:, :3], dim=1) * covered
    return (carried[:, 3:] * shade(unit, light)).clamp(0, 1) + 0.3 * ~covered


def biased_landmarks(head: HeadModel, truth: HeadFit, *, percent: float, seed: int = 0) -> np.ndarray:
    """Landmarks (T, 478, 2) as a detector errs: smoothly over the face, percent of the eye distance."""
    generator = torch.Generator().manual_seed(seed)
    points = landmark_points(head, posed_vertices(head, truth), "mediapipe")[..., :2]
    rest = landmark_points(head, head.template[None], "mediapipe")[0]
    waves = torch.randn(3, 12, generator=generator) * 60
    heights = torch.randn(truth.frames, 12, 2, generator=generator) / 12**0.5
    ids = head.landmarks["mediapipe"].indices.tolist()
    eyes = (points[:, ids.index(33)] - points[:, ids.index(263)]).norm(dim=-1)[:, None, None]
    found = np.full((truth.frames, 478, 2), np.nan)
    found[:, ids] = points + percent / 100 * eyes * ((rest @ waves).sin() @ heights)
    return found
