"""Steadiness of clips: known signals."""

import numpy as np
import pytest

from headwarp.training.metrics.steadiness import EYES, MOUTH, amplitude_kept, eye_opening, lag, mouth_opening

TIME = np.arange(200.0)


def _blinks(depth=1.0, width=2.0):
    return sum(depth * np.exp(-(((TIME - t) / width) ** 2)) for t in (30, 90, 150))


def test_amplitude_of_events_not_of_noise():
    noise = 0.01 * np.random.default_rng(0).normal(size=200)
    signal = _blinks() + noise
    assert amplitude_kept(signal, 0.8 * _blinks() + noise) == pytest.approx(0.8, abs=0.02)
    assert amplitude_kept(signal, signal) == pytest.approx(1.0)
    from scipy.ndimage import gaussian_filter1d

    assert amplitude_kept(signal, gaussian_filter1d(signal, 2.0)) < 0.7
    assert amplitude_kept(signal, np.roll(signal, 1)) == pytest.approx(1.0, abs=0.05)
    assert np.isnan(amplitude_kept(np.zeros(50), np.zeros(50)))


@pytest.mark.parametrize("shift", [-3, 0, 2])
def test_lag_is_told_with_its_sign(shift):
    signal = np.sin(TIME / 5) + 0.3 * np.sin(TIME / 3)
    assert lag(signal, np.roll(signal, shift)) == shift


def test_openings_do_not_change_with_size_and_turn():
    points = np.random.default_rng(1).normal(size=(3, 478, 2)) * 50
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for opening in (eye_opening, mouth_opening):
        np.testing.assert_allclose(opening(3 * points @ turn.T + 7), opening(points), rtol=1e-12)
    shut = points.copy()
    shut[:, MOUTH[0][0]] = shut[:, MOUTH[0][1]]
    assert mouth_opening(shut).max() == 0
    for first, second, _ in EYES:
        shut[:, first[0]], shut[:, second[0]] = shut[:, first[1]], shut[:, second[1]]
    assert eye_opening(shut).max() == 0
