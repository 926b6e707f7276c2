"""Losses of keypoints: equivariance and distance; values by hand, gradients, descent, what they refuse."""

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.thin_plate import OFFICIAL as PUBLIC_MAPS
from headwarp.geom.thin_plate import random_thin_plate
from headwarp.training.losses import keypoint_distance as module
from headwarp.training.losses.equivariance import equivariance_jacobian, equivariance_value
from headwarp.training.losses.keypoint_distance import (
    KeypointDistanceConfig,
    keypoint_distance,
    keypoint_scale,
    mean_pairwise_distance,
)


@pytest.fixture
def spline():
    return random_thin_plate(2, generator=torch.Generator().manual_seed(0))


def keypoints(seed=0, spread=0.6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return spread * (2 * torch.rand(2, 5, 2, generator=generator, dtype=dtype) - 1)


def jacobians(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(2, dtype=dtype) + 0.2 * torch.randn(2, 5, 2, 2, generator=generator, dtype=dtype)


def descended(loss, *starts, steps=60, rate=0.01):
    """Values of a loss before and after some steps of Adam from the starts."""
    leaves = [start.clone().requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(leaves, rate)
    values = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        value = loss(*leaves)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values[0], values[-1], leaves


# Equivariance


def test_the_value_is_zero_where_keypoints_follow_and_by_hand_elsewhere(spline):
    moved, driving = keypoints(0), keypoints(1)
    assert equivariance_value(spline.apply(moved), moved, spline) == 0
    gap = (driving - spline.apply(moved)).abs()
    assert equivariance_value(driving, moved, spline) == pytest.approx(float(gap.mean()))
    assert equivariance_value(driving, moved, spline, reduction="sum") == pytest.approx(float(gap.sum() / 2))


def test_jacobians_follow_the_maps_own(spline):
    moved, at = jacobians(), keypoints()
    driving = spline.jacobian(at) @ moved
    assert equivariance_jacobian(driving, moved, spline, at) < 1e-6
    other = jacobians(1)
    gap = (torch.eye(2) - torch.linalg.inv(other) @ driving).abs()
    for guard in (100.0, None):
        found = equivariance_jacobian(other, moved, spline, at, condition_guard=guard)
        assert found == pytest.approx(float(gap.mean()), rel=1e-4)
    summed = equivariance_jacobian(other, moved, spline, at, reduction="sum")
    assert summed == pytest.approx(float(gap.sum() / 2), rel=1e-4)


def test_equivariance_descends(spline):
    first, last, leaves = descended(lambda d, m: equivariance_value(d, m, spline), keypoints(0), keypoints(1))
    assert last < 0.2 * first
    assert all(leaf.grad is not None for leaf in leaves)
    at = keypoints()
    first, last, _ = descended(
        lambda d, m: equivariance_jacobian(d, m, spline, at), jacobians(0), jacobians(1)
    )
    assert last < 0.2 * first


@pytest.mark.parametrize("config", [None, PUBLIC_MAPS])
def test_equivariance_gradients(config):
    spline = random_thin_plate(2, config, generator=torch.Generator().manual_seed(0))
    double = torch.float64
    points = [keypoints(seed, dtype=double).requires_grad_() for seed in (0, 1)]
    matrices = [jacobians(seed, dtype=double).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(lambda d, m: equivariance_value(d, m, spline), points)
    assert torch.autograd.gradcheck(
        lambda d, m, at: equivariance_jacobian(d, m, spline, at), (*matrices, points[0])
    )
    value = equivariance_jacobian(*matrices, spline, points[0])
    for slope in torch.autograd.grad(value, [*matrices, points[0]]):
        assert (slope != 0).any()


def test_a_singular_jacobian_is_borne_with_the_guard_alone(spline):
    driving = torch.zeros(2, 5, 2, 2, requires_grad=True)
    value = equivariance_jacobian(driving, jacobians(), spline, keypoints())
    value.backward()
    assert value == 0.5  # the ratio is 0, and half of the numbers of 1 are 1
    assert torch.isfinite(driving.grad).all()
    assert driving.grad.abs().max() < 1e6
    public = equivariance_jacobian(driving, jacobians(), spline, keypoints(), condition_guard=None)
    assert not torch.isfinite(public)


# Distance


def distances_by_hand(points, cost, norm):
    """Sum over ordered pairs of different keypoints, mean over the batch."""
    total = 0.0
    for sample in points:
        for i, one in enumerate(sample):
            for j, other in enumerate(sample):
                total += cost(float((one - other).norm(p=norm))) if i != j else 0.0
    return total / len(points)


@pytest.mark.parametrize(("distance", "norm"), [("euclidean", 2), ("city_block", 1)])
@pytest.mark.parametrize(
    ("kind", "cost"), [("hinge", lambda d: max(0.0, 0.5 - d)), ("sign", lambda d: 2.0 if d < 0.5 else 0.0)]
)
def test_distance_by_hand(distance, norm, kind, cost):
    points = keypoints()
    expected = distances_by_hand(points, cost, norm)
    for reduction, divisor in (("sum", 1), ("mean", 25)):
        config = KeypointDistanceConfig(kind, distance, 0.5, reduction, weight=3.0)
        assert keypoint_distance(points, config) == pytest.approx(3 * expected / divisor, rel=1e-5)


def test_the_published_forms_are_eq_13_and_the_public_codes():
    paper, official = module.PAPER, module.OFFICIAL
    assert (paper.kind, paper.distance, paper.reduction) == ("sign", "city_block", "sum")
    assert (official.kind, official.distance, official.reduction) == ("sign", "euclidean", "mean")
    assert paper.threshold == official.threshold == 0.2
    assert paper.weight == official.weight == 10


@pytest.mark.parametrize("config", [module.PAPER, module.OFFICIAL])
def test_the_published_forms_train_nothing(config):
    for spread in (0.01, 0.2, 1.0):
        points = keypoints(spread=spread).requires_grad_()
        value = keypoint_distance(points, config)
        (slope,) = torch.autograd.grad(value, points)
        assert not slope.any()
    first, last, leaves = descended(lambda x: keypoint_distance(x, config), keypoints(spread=0.05))
    assert first == last > 0
    assert torch.equal(leaves[0], keypoints(spread=0.05))


def test_the_hinge_spreads_what_is_crowded_and_leaves_the_rest():
    crowded = keypoints(spread=0.02)
    first, last, leaves = descended(keypoint_distance, crowded, steps=150)
    assert last < 0.05 * first
    apart = (leaves[0][:, :, None] - leaves[0][:, None]).norm(dim=-1) + torch.eye(5)
    assert apart.min() > 0.15
    corners = torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [0.0, 0.5]]]).requires_grad_()
    value = keypoint_distance(corners)
    assert value == 0
    assert not torch.autograd.grad(value, corners)[0].any()


def test_the_hinges_gradient_parts_a_pair():
    pair = torch.tensor([[[0.0, 0.0], [0.06, 0.08]]], requires_grad=True)
    (slope,) = torch.autograd.grad(keypoint_distance(pair), pair)
    torch.testing.assert_close(-slope[0, 1], torch.tensor([3.0, 4.0]))  # 10 * 2 / 4 along the way out
    torch.testing.assert_close(slope[0, 0], -slope[0, 1])


@pytest.mark.parametrize("config", [KeypointDistanceConfig(), module.OFFICIAL])
def test_keypoints_in_one_place_are_borne(config):
    points = torch.zeros(1, 4, 2, requires_grad=True)
    value = keypoint_distance(points, config)
    value.backward()
    assert value > 0
    assert torch.equal(points.grad, torch.zeros(1, 4, 2))
    assert keypoint_distance(torch.zeros(1, 1, 2), config) == 0


def test_distance_gradcheck():
    points = keypoints(dtype=torch.float64).requires_grad_()
    for distance in ("euclidean", "city_block"):
        config = KeypointDistanceConfig(distance=distance, threshold=0.7)
        assert torch.autograd.gradcheck(lambda x, c=config: keypoint_distance(x, c), points)


def test_mean_pairwise_distance():
    triangle = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]])
    assert mean_pairwise_distance(triangle) == pytest.approx(4)
    assert mean_pairwise_distance(torch.zeros(2, 1, 2)) == 0


