"""Clips in time: less jitter, no lag, mouth and motion keep their size; long clips in flat memory."""

import dataclasses

import numpy as np
import pytest
import torch
from landmark_clips import seen_weakly, talking
from toy_head import toy_head

from headwarp.flame.fitting import FitConfig, SolverConfig, _chain, fit_landmarks
from headwarp.flame.fitting._stiffness import Stiffness, softened
from headwarp.flame.posing import head_pose
from headwarp.training.metrics.landmarks import temporal_jitter

SIZE = (256, 256)
FRAMES = 80


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def still(head):
    """A moving head, and it with noise that all landmarks share in part, as a detector's is."""
    clean = seen_weakly(head, talking(head, FRAMES))
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=0.4, size=(FRAMES, 1, 2))
    return clean, clean + shared + rng.normal(scale=0.3, size=clean.shape)


def _fit(head, points, **solver):
    return fit_landmarks(head, points, SIZE, config=FitConfig(solver=SolverConfig(**solver)))


def _projected(fit):
    return (fit.landmarks - fit.residual).double().numpy()


@pytest.mark.parametrize(("settings", "most"), [({}, 0.75), ({"steady": True}, 0.5)])
def test_jitter_falls_and_nothing_lags(head, still, settings, most):
    clean, noisy = still
    alone, smooth = _fit(head, noisy, smooth=0.0), _fit(head, noisy, **settings)
    truth = _fit(head, clean, smooth=0.0)
    raw = temporal_jitter(smooth.landmarks.double().numpy())
    assert temporal_jitter(_projected(smooth)) < most * raw
    assert temporal_jitter(_projected(smooth)) < temporal_jitter(_projected(alone))
    assert smooth.report["reprojection_percent_iod"] < 1.5 * alone.report["reprojection_percent_iod"]
    yaw, smoothed = (head_pose(f.params)[:, 0].double().numpy() for f in (truth, smooth))
    assert _lag(yaw, smoothed) == 0
    jaw, opened = (f.params.jaw[:, 0].double().numpy() for f in (truth, smooth))
    assert _lag(jaw, opened) == 0
    kept = smooth.params.jaw[:, 0].std() / alone.params.jaw[:, 0].std()
    assert 0.95 < float(kept) < 1.1
    turned = head_pose(smooth.params)[:, 0].std() / head_pose(alone.params)[:, 0].std()
    assert 0.97 < float(turned) < 1.03


def _lag(first, second, most=6):
    """Frames by which the second is behind the first, where they agree best."""
    shifts = range(-most, most + 1)
    shifted = [second[most + s : len(second) - most + s] for s in shifts]
    return shifts[int(np.argmin([np.std(first[most:-most] - other) for other in shifted]))]


def test_smoothed_poses_are_nearer_to_the_truth(head, still):
    clean, noisy = still
    truth = head_pose(_fit(head, clean, smooth=0.0).params)
    errors = []
    for settings in ({"smooth": 0.0}, {}):
        errors.append(float((head_pose(_fit(head, noisy, **settings).params) - truth).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_a_sudden_turn_stays_sudden(head):
    """By default motion is no noise: a jerk between two frames is kept."""
    params = talking(head, 30, turn_deg=0.0)
    turn = torch.zeros(30, 3)
    turn[15:, 1] = -0.25
    points = seen_weakly(head, dataclasses.replace(params, rotation=turn))
    yaw = head_pose(_fit(head, points).params)[:, 0]
    alone = head_pose(_fit(head, points, smooth=0.0).params)[:, 0]
    assert float(yaw[15] - yaw[14]) > 0.9 * float(alone[15] - alone[14]) > 8
    smeared = head_pose(_fit(head, points, steady=True).params)[:, 0]
    assert float(smeared[15] - smeared[14]) < float(yaw[15] - yaw[14])


def test_long_clips_in_flat_memory_equal_the_others(head, monkeypatch):
    points = seen_weakly(head, talking(head, 200))
    points[50:60] = np.nan
    points[3, 9] = np.nan
    kept = _fit(head, points)
    monkeypatch.setattr(_chain, "KEPT", 0)
    for number in (0, 100):
        monkeypatch.setattr(_chain, "KEPT_OF_LONG", number)
        again = _fit(head, points)
        for name in ("shape", "expression", "rotation", "jaw"):
            assert torch.equal(getattr(again.params, name), getattr(kept.params, name))
        assert torch.equal(again.covariance, kept.covariance)
        assert torch.equal(again.deviation, kept.deviation)


def test_turned_coefficients_have_diagonal_stiffness_and_span_the_same(head):
    rng = np.random.default_rng(0)
    mean, basis = rng.normal(size=(60, 3)) * 40, rng.normal(size=(60, 3, 7))
    ids = rng.permutation(468)[:60]
    values, turn = softened(basis, mean, ids, "mediapipe")
    np.testing.assert_allclose(turn.T @ turn, np.eye(7), atol=1e-12)
    assert (np.diff(values) <= 0).all()
    turned = basis @ turn
    everywhere = np.square(turned).sum((0, 1))
    assert (values <= everywhere + 1e-9).all()  # soft landmarks count for less
    off = turned.reshape(-1, 7).T @ turned.reshape(-1, 7)
    assert np.abs(off - np.diag(off.diagonal())).max() > 1e-6  # it is the weighted matrix that is diagonal
    again = softened(basis @ turn, mean, ids, "mediapipe")
    np.testing.assert_allclose(again[0], values, rtol=1e-9)
    np.testing.assert_allclose(np.abs(again[1]), np.eye(7), atol=1e-6)
    weight = Stiffness.of(mean, mean * 0.1, values).weight
    assert weight.shape == (16,)
    assert (weight[:9] > 0).all()
