"""Small random landmark problems and states for tests of the solver's inside."""

from __future__ import annotations

import numpy as np

from headwarp.flame.fitting._problem import LandmarkHead, LandmarkProblem, Sliding, State
from headwarp.flame.fitting._rotations import rotation_exp


def random_head(landmarks: int = 20, *, seed: int = 0, correctives: bool = False) -> LandmarkHead:
    """Four frame coefficients, five of the shape, in normalised units."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=shape)  # noqa: E731
    return LandmarkHead(
        mean=normal(landmarks, 3) * 30,
        pivot=normal(3) * 5,
        jaw_weight=rng.uniform(size=landmarks),
        frame_basis=normal(landmarks, 3, 4),
        shape_basis=normal(landmarks, 3, 5),
        pivot_frame=normal(3, 4),
        pivot_shape=normal(3, 5),
        correctives=normal(landmarks, 3, 9) if correctives else None,
    )


def random_problem(
    frames: int = 3,
    landmarks: int = 20,
    *,
    seed: int = 0,
    correctives: bool = False,
    confidence: bool = False,
    lens: float = 0.0,
    sliding: bool = False,
) -> LandmarkProblem:
    """Random points; every third frame has none."""
    rng = np.random.default_rng(seed + 100)
    points = landmarks + 7 if sliding else landmarks
    rows = rng.integers(0, points, (frames, landmarks))
    certain = rng.uniform(0.2, 1, (frames, landmarks))
    return LandmarkProblem(
        random_head(points, seed=seed, correctives=correctives),
        target=rng.normal(size=(frames, 2, landmarks)) * 30,
        weight=np.array([1.0, 0.5, 0.0] * (frames // 3 + 1))[:frames],
        confidence=certain if confidence or sliding else None,
        unit=rng.uniform(0.002, 0.004, frames) if lens else None,
        lens=lens,
        sliding=Sliding(rows, certain, lambda placed: rows[: len(placed)]) if sliding else None,
    )


def random_state(problem: LandmarkProblem, *, seed: int = 1, motion: float = 1.0) -> State:
    rng = np.random.default_rng(seed)
    frames = problem.frames
    return State(
        camera=rng.normal(size=(frames, 3)) * 0.2,
        rotation=rotation_exp(motion * rng.normal(size=(frames, 3))),
        jaw=rng.normal(size=(frames, 3)) * 0.3,
        linear=rng.normal(size=(frames, problem.head.frame_count)),
        shape=rng.normal(size=problem.head.shape_count),
        lens=problem.lens,
    )
