"""What a swapped head is measured by."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from headwarp.tools.swap_measures import expression_mm, swap_errors

HEAD = toy_head()
SOURCE = toy_fit(HEAD, **varied(HEAD, 1, seed=5)).params
TARGET = toy_fit(HEAD, 3, **varied(HEAD, 3, seed=6)).params
WANTED = dataclasses.replace(TARGET, shape=SOURCE.shape)


def errors(free, known=None):
    return swap_errors(HEAD, free, free if known is None else known, TARGET, SOURCE.shape)


def test_the_perfect_swap_has_no_error():
    found = errors(WANTED)
    assert found.shape_ratio == 0
    assert found.pose_deg < 0.1
    assert found.expression_percent == 0


def test_each_error_is_its_own():
    turn = axis_angle_to_matrix(torch.tensor([0.0, math.radians(5), 0.0]))
    rotation = matrix_to_axis_angle(axis_angle_to_matrix(WANTED.rotation) @ turn)
    turned = errors(dataclasses.replace(WANTED, rotation=rotation))
    assert turned.pose_deg == pytest.approx(5, abs=0.01)
    assert turned.expression_percent == 0
    halfway = errors(dataclasses.replace(WANTED, shape=(SOURCE.shape + TARGET.shape) / 2))
    assert halfway.shape_ratio == pytest.approx(1, abs=1e-4)
    assert errors(TARGET).shape_ratio == math.inf  # the target itself is shown


def test_an_expression_left_out_is_all_of_it():
    rest = TARGET.neutral(len(TARGET.shape), TARGET.expression.shape[1], 3)
    assert errors(WANTED, rest).expression_percent == pytest.approx(100, abs=1e-3)


def test_the_size_of_an_expression_is_its_own_distance_to_rest():
    rest = TARGET.neutral(len(TARGET.shape), TARGET.expression.shape[1], 3)
    assert expression_mm(HEAD, rest) == 0
    size = expression_mm(HEAD, TARGET)
    assert size > 0
    still = dataclasses.replace(TARGET, jaw=0 * TARGET.jaw, eyelids=0 * TARGET.eyelids)
    double = dataclasses.replace(still, expression=2 * still.expression)
    assert expression_mm(HEAD, double) == pytest.approx(2 * expression_mm(HEAD, still), rel=1e-4)
    assert expression_mm(HEAD, dataclasses.replace(TARGET, rotation=TARGET.rotation + 0.3)) == size
    assert errors(WANTED, rest).expression_percent == pytest.approx(100, abs=1e-3)
