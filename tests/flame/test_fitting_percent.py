"""The residual in percent of the eye distance: one number, whoever tells it."""

import dataclasses

import numpy as np
import pytest
from posed_fits import detected_points, posed_fit

from headwarp.flame.fitting import FitConfig, fit_landmarks
from headwarp.flame.fitting.percent import eye_distance, eye_pixels, residual_percent
from headwarp.flame.io import load_head
from headwarp.flame.landmarks import MEDIAPIPE_68

SIZE = (200, 200)


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def noisy(head, seed=0):
    """Detections of a head of another shape, off by a pixel or so, irises far off."""
    clip = posed_fit(head, [-20.0, 0.0, 15.0, 25.0], size=SIZE)
    points = detected_points(clip) + np.random.default_rng(seed).normal(0, 1.2, (4, 478, 2))
    points[:, :, 0] = 100 + 1.15 * (points[:, :, 0] - 100)  # a wider face than the mean one
    points[:, 468:] += 3
    return points


@pytest.mark.parametrize(
    ("config", "rtol"), [(FitConfig(), 1e-4), (FitConfig(focal=300.0), 1e-3)], ids=["weak", "perspective"]
)
def test_its_mean_over_frames_is_what_the_fit_reports(head, config, rtol):
    points = noisy(head)
    points[2] = np.nan  # filled from its neighbours: no residual
    points[1, :40] = np.nan
    fit = fit_landmarks(head, points, SIZE, config=config)
    percent = residual_percent(head, fit)
    assert np.isnan(percent).tolist() == [False, False, True, False]
    assert np.nanmean(percent) == pytest.approx(fit.report["reprojection_percent_iod"], rel=rtol)
    assert np.nanmax(percent) == pytest.approx(fit.report["reprojection_percent_iod_worst"], rel=rtol)


def test_points_of_68_are_measured_by_their_own_eyes(head):
    clip = fit_landmarks(head, noisy(head), SIZE)
    points = detected_points(clip)[:, list(MEDIAPIPE_68)]
    fit = fit_landmarks(head, points, SIZE, family="ibug68", config=FitConfig(contour="rest"))
    found = residual_percent(head, fit).mean()
    assert found == pytest.approx(fit.report["reprojection_percent_iod"], rel=1e-3)


def test_the_eye_distance_is_the_mean_faces(head):
    fit = fit_landmarks(head, noisy(head), SIZE)
    wide = dataclasses.replace(fit, params=dataclasses.replace(fit.params, shape=3 + 0 * fit.params.shape))
    np.testing.assert_array_equal(eye_pixels(head, fit), eye_pixels(head, wide))
    np.testing.assert_allclose(eye_pixels(head, fit), eye_distance(head) * fit.camera.scale)
