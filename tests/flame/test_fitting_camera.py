"""Perspective: known and unknown focal lengths, what is certain of them, several views of one person."""

import dataclasses

import numpy as np
import pytest
import torch
from landmark_clips import seen_by_pinhole, seen_weakly, talking
from toy_head import toy_head

from headwarp.flame.detect import detect_faces
from headwarp.flame.fitting import FitConfig, SolverConfig, fit_landmarks, fit_views
from headwarp.flame.io import load_head
from headwarp.flame.model import landmark_points
from headwarp.flame.params import DETECTED
from headwarp.flame.posing import project_head
from headwarp.geom.errors import HeadwarpError, NoFaceError, ShapeError
from headwarp.training.data.media import read_image

SIZE = (256, 256)
VIEWS = ("p07a_multiview_left", "p07b_multiview_front", "p07c_multiview_right", "p07d_multiview_up")


@pytest.fixture(scope="module")
def head():
    return toy_head()


def _precise(**config):
    return FitConfig(solver=SolverConfig(sigma=0.1, iterations=40, tolerance=0.0, smooth=0.0), **config)


def test_focal_length_is_found_from_a_clip(head):
    params = talking(head, 20, turn_deg=35.0)
    rng = np.random.default_rng(0)
    points = seen_by_pinhole(head, params, focal=350.0, distance=0.4)
    points = points + rng.normal(scale=0.1, size=points.shape)
    fit = fit_landmarks(head, points, SIZE, config=_precise(focal="estimate"))
    assert fit.report["focal"] == pytest.approx(350.0, rel=0.05)
    assert torch.allclose(fit.camera.focal, torch.tensor(fit.report["focal"], dtype=torch.float32))
    off = abs(fit.report["focal"] - 350.0) / fit.report["focal_deviation"]
    assert off < 4
    assert fit.report["reprojection_percent_iod"] < 0.6
    torch.testing.assert_close(fit.params.translation[:, 2], torch.full((20,), -0.4), atol=0.03, rtol=0)


def test_a_far_face_says_little_about_the_lens_and_the_deviation_says_so(head):
    deviations = []
    for distance in (0.4, 4.0):
        points = seen_by_pinhole(head, talking(head, 20), focal=900.0 * distance, distance=distance)
        fit = fit_landmarks(head, points, SIZE, config=FitConfig(focal="estimate"))
        deviations.append(fit.report["focal_deviation"] / fit.report["focal"])
        # whatever the lens, the ratio of focal length and distance is certain: the size in the picture
        ratio = fit.camera.focal[:, 0] / -fit.params.translation[:, 2]
        torch.testing.assert_close(ratio, torch.full((20,), 900.0), rtol=0.05, atol=0)
    assert deviations[1] > 3 * deviations[0]


def test_known_focal_length_equals_the_direct_form(head):
    points = seen_by_pinhole(head, talking(head, 12), focal=350.0, distance=0.4)
    both = []
    for method in ("gram", "direct"):
        solver = SolverConfig(iterations=80, tolerance=0.0, method=method)
        both.append(fit_landmarks(head, points, SIZE, config=FitConfig(focal=350.0, solver=solver)))
    for name in ("shape", "expression", "rotation", "jaw", "translation"):
        closed, direct = (getattr(fit.params, name) for fit in both)
        torch.testing.assert_close(closed, direct, atol=3e-5, rtol=1e-5)
    assert both[0].report["focal"] == both[1].report["focal"] == pytest.approx(350.0)
    assert "focal_deviation" not in both[0].report


def test_projection_through_the_pinhole_plus_residual_is_the_detection(head):
    points = seen_by_pinhole(head, talking(head, 8), focal=350.0, distance=0.4)
    config = FitConfig(focal="estimate", solver=SolverConfig(iterations=1))
    fit = fit_landmarks(head, points, SIZE, config=config)
    projected = landmark_points(head, project_head(head, fit.params, fit.camera), "mediapipe")[..., :2]
    torch.testing.assert_close(projected + fit.residual, fit.landmarks, atol=3e-3, rtol=0)


def test_settings_of_the_lens_are_checked():
    for bad in (0.0, -5.0, float("nan")):
        with pytest.raises(HeadwarpError, match="focal: expected a number above 0"):
            FitConfig(focal=bad)
    with pytest.raises(HeadwarpError, match="focal: expected a number, 'estimate' or None, got 'guess'"):
        FitConfig(focal="guess")
    with pytest.raises(HeadwarpError, match="mode photo: expected one frame, got 2; use clip"):
        fit_landmarks(toy_head(), np.zeros((2, 156, 2)), SIZE, config=FitConfig(mode="photo"))


def _views(head, count=4):
    """One person seen far apart, in pictures of different sizes."""
    params = talking(head, 40, turn_deg=40.0)
    points = seen_weakly(head, params)[np.linspace(0, 39, count).astype(int)]
    factors = np.linspace(0.5, 6.0, count)
    return (
        params,
        [p * f for p, f in zip(points, factors, strict=True)],
        [(int(256 * f),) * 2 for f in factors],
    )


