"""Gaze as a rotation of the eye joints, on a head read from a FLAME file with FLAME's own 105 points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from flame_export import write_head_as_flame

from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadModel, restrict
from headwarp.flame.params import HeadParams
from headwarp.flame.posing import project_head
from headwarp.geom.cameras import WeakPerspective


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> HeadModel:
    return load_head(write_head_as_flame(tmp_path_factory.mktemp("flame"), load_head("builtin")))


def looking(
    head: HeadModel, degrees: list[tuple[float, float]], *, yaw: float
) -> tuple[HeadParams, np.ndarray]:
    """Frames with the eyes turned about the head's y and x, and their landmarks in the 478 numbering."""
    frames = len(degrees)
    eye = torch.tensor([[x, y, 0.0] for y, x in degrees]).deg2rad()
    params = dataclasses.replace(
        HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], frames),
        rotation=torch.tensor([[0.0, yaw, 0.0]]).deg2rad().expand(frames, -1),
        eyes=torch.cat([eye, eye], 1),
    )
    camera = WeakPerspective(torch.full((frames,), 1000.0), torch.full((frames, 2), 128.0))
    reduced = restrict(head, "mediapipe")
    landmarks = np.full((frames, 478, 2), np.nan)
    landmarks[:, reduced.indices.numpy()] = project_head(reduced, params, camera)[..., :2].numpy()
    return params, landmarks


@pytest.mark.parametrize("yaw", [0.0, 25.0])
def test_known_gazes_are_found(flame: HeadModel, yaw: float) -> None:
    params, landmarks = looking(flame, [(0, 0), (15, 0), (-15, 0), (0, 12), (0, -12), (10, 8)], yaw=yaw)
    fit = fit_landmarks(flame, landmarks, (256, 256))
    error = torch.rad2deg((fit.params.eyes - params.eyes).abs().max())
    assert error < 2.0, f"{error:.2f} degrees"


def test_without_irises_the_eyes_rest(flame: HeadModel) -> None:
    _, landmarks = looking(flame, [(15, 0)], yaw=0.0)
    head = load_head("builtin")
    kept = flame.landmarks["mediapipe"]
    inner = kept.indices < 468
    head.landmarks = {
        "mediapipe": dataclasses.replace(
            kept, indices=kept.indices[inner], faces=kept.faces[inner], bary=kept.bary[inner]
        )
    }
    assert not fit_landmarks(head, landmarks, (256, 256)).params.eyes.any()
