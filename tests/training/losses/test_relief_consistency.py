"""Reliefs that agree: a slope that turns with the head, what does not count, and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.rigid_alignment import SurfaceMotion
from headwarp.geom.transforms import axis_angle_to_matrix
from headwarp.training.losses.relief_consistency import relief_disagreement

SIZE = 32
ACROSS = ((torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE - 0.5).expand(1, 1, SIZE, SIZE)
WINDOW = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
WINDOW[..., 8:-8, 8:-8] = 1


def slope(angle):
    return math.tan(angle) * ACROSS


def turn(angle, distance=0.0):
    """About the vertical axis, before a camera without perspective."""
    none = torch.zeros(1, dtype=torch.float64)
    rotation = axis_angle_to_matrix(torch.tensor([[0.0, angle, 0.0]], dtype=torch.float64))
    return SurfaceMotion(rotation, torch.zeros(1, 2, dtype=torch.float64), none + distance, none)


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_a_slope_turns_with_the_head(distance):
    target, motion = slope(0.2), turn(0.3, distance)
    totals = [float(relief_disagreement(target, slope(angle), motion, WINDOW)) for angle in (-0.1, 0.2, 0.5)]
    assert totals[0] < 1e-12
    assert min(totals[1:]) > 1e-4


def test_a_constant_and_what_lies_outside_the_window_do_not_count():
    source = slope(-0.1) + 0.7
    source[..., :4] += 5
    assert float(relief_disagreement(slope(0.2), source, turn(0.3), WINDOW)) < 1e-12


def test_large_differences_count_by_their_logarithm():
    hidden = slope(0.0).clone()
    hidden[..., 15, 15] += 1e3
    few = float(relief_disagreement(slope(0.0), hidden, turn(0.0), WINDOW, softness=0.05))
    assert few < 0.3


def test_both_reliefs_learn():
    few = (..., slice(4, 28, 2), slice(4, 28, 2))  # every input is moved for the check
    target, source = (slope(angle)[few].clone().requires_grad_() for angle in (0.2, 0.1))
    arguments, window = (target, source), WINDOW[few]
    assert torch.autograd.gradcheck(
        lambda one, other: relief_disagreement(one, other, turn(0.21), window), arguments, atol=1e-6
    )
    relief_disagreement(*arguments, turn(0.21), window).sum().backward()
    assert target.grad.abs().max() > 0
    assert source.grad.abs().max() > 0


def test_nothing_to_compare_is_no_disagreement():
    assert float(relief_disagreement(slope(0.2), slope(0.9), turn(0.3), 0 * WINDOW)) == 0
    with pytest.raises(HeadwarpError, match="softness: expected above 0, got 0"):
        relief_disagreement(slope(0.2), slope(0.2), turn(0.3), WINDOW, softness=0)
