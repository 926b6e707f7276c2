"""Fits of a small FLAME-schema head, with eyelids, for tests of other trackers' formats."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from flame_schema import flame_arrays

from headwarp.flame._head_data import HeadData
from headwarp.flame.model import HeadModel
from headwarp.flame.params import DETECTED, HeadFit, HeadParams
from headwarp.geom.cameras import Perspective, WeakPerspective

FRAMES = 5


@dataclass(frozen=True)
class FlameHead:
    """A head and the arrays of the file it would come from, eyelids ``(V, 3, 2)`` beside them."""

    model: HeadModel
    arrays: dict[str, np.ndarray]
    lids: np.ndarray


def flame_head() -> FlameHead:
    """56 vertices, 300 + 100 columns, off the origin; the eyelids are eight vertices of root and neck, as
    FLAME's hang on the neck alone.
    """
    arrays = flame_arrays(seed=3)
    arrays["v_template"] = arrays["v_template"] + np.array([0.01, -0.04, 0.03])
    lids = np.zeros((len(arrays["v_template"]), 3, 2))
    lids[:8] = np.random.default_rng(5).normal(0, 2e-3, (8, 3, 2))
    arrays["weights"][:8] = [0.25, 0.75, 0, 0, 0]
    data = HeadData(
        name="flame",
        template=arrays["v_template"],
        faces=arrays["f"].astype(np.int64),
        shape_basis=arrays["shapedirs"][:, :, :300],
        expression_basis=arrays["shapedirs"][:, :, 300:],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        pose_basis=arrays["posedirs"],
        eyelid_basis=lids,
    )
    return FlameHead(HeadModel(data), arrays, lids)


def flame_fit(
    head: HeadModel,
    *,
    perspective: bool = True,
    columns: tuple[int, int] = (300, 100),
    without: tuple[str, ...] = (),
    size: tuple[int, int] = (480, 640),
    frames: int = FRAMES,
) -> HeadFit:
    """A clip in which everything moves, but for the parameters named in ``without``.

    Args:
        columns: how many leading coefficients of shape and expression are not zero.
    """
    draw = torch.Generator().manual_seed(7)

    def normal(width: int, amount: float) -> torch.Tensor:
        return amount * torch.randn(frames, width, generator=draw)

    shape, expression = torch.zeros(300), torch.zeros(frames, 100)
    shape[: columns[0]] = torch.randn(columns[0], generator=draw)
    expression[:, : columns[1]] = normal(columns[1], 0.7)
    moving = {
        "rotation": normal(3, 0.35),
        "neck": normal(3, 0.1),
        "jaw": normal(3, 0.1),
        "eyes": normal(6, 0.15),
        "eyelids": torch.rand(frames, 2, generator=draw),
        "translation": normal(3, 0.02),
    }
    if perspective:
        moving["translation"] = moving["translation"] + torch.tensor([0.03, -0.02, -0.9])
        camera = Perspective(
            torch.full((frames, 2), 1100.0), torch.tensor([[size[1] / 2, size[0] / 2]]).repeat(frames, 1)
        )
    else:
        camera = WeakPerspective(
            1200 + 60 * torch.rand(frames, generator=draw),
            torch.tensor([[300.0, 220.0]]) + normal(2, 12.0),
        )
    moving |= {name: torch.zeros_like(moving[name]) for name in without}
    return HeadFit(
        params=HeadParams(shape=shape, expression=expression, **moving),
        camera=camera,
        size=size,
        model_id=head.model_id,
        landmark_indices=torch.zeros(0, dtype=torch.int64),
        landmarks=torch.zeros(frames, 0, 2),
        residual=torch.zeros(frames, 0, 2),
        status=torch.full((frames,), DETECTED, dtype=torch.int8),
        confidence=torch.linspace(0.5, 1, frames),
        covariance=torch.full((frames, 6, 6), float("nan")),
    )


def with_status(fit: HeadFit, status: list[int]) -> HeadFit:
    """The same fit with other frames missing."""
    return dataclasses.replace(fit, status=torch.tensor(status, dtype=torch.int8))
