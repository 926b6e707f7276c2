"""Gauss-Newton fit of a head to the 2D landmarks of a clip: shared shape, per-frame pose and expression.

Energy, over frames t and landmarks l (all image lengths in units of 1 % of the 3D outer-canthal distance):

    sum_tl w_t |s_t P R_t X_tl + c_t - u_tl|^2 / sigma^2 + |shape|^2 + |expression_t|^2 + jaw prior
        + first differences in time of log scale, centre, rotation, jaw, expression

with X the posed landmark in the model frame (jaw joint about its own pivot, pose correctives of the jaw included).
The unknowns form an arrowhead: a banded block per frame (pose, jaw, expression, eyelids) and one shared shape block,
eliminated by its Schur complement. A frame without landmarks is a row without data: the temporal prior fills it.

The Jacobian of all linear coefficients is alpha_t (2 x 6) times six fixed channels, so its Gram matrix is
(alpha_t^T alpha_t) : G with G computed once per head (`_gram`). `jacobian_reference` states the plain Jacobian; tests
compare both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solveh_banded
from threadpoolctl import threadpool_limits

from ._problem import LandmarkProblem, State, rotation_exp, rotation_log

Array = NDArray[np.float64]
POSE_COLUMNS = 9  # log scale, centre x y, rotation xyz, jaw xyz


@dataclass(frozen=True)
class SolverConfig:
    """Settings of the fit.

    Attributes:
        sigma: landmark noise in % of the outer-canthal distance; small values let expression absorb pose.
        smooth: weight of the temporal prior; 0 fits every frame alone (shape stays shared).
        iterations: most Gauss-Newton steps.
        tolerance: stop when the energy falls by less than this share.
        jaw_deviation: prior standard deviation of the jaw's axis-angle, radians.
    """

    sigma: float = 3.0
    smooth: float = 0.3
    iterations: int = 6
    tolerance: float = 1e-3
    jaw_deviation: tuple[float, float, float] = (0.2, 0.04, 0.04)


@dataclass(frozen=True)
class Solution:
    """State at the minimum, residual per landmark in problem units, covariance of the pose block, energy history."""

    state: State
    residual: Array
    covariance: Array
    energies: tuple[float, ...]
    iterations: int


@dataclass(frozen=True)
class _Normal:
    """Normal equations of one linearisation: frame blocks, coupling to shape, shape block and gradients."""

    frame: Array  # (T, n, n)
    coupling: Array  # (T, n, S)
    shape: Array  # (S, S)
    frame_gradient: Array  # (T, n)
    shape_gradient: Array  # (S,)


def solve(problem: LandmarkProblem, config: SolverConfig) -> Solution:
    """Minimise the energy from the closed-form orthographic pose of the mean face.

    Raises:
        ValueError: no frame has landmarks.
    """
    if not problem.present.any():
        raise ValueError("solve: expected at least one frame with landmarks, got none")
    with threadpool_limits(limits=1):
        return _solve(problem, config)


def _solve(problem: LandmarkProblem, config: SolverConfig) -> Solution:
    gram = _gram(problem)
    prior, coupling = _priors(problem, config)
    state = problem.initial_state()
    damping, energies = 1e-4, [_energy(problem, state, config, prior, coupling)]
    steps = 0
    for _ in range(config.iterations):
        steps += 1
        problem = problem.with_perspective(state)
        if problem.focal is not None:
            energies[-1] = _energy(problem, state, config, prior, coupling)
        normal = _linearise(problem, state, config, gram, prior, coupling)
        state, energy, damping = _step(problem, state, config, normal, prior, coupling, energies[-1], damping)
        energies.append(energy)
        if energies[-2] - energies[-1] <= config.tolerance * energies[-2]:
            break
    normal = _linearise(problem, state, config, gram, prior, coupling)
    residual = problem.residual(state)
    return Solution(state, residual, _pose_covariance(normal), tuple(energies), steps)


def _priors(problem: LandmarkProblem, config: SolverConfig) -> tuple[Array, Array]:
    """Diagonal precision of the frame block, and of its first difference in time."""
    jaw = 1.0 / np.square(config.jaw_deviation)
    linear = np.ones(problem.frame_basis_count)
    prior = np.concatenate([np.zeros(6), jaw, linear])
    step = np.concatenate([[1 / 0.01**2], [1 / 10.0**2] * 2, [1 / 0.03**2] * 3, [1 / 0.05**2] * 3, linear / 0.35**2])
    return prior, step * (config.smooth if problem.frames > 1 else 0.0)


def _gram(problem: LandmarkProblem) -> tuple[Array, Array, Array]:
    """Gram matrices of the six fixed channels: expression x expression, expression x shape, shape x shape."""
    frame, shape = problem.frame_channels, problem.shape_channels  # (L, 6, E), (L, 6, S)
    ee = np.einsum("lie,ljf->ijef", frame, frame, optimize=True)
    es = np.einsum("lie,ljs->ijes", frame, shape, optimize=True)
    ss = np.einsum("lis,ljr->ijsr", shape, shape, optimize=True)
    return ee, es, ss


def _difference(state: State) -> Array:
    """First differences in time of the frame block, rotations as the log of the relative rotation."""
    vector = np.diff(state.frame_vector(), axis=0)
    relative = state.rotation[1:] @ np.swapaxes(state.rotation[:-1], 1, 2)
    vector[:, 3:6] = rotation_log(relative)
    return vector


def _energy(problem: LandmarkProblem, state: State, config: SolverConfig, prior: Array, coupling: Array) -> float:
    residual = problem.residual(state)
    data = float((problem.weight[:, None] * np.square(residual).sum(-1)).sum()) / config.sigma**2
    own = float(np.square(state.shape).sum() + (prior * np.square(state.frame_vector())).sum())
    time = float((coupling * np.square(_difference(state))).sum()) if coupling.any() else 0.0
    return data + own + time


def _linearise(
    problem: LandmarkProblem,
    state: State,
    config: SolverConfig,
    gram: tuple[Array, Array, Array],
    prior: Array,
    coupling: Array,
) -> _Normal:
    frames, landmarks = problem.frames, problem.landmarks
    frame_count, shape_count = problem.frame_basis_count, problem.shape_count
    weight = problem.weight / config.sigma**2  # (T,)
    pose, alpha = problem.pose_jacobian(state), problem.channel_weights(state)  # (T,L,2,9), (T,2,6)
    residual = -problem.residual(state)  # (T, L, 2): detected minus projected is minimised by moving along it
    square = np.einsum("tai,taj->tij", alpha, alpha) * weight[:, None, None]  # (T, 6, 6)
    ee, es, ss = gram
    flat = square.reshape(frames, 36)
    size = POSE_COLUMNS + frame_count
    block = np.empty((frames, size, size))
    cross = np.empty((frames, size, shape_count))
    block[:, POSE_COLUMNS:, POSE_COLUMNS:] = (flat @ ee.reshape(36, -1)).reshape(frames, frame_count, frame_count)
    cross[:, POSE_COLUMNS:] = (flat @ es.reshape(36, -1)).reshape(frames, frame_count, shape_count)
    shape = (flat.sum(0) @ ss.reshape(36, -1)).reshape(shape_count, shape_count)
    weighted = pose * weight[:, None, None, None]
    pose_flat = pose.reshape(frames, landmarks * 2, POSE_COLUMNS)
    weighted_flat = weighted.reshape(frames, landmarks * 2, POSE_COLUMNS)
    block[:, :POSE_COLUMNS, :POSE_COLUMNS] = np.swapaxes(weighted_flat, 1, 2) @ pose_flat
    # pose x linear and the linear gradients go through the channels: (10 L 6) per frame, then one product
    through = np.einsum("tlap,tai->tpli", weighted, alpha, optimize=True).reshape(frames * POSE_COLUMNS, landmarks * 6)
    pulled = np.einsum("tla,tai->tli", residual * weight[:, None, None], alpha).reshape(frames, landmarks * 6)
    frame_channels = problem.frame_channels.reshape(landmarks * 6, frame_count)
    shape_channels = problem.shape_channels.reshape(landmarks * 6, shape_count)
    mixed = (through @ frame_channels).reshape(frames, POSE_COLUMNS, frame_count)
    block[:, :POSE_COLUMNS, POSE_COLUMNS:] = mixed
    block[:, POSE_COLUMNS:, :POSE_COLUMNS] = np.swapaxes(mixed, 1, 2)
    cross[:, :POSE_COLUMNS] = (through @ shape_channels).reshape(frames, POSE_COLUMNS, shape_count)
    gradient = np.empty((frames, size))
    gradient[:, :POSE_COLUMNS] = np.einsum("tap,ta->tp", weighted_flat, residual.reshape(frames, -1))
    gradient[:, POSE_COLUMNS:] = pulled @ frame_channels
    shape_gradient = pulled.sum(0) @ shape_channels - state.shape
    gradient -= prior * state.frame_vector()
    diagonal = np.arange(size)
    block[:, diagonal, diagonal] += prior
    shape[np.arange(shape_count), np.arange(shape_count)] += 1.0
    if coupling.any():
        pull = coupling * _difference(state)
        gradient[:-1] += pull
        gradient[1:] -= pull
        count = np.full((frames, 1), 2.0)
        count[0] = count[-1] = 1.0
        block[:, diagonal, diagonal] += count * coupling
    return _Normal(block, cross, shape, gradient, shape_gradient)


def _step(
    problem: LandmarkProblem,
    state: State,
    config: SolverConfig,
    normal: _Normal,
    prior: Array,
    coupling: Array,
    energy: float,
    damping: float,
) -> tuple[State, float, float]:
    """One damped step that does not raise the energy; the state itself if none is found."""
    while damping < 1e4:
        frame_step, shape_step = _arrowhead(normal, coupling, damping)
        trial = state.moved(frame_step, shape_step)
        reached = _energy(problem, trial, config, prior, coupling)
        if np.isfinite(reached) and reached <= energy * (1 + 1e-9):
            return trial, reached, max(damping / 5, 1e-7)
        damping = damping * 10 + 1e-6
    return state, energy, damping


def _arrowhead(normal: _Normal, coupling: Array, damping: float) -> tuple[Array, Array]:
    """Solve the banded frame blocks against gradient and shape coupling, then the Schur complement."""
    frames, size = normal.frame_gradient.shape
    shape_count = normal.shape_gradient.shape[0]
    right = np.concatenate([normal.frame_gradient[..., None], normal.coupling], axis=2)  # (T, n, 1 + S)
    if frames > 1 and coupling.any():
        solved = solveh_banded(
            _banded(normal.frame, coupling, damping),
            right.reshape(frames * size, -1),
            lower=True,
            overwrite_ab=True,
            check_finite=False,
        ).reshape(frames, size, -1)
    else:
        diagonal = np.arange(size)
        damped = normal.frame.copy()
        damped[:, diagonal, diagonal] *= 1 + damping
        damped[:, diagonal, diagonal] += 1e-6
        solved = np.stack([cho_solve(cho_factor(m, lower=True), r) for m, r in zip(damped, right, strict=True)])
    flat, coupled = solved.reshape(-1, 1 + shape_count), normal.coupling.reshape(-1, shape_count)
    schur = normal.shape + damping * np.diag(np.diagonal(normal.shape)) - coupled.T @ flat[:, 1:]
    shape_step = np.linalg.solve(schur, normal.shape_gradient - coupled.T @ flat[:, 0])
    return solved[..., 0] - solved[..., 1:] @ shape_step, shape_step


def _banded(blocks: Array, coupling: Array, damping: float) -> Array:
    """Lower banded storage of the block-diagonal matrix with diagonal coupling between neighbouring frames."""
    frames, size = blocks.shape[:2]
    band = np.zeros((size + 1, frames * size))
    for k in range(size):
        band[k].reshape(frames, size)[:, : size - k] = np.diagonal(blocks, -k, 1, 2)
    band[0] = band[0] * (1 + damping) + 1e-6
    band[size].reshape(frames, size)[:-1] = -coupling
    return band


def _pose_covariance(normal: _Normal) -> Array:
    """Marginal covariance of (rotation 3, log scale, centre 2) of every frame, given the shape."""
    size = normal.frame.shape[1]
    order = [3, 4, 5, 0, 1, 2]
    selector = np.zeros((size, 6))
    selector[order, np.arange(6)] = 1.0
    inverse = np.linalg.solve(normal.frame + 1e-9 * np.eye(size), np.broadcast_to(selector, (len(normal.frame), size, 6)))
    return inverse[:, order]


def jacobian_reference(problem: LandmarkProblem, state: State) -> Array:
    """The plain Jacobian (T, L, 2, 9 + E + S) of the projected landmarks; the Gram path is tested against it."""
    alpha = problem.channel_weights(state)
    channels = np.concatenate([problem.frame_channels, problem.shape_channels], axis=2)
    linear = np.einsum("tai,lik->tlak", alpha, channels)
    return np.concatenate([problem.pose_jacobian(state), linear], axis=3)


__all__ = ["Solution", "SolverConfig", "jacobian_reference", "rotation_exp", "rotation_log", "solve"]
