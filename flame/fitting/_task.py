"""One Gauss-Newton step of a clip: its energy and normal equations at a state, eliminated and solved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ._chain import FLOOR, Chain, Spread, back_substitute, eliminate, marginals
from ._direct import direct_rows
from ._priors import LENS, Priors, frame_precision
from ._problem import LandmarkProblem, State
from ._projection import CHUNK, Points, points_at
from ._robust import unevenness, weigh
from ._rotations import Array
from ._stiffness import FOLLOWING, STEADY
from ._sums import HeadProducts, NormalRows, Person, gram_rows, head_products

if TYPE_CHECKING:
    from .solver import SolverConfig

UNEVEN = 0.05  # of a frame's weights, from where on its matrix is formed from the plain Jacobian


@dataclass(frozen=True)
class Task:
    """A problem with everything that does not change from step to step."""

    problem: LandmarkProblem
    config: SolverConfig
    priors: Priors
    products: HeadProducts
    free_lens: bool = False

    @staticmethod
    def of(
        problem: LandmarkProblem,
        config: SolverConfig,
        products: HeadProducts | None = None,
        *,
        free_lens: bool = False,
    ) -> Task:
        """With the priors that a configuration asks for."""
        head, lens = problem.head, int(free_lens)
        held = max(1.0, np.count_nonzero(problem.weight) / config.shape_frames)
        manner = STEADY if config.steady else FOLLOWING
        strength = config.smooth * manner.strength / config.sigma**2
        counts = [1, 2, 3, 3, head.frame_count]
        priors = Priors(
            own=frame_precision(head, config.jaw_deviation),
            first=strength * head.rigidity.first,
            second=strength * head.rigidity.second,
            bend=np.repeat(manner.bends, counts),
            fade=np.repeat([manner.fades] * 3 + [False] * 2, counts),
            shared=np.append(np.full(head.shape_count, held), [1 / LENS[1] ** 2] * lens),
            shared_mean=np.append(np.zeros(head.shape_count), [LENS[0]] * lens),
        )
        return Task(problem, config, priors, products or head_products(head), free_lens)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, n, q."""
        return self.problem.frames, len(self.priors.own), len(self.priors.shared)

    @property
    def all_direct(self) -> bool:
        """Whether no frame's matrix comes in closed form."""
        return self.free_lens or self.problem.sliding is not None or self.config.method == "direct"


@dataclass(frozen=True)
class Linearised:
    """A state and its normal equations, eliminated.

    Attributes:
        state: where.
        scale: of the robust weights.
        damping: share of the diagonal that was added to it.
        energy: at this scale; ``energy_before`` at the scale of the step before.
        chain: None if the equations are not positive definite.
        gradient: (T, n) downhill, of half the energy; shared_gradient (q,).
        shared: (q, q) block, with damping.
    """

    state: State
    scale: float
    damping: float
    energy: float
    energy_before: float
    chain: Chain | None
    gradient: Array
    shared: Array
    shared_gradient: Array

    def step(self) -> tuple[Array, Array, float]:
        """Of the frames (T, n), of what they share (q,), and by how much they promise to lower the energy."""
        assert self.chain is not None
        taken, pulled = self.chain.shared
        shared = np.linalg.solve(self.shared - taken, self.shared_gradient - pulled)
        frames = back_substitute(self.chain, shared)
        promised = float((self.gradient * frames).sum() + self.shared_gradient @ shared)
        return frames, shared, promised

    def bare(self) -> Linearised:
        """Without what takes memory: where it was, and its energy."""
        return replace(self, chain=None, gradient=np.zeros((0, 0)))

    def spread(self, first: int, combined: Array) -> tuple[Spread, Array]:
        """Marginals of the frames (`_chain.marginals`), and the covariance (q, q) of what they share."""
        assert self.chain is not None
        shared = np.linalg.inv(self.shared - self.chain.shared[0])
        return marginals(self.chain, shared, first=first, combined=combined), shared


