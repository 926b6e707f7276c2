"""How much many frames may tell of a shape: a detector's error is the same in all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from face_pictures import frames_of, needs_mediapipe
from posed_fits import detected_points, posed_fit

from headwarp.flame.detect import track_clip
from headwarp.flame.fitting import FitConfig, SolverConfig, fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.posing import head_pose
from headwarp.geom.errors import HeadwarpError


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def shape_of(head, frames: int, **config: float) -> torch.Tensor:
    """The shape fitted to the mean face turning by 40 degrees, each point off by the same in all frames."""
    turning = posed_fit(head, np.linspace(-20, 20, frames).tolist(), size=(256, 256))
    error = np.random.default_rng(0).normal(0, 1.5, (478, 2))
    points = detected_points(turning) + error
    fit = fit_landmarks(head, points, (256, 256), config=FitConfig(solver=SolverConfig(**config)))
    return fit.params.shape


def test_an_error_of_the_detector_does_not_grow_with_the_frames(head):
    few, many = (float(shape_of(head, frames).norm()) for frames in (10, 80))
    assert many < 1.1 * few
    boundless = float(shape_of(head, 80, shape_frames=1e9).norm())
    assert boundless > 1.2 * few


def test_up_to_so_many_frames_nothing_changes(head):
    assert torch.equal(shape_of(head, 5), shape_of(head, 5, shape_frames=1e9))


def test_evidence_of_no_frame_makes_no_sense():
    with pytest.raises(HeadwarpError, match="shape_frames: expected a number above 0, got 0"):
        SolverConfig(shape_frames=0.0)


@needs_mediapipe
@pytest.mark.slow
def test_a_person_seen_only_from_the_side_keeps_a_human_head(test_data, head):
    tracks = track_clip(frames_of(test_data / "dev/clips/c24_cuts_crowd_noface.mp4"))
    (side,) = (t for t in tracks if t.span == (211, 275) and t.boxes[240, 0] > 320)
    track = side.cut(*side.span)
    fit = fit_landmarks(head, track.landmarks, track.size, scores=track.score)
    assert fit.report["proportions_deviation"] < 3  # 8.6 where every frame counted, the head twice too large
    assert float(head_pose(fit.params)[:, 0].max()) < 72
