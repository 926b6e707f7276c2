"""Gauss-Newton for a whole clip: every frame's pose and expression, one shared shape, smoothness in time.

Minimises, in normalised units (1 unit = 1 % of the 3D outer-canthal distance):

    sum_tl w_t |s_t P R_t X_tl + c_t - u_tl|^2 / sigma^2 + k |shape|^2 + |expression_t|^2 + jaw prior
        + first differences in time of log scale, centre, rotation, jaw, expression

with X the posed landmark in the model frame (jaw joint about its own pivot, pose correctives of the jaw
included). The unknowns form an arrowhead: a chain of frame blocks (pose, jaw, expression, eyelids) and one
shared shape block, eliminated by its Schur complement (`_chain`). A frame without landmarks is a row without
data: the temporal prior fills it.

No Jacobian is formed: sums over the landmarks are contractions of moments that are fixed per head (`_sums`).
Tests
compare them with the plain Jacobian, `jacobian_reference`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from ...geom.errors import HeadwarpError
from ._chain import Eliminated, back_substitute, eliminate, marginal_covariance
from ._problem import Array, LandmarkProblem, State, rotation_log
from ._sums import (
    HeadProducts,
    Linearised,
    Seen,
    head_products,
    linearise_data,
    shape_terms,
    written_out,
)

LEAST_DAMPING, MOST_DAMPING = 1e-7, 1e4
POSE_ORDER = [3, 4, 5, 0, 1, 2]  # of the covariance: rotation, log scale, centre


@dataclass(frozen=True)
class SolverConfig:
    """Settings of the fit.

    Attributes:
        sigma: landmark noise in % of the outer-canthal distance; small values let expression absorb pose.
        smooth: weight of the temporal prior; 0 fits every frame alone (shape stays shared).
        shape_frames: how many frames tell of the shape at most. A detector errs alike in every frame, so that
            a thousand frames know no more than these; the prior of the shape grows with the rest.
        iterations: most Gauss-Newton steps.
        tolerance: stop when the energy falls by less than this share.
        jaw_deviation: prior standard deviation of the jaw's axis-angle, radians.

    Raises:
        HeadwarpError: a number that makes no sense.
    """

    sigma: float = 3.0
    smooth: float = 0.3
    shape_frames: float = 10.0
    iterations: int = 6
    tolerance: float = 1e-3
    jaw_deviation: tuple[float, float, float] = (0.2, 0.04, 0.04)

    def __post_init__(self) -> None:
        positive = {"sigma": self.sigma, "shape_frames": self.shape_frames}
        for name, value in {**positive, "jaw_deviation": min(self.jaw_deviation)}.items():
            if not 0 < value < math.inf:
                raise HeadwarpError(f"{name}: expected a number above 0, got {value}")
        for name, value in (("smooth", self.smooth), ("tolerance", self.tolerance)):
            if not 0 <= value < math.inf:
                raise HeadwarpError(f"{name}: expected 0 or more, got {value}")
        if self.iterations < 1:
            raise HeadwarpError(f"iterations: expected at least 1, got {self.iterations}")


@dataclass(frozen=True)
class Solution:
    """What a fit finds.

    Attributes:
        state: at the minimum.
        residual: per landmark, problem units.
        covariance: (T, 6, 6) of the pose: rotation, log scale, centre.
        deviation: (T, 3 + E) standard deviations of the jaw and the frame's coefficients.
        energies: of every step.
    """

    state: State
    residual: Array
    covariance: Array
    deviation: Array
    energies: tuple[float, ...]
    iterations: int


@dataclass(frozen=True)
class Priors:
    """Diagonal precisions of a frame's unknowns (n,), of their first difference in time, and of the shape."""

    own: Array
    tie: Array
    shape: float

    @staticmethod
    def of(problem: LandmarkProblem, config: SolverConfig) -> Priors:
        linear = np.ones(problem.head.frame_count)
        own = np.concatenate([np.zeros(6), 1.0 / np.square(config.jaw_deviation), linear])
        tie = np.repeat([1 / 0.01**2, 1 / 10.0**2, 1 / 0.03**2, 1 / 0.05**2], [1, 2, 3, 3])
        tie = np.concatenate([tie, linear / 0.35**2])
        shape = max(1.0, np.count_nonzero(problem.weight) / config.shape_frames)
        return Priors(own, tie * (config.smooth if problem.frames > 1 else 0.0), shape)


@dataclass(frozen=True)
class Linearisation:
    """A state, its energy, and what a step needs: the data term, and the priors' pull downhill (T, n)."""

    state: State
    data: Linearised
    energy: float
    pull: Array


