"""Streams: nothing of the future counts, live and batch agree, jumps are waited out, the rest is a clip's."""

import dataclasses

import numpy as np
import pytest
import torch
from landmark_clips import seen_by_pinhole, seen_weakly, talking
from landmark_problems import random_problem, random_state
from toy_head import toy_head

from headwarp.flame.fitting import FitConfig, SolverConfig, StreamFitter, fit_landmarks
from headwarp.flame.fitting._direct import direct_rows
from headwarp.flame.fitting._frame import FrameState, PersonTables, fit_frame, turned
from headwarp.flame.fitting._live import rotation_vector
from headwarp.flame.fitting._projection import points_at
from headwarp.flame.fitting._rotations import rotation_exp
from headwarp.flame.params import DETECTED, INTERPOLATED, MISSING
from headwarp.flame.posing import head_pose
from headwarp.geom.errors import HeadwarpError, NoFaceError, ShapeError

SIZE = (256, 256)
WARM_UP = 8
PARAMS = ("expression", "rotation", "translation", "jaw", "eyes", "eyelids")


@pytest.fixture(scope="module")
def head():
    return toy_head()


@pytest.fixture(scope="module")
def clip(head):
    points = seen_weakly(head, talking(head, 40))
    return points + np.random.default_rng(0).normal(scale=0.2, size=points.shape)


def _stream(head, points, *, confidences=None, **config):
    chosen = FitConfig(mode="stream", **{"warm_up": WARM_UP, **config})
    return fit_landmarks(head, points, SIZE, confidences=confidences, config=chosen)


def _live(head, points, **config):
    stream = StreamFitter(head, SIZE, config=FitConfig(**{"warm_up": WARM_UP, **config}))
    return [stream.step(None if np.isnan(p).all() else p) for p in points]


def _equal(one, other, frame, number):
    for name in PARAMS:
        assert torch.equal(getattr(one.params, name)[frame], getattr(other.params, name)[number]), name
    assert torch.equal(one.covariance[frame], other.covariance[number])
    assert torch.equal(one.deviation[frame], other.deviation[number])


def test_no_later_frame_changes_a_result(head, clip):
    whole = _stream(head, clip)
    for cut in (9, 20, 33):
        changed = clip.copy()
        changed[cut:] = np.random.default_rng(cut).uniform(0, 256, changed[cut:].shape)
        other = _stream(head, changed)
        for frame in range(cut):
            _equal(whole, other, frame, frame)
            assert whole.status[frame] == other.status[frame]
            assert torch.equal(whole.residual[frame], other.residual[frame])
        assert torch.equal(whole.params.shape, other.params.shape)
        short = _stream(head, clip[:cut])
        assert torch.equal(short.params.rotation, whole.params.rotation[:cut])


def test_live_steps_are_the_frames_of_the_batch(head, clip):
    gap = clip.copy()
    gap[20:23] = np.nan
    batch, live = _stream(head, gap), _live(head, gap)
    for frame in range(WARM_UP, len(clip)):
        step = live[frame]
        assert step.frames == 1
        _equal(step, batch, 0, frame)
        assert torch.equal(step.params.shape, batch.params.shape)
        torch.testing.assert_close(step.camera.center[0], batch.camera.center[frame], atol=1e-4, rtol=0)
        torch.testing.assert_close(step.residual[0], batch.residual[frame], atol=2e-3, rtol=0)
        torch.testing.assert_close(step.confidence[0], batch.confidence[frame], atol=1e-5, rtol=0)
        assert step.status[0] == batch.status[frame]


def test_stream_finds_what_a_clip_finds(head, clip):
    config = FitConfig(solver=SolverConfig(smooth=0.0))
    stream, whole = _stream(head, clip, warm_up=20), fit_landmarks(head, clip, SIZE, config=config)
    apart = (head_pose(stream.params) - head_pose(whole.params)).abs()
    assert float(apart[20:].max()) < 2.0
    ratio = stream.report["reprojection_percent_iod"] / whole.report["reprojection_percent_iod"]
    assert ratio < 1.5
    assert stream.report["together"] == 20


