"""Inside the solver: Jacobian against differences, closed form against it, the chain written out."""

import dataclasses

import numpy as np
import pytest
from landmark_problems import random_problem, random_state

from headwarp.flame.fitting import SolverConfig
from headwarp.flame.fitting import _chain as chain_module
from headwarp.flame.fitting._chain import Ties, back_substitute, eliminate, marginals
from headwarp.flame.fitting._direct import direct_rows
from headwarp.flame.fitting._projection import jacobian, points_at, residual
from headwarp.flame.fitting._robust import scale_at, unevenness, weigh
from headwarp.flame.fitting._rotations import left_jacobian, rotation_exp, rotation_log
from headwarp.flame.fitting._sums import Person, gram_rows, head_products
from headwarp.flame.fitting._task import Part, Task, energy_at, linearise
from headwarp.flame.fitting.solver import solve

CASES = [
    {},
    {"correctives": True},
    {"lens": 0.8},
    {"lens": 0.8, "correctives": True, "sliding": True},
    {"sliding": True, "confidence": True},
]


def test_rotation_log_inverts_exp_also_near_pi():
    vectors = np.array([[0, 0, 0], [1e-9, 0, 0], [0.3, -0.2, 0.9], [0, np.pi - 1e-6, 0]])
    np.testing.assert_allclose(rotation_log(rotation_exp(vectors)), vectors, atol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-6, 0.5, 2.0])
