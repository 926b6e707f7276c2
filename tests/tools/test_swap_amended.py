"""A swapped head, held otherwise by what its picture shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait

from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import swap_amended, swap_looks
from headwarp.tools.swap_amended import (
    MOST,
    MOST_TURN,
    Motions,
    Sizes,
    best_steps,
    face_motions,
    seen_amendment,
)
from headwarp.tools.swap_looks import Look, looked, target_samples
from headwarp.tools.swap_measures import Deviation, SwapErrors
from headwarp.tools.swap_scene import SceneOptions, open_scene
from headwarp.warping.swap_engines import load_engine

GOOD = SwapErrors(shape_ratio=0.4, pose_deg=1.0, expression_percent=40.0)
COUNTED = Sizes(shape=2.0, expression=1.5)


def motions(moved: float = 0.01) -> Motions:
    """Two of the face, one of them its jaw, and a turn."""
    return Motions(
        expression=np.eye(2, 3),
        jaw=np.array([[0.0, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        shape=np.zeros((4, 3)),
        turn=np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        moved=moved * np.eye(3),
        tried=np.ones(3),
    )


def deviating(*expression: float) -> Deviation:
    return Deviation(np.zeros(3), np.array([expression]), np.zeros((1, 3)))


def chosen(errors: list[SwapErrors], rounds: int, counted: Sizes = COUNTED, *, lost: int = 99) -> int:
    """Which of the steps 0, 1, .. is taken, where the errors are theirs in turn, until the face is lost."""
    shown = [np.zeros(3)]

    def turned(number: int) -> Look:
        return Look(errors[number], Deviation(np.zeros(3), np.zeros((1, 2)), np.eye(1, 3) / (1 + number)))

    def look(steps: np.ndarray) -> Look | None:
        shown.append(steps)
        return None if len(shown) > lost else turned(len(shown) - 1)

    slopes = np.zeros((8, 3))
    slopes[5, 2] = 1.0
    best = best_steps(look, turned(0), slopes, motions(), counted, rounds)
    assert len(shown) <= rounds + 1
    return next(number for number, steps in enumerate(shown) if np.array_equal(steps, best))


def test_the_best_round_is_taken_and_not_the_last():
    better, worse = replace(GOOD, expression_percent=20.0), replace(GOOD, expression_percent=60.0)
    assert chosen([GOOD, better, worse], 2) == 1
    assert chosen([GOOD, worse, better], 2) == 2
    assert chosen([GOOD, worse, worse], 2) == 0
    assert chosen([GOOD, better], 0) == 0


def test_no_expression_is_bought_with_shape_or_pose():
    bought = replace(GOOD, shape_ratio=0.56, expression_percent=5.0)
    turned = replace(GOOD, pose_deg=3.1, expression_percent=5.0)
    assert chosen([GOOD, bought, turned], 2) == 0
    assert chosen([GOOD, replace(bought, shape_ratio=0.54)], 1) == 1  # a reading tells it no better
    assert chosen([replace(GOOD, shape_ratio=0.6), bought], 1) == 1  # it was worse before
    assert chosen([replace(GOOD, pose_deg=5.0), turned], 1) == 1
    assert chosen([replace(GOOD, pose_deg=5.0), bought], 1) == 1  # but a pose that was missed is


def test_what_does_not_count_decides_nothing():
    better, worse = replace(GOOD, pose_deg=2.0), replace(GOOD, pose_deg=2.5, expression_percent=5.0)
    assert chosen([worse, better], 1) == 0
    assert chosen([worse, better], 1, replace(COUNTED, expression=0.0)) == 1
    shaped = replace(GOOD, shape_ratio=3.0, expression_percent=5.0)
    assert chosen([GOOD, shaped], 1) == 0
    assert chosen([GOOD, shaped], 1, replace(COUNTED, shape=0.0)) == 1


def test_a_round_that_shows_no_face_ends_it():
    assert chosen([GOOD, GOOD, replace(GOOD, expression_percent=1.0)], 2, lost=1) == 0


def test_steps_make_what_is_missing_least():
    rng = np.random.default_rng(0)
    slopes, wanted, at = rng.normal(size=(9, 3)), rng.normal(size=3), rng.normal(size=3)
    steps = motions().step(1e3 * slopes, 1e3 * slopes @ (at - wanted), at)
    assert steps == pytest.approx(wanted, abs=1e-4)


def test_a_face_is_not_moved_farther_than_it_stands():
    far = motions(moved=1.0)
    steps = far.step(np.eye(3), np.array([100.0, 0.0, 0.0]), np.zeros(3))
    assert 0.5 * MOST < np.linalg.norm(far.moved @ steps) <= MOST


def test_slopes_that_were_wrong_are_mended_by_what_is_seen():
    """The picture follows by a third of what was measured: it takes rounds, and ends there."""
    goal = np.array([0.6, -0.4, 0.2])

    def lacking(steps: np.ndarray) -> Deviation:
        return deviating(*(steps - goal))

    def look(steps: np.ndarray) -> Look:
        error = 100 * float(np.linalg.norm(lacking(steps).expression))
        return Look(replace(GOOD, expression_percent=error), lacking(steps))

    first = look(np.zeros(3))
    numbers = COUNTED.numbers(first.lacking, 1)
    scale = numbers[3] / first.lacking.expression[0, 0]
    slopes = np.zeros((len(numbers), 3))
    slopes[3:6] = 3.0 * scale * np.eye(3)
    best = best_steps(look, first, slopes, motions(), COUNTED, 6)
    assert best == pytest.approx(goal, abs=0.05)


def test_a_deviation_counts_alike_for_one_frame_and_for_many():
    one = Deviation(np.array([1.0, 2.0]), np.array([[0.5, 0.2]]), np.array([[1.0, 0.0, 0.0]]))
    many = Deviation(one.shape, np.repeat(one.expression, 4, 0), np.repeat(one.turn, 4, 0))
    assert COUNTED.numbers(one, 4) == pytest.approx(COUNTED.numbers(many, 4))
    assert np.linalg.norm(COUNTED.numbers(one, 4)) == pytest.approx(np.linalg.norm(COUNTED.numbers(one, 1)))


def test_an_amendment_turns_by_a_limit_and_the_turns_alone_leave_the_face():
    made = motions().amendment(np.array([0.5, 2.0, 1.0]))
    assert float(made.turn.norm()) == pytest.approx(MOST_TURN)
    assert math.degrees(MOST_TURN) < 10
    assert made.expression.tolist() == [0.5, 2.0]
    assert float(made.jaw[0]) == pytest.approx(0.2)
    turns = motions().turns_only()
    assert turns.count == 1
    alone = turns.amendment(np.array([0.1]))
    assert alone.turn.any()
    assert not alone.expression.any()
    assert not alone.jaw.any()


@pytest.fixture(scope="module")
def scene():
    options = SceneOptions(size=128, pose_rounds=0)
    return open_scene(portrait(), portrait(), load_engine(), load_head("builtin"), options)


@pytest.fixture(scope="module")
def moved(scene):
    """The swap is told a target whose fit is 4 degrees and an open jaw off."""
    off, open_ = torch.tensor([[0.0, math.radians(4), 0.0]]), torch.tensor([[0.12, 0.0, 0.0]])
    params = scene.fit.params
    params = replace(params, rotation=params.rotation + off, jaw=params.jaw + open_)
    return replace(scene, fit=replace(scene.fit, params=params))


@needs_mediapipe
def test_a_head_that_was_held_otherwise_is_mended_to_what_is_seen(scene, moved, monkeypatch):
    assert scene.amended is None
    monkeypatch.setattr(swap_amended, "MOTIONS", 8)
    samples = target_samples(moved, "mediapipe", 3)
    assert len(samples) == 1
    shown: list[int] = []
    monkeypatch.setattr(swap_amended, "looked", lambda *args, **kw: shown.append(1) or looked(*args, **kw))
    none, made = (seen_amendment(moved, landmarks="mediapipe", rounds=rounds) for rounds in (0, 3))
    assert len(shown) == 12 + 1 + 3  # none, eight of the face, three turns; the first and the rounds
    assert not any(getattr(none, name).any() for name in ("turn", "expression", "jaw", "shape"))
    before, after = (looked(moved, samples, each, "mediapipe").errors for each in (none, made))
    assert before.pose_deg > 2
    assert after.pose_deg < 0.6 * before.pose_deg
    assert after.expression_percent < 0.6 * before.expression_percent


@needs_mediapipe
def test_an_expression_too_slight_to_be_read_is_left_alone(moved, monkeypatch):
    monkeypatch.setattr(swap_amended, "SLIGHT_MM", math.inf)
    made = seen_amendment(moved, landmarks="mediapipe", rounds=1)
    assert made.turn.any()
    assert not any(getattr(made, name).any() for name in ("expression", "jaw", "shape"))


@needs_mediapipe
def test_motions_move_landmarks_as_far_as_they_say(scene):
    (sample,) = target_samples(scene, "mediapipe", 1)
    head = scene.sources.heads[0]
    made = face_motions(head.stencil.model, head.seen.fit, sample)
    assert made.count == swap_amended.MOTIONS + 3
    moved = np.linalg.norm(made.moved, axis=0)
    assert (np.diff(moved[:-3]) <= 1e-9).all()  # the strongest first
    assert moved[:-3] * made.tried[:-3] == pytest.approx(np.full(swap_amended.MOTIONS, swap_amended.TRIED))
    assert not moved[-3:].any()
    gram = made.expression.T @ made.expression + 100 * made.jaw.T @ made.jaw + made.shape.T @ made.shape
    assert gram[:-3, :-3] == pytest.approx(np.eye(swap_amended.MOTIONS), abs=1e-6)


@needs_mediapipe
def test_a_target_whose_window_shows_no_face_is_left_alone(scene, monkeypatch):
    monkeypatch.setattr(swap_looks, "detect_faces", lambda frame, detector: [])
    assert seen_amendment(scene, landmarks="mediapipe") is None


@needs_mediapipe
def test_a_face_that_is_lost_while_motions_are_tried_ends_it(scene, monkeypatch):
    monkeypatch.setattr(swap_amended, "looked", lambda *args, **kw: None)
    assert seen_amendment(scene, landmarks="mediapipe") is None


def test_a_number_of_rounds_below_none_is_told():
    with pytest.raises(HeadwarpError, match=r"--pose-rounds: expected 0 or more, got -1"):
        open_scene(portrait(), portrait(), load_engine(), load_head("builtin"), SceneOptions(pose_rounds=-1))