def test_warm_up_is_a_clip_solved_alone(head, clip):
    stream, first = _stream(head, clip), fit_landmarks(head, clip[:WARM_UP], SIZE)
    assert torch.equal(stream.params.shape, first.params.shape)
    torch.testing.assert_close(stream.params.rotation[:WARM_UP], first.params.rotation)


def test_a_gap_is_held_and_gets_less_certain(head, clip):
    gap = clip.copy()
    gap[20:26] = np.nan
    fit = _stream(head, gap, max_gap=4)
    assert fit.status[19:27].tolist() == [DETECTED] + [INTERPOLATED] * 4 + [MISSING] * 2 + [DETECTED]
    for frame in range(20, 26):
        assert torch.equal(fit.params.rotation[frame], fit.params.rotation[19])
        assert float(fit.covariance[frame, 1, 1]) > float(fit.covariance[frame - 1, 1, 1])
        assert bool((fit.deviation[frame] >= fit.deviation[frame - 1] - 1e-6).all())
    assert float(fit.covariance[26, 1, 1]) < float(fit.covariance[20, 1, 1])
    apart = head_pose(fit.params)[26] - head_pose(_stream(head, clip).params)[26]
    assert float(apart.abs().max()) < 1.5


def test_a_jump_is_waited_out_and_a_move_that_stays_is_followed(head, clip):
    slip = clip.copy()
    slip[15:18] += np.array([80.0, 0.0])
    fit, clean = _stream(head, slip), _stream(head, clip)
    assert fit.report["outlier_frames"] == [15, 16, 17]
    assert (fit.camera.center - clean.camera.center).norm(dim=1).max() < 5
    assert float(fit.confidence[15:18].max()) == 0
    moved = clip.copy()
    moved[15:] += np.array([80.0, 0.0])
    stays = _stream(head, moved)
    assert stays.report["outlier_frames"] == [15, 16, 17, 18, 19]
    there = stays.camera.center[21:] - clean.camera.center[21:]
    torch.testing.assert_close(there, torch.tensor([[80.0, 0.0]]).expand_as(there), atol=2.5, rtol=0)


def test_wrong_and_missing_landmarks_hardly_matter(head, clip):
    rng = np.random.default_rng(1)
    out = rng.random(clip.shape[:2]) < 0.2
    clean = head_pose(_stream(head, clip).params)
    wrong = np.where(out[..., None], clip + rng.normal(scale=40, size=clip.shape), clip)
    for points in (wrong, np.where(out[..., None], np.nan, clip)):
        apart = head_pose(_stream(head, points).params) - clean
        assert float(apart.abs().max()) < 2.5
    plain = head_pose(_stream(head, wrong, solver=SolverConfig(robust=np.inf)).params) - clean
    assert float(plain.abs().max()) > 5


def test_confidences_of_a_stream(head, clip):
    out = np.random.default_rng(1).random(clip.shape[:2]) < 0.3
    missing = _stream(head, np.where(out[..., None], np.nan, clip))
    ignored = _stream(head, np.where(out[..., None], clip + 50, clip), confidences=np.where(out, 0.0, 1.0))
    assert torch.equal(missing.params.rotation, ignored.params.rotation)


def test_before_the_first_face_the_head_is_missing(head, clip):
    late = clip.copy()
    late[:4] = np.nan
    live = _live(head, late)
    assert [int(fit.status[0]) for fit in live[:6]] == [MISSING] * 4 + [DETECTED] * 2
    fit = _stream(head, late)
    assert fit.status[:5].tolist() == [MISSING] * 4 + [DETECTED]
    for params in (live[0].params, fit.params):
        assert torch.isfinite(params.rotation).all()


def test_streams_shorter_than_the_warm_up_are_clips(head, clip):
    short, whole = _stream(head, clip[:5]), fit_landmarks(head, clip[:5], SIZE)
    assert torch.equal(short.params.rotation, whole.params.rotation)
    with pytest.raises(NoFaceError, match="at least one frame"):
        _stream(head, np.full_like(clip, np.nan))


