"""Where the solver starts: the pose that an orthographic camera sees the mean face in (POS)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ._problem import LandmarkProblem, State
from ._projection import choose_again
from ._robust import weigh
from ._rotations import Array

FRONTAL = np.diag([1.0, -1.0, -1.0])
TRUSTED = (40.0, 20.0)  # residual of the affine map, % of the eye distance, from where landmarks count less
AT_ONCE = 256  # frames handled together
RIDGE = 1e-6  # of the mean square extent of the landmarks: keeps flat or few points solvable


def initial_state(problem: LandmarkProblem, *, robust: bool) -> tuple[State, LandmarkProblem]:
    """Pose of the mean by affine least squares; gaps take their neighbour's.

    Returns:
        The state, and the problem with sliding landmarks where they are in it.
    """
    frontal = State(
        camera=np.zeros((problem.frames, 3)),
        rotation=np.tile(FRONTAL, (problem.frames, 1, 1)),
        jaw=np.zeros((problem.frames, 3)),
        linear=np.zeros((problem.frames, problem.head.frame_count)),
        shape=np.zeros(problem.head.shape_count),
        lens=problem.lens,
    )
    state = _placed(problem := choose_again(problem, frontal), frontal, robust=robust)
    if problem.sliding is not None:  # once more, with the landmarks where this pose has them
        state = _placed(problem := choose_again(problem, state), frontal, robust=robust)
    return state, problem


def _placed(problem: LandmarkProblem, state: State, *, robust: bool) -> State:
    index = np.flatnonzero(problem.present)
    pieces = [problem.select(index[n : n + AT_ONCE]) for n in range(0, len(index), AT_ONCE)]
    camera, rotation = orthographic_pose(np.concatenate([_fitted_affine(p, robust=robust) for p in pieces]))
    nearest = _nearest(index, problem.frames)
    return dataclasses.replace(state, camera=camera[nearest], rotation=rotation[nearest])


def _fitted_affine(seen: LandmarkProblem, *, robust: bool) -> Array:
    """(T, 2, 4), wrong landmarks left out."""
    affine = _affine(seen, seen.confidence)
    for scale in TRUSTED if robust else ():
        residual = affine @ _points(seen) - seen.target
        _, weight = weigh(residual, seen.weight, seen.confidence, scale)
        affine = _affine(seen, weight)
    return affine


def orthographic_pose(affine: Array) -> tuple[Array, Array]:
    """Log scale and centre (T, 3) and rotation (T, 3, 3) nearest to affine maps (T, 2, 4)."""
    lengths = np.linalg.norm(affine[:, :, :3], axis=2)  # (T, 2)
    lengths = np.maximum(lengths, 1e-6 * max(lengths.max(), 1e-12))
    rows = affine[:, :, :3] / lengths[..., None]
    third = np.cross(rows[:, 0], rows[:, 1])
    left, _, right = np.linalg.svd(np.concatenate([rows, third[:, None]], axis=1))
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    camera = np.concatenate([np.log(lengths.mean(1))[:, None], affine[:, :, 3]], axis=1)
    return camera, left @ right


def _points(problem: LandmarkProblem) -> Array:
    """The mean's landmarks and ones, (4, L) or (T, 4, L)."""
    mean = problem.head.mean.T
    if problem.sliding is not None:
        mean = mean[:, np.maximum(problem.sliding.rows, 0)].transpose(1, 0, 2)  # (T, 3, L)
    return np.concatenate([mean, np.ones_like(mean[..., :1, :])], axis=-2)


def _affine(problem: LandmarkProblem, weight: Array | None) -> Array:
    """(T, 2, 4): what maps the mean's points to the seen ones in the least squares."""
    points = _points(problem)
    if weight is None and points.ndim == 2:
        return problem.target @ np.linalg.pinv(points)
    return affine_map(
        points, problem.target, np.ones(problem.target.shape[::2]) if weight is None else weight
    )


def affine_map(points: Array, target: Array, weight: Array) -> Array:
    """(T, 2, 4) of least squares from points with ones (T or 1, 4, L) to targets (T, 2, L)."""
    weighted = points * weight[:, None]
    matrix = weighted @ np.swapaxes(points, -1, -2)
    mean = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / 4
    right = target @ np.swapaxes(weighted, -1, -2)
    return np.swapaxes(np.linalg.solve(matrix + RIDGE * mean * np.eye(4), np.swapaxes(right, -1, -2)), -1, -2)


def _nearest(index: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """For each of 0 .. count - 1 the place in the sorted ``index`` of its nearest member."""
    frames = np.arange(count)
    after = np.searchsorted(index, frames).clip(max=len(index) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(frames - index[before]) <= np.abs(index[after] - frames), before, after)
