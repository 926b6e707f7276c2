"""Covariances and standard deviations: as large as the errors are, larger where less is seen."""

import dataclasses

import numpy as np
import pytest
import torch
from landmark_clips import seen_weakly, talking
from toy_head import toy_head

from headwarp.flame.fitting import FitConfig, SolverConfig, fit_landmarks
from headwarp.flame.model import landmark_points
from headwarp.flame.params import HeadParams
from headwarp.flame.posing import camera_rotation, project_head
from headwarp.geom.cameras import WeakPerspective
from headwarp.geom.transforms import matrix_to_axis_angle

SIZE = (256, 256)
SIGMA = 2.0  # % of the eye distance
JAW = (0.2, 0.04, 0.04)
PERSONS, FRAMES = 24, 6


@pytest.fixture(scope="module")
def head():
    return toy_head()


def _drawn(head, rng):
    """A person and frames as the priors have them; pose anything."""
    normal = lambda *shape: torch.as_tensor(rng.normal(size=shape), dtype=torch.float32)  # noqa: E731
    neutral = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2], FRAMES)
    return dataclasses.replace(
        neutral,
        shape=normal(head.shape_basis.shape[2]),
        expression=normal(FRAMES, head.expression_basis.shape[2]),
        rotation=0.3 * normal(FRAMES, 3),
        jaw=normal(FRAMES, 3) * torch.tensor(JAW),
    )


def _normalised_errors(head, seed, **solver):
    """Of the pose (6, whitened), and of jaw and expression; one row a frame."""
    rng = np.random.default_rng(seed)
    params = _drawn(head, rng)
    camera = WeakPerspective(torch.full((FRAMES,), 900.0), torch.full((FRAMES, 2), 128.0))
    indices = head.landmarks["mediapipe"].indices
    points = landmark_points(head, project_head(head, params, camera), "mediapipe")[..., :2].double().numpy()
    unit = (
        float(np.linalg.norm(_rest(head, 33) - _rest(head, 263))) if 263 in indices.tolist() else _size(head)
    )
    noisy = points + rng.normal(scale=SIGMA / 100 * unit * 900.0, size=points.shape)
    full = np.full((FRAMES, int(indices.max()) + 1, 2), np.nan)
    full[:, indices.numpy()] = noisy
    config = FitConfig(solver=SolverConfig(sigma=SIGMA, smooth=0.0, robust=np.inf, iterations=40, **solver))
    fit = fit_landmarks(head, full, SIZE, config=config)
    turn = camera_rotation(fit.params).double() @ camera_rotation(params).double().mT
    # the root turns about its joint: the image of the model's origin, as the covariance has it
    centres = [_origin(head, p, c) for p, c in ((fit.params, fit.camera), (params, camera))]
    error = torch.cat(
        [
            matrix_to_axis_angle(turn),
            (fit.camera.scale / camera.scale).log().double()[:, None],
            centres[0] - centres[1],
        ],
        dim=1,
    )
    root = torch.linalg.cholesky(fit.covariance.double())
    pose = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
    jaw = (fit.params.jaw - params.jaw) / fit.deviation[:, :3]
    expression = (fit.params.expression - params.expression) / fit.deviation[:, 5:]
    return pose.numpy(), jaw.numpy(), expression.numpy()


def _rest(head, number):
    row = head.landmarks["mediapipe"].indices.tolist().index(number)
    return landmark_points(head, head.template[None], "mediapipe")[0, row].numpy()


def _size(head):
    points = landmark_points(head, head.template[None], "mediapipe")[0].double()
    return float(2 * (points - points.mean(0)).square().sum(1).mean().sqrt())


def _origin(head, params, camera):
    """Image of the model's origin carried by the head's rotation."""
    root = head.joint_template[0] + head.joint_shape_basis[0] @ params.shape
    root = root + params.expression @ head.joint_expression_basis[0].T  # (T, 3)
    rotation = camera_rotation(params)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    moved = root @ flip - (rotation @ root[..., None])[..., 0]  # camera axes
    return (camera.center + camera.scale[:, None] * moved[:, :2]).double()


def test_errors_are_as_large_as_the_deviations_say(head):
    """Normalised errors of heads drawn from the priors, with the noise that was told: variance 1 +- 20 %."""
    drawn = [_normalised_errors(head, seed, jaw_deviation=JAW) for seed in range(PERSONS)]
    for number, name in enumerate(("pose", "jaw", "expression")):
        errors = np.concatenate([d[number] for d in drawn])
        assert abs(float(errors.mean())) < 0.15, name
        assert 0.8 < float(np.square(errors).mean()) < 1.2, (name, float(np.square(errors).mean()))
        assert float((np.abs(errors) < 2).mean()) > 0.9, name


def test_deviation_grows_into_a_gap_and_towards_its_prior(head):
    points = seen_weakly(head, talking(head, 40))
    points[10:30] = np.nan
    fit = fit_landmarks(head, points, SIZE)
    middle, rim, seen = fit.deviation[20], fit.deviation[11], fit.deviation[5]
    used = seen < 0.49 * torch.cat([torch.tensor([0.4, 0.08, 0.08, 1.0, 1.0]), torch.full((5,), 2.0)])
    assert used.sum() > 4
    assert bool((middle >= 0.95 * rim).all())
    assert bool((rim[used] > seen[used]).all())
    assert bool((fit.deviation[:, 5:] <= 1.0 + 1e-5).all())
    yaw = fit.covariance[:, 1, 1]
    assert bool((yaw[10:20].diff() > 0).all())
    assert bool((yaw[20:30].diff() < 0).all())


def test_fewer_landmarks_more_noise_and_unknown_shape_are_less_certain(head):
    points = seen_weakly(head, talking(head, 10))
    usual = fit_landmarks(head, points, SIZE)
    half = points.copy()
    half[:, ::2] = np.nan
    noisy = fit_landmarks(head, points, SIZE, config=FitConfig(solver=SolverConfig(sigma=6.0)))
    alone = fit_landmarks(head, points[4:5], SIZE)
    for other, frame in ((fit_landmarks(head, half, SIZE), 4), (noisy, 4), (alone, 0)):
        assert float(other.covariance[frame, 1, 1]) > 1.2 * float(usual.covariance[4, 1, 1])
        assert float(other.deviation[frame, 5:].mean()) > float(usual.deviation[4, 5:].mean())


def test_covariances_are_positive_definite_along_a_long_clip(head):
    fit = fit_landmarks(head, seen_weakly(head, talking(head, 400)), SIZE)
    assert bool((torch.linalg.eigvalsh(fit.covariance.double()) > 0).all())
    middle = fit.covariance[100:300, 1, 1]
    assert float(middle.max() / middle.min()) < 1.5