@dataclass(frozen=True)
class Task:
    """A problem with everything that does not change from step to step."""

    problem: LandmarkProblem
    config: SolverConfig
    priors: Priors
    products: HeadProducts
    seen: Seen

    @staticmethod
    def of(problem: LandmarkProblem, config: SolverConfig, products: HeadProducts) -> Task:
        return Task(problem, config, Priors.of(problem, config), products, Seen.of(problem, products))

    def seen_from(self, state: State) -> Task:
        """The same task, perspective taken out of the targets with the depths of a state."""
        problem = self.problem.with_perspective(state)
        return dataclasses.replace(self, problem=problem, seen=Seen.of(problem, self.products))

    def linearise(self, state: State) -> Linearisation:
        """Energy and derivatives at a state."""
        weight = self.problem.weight / self.config.sigma**2
        data = linearise_data(self.problem, state, products=self.products, seen=self.seen, weight=weight)
        own, tie, vector = self.priors.own, self.priors.tie, state.frame_vector()
        held = self.priors.shape * np.square(state.shape).sum() + (own * np.square(vector)).sum()
        energy = data.energy + float(held)
        pull = -own * vector
        if tie.any():
            change = _difference(state)
            energy += float((tie * np.square(change)).sum())
            pull[:-1] += tie * change
            pull[1:] -= tie * change
        return Linearisation(state, data, energy, pull)

    def rows(self, here: Linearisation) -> Iterator[tuple[slice, Array]]:
        """Chunks of the frames' normal equations, data and priors, for `_chain.eliminate`."""
        own, tie = self.priors.own, self.priors.tie
        diagonal = np.arange(len(own))
        for part, rows in written_out(here.data, self.products):
            rows[:, diagonal, diagonal] += own + 2 * tie
            rows[..., -1] += here.pull[part]
            for end in (0, self.problem.frames - 1):  # they have one neighbour
                if part.start <= end < part.stop:
                    rows[end - part.start, diagonal, diagonal] -= tie
            yield part, rows

    def eliminate(
        self, here: Linearisation, damping: float, reuse: Eliminated | None = None
    ) -> Eliminated | None:
        """The frames eliminated from the normal equations; None if those are not positive definite."""
        sizes = (self.problem.frames, len(self.priors.own), self.problem.head.shape_count)
        return eliminate(self.rows(here), sizes, tie=self.priors.tie, damping=damping, reuse=reuse)

    def shape_terms(self, here: Linearisation, damping: float) -> tuple[Array, Array]:
        """Block and gradient of the shape, data and prior."""
        block, gradient = shape_terms(here.data, self.products)
        block = block + self.priors.shape * np.eye(len(block))
        return block + damping * np.diag(np.diagonal(block)), gradient - self.priors.shape * here.state.shape


def solve(
    problem: LandmarkProblem, config: SolverConfig, *, products: HeadProducts | None = None
) -> Solution:
    """Minimise the energy from the closed-form orthographic pose of the mean face.

    Args:
        products: `head_products` of the problem's head, if at hand.

    Raises:
        ValueError: no frame has landmarks.
    """
    if not problem.present.any():
        raise ValueError("solve: expected at least one frame with landmarks, got none")
    with one_thread().limit(limits=1):
        return _solve(problem, config, products or head_products(problem.head))


@lru_cache(maxsize=1)
def one_thread() -> ThreadpoolController:
    """The BLAS libraries of the process: on products this small a second thread costs more than it gives."""
    return ThreadpoolController()


def _solve(problem: LandmarkProblem, config: SolverConfig, products: HeadProducts) -> Solution:
    task = Task.of(problem, config, products)
    here = task.linearise(problem.initial_state())
    damping, energies, chain = 1e-4, [here.energy], None
    for _ in range(config.iterations):
        if problem.focal is not None:
            task = task.seen_from(here.state)
            here = task.linearise(here.state)
            energies[-1] = here.energy
        here, chain, damping = _step(task, here, damping, chain)
        energies.append(here.energy)
        if energies[-2] - energies[-1] <= config.tolerance * energies[-2]:
            break
    damping = LEAST_DAMPING
    while chain is None and damping < MOST_DAMPING:
        chain, damping = task.eliminate(here, damping), damping * 10
    if chain is None:
        covariance = np.full((problem.frames, 6, 6), np.nan)
        deviation = np.full((problem.frames, len(task.priors.own) - 6), np.nan)
    else:
        covariance, variance = marginal_covariance(chain, POSE_ORDER)
        deviation = np.sqrt(variance[:, 6:])
    residual = task.problem.residual(here.state)
    return Solution(here.state, residual, covariance, deviation, tuple(energies), len(energies) - 1)


def _step(
    task: Task, here: Linearisation, damping: float, chain: Eliminated | None
) -> tuple[Linearisation, Eliminated | None, float]:
    """One damped step that does not raise the energy; the state itself, and no chain, if none is found."""
    while damping < MOST_DAMPING:
        chain = task.eliminate(here, damping, chain)
        if chain is not None:
            frame_step, shape_step = back_substitute(chain, *task.shape_terms(here, damping))
            trial = task.linearise(here.state.moved(frame_step, shape_step))
            if np.isfinite(trial.energy) and trial.energy <= here.energy * (1 + 1e-9):
                return trial, chain, max(damping / 5, LEAST_DAMPING)
        damping = damping * 10 + 1e-6
    return here, None, damping


def _difference(state: State) -> Array:
    """First differences in time of the frame block, rotations as the log of the relative rotation."""
    vector = np.diff(state.frame_vector(), axis=0)
    vector[:, 3:6] = rotation_log(state.rotation[1:] @ np.swapaxes(state.rotation[:-1], 1, 2))
    return vector