def _shape_error(head, fits, params):
    true = head.shape_basis @ params.shape
    return [float((head.shape_basis @ fit.params.shape - true).norm(dim=1).mean()) for fit in fits]


def test_views_share_the_shape_and_know_it_better_than_each_alone(head):
    params, points, sizes = _views(head)
    config = FitConfig(solver=SolverConfig(sigma=0.5))
    fits = fit_views(head, points, sizes, config=config)
    assert [fit.size for fit in fits] == sizes
    assert all(fit.frames == 1 and fit.status.tolist() == [DETECTED] for fit in fits)
    assert all(torch.equal(fit.params.shape, fits[0].params.shape) for fit in fits)
    alone = [fit_landmarks(head, p[None], s, config=config) for p, s in zip(points, sizes, strict=True)]
    together = _shape_error(head, fits, params)[0]
    assert together < 0.7 * float(np.mean(_shape_error(head, alone, params)))
    for fit, p in zip(fits, points, strict=True):
        projected = landmark_points(head, project_head(head, fit.params, fit.camera), "mediapipe")[..., :2]
        seen = torch.as_tensor(p[head.landmarks["mediapipe"].indices.numpy()], dtype=torch.float32)
        scale = float(fit.camera.scale[0]) / 900
        assert float((projected[0] - seen).norm(dim=1).mean()) < 1.0 * scale
        torch.testing.assert_close(projected + fit.residual, fit.landmarks, atol=2e-2, rtol=0)


def test_views_of_equal_size_do_not_depend_on_their_order(head):
    _, points, sizes = _views(head)
    forth, back = fit_views(head, points, sizes), fit_views(head, points[::-1], sizes[::-1])[::-1]
    for one, other in zip(forth, back, strict=True):
        torch.testing.assert_close(one.params.shape, other.params.shape, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.params.rotation, other.params.rotation, atol=1e-4, rtol=1e-4)


def test_size_of_a_picture_does_not_matter_to_the_views(head):
    _, points, sizes = _views(head)
    usual = fit_views(head, points, sizes)
    points[1], sizes[1] = points[1] * 9.0, tuple(9 * n for n in sizes[1])
    enlarged = fit_views(head, points, sizes)
    for one, other in zip(usual, enlarged, strict=True):
        torch.testing.assert_close(one.params.shape, other.params.shape, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(one.params.expression, other.params.expression, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(enlarged[1].camera.scale, 9 * usual[1].camera.scale, rtol=1e-4, atol=0)


def test_views_by_one_camera_find_its_focal_length(head):
    params = talking(head, 40, turn_deg=40.0)
    points = seen_by_pinhole(head, params, focal=350.0, distance=0.4)[::6]
    fits = fit_views(head, list(points), [SIZE] * len(points), config=_precise(focal="estimate"))
    assert fits[0].report["focal"] == pytest.approx(350.0, rel=0.05)
    # the same pictures at twice the size: twice as many pixels
    larger = fit_views(
        head, [2 * p for p in points], [(512, 512)] * len(points), config=_precise(focal="estimate")
    )
    assert larger[0].report["focal"] == pytest.approx(2 * fits[0].report["focal"], rel=1e-3)


def test_bad_views_are_refused(head):
    _, points, sizes = _views(head)
    with pytest.raises(ShapeError, match="sizes: expected one for each of 4 pictures, got 3"):
        fit_views(head, points, sizes[:3])
    with pytest.raises(NoFaceError, match=r"number \[1\] have none"):
        fit_views(head, [points[0], np.full_like(points[1], np.nan)], sizes[:2])
    with pytest.raises(ShapeError, match="landmarks: expected arrays of one shape"):
        fit_views(head, [points[0], points[1][:5]], sizes[:2])
    with pytest.raises(ShapeError, match="landmarks: expected arrays of one shape"):
        fit_views(head, [], [])


def test_four_photos_of_a_person_agree_better_in_pairs_than_alone(test_data):
    pytest.importorskip("mediapipe")
    head = load_head("builtin")
    images = [read_image(test_data / f"dev/photos/{name}.jpg") for name in VIEWS]
    points = [detect_faces(image)[0].landmarks for image in images]
    sizes = [image.shape[:2] for image in images]

    def apart(one, other):
        difference = head.shape_basis[:468] @ (one.params.shape - other.params.shape)
        return float(difference.square().sum(1).mean().sqrt())

    alone = [fit_landmarks(head, p[None], s) for p, s in zip(points, sizes, strict=True)]
    single = np.mean([apart(a, b) for i, a in enumerate(alone) for b in alone[:i]])
    pairs = []
    for first, second in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
        halves = [fit_views(head, [points[i] for i in p], [sizes[i] for i in p])[0] for p in (first, second)]
        pairs.append(apart(*halves))
    assert float(np.mean(pairs)) < 0.95 * single
    together = fit_views(head, points, sizes)
    assert all(fit.report["reprojection_percent_iod"] < 1.6 for fit in together)
    assert dataclasses.replace(together[0]).params.shape.isfinite().all()
