"""A swapped head, held otherwise by what its picture shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from face_pictures import needs_mediapipe, portrait

from headwarp.flame.io import load_head
from headwarp.flame.replacement import Amendment
from headwarp.geom.errors import HeadwarpError
from headwarp.tools import swap_amended
from headwarp.tools.swap_amended import MOST_TURN, Look, best_amendment
from headwarp.tools.swap_measures import SwapErrors
from headwarp.tools.swap_scene import SceneOptions, open_scene
from headwarp.warping.swap_engines import load_engine

GOOD = SwapErrors(shape_ratio=0.4, pose_deg=1.0, expression_percent=40.0)


def numbered(number: int) -> Amendment:
    return replace(Amendment.none(2), expression=torch.full((2,), float(number)))


def chosen(errors: list[SwapErrors | None], rounds: int) -> int:
    """Which of amendments 0, 1, .. is taken, where the errors are theirs in turn."""
    looked: list[int] = []

    def look(tried: Amendment) -> Look | None:
        number = int(tried.expression[0])
        looked.append(number)
        found = errors[number]
        return None if found is None else Look(found, numbered(number + 1))

    best = best_amendment(look, numbered(0), rounds)
    assert looked == list(range(len(looked)))
    assert len(looked) <= rounds + 1
    return int(best.expression[0])


def test_the_best_round_is_taken_and_not_the_last():
    better, worse = replace(GOOD, expression_percent=20.0), replace(GOOD, expression_percent=60.0)
    assert chosen([GOOD, better, worse], 2) == 1
    assert chosen([GOOD, worse, worse], 2) == 0
    assert chosen([GOOD, better, worse], 0) == 0


def test_no_expression_is_bought_with_shape_or_pose():
    bought = replace(GOOD, shape_ratio=0.51, expression_percent=5.0)
    turned = replace(GOOD, pose_deg=3.1, expression_percent=5.0)
    assert chosen([GOOD, bought, turned], 2) == 0
    beyond = replace(GOOD, shape_ratio=0.6)
    assert chosen([beyond, bought], 1) == 1  # it was worse before
    assert chosen([replace(GOOD, pose_deg=5.0), turned], 1) == 1
    assert chosen([replace(GOOD, pose_deg=5.0), bought], 1) == 1  # but a pose that was missed is


def test_a_round_that_shows_no_face_ends_it():
    assert chosen([None], 3) == 0
    assert chosen([GOOD, None], 3) == 0


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
def test_a_head_that_was_held_otherwise_is_mended_to_what_is_seen(scene, moved):
    assert scene.amended is None
    samples = swap_amended._samples(moved, "mediapipe")
    none = Amendment.none(moved.fit.params.expression.shape[1])
    made = swap_amended.seen_amendment(moved, landmarks="mediapipe", rounds=1)
    before, after = (swap_amended._look(moved, samples, each, "mediapipe").errors for each in (none, made))
    assert before.pose_deg > 2
    assert after.pose_deg < 0.6 * before.pose_deg
    assert after.expression_percent < 0.6 * before.expression_percent


@needs_mediapipe
def test_an_expression_too_slight_to_be_read_is_left_alone(moved, monkeypatch):
    samples = swap_amended._samples(moved, "mediapipe")
    none = Amendment.none(moved.fit.params.expression.shape[1])
    assert swap_amended._look(moved, samples, none, "mediapipe").following.jaw.any()
    monkeypatch.setattr(swap_amended, "SLIGHT_MM", math.inf)
    look = swap_amended._look(moved, samples, none, "mediapipe")
    assert look.errors.expression_percent == 0
    assert not look.following.jaw.any()
    assert not look.following.expression.any()
    assert look.following.turn.any()


@needs_mediapipe
def test_a_target_whose_window_shows_no_face_is_left_alone(scene, monkeypatch):
    monkeypatch.setattr(swap_amended, "detect_faces", lambda frame, detector: [])
    assert swap_amended.seen_amendment(scene, landmarks="mediapipe") is None


def test_a_turn_has_a_limit(scene):
    fit = scene.fit
    far = replace(
        fit, params=replace(fit.params, rotation=fit.params.rotation + torch.tensor([0.0, 1.0, 0.0]))
    )
    made = swap_amended._amendment([fit], [far])
    assert float(made.turn.norm()) == pytest.approx(MOST_TURN)
    assert math.degrees(MOST_TURN) < 10
    assert not made.expression.any()


def test_the_outline_of_68_points_is_left_out(scene):
    model, fit = scene.sources.heads[0].stencil.model, scene.fit
    points = swap_amended._drawn(model, replace(fit, report={**fit.report, "family": "ibug68"}), 68)
    assert np.isnan(points[:17]).all()
    assert np.isfinite(points[17:]).all()


def test_a_number_of_rounds_below_none_is_told():
    with pytest.raises(HeadwarpError, match=r"--pose-rounds: expected 0 or more, got -1"):
        open_scene(portrait(), portrait(), load_engine(), load_head("builtin"), SceneOptions(pose_rounds=-1))
