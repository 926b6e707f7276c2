"""Gauss-Newton for a whole clip: every frame's pose and expression, one shared shape, smoothness in time.

Minimises, in normalised units (1 unit = 1 % of the 3D outer-canthal distance):

    sum_tl w_t a_tl rho(|u_tl - seen_tl|^2) / sigma^2 + k |shape|^2 + |expression_t|^2
        + jaw prior
        + first and second differences in time of log scale, centre, rotation, jaw, expression
        + lens prior, where the focal length is an unknown

with u the image of the posed landmark (jaw joint about its own pivot, pose correctives of the jaw included),
a the landmark's confidence and rho robust (`_robust`). The unknowns form an arrowhead: a chain of frame
blocks (pose, jaw, expression, eyelids) and one shared block (shape, lens), eliminated by its Schur complement
(`_chain`). A frame without landmarks is a row without data: the temporal prior fills it.

Gradients are exact. The Gauss-Newton matrix comes in closed form (`_sums`) for frames whose landmarks weigh
nearly the same, from the plain Jacobian (`_direct`) for the others.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ...geom.errors import HeadwarpError
from ._chain import Chain
from ._outliers import doubtful, slips
from ._problem import LandmarkProblem, State
from ._projection import choose_again
from ._robust import scale_at
from ._rotations import Array
from ._start import initial_state
from ._sums import HeadProducts
from ._task import Linearised, Task, energy_at, linearise, residual_and_trust

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-7, 1e4
ROUNDING = 1e-9
POSE_ORDER = [3, 4, 5, 0, 1, 2]  # of the covariance: rotation, log scale, centre
LENS_RANGE = (0.01, 4.0)


@dataclass(frozen=True)
class SolverConfig:
    """Settings of the fit.

    Attributes:
        sigma: landmark noise in % of the outer-canthal distance; small values let expression absorb pose.
        smooth: weight of the temporal prior; 0 fits every frame alone (shape stays shared).
        steady: hold motion itself back, not the detector's noise alone: about half the jitter of landmarks or
            less, judder of the footage included, for numbers and curves. What is drawn over the frames then
            lags behind them by a share of that judder, and the residual grows.
        shape_frames: how many frames tell of the shape at most. A detector errs alike in every frame, so that
            a thousand frames know no more than these; the prior of the shape grows with the rest.
        iterations: most Gauss-Newton steps.
        tolerance: stop when a step promises to lower the energy by less than this share.
        jaw_deviation: prior standard deviation of the jaw's axis-angle, radians.
        robust: residual in % of the outer-canthal distance beyond which a landmark counts for less and less
            (Geman-McClure); infinite for least squares.
        method: ``"auto"``; ``"direct"`` forms every frame's matrix from the plain Jacobian, ``"gram"`` none.

    Raises:
        HeadwarpError: a number that makes no sense.
    """

    sigma: float = 3.0
    smooth: float = 1.0
    steady: bool = False
    shape_frames: float = 10.0
    iterations: int = 6
    tolerance: float = 1e-3
    jaw_deviation: tuple[float, float, float] = (0.2, 0.04, 0.04)
    robust: float = 8.0
    method: str = "auto"

    def __post_init__(self) -> None:
        positive = {"sigma": self.sigma, "shape_frames": self.shape_frames}
        for name, value in {**positive, "jaw_deviation": min(self.jaw_deviation)}.items():
            if not 0 < value < math.inf:
                raise HeadwarpError(f"{name}: expected a number above 0, got {value}")
        for name, value in (("smooth", self.smooth), ("tolerance", self.tolerance)):
            if not 0 <= value < math.inf:
                raise HeadwarpError(f"{name}: expected 0 or more, got {value}")
        if not self.robust > 0:
            raise HeadwarpError(f"robust: expected a number above 0, or infinity, got {self.robust}")
        if self.iterations < 1:
            raise HeadwarpError(f"iterations: expected at least 1, got {self.iterations}")
        if self.method not in ("auto", "gram", "direct"):
            raise HeadwarpError(f"method: expected auto, gram or direct, got {self.method!r}")


@dataclass(frozen=True)
class Solution:
    """What a fit finds.

    Attributes:
        state: at the minimum.
        problem: with sliding landmarks where they are in that state, and no weight where a detector slipped.
        outliers: (T,) frames that were left out, or are hardly believed (`_outliers`).
        length: (T,) mean length of the residuals, problem units.
        trust: (T,) mean robust weight of the landmarks, 0 to 1.
        covariance: (T, 6, 6) of the pose: rotation, log scale, centre.
        deviation: (T, 3 + E) standard deviations of the jaw and the frame's coefficients, own basis.
        shared_deviation: (q,) of the shape, and the lens where it is an unknown.
        energies: before every step and after the last.
    """

    state: State
    problem: LandmarkProblem
    outliers: NDArray[np.bool_]
    length: Array
    trust: Array
    covariance: Array
    deviation: Array
    shared_deviation: Array
    energies: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Steps of the solver."""
        return len(self.energies) - 1

    def at(self, frame: int) -> Solution:
        """Of one frame."""
        one = slice(frame, frame + 1)
        names = ("outliers", "length", "trust", "covariance", "deviation")
        return dataclasses.replace(
            self,
            state=self.state.select(one),
            problem=self.problem.select(one),
            **{name: getattr(self, name)[one] for name in names},
        )