def test_left_jacobian_is_how_the_exponential_turns(size):
    vector, step = size * np.array([0.6, -0.48, 0.64]), 1e-6
    for axis, column in zip(np.eye(3) * step, left_jacobian(vector).T, strict=True):
        turned = rotation_exp(vector + axis) @ rotation_exp(vector - axis).T
        np.testing.assert_allclose(rotation_log(turned) / (2 * step), column, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_jacobian_equals_central_differences(case):
    problem, step = random_problem(**case), 1e-5
    state, own, shared = random_state(problem), 9 + 4, 5 + 1
    slopes = np.moveaxis(jacobian(problem, state, points_at(problem, state)), 1, 2)
    assert slopes.shape == (3, 20, 2, own + shared)
    for column in range(own + shared - (0 if "lens" in case else 1)):
        both = np.zeros(own + shared)
        both[column] = step
        frame, rest = np.tile(both[:own], (problem.frames, 1)), both[own:]
        change = residual(problem, state.moved(frame, rest)) - residual(problem, state.moved(-frame, -rest))
        np.testing.assert_allclose(slopes[..., column], change / (2 * step), atol=1e-6, err_msg=str(column))


def _rows(problem, state, weight):
    """In closed form and from the Jacobian, every landmark of a frame weighing the same."""
    products = head_products(problem.head)
    points = points_at(problem, state)
    weights = np.repeat(weight[:, None], problem.target.shape[2], axis=1)
    force = points.forces(weights[:, None] * (points.image - problem.target))
    closed = gram_rows(products, Person.of(products, state.shape), state, points, force=force, weight=weight)
    return closed, direct_rows(problem, state, weight=weights, free_lens=False)


@pytest.mark.parametrize("correctives", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 70])
def test_closed_form_equals_the_plain_jacobian(correctives, frames):
    problem = random_problem(frames, correctives=correctives)
    closed, direct = _rows(problem, random_state(problem), problem.weight / 9)
    np.testing.assert_allclose(closed.rows, direct.rows, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(closed.shared, direct.shared, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(closed.shared_gradient, direct.shared_gradient, rtol=1e-8, atol=1e-7)


def test_gradient_in_closed_form_is_exact_for_a_pinhole_too():
    problem = random_problem(lens=0.9)
    closed, direct = _rows(problem, random_state(problem), problem.weight)
    np.testing.assert_allclose(closed.rows[..., -1], direct.rows[..., -1], rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(closed.shared_gradient, direct.shared_gradient, rtol=1e-8, atol=1e-7)
    scale = np.abs(direct.rows[0, :, :-1]).max()
    assert np.abs(closed.rows[0, :, :-1] - direct.rows[0, :, :-1]).max() < 0.5 * scale  # the matrix is near


def test_frames_of_uneven_weights_are_formed_from_the_jacobian():
    problem = random_problem(5, confidence=True)
    confidence = problem.confidence.copy()
    confidence[[0, 3]] = 0.8
    problem = dataclasses.replace(problem, confidence=confidence)
    state, rows = random_state(problem), {}
    for method in ("auto", "direct", "gram"):
        task = Task.of(problem, SolverConfig(robust=np.inf, method=method))
        part = Part.of(task, state, Person.of(task.products, state.shape), slice(0, 5), np.inf)
        rows[method] = part.normal(None)
    for name in ("rows", "shared", "shared_gradient"):
        auto, direct = getattr(rows["auto"], name), getattr(rows["direct"], name)
        np.testing.assert_allclose(auto, direct, rtol=1e-9, atol=1e-9)
    apart = np.abs(rows["gram"].rows - rows["direct"].rows)[..., :-1].max((1, 2))
    assert (apart[[1, 4]] > 1e-3).all()
    assert (apart[[0, 3]] < 1e-9).all()


@pytest.mark.parametrize("robust", [np.inf, 20.0])
@pytest.mark.parametrize("case", [*CASES, {"lens": 0.7, "free": True}])
def test_gradient_of_the_whole_energy_equals_central_differences(case, robust):
    case = dict(case)
    free = case.pop("free", False)
    problem, step = random_problem(5, **case), 1e-5
    state, task = random_state(problem), Task.of(problem, SolverConfig(robust=robust), free_lens=free)
    here = linearise(task, state, scale=robust, damping=0.0)
    assert here.energy == pytest.approx(energy_at(task, state, robust), rel=1e-12)
    own, shared = 13 * 5, len(here.shared)
    downhill = np.append(here.gradient.ravel(), here.shared_gradient)
    for number in range(own + shared):
        both = np.zeros(own + shared)
        both[number] = step
        frame, rest = both[:own].reshape(5, 13), both[own:]
        change = energy_at(task, state.moved(frame, rest), robust)
        change -= energy_at(task, state.moved(-frame, -rest), robust)
        assert -change / (4 * step) == pytest.approx(downhill[number], rel=2e-5, abs=2e-4), number


def _chain_case(frames, shared, *, first, second, seed=0):
    """Rows of a random system, the same written out whole with its ties, and its shared block."""
    rng = np.random.default_rng(seed)
    count = len(first)
    rows = np.empty((frames, count, count + shared + 1))
    total = frames * count
    whole = np.zeros((total + shared, total + shared))
    for t in range(frames):
        spread = rng.normal(size=(count + shared, 30))
        block = spread @ spread.T / 10 + 2 * np.eye(count + shared)
        here = slice(t * count, (t + 1) * count)
        rows[t, :, :-1], rows[t, :, -1] = block[:count], rng.normal(size=count)
        whole[here, here] = block[:count, :count]
        whole[here, total:], whole[total:, here] = block[:count, count:], block[:count, count:].T
        whole[total:, total:] += block[count:, count:]
    shared_block = whole[total:, total:].copy()
    for weight, order in ((first, 1), (second, 2)):
        stencil = np.diff(np.eye(frames), n=order, axis=0)
        whole[:total, :total] += np.kron(stencil.T @ stencil, np.diag(weight))
    return rows, whole, shared_block


def _ties(frames, first, second):
    return Ties(np.tile(first, (frames - 1, 1)), np.tile(second, (max(frames - 2, 0), 1)))


FIRST, SECOND = np.array([0.3, 0.0, 0.5, 0.2]), np.array([0.0, 0.9, 0.0, 0.4])


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 9])
@pytest.mark.parametrize(
    ("first", "second"),
    [(0 * FIRST, 0 * SECOND), (FIRST, 0 * SECOND), (0 * FIRST, SECOND), (FIRST, SECOND)],
)
@pytest.mark.parametrize("kept", [0, 1000])
def test_chain_solves_the_system_written_out_whole(monkeypatch, frames, first, second, kept):
    monkeypatch.setattr(chain_module, "CHUNK", 2)
    monkeypatch.setattr(chain_module, "KEPT", 0)
    monkeypatch.setattr(chain_module, "KEPT_OF_LONG", kept)
    monkeypatch.setattr(chain_module, "FLOOR", 0.0)
    rows, whole, shared_block = _chain_case(frames, 3, first=first, second=second)
    chain = eliminate(
        lambda part: rows[part].copy(), (frames, 4, 3), ties=_ties(frames, first, second), damping=0.0
    )
    assert bool(chain.kept) == bool(kept)
    right = np.append(rows[..., -1].ravel(), [1.0, -2.0, 0.5])
    expected = np.linalg.solve(whole, right)
    taken, pulled = chain.shared
    shared = np.linalg.solve(shared_block - taken, right[-3:] - pulled)
    np.testing.assert_allclose(shared, expected[-3:], rtol=1e-9)
    np.testing.assert_allclose(back_substitute(chain, shared).ravel(), expected[:-3], rtol=1e-8, atol=1e-12)
    inverse = np.linalg.inv(whole)
    combined = np.random.default_rng(1).normal(size=(5, 4))
    of_shared = np.linalg.inv(shared_block - taken)
    spread = marginals(chain, of_shared, first=2, combined=combined)
    for t in range(frames):
        picked = t * 4 + np.arange(2)
        np.testing.assert_allclose(
            spread.covariance[t], inverse[np.ix_(picked, picked)], rtol=1e-8, atol=1e-12
        )
        here = slice(t * 4, t * 4 + 4)
        variance = (combined @ inverse[here, here] @ combined.T).diagonal()
        np.testing.assert_allclose(spread.variance[t], variance, rtol=1e-8)


def test_long_chain_computed_again_equals_the_kept_one(monkeypatch):
    rows, _, shared_block = _chain_case(150, 3, first=FIRST, second=SECOND)
    results = []
    monkeypatch.setattr(chain_module, "KEPT", 0)
    for kept in (0, 70, 10_000):
        monkeypatch.setattr(chain_module, "KEPT_OF_LONG", kept)
        chain = eliminate(
            lambda part: rows[part].copy(), (150, 4, 3), ties=_ties(150, FIRST, SECOND), damping=1e-3
        )
        of_shared = np.linalg.inv(shared_block - chain.shared[0])
        spread = marginals(chain, of_shared, first=2, combined=np.eye(4))
        results.append((back_substitute(chain, np.ones(3)), spread.covariance, spread.variance))
    for other in results[1:]:
        for value, again in zip(results[0], other, strict=True):
            assert np.array_equal(value, again)


def test_chain_that_is_not_positive_definite_is_refused():
    rows = np.concatenate([-np.eye(2), np.zeros((2, 2))], axis=1)[None]
    ties = Ties(np.zeros((0, 2)), np.zeros((0, 2)))
    assert eliminate(lambda part: rows, (1, 2, 1), ties=ties, damping=0.0) is None


@pytest.mark.parametrize("case", [*CASES, {"lens": 0.5, "free": True}])
def test_energy_never_rises(case):
    case = dict(case)
    free = case.pop("free", False)
    problem = dataclasses.replace(random_problem(**case), weight=np.ones(3))
    solution = solve(problem, SolverConfig(iterations=20), free_lens=free)
    assert len(solution.energies) > 3
    assert (np.diff(solution.energies) <= 1e-9 * solution.energies[0]).all()


def test_robust_weight_is_the_slope_of_the_cost():
    for size in (0.0, 1.0, 5.0, 40.0):
        at = lambda r: weigh(np.array([[[r], [0.0]]]), np.array([0.5]), np.array([[0.8]]), 6.0)  # noqa: E731
        slope = (at(size + 1e-4)[0] - at(size - 1e-4)[0]) / 2e-4
        np.testing.assert_allclose(slope, 2 * size * at(size)[1], atol=1e-6)
    assert at(1e6)[0] == pytest.approx(0.8 * 36)  # no landmark costs more
    plain = weigh(np.array([[[3.0], [4.0]]]), np.array([0.5]), None, np.inf)
    assert (plain[0].item(), plain[1].item()) == (12.5, 0.5)


def test_scale_falls_to_the_final_one_and_even_weights_are_told():
    assert [scale_at(step, 2.0) for step in range(4)] == [8.0, 4.0, 2.0, 2.0]
    weight = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    np.testing.assert_allclose(unevenness(weight), [0, 1, 1 / 3], atol=1e-12)