def test_stream_by_a_pinhole(head):
    params = talking(head, 30)
    points = seen_by_pinhole(head, params, focal=400.0, distance=0.45)
    fit = _stream(head, points, focal=400.0, solver=SolverConfig(sigma=0.3))
    live = _live(head, points, focal=400.0, solver=SolverConfig(sigma=0.3))
    assert fit.report["focal"] == pytest.approx(400.0, rel=1e-6)
    assert fit.report["reprojection_percent_iod"] < 0.6
    torch.testing.assert_close(fit.params.translation[:, 2], torch.full((30,), -0.45), atol=0.04, rtol=0)
    torch.testing.assert_close(live[-1].params.translation[0], fit.params.translation[-1], atol=1e-5, rtol=0)
    assert torch.equal(live[-1].camera.focal[0], fit.camera.focal[-1])


def test_steps_say_what_is_wrong(head, clip):
    stream = StreamFitter(head, SIZE)
    with pytest.raises(ShapeError, match=r"points: expected \(L, 2\) or \(L, 3\) pixels of one frame"):
        stream.step(clip)
    with pytest.raises(HeadwarpError, match="ibug68"):
        StreamFitter(head, SIZE, family="ibug68").step(np.zeros((68, 2)))
    with pytest.raises(HeadwarpError, match="mode: expected auto, photo, clip or stream, got 'live'"):
        FitConfig(mode="live")
    with pytest.raises(HeadwarpError, match="warm_up: expected at least 1, got 0"):
        FitConfig(warm_up=0)


@pytest.mark.parametrize("case", [{}, {"correctives": True}, {"lens": 0.8}])
def test_one_frame_equals_the_plain_twin(case):
    """Steps to the minimum, against Gauss-Newton with the plain Jacobian in double precision."""
    problem = random_problem(1, **case)
    problem = _near(problem)
    state, strength = random_state(problem, motion=0.1), 0.0
    if problem.unit is not None:
        strength = problem.lens * float(problem.unit[0])
    precision = np.concatenate([np.zeros(6), [25.0, 600, 600], np.ones(4)])
    tables = PersonTables.of(problem.head, state.shape, precision)
    start = FrameState(state.camera[0], state.rotation[0], state.jaw[0], state.linear[0])
    for _ in range(30):
        fit = fit_frame(
            tables,
            start,
            problem.target[0],
            weight=np.full(20, 1 / 9),
            before=(np.zeros(13), np.full(13, 1e-9)),
            scale=np.inf,
            strength=strength,
        )
        start = fit.state
    for _ in range(60):
        rows = direct_rows(problem, state, weight=np.full((1, 20), 1 / 9), free_lens=False).rows[0]
        matrix = rows[:, :13] + np.diag(precision + 1e-6)
        step = np.linalg.solve(matrix, rows[:, -1] - precision * state.frame_vector()[0])
        state = state.moved(step[None], np.zeros(5))
    np.testing.assert_allclose(fit.state.rotation, state.rotation[0], atol=2e-4)
    np.testing.assert_allclose(fit.state.linear, state.linear[0], atol=2e-3)
    np.testing.assert_allclose(fit.covariance, np.linalg.inv(matrix), rtol=2e-2, atol=1e-6)


def _near(problem):
    """Targets that a state of the problem projects to, with some noise."""
    image = points_at(problem, random_state(problem, seed=7, motion=0.1)).image
    noise = np.random.default_rng(0).normal(scale=0.5, size=image.shape)
    return dataclasses.replace(problem, target=image + noise, weight=np.ones(1))


def test_small_rotations_are_those_of_the_clip():
    rng = np.random.default_rng(0)
    for size in (0.0, 1e-8, 0.3, 3.1):
        vector = rng.normal(size=3)
        vector *= size / np.linalg.norm(vector)
        np.testing.assert_allclose(turned(vector), rotation_exp(vector), atol=1e-12)
        np.testing.assert_allclose(rotation_vector(turned(vector)), vector, atol=1e-7)
