"""Measures of depth against known answers and scipy."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.transforms import axis_angle_to_matrix
from headwarp.training.metrics.depth import (
    best_constant,
    log_ratio,
    mean_depth_map,
    rank_correlation,
    rotation_error_deg,
    scale_invariant_error,
)


@pytest.fixture
def maps():
    torch.manual_seed(0)
    truth = 1 + torch.rand(3, 1, 6, 5)
    return truth * (1 + 0.2 * torch.rand(3, 1, 6, 5)), truth, torch.rand(3, 1, 6, 5) > 0.3


def test_the_error_is_a_deviation_of_logs_and_knows_no_scale(maps):
    depth, truth, counted = maps
    found = scale_invariant_error(depth, truth, counted)
    for k in range(3):
        ratio = (depth[k] / truth[k]).log()[counted[k]]
        assert float(found[k]) == pytest.approx(float(ratio.double().std(correction=0)), rel=1e-5)
    assert torch.allclose(scale_invariant_error(7 * depth, truth, counted), found)
    outside = torch.where(counted, depth, torch.full_like(depth, math.nan))
    assert torch.equal(scale_invariant_error(outside, truth, counted), found)
    assert scale_invariant_error(truth, truth, counted).max() == 0
    assert scale_invariant_error(depth, truth, torch.zeros_like(counted)).isnan().all()


def test_ranks_are_scipys_ties_too(maps):
    depth, truth, counted = maps
    coarse = (depth * 5).round()
    found = rank_correlation(coarse, truth, counted)
    for k in range(3):
        expected = scipy.stats.spearmanr(coarse[k][counted[k]], truth[k][counted[k]]).statistic
        assert float(found[k]) == pytest.approx(expected)
    assert torch.allclose(rank_correlation(truth**3, truth, counted), torch.ones(3).double())
    assert rank_correlation(torch.ones_like(truth), truth, counted).isnan().all()


def test_a_mean_map_is_exact_for_heads_that_are_alike(maps):
    _, truth, counted = maps
    alike = truth[:1].expand(3, -1, -1, -1) * torch.tensor([1.0, 2.0, 5.0]).view(3, 1, 1, 1)
    everywhere = torch.ones_like(counted)
    found = mean_depth_map([(alike[:2], everywhere[:2]), (alike[2:], everywhere[2:])], least=3)
    assert scale_invariant_error(found, truth[:1], everywhere[:1]).item() < 1e-6
    assert (mean_depth_map([(alike, everywhere)], least=4) == 1).all()


def test_focal_lengths():
    truth = torch.tensor([1.0, 2.0, 3.0])
    assert best_constant(truth) == pytest.approx(2.0)
    assert log_ratio(2 * truth, truth).tolist() == pytest.approx([math.log(2)] * 3)
    assert torch.equal(log_ratio(truth / 2, truth), log_ratio(2 * truth, truth))


def test_rotations():
    turn = axis_angle_to_matrix(torch.tensor([[0.0, math.radians(10), 0.0]]))
    assert rotation_error_deg(turn, torch.eye(3)[None]).tolist() == pytest.approx([10.0], abs=1e-4)
    assert rotation_error_deg(turn, turn).item() < 1e-4


def test_what_does_not_fit_is_refused(maps):
    depth, truth, counted = maps
    with pytest.raises(ShapeError, match="of one shape"):
        rank_correlation(depth[:2], truth, counted)
    with pytest.raises(HeadwarpError, match="depth: expected depths above 0 where they are counted"):
        scale_invariant_error(depth - 5, truth, counted)
    with pytest.raises(HeadwarpError, match="got none"):
        mean_depth_map([])