def solve(
    problem: LandmarkProblem,
    config: SolverConfig,
    *,
    products: HeadProducts | None = None,
    free_lens: bool = False,
) -> Solution:
    """Minimise the energy from the closed-form orthographic pose of the mean face.

    Args:
        problem: landmarks in pixels, and the head.
        config: weights and limits.
        products: `head_products` of the problem's head, if at hand.
        free_lens: the lens is an unknown that all frames share.

    Raises:
        ValueError: no frame has landmarks.
    """
    if not problem.present.any():
        raise ValueError("solve: expected at least one frame with landmarks, got none")
    with one_thread().limit(limits=1):
        return _solve(Task.of(problem, config, products, free_lens=free_lens))


@lru_cache(maxsize=1)
def one_thread() -> ThreadpoolController:
    """The BLAS libraries of the process: on products this small a second thread costs more than it gives."""
    return ThreadpoolController()


def _solve(task: Task) -> Solution:
    config, robust = task.config, task.config.robust
    state, problem = initial_state(task.problem, robust=math.isfinite(robust))
    slipped = np.zeros(problem.frames, bool)
    if math.isfinite(robust) and config.smooth > 0:
        slipped = slips(problem, state)
    if slipped.any():
        problem = dataclasses.replace(problem, weight=np.where(slipped, 0.0, problem.weight))
        state, problem = initial_state(problem, robust=True)
    task = dataclasses.replace(task, problem=problem)
    here = _linearised(task, state, scale=scale_at(0, robust), damping=FIRST_DAMPING)
    energies = [here.energy]
    while here.chain is not None and here.damping < MOST_DAMPING:
        frame_step, shared_step, promised = here.step()
        trial = _within(here.state.moved(frame_step, shared_step), task.free_lens)
        scale = scale_at(len(energies), robust)
        settled = scale == here.scale and promised <= config.tolerance * here.energy
        if settled or len(energies) == config.iterations:
            energy = energy_at(task, trial, here.scale)
            if energy <= here.energy * (1 + ROUNDING):
                state = trial
                energies.append(energy)
                break
            if settled:
                break
            here = _linearised(task, here.state, scale=here.scale, damping=10 * here.damping + 1e-6)
            continue
        damping, spare, here = max(here.damping / 5, LEAST_DAMPING), here.chain, here.bare()
        there = _linearised(task, trial, scale=scale, damping=damping, before=here.scale, spare=spare)
        if not there.energy_before <= here.energy * (1 + ROUNDING):
            here = _linearised(task, here.state, scale=here.scale, damping=10 * here.damping + 1e-6)
            continue
        task, here = _chosen_again(task, there)
        state = here.state
        energies.append(here.energy)
    return _solution(task, here, state, energies, slipped)


def _linearised(
    task: Task,
    state: State,
    *,
    scale: float,
    damping: float,
    before: float | None = None,
    spare: Chain | None = None,
) -> Linearised:
    """With as much more damping as makes the equations positive definite.

    Args:
        before: scale of the step before.
        spare: a chain that is not needed any more.
    """
    while True:
        here = linearise(
            task,
            state,
            scale=scale,
            damping=damping,
            scale_before=before,
            reuse=spare,
        )
        if here.chain is not None or damping > MOST_DAMPING:
            return here
        damping = 10 * damping + 1e-6


def _within(state: State, free_lens: bool) -> State:
    return dataclasses.replace(state, lens=float(np.clip(state.lens, *LENS_RANGE))) if free_lens else state


def _chosen_again(task: Task, here: Linearised) -> tuple[Task, Linearised]:
    """Sliding landmarks put where a state has them, and its equations then."""
    problem = choose_again(task.problem, here.state)
    old, new = task.problem.sliding, problem.sliding
    if old is None or new is None or np.array_equal(old.rows, new.rows):
        return task, here
    task = dataclasses.replace(task, problem=problem)
    return task, _linearised(task, here.state, scale=here.scale, damping=here.damping)


def _solution(
    task: Task, here: Linearised, state: State, energies: list[float], slipped: NDArray[np.bool_]
) -> Solution:
    frames, count, shared = task.sizes
    if here.chain is None:
        covariance, deviation = np.full((frames, 6, 6), np.nan), np.full((frames, count - 6), np.nan)
        shared_deviation = np.full(shared, np.nan)
    else:
        combined = np.eye(count)[6:]
        if task.problem.head.turn is not None:
            combined[3:, 9:] = task.problem.head.turn
        spread, of_shared = here.spread(len(POSE_ORDER), combined)
        covariance = spread.covariance[:, POSE_ORDER][:, :, POSE_ORDER]
        deviation = np.sqrt(spread.variance)
        shared_deviation = np.sqrt(of_shared.diagonal())
    length, trust = residual_and_trust(task.problem, state, task.config.robust)
    return Solution(
        state,
        problem=task.problem,
        outliers=slipped | doubtful(task.problem, trust),
        length=length,
        trust=trust,
        covariance=covariance,
        deviation=deviation,
        shared_deviation=shared_deviation,
        energies=tuple(energies),
    )
