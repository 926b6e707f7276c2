"""A small smooth head-like model with every feature the fitter uses; computed, no asset."""

from __future__ import annotations

import numpy as np
import torch

from headwarp.flame._head_data import HeadData, LandmarkEmbedding
from headwarp.flame.model import HeadModel


def toy_head(
    rows: int = 12, columns: int = 13, *, shapes: int = 6, expressions: int = 5, seed: int = 0
) -> HeadModel:
    """A curved sheet of ``rows x columns`` vertices, 16 cm high, facing +z, with jaw, bases and landmarks."""
    rng = np.random.default_rng(seed)
    v, u = np.meshgrid(np.linspace(1, -1, rows), np.linspace(-1, 1, columns), indexing="ij")
    template = np.stack([0.07 * u, 0.08 * v, 0.07 * (1 - 0.6 * u**2 - 0.4 * v**2)], -1).reshape(-1, 3)
    template[:, 2] += 0.02 * np.exp(-((u.ravel() / 0.2) ** 2) - (v.ravel() / 0.3) ** 2)  # a nose
    count = len(template)
    index = np.arange(count).reshape(rows, columns)
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[:-1, 1:].ravel(),
        index[1:, 1:].ravel(),
        index[1:, :-1].ravel(),
    )
    faces = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])
    jaw = np.clip((-v.ravel() - 0.1) / 0.6, 0, 1)
    neck = np.clip((v.ravel() + 1.2) / 0.4, 0, 1)
    weights = np.stack([1 - neck, neck * (1 - jaw), neck * jaw, 0 * jaw, 0 * jaw], 1)
    joints = np.array(
        [[0, -0.15, -0.08], [0, -0.1, -0.08], [0, -0.01, -0.03], [0.03, 0.03, 0.03], [-0.03, 0.03, 0.03]]
    )
    regressor = np.linalg.lstsq(np.c_[template, np.ones(count)].T, np.c_[joints, np.ones(5)].T, rcond=None)[
        0
    ].T
    ids = np.arange(count)
    ids[0], ids[33 if count > 33 else 0] = ids[33], ids[0]
    corners = np.array([next(f for f in range(len(faces)) if i in faces[f]) for i in range(count)])
    bary = (faces[corners] == np.arange(count)[:, None]).astype(float)
    embedding = LandmarkEmbedding(
        indices=torch.from_numpy(ids), faces=torch.from_numpy(corners), bary=torch.from_numpy(bary).float()
    )
    return HeadModel(
        HeadData(
            name="toy",
            template=template,
            faces=faces,
            shape_basis=_waves(u.ravel(), v.ravel(), shapes, rng) * 0.004,
            expression_basis=_waves(u.ravel(), v.ravel(), expressions, rng) * 0.002,
            joint_regressor=regressor,
            weights=weights,
            landmarks={"mediapipe": embedding},
        )
    )


def _waves(u: np.ndarray, v: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random fields (V, 3, count) of unit amplitude."""
    fields = []
    for _ in range(count):
        frequency, phase = rng.uniform(2, 4, (3, 2)), rng.uniform(0, 6, (3, 1))
        fields.append(np.sin(frequency @ np.stack([u, v]) + phase).T)
    return np.stack(fields, -1)