def linearise(
    task: Task,
    state: State,
    *,
    scale: float,
    damping: float,
    scale_before: float | None = None,
    reuse: Chain | None = None,
) -> Linearised:
    """Energy and eliminated normal equations at a state."""
    person = Person.of(task.products, state.shape)
    prior = task.priors.at(state, task.free_lens)
    energies, shared_gradient = np.full(2, prior.energy), prior.shared_pull
    shared = np.diag(task.priors.shared)
    frames, count, _ = task.sizes
    gradient, diagonal = np.empty((frames, count)), np.arange(count)
    room = None if task.all_direct else np.empty((min(CHUNK, frames), task.products.linear.shape[1]))

    def again(part: slice) -> Array:
        return finished(part, Part.of(task, state, person, part, scale).normal(room))

    def finished(part: slice, normal: NormalRows) -> Array:
        normal.rows[:, diagonal, diagonal] += task.priors.own
        normal.rows[..., -1] += prior.pull[part]
        return normal.rows

    def rows_of(part: slice) -> Array:
        here = Part.of(task, state, person, part, scale)
        normal = here.normal(room)
        energies[0] += here.cost(scale)
        energies[1] += here.cost(scale_before or scale)
        np.add(shared, normal.shared, out=shared)
        np.add(shared_gradient, normal.shared_gradient, out=shared_gradient)
        rows = finished(part, normal)
        gradient[part] = rows[..., -1]
        return rows

    chain = eliminate(rows_of, task.sizes, ties=prior.ties, damping=damping, again=again, reuse=reuse)
    corner = np.arange(len(shared))
    shared[corner, corner] *= 1 + damping
    shared[corner, corner] += FLOOR
    return Linearised(
        state,
        scale=scale,
        damping=damping,
        energy=float(energies[0]),
        energy_before=float(energies[1]),
        chain=chain,
        gradient=gradient,
        shared=shared,
        shared_gradient=shared_gradient,
    )


@dataclass(frozen=True)
class Part:
    """Some frames of a task at a state."""

    task: Task
    problem: LandmarkProblem
    state: State
    person: Person
    points: Points
    residual: Array
    weight: Array

    @staticmethod
    def of(task: Task, state: State, person: Person, part: slice, scale: float) -> Part:
        problem, here = task.problem.select(part), state.select(part)
        points = points_at(problem, here, person.channels)
        residual = points.image - problem.target
        _, weight = weigh(residual, problem.weight, problem.confidence, scale)
        return Part(task, problem, here, person, points, residual, weight / task.config.sigma**2)

    def cost(self, scale: float) -> float:
        cost, _ = weigh(self.residual, self.problem.weight, self.problem.confidence, scale)
        return float(cost.sum()) / self.task.config.sigma**2

    def normal(self, room: Array | None) -> NormalRows:
        """The rows, in closed form where the landmarks of a frame weigh about the same."""
        task = self.task
        if task.all_direct:
            return direct_rows(self.problem, self.state, weight=self.weight, free_lens=task.free_lens)
        uneven = np.zeros(len(self.weight), bool)
        if task.config.method == "auto":
            uneven = unevenness(self.weight) > UNEVEN
        even = ~uneven
        force = self.points.forces(self.weight[:, None] * self.residual * even[:, None, None])
        normal = gram_rows(
            task.products,
            self.person,
            self.state,
            self.points,
            force=force,
            weight=self.weight.mean(1) * even,
            room=room,
        )
        if not uneven.any():
            return normal
        index = np.flatnonzero(uneven)
        direct = direct_rows(
            self.problem.select(index), self.state.select(index), weight=self.weight[index], free_lens=False
        )
        normal.rows[index] = direct.rows
        return NormalRows(
            normal.rows, normal.shared + direct.shared, normal.shared_gradient + direct.shared_gradient
        )


def energy_at(task: Task, state: State, scale: float) -> float:
    """The energy alone."""
    energy = task.priors.at(state, task.free_lens).energy
    person = task.problem.head.person(state.shape)
    for part in _parts(task.problem.frames):
        residual, problem = _residual(task.problem, state, person, part)
        cost, _ = weigh(residual, problem.weight, problem.confidence, scale)
        energy += float(cost.sum()) / task.config.sigma**2
    return energy


def residual_and_trust(problem: LandmarkProblem, state: State, scale: float) -> tuple[Array, Array]:
    """Means over the landmarks of a frame (T,) that were seen: lengths of residuals, robust weights."""
    length, trust = np.zeros((2, problem.frames))
    person = problem.head.person(state.shape)
    for part in _parts(problem.frames):
        residual, piece = _residual(problem, state, person, part)
        frame = np.where(piece.present, piece.weight, 1.0)
        _, weight = weigh(residual, frame, None, scale)
        known = np.ones(weight.shape) if piece.confidence is None else piece.confidence > 0
        count = np.maximum(known.sum(1), 1)
        length[part] = (np.sqrt(np.square(residual).sum(1)) * known).sum(1) / count
        trust[part] = (weight * known).sum(1) / (count * frame)
    return length, trust


def _parts(frames: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, frames, CHUNK)]


def _residual(
    problem: LandmarkProblem, state: State, person: Array, part: slice
) -> tuple[Array, LandmarkProblem]:
    piece = problem.select(part)
    return points_at(piece, state.select(part), person).image - piece.target, piece
