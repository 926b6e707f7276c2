"""Landmarks and frames that are wrong: they count for little, and do not spoil the others."""

import dataclasses

import numpy as np
import pytest
import torch
from landmark_clips import seen_weakly, talking
from toy_head import toy_head

from headwarp.flame.fitting import FitConfig, SolverConfig, fit_landmarks
from headwarp.flame.params import DETECTED, INTERPOLATED
from headwarp.flame.posing import camera_rotation
from headwarp.geom.errors import HeadwarpError, ShapeError

SIZE = (256, 256)


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def clip(head):
    rng = np.random.default_rng(5)
    points = seen_weakly(head, talking(head, 24))
    return points + rng.normal(scale=0.2, size=points.shape)


def _fit(head, points, *, confidences=None, **solver):
    config = FitConfig(solver=SolverConfig(**solver))
    return fit_landmarks(head, points, SIZE, confidences=confidences, config=config)


def _apart(fit, other):
    """Largest angle (degrees), and largest distance of shape and expression coefficients."""
    turn = camera_rotation(fit.params) @ camera_rotation(other.params).mT
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    angle = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).max()
    shape = (fit.params.shape - other.params.shape).abs().max()
    expression = (fit.params.expression - other.params.expression).abs().max()
    return float(angle), float(shape), float(expression)


def _corrupted(points, share, *, size=40.0, seed=1):
    rng = np.random.default_rng(seed)
    wrong = rng.random(points.shape[:2]) < share
    return points + wrong[..., None] * rng.normal(scale=size, size=points.shape)


def test_a_fifth_of_the_landmarks_wrong_changes_little(head, clip):
    clean, spoilt = _fit(head, clip), _corrupted(clip, 0.2)
    angle, shape, expression = _apart(_fit(head, spoilt), clean)
    assert angle < 1.5
    assert shape < 0.25
    assert expression < 0.4
    plain = _apart(_fit(head, spoilt, robust=np.inf), clean)
    assert plain[0] > 3 * angle
    assert plain[1] > 3 * shape


def test_a_hand_over_the_mouth_leaves_the_rest_of_the_face_in_place(head, clip):
    covered = clip.copy()
    low = clip[0, :, 1] > np.quantile(clip[0, :, 1], 0.8)
    covered[8:14, low] += np.array([25.0, -12.0])  # the lowest fifth slides aside as one
    clean = _fit(head, clip)
    angle, shape, _ = _apart(_fit(head, covered), clean)
    assert angle < 2.5
    assert shape < 0.3
    assert _apart(_fit(head, covered, robust=np.inf), clean)[0] > 2 * angle


def test_a_detector_that_slips_for_some_frames_is_flagged_and_bridged(head, clip):
    slipped = clip.copy()
    slipped[9:12] += np.array([70.0, 30.0])
    slipped[17] = slipped[17] * 0.5 + 10
    fit, clean = _fit(head, slipped), _fit(head, clip)
    assert fit.report["outlier_frames"] == [9, 10, 11, 17]
    assert clean.report["outlier_frames"] == []
    assert fit.status[9:12].tolist() == [INTERPOLATED] * 3
    assert (fit.status == DETECTED).sum() == 20
    assert float(fit.confidence[[9, 10, 11, 17]].max()) == 0
    assert float(fit.residual[10].abs().max()) == 0
    assert torch.isfinite(fit.landmarks[10]).all()  # what was detected is kept
    others = [t for t in range(24) if t not in (9, 10, 11, 17)]
    assert _apart(fit.select(others), clean.select(others))[0] < 0.5
    assert _apart(fit, clean)[0] < 4
    assert (fit.camera.center - clean.camera.center).norm(dim=1).max() < 4
    assert float(fit.covariance[10, 1, 1]) > 2 * float(clean.covariance[10, 1, 1])


def test_a_face_that_moves_on_for_good_is_no_slip(head, clip):
    moved = clip.copy()
    moved[12:] += np.array([60.0, 0.0])
    fit = _fit(head, moved)
    assert fit.report["outlier_frames"] == []
    assert (fit.status == DETECTED).all()


def test_a_frame_of_nonsense_is_flagged_and_hardly_believed(head, clip):
    wild = clip.copy()
    wild[7] = np.random.default_rng(3).uniform(60, 200, wild[7].shape)
    fit, clean = _fit(head, wild), _fit(head, clip)
    assert fit.report["outlier_frames"] == [7]
    assert float(fit.confidence[7]) < 0.1
    assert float(fit.confidence[6]) > 0.9
    others = [t for t in range(24) if t != 7]
    assert _apart(fit.select(others), clean.select(others))[0] < 1.0


def test_missing_landmarks_are_done_without(head, clip):
    rng = np.random.default_rng(2)
    holes = clip.copy()
    holes[rng.random(clip.shape[:2]) < 0.3] = np.nan
    fit, whole = _fit(head, holes), _fit(head, clip)
    assert (fit.status == DETECTED).all()
    angle, shape, expression = _apart(fit, whole)
    assert angle < 0.5
    assert shape < 0.2
    assert expression < 0.3
    missing = torch.isnan(fit.landmarks).any(-1)
    assert missing.any()
    assert float(fit.residual[missing].abs().max()) == 0