# Scale


def test_one_scale_and_any_place_cost_nothing():
    points = keypoints()
    assert keypoint_scale(0.5 * points + 0.1, points) < 1e-3
    stretched = points * torch.tensor([1.0, 2.0])
    assert keypoint_scale(stretched, points) > 0.05


def test_scale_descends_and_passes_gradcheck():
    driving = keypoints(1)
    first, last, _ = descended(lambda made: keypoint_scale(made, driving), keypoints(0))
    assert last < 0.3 * first
    points = [keypoints(seed, dtype=torch.float64).requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(keypoint_scale, points)
    heap = torch.zeros(1, 3, 2, requires_grad=True)
    keypoint_scale(heap, keypoints()[:1, :3]).backward()
    assert torch.isfinite(heap.grad).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: equivariance_value(keypoints(), keypoints()[:, :4], s), ShapeError, "two (2, K, 2)"),
        (lambda s: equivariance_value(keypoints()[:1], keypoints()[:1], s), ShapeError, "two (2, K, 2)"),
        (
            lambda s: equivariance_jacobian(jacobians(), keypoints(), s, keypoints()),
            ShapeError,
            "two (2, K, 2, 2)",
        ),
        (lambda s: keypoint_distance(torch.zeros(3, 2)), ShapeError, "keypoints[None]"),
        (lambda s: mean_pairwise_distance(torch.zeros(1, 3, 3)), ShapeError, "(1, 3, 3)"),
        (lambda s: keypoint_scale(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)), ShapeError, "K >= 2"),
        (
            lambda s: keypoint_distance(keypoints(), KeypointDistanceConfig(kind="square")),
            HeadwarpError,
            "expected hinge or sign",
        ),
        (
            lambda s: keypoint_distance(keypoints(), KeypointDistanceConfig(distance="l1")),
            HeadwarpError,
            "expected euclidean or city_block",
        ),
    ],
)
def test_what_does_not_fit_is_refused(spline, call, error, text):
    with pytest.raises(error) as caught:
        call(spline)
    assert text in str(caught.value)