def test_landmarks_of_no_confidence_are_missing_ones(head, clip):
    rng = np.random.default_rng(2)
    out = rng.random(clip.shape[:2]) < 0.3
    holes, wrong = np.where(out[..., None], np.nan, clip), np.where(out[..., None], clip + 50, clip)
    missing = _fit(head, holes)
    for nothing in (0.0, np.nan):
        confident = _fit(head, wrong, confidences=np.where(out, nothing, 1.0))
        for name in ("shape", "expression", "rotation", "jaw"):
            assert torch.equal(getattr(confident.params, name), getattr(missing.params, name))


def test_confidence_weighs(head, clip):
    """Half of the landmarks say one thing, half another: the confident ones are followed."""
    shifted = clip.copy()
    right = np.arange(clip.shape[1]) % 2 == 0
    shifted[:, right] += np.array([4.0, 0.0])
    centres = []
    for sure in (0.05, 1.0, 20.0):
        confidences = np.where(right, sure, 1.0) * np.ones(clip.shape[:2])
        fit = _fit(head, shifted, confidences=confidences, robust=np.inf)
        centres.append(float(fit.camera.center[:, 0].mean()))
    assert centres[0] < centres[1] - 1 < centres[2] - 2
    base = float(_fit(head, clip).camera.center[:, 0].mean())
    assert centres[1] - base == pytest.approx(2.0, abs=0.6)  # turning explains some of it


def test_frames_with_too_few_landmarks_have_no_face(head, clip):
    few = clip.copy()
    spread = np.random.default_rng(0).permutation(clip.shape[1])
    few[3, spread[5:]] = np.nan
    few[4, spread[6:]] = np.nan
    fit = _fit(head, few)
    assert fit.status[3] == INTERPOLATED
    assert fit.status[4] == DETECTED
    assert torch.isfinite(fit.params.rotation).all()


@pytest.mark.parametrize("robust", [np.inf, 8.0])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_closed_form_and_direct_form_find_the_same(head, clip, robust, smooth):
    both = [
        _fit(head, clip, robust=robust, smooth=smooth, method=method, iterations=60, tolerance=0.0)
        for method in ("gram", "direct")
    ]
    for name in ("shape", "expression", "rotation", "jaw", "eyelids"):
        closed, direct = (getattr(fit.params, name) for fit in both)
        torch.testing.assert_close(closed, direct, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[0].camera.scale, both[1].camera.scale, rtol=1e-5, atol=0)
    torch.testing.assert_close(both[0].residual, both[1].residual, atol=1e-3, rtol=0)


def test_uneven_frames_are_formed_directly_and_the_minimum_is_that_of_the_direct_form(head, clip):
    spoilt = clip.copy()
    spoilt[4:6] = _corrupted(clip[4:6], 0.3)
    auto, direct = (
        _fit(head, spoilt, method=method, iterations=80, tolerance=0.0) for method in ("auto", "direct")
    )
    for name in ("shape", "expression", "rotation", "jaw"):
        torch.testing.assert_close(
            getattr(auto.params, name), getattr(direct.params, name), atol=2e-5, rtol=1e-5
        )


def test_equal_input_gives_equal_bytes(head, clip, tmp_path):
    spoilt = _corrupted(clip, 0.1)
    first, second = (_fit(head, spoilt).save(tmp_path / f"{n}.npz") for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_bad_confidences_are_refused(head, clip):
    with pytest.raises(ShapeError, match=r"confidences: expected \(24, \d+\) \(T, L\), one a landmark"):
        _fit(head, clip, confidences=np.ones(24))
    for bad in (-1.0, np.inf):
        with pytest.raises(HeadwarpError, match="confidences: expected finite numbers of 0 or more"):
            _fit(head, clip, confidences=np.full(clip.shape[:2], bad))
    with pytest.raises(HeadwarpError, match="robust: expected a number above 0, or infinity, got 0"):
        SolverConfig(robust=0.0)
    with pytest.raises(HeadwarpError, match="method: expected auto, gram or direct, got 'fast'"):
        SolverConfig(method="fast")


@pytest.mark.parametrize("factor", [0.02, 1.0, 30.0])
def test_huge_and_tiny_faces_are_fitted_alike(head, clip, factor):
    usual, other = _fit(head, clip), fit_landmarks(head, clip * factor, (int(256 * factor) + 1,) * 2)
    torch.testing.assert_close(other.params.rotation, usual.params.rotation, atol=1e-3, rtol=0)
    torch.testing.assert_close(other.params.shape, usual.params.shape, atol=5e-3, rtol=0)


def test_constant_points_all_missing_but_one_and_single_frames_do_not_crash(head, clip):
    alone = np.full_like(clip, np.nan)
    alone[11] = clip[11]
    fit = _fit(head, alone)
    assert fit.status.tolist().count(DETECTED) == 1
    for name in ("rotation", "expression", "jaw"):
        assert torch.isfinite(getattr(fit.params, name)).all()
    assert float(fit.covariance[0, 1, 1]) > float(fit.covariance[10, 1, 1]) > float(fit.covariance[11, 1, 1])
    for points in (np.full_like(clip, 77.0), np.zeros_like(clip), clip[:1], clip[:2]):
        result = _fit(head, points)
        assert all(torch.isfinite(v).all() for v in dataclasses.asdict(result.params).values())
