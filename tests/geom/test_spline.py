"""Thin-plate splines: what they interpolate, affine maps, the border, the lattice against single points."""

import math

import pytest
import torch

from headwarp.geom.alignment import affine_flow
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import pixel_grid, warp_points
from headwarp.geom.spline import (
    SplineConfig,
    border_points,
    evaluate_spline,
    spline_flow,
    spline_flows,
    thin_plate_kernel,
    thin_plate_spline,
)

SIZE = (40, 56)


def landmarks(count=68, seed=0):
    """Points over the middle of a frame, ``(1, L, 2)``."""
    share = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed))
    return share * torch.tensor([60.0, 50.0]) + torch.tensor([30.0, 20.0])


def spread():
    """Twelve pixel centres of `SIZE`, apart from each other and from the border."""
    y, x = torch.meshgrid(
        torch.tensor([10.5, 19.5, 29.5]), torch.tensor([12.5, 23.5, 33.5, 44.5]), indexing="ij"
    )
    return torch.stack([x, y], -1).reshape(-1, 2)


def test_the_kernel_is_r_squared_log_r():
    r = torch.tensor([0.0, 1.0, math.e, 2.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0, math.e**2, 4 * math.log(2)], dtype=torch.float64)
    torch.testing.assert_close(thin_plate_kernel(r.square()), expected, rtol=1e-12, atol=1e-10)


def test_the_spline_interpolates_exactly_without_regularisation():
    points, values = landmarks(seed=2)[0].double() / 60, landmarks(seed=3)[0].double() / 60
    coefficients = thin_plate_spline(points, values, 0.0)
    torch.testing.assert_close(evaluate_spline(coefficients, points, points), values, rtol=0, atol=1e-9)
    side = coefficients[:-3]  # kernel weights carry no affine part
    assert side.sum(0).abs().max() < 1e-8
    assert (points.T @ side).abs().max() < 1e-8


def test_the_spline_of_an_affine_map_is_that_map_everywhere():
    points = landmarks(seed=2)[0].double() / 60
    matrix, offset = torch.tensor([[1.1, 0.2], [-0.3, 0.9]]).double(), torch.tensor([0.1, -0.4]).double()
    coefficients = thin_plate_spline(points, points @ matrix.T + offset, 1e-7)
    far = torch.tensor([[5.0, -3.0], [0.0, 0.0]]).double()
    torch.testing.assert_close(evaluate_spline(coefficients, points, far), far @ matrix.T + offset)


def test_with_three_points_it_is_their_affine_map():
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1]]).double()
    coefficients = thin_plate_spline(points, points * 2 + 1, 0.0)
    torch.testing.assert_close(evaluate_spline(coefficients, points, points), points * 2 + 1)


def test_flow_is_the_spline_of_the_displacement_at_every_pixel():
    """The lattice against single points, and against positions in place of displacements."""
    driving = spread()
    source = driving + 2 * torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    flow = spline_flow(source.double(), driving.double(), SIZE)
    half, border = max(SIZE) / 2, border_points(SIZE, 4).double()
    at, to = (torch.cat([points.double(), border]) / half for points in (driving, source))
    grid = pixel_grid(SIZE, dtype=torch.float64)[0].flatten(1).T / half
    places = evaluate_spline(thin_plate_spline(at, to, 1e-7), at, grid)
    expected = ((places - grid) * half).T.reshape(1, 2, *SIZE)
    torch.testing.assert_close(flow, expected, rtol=0, atol=1e-9)


def test_flow_carries_points_and_holds_the_border():
    driving = spread()
    source = driving + 2 * torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    flow = spline_flow(source, driving, SIZE)
    torch.testing.assert_close(warp_points(driving[None], flow)[0], source, rtol=0, atol=1e-3)
    corners = flow[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.abs().max() < 0.3  # half a pixel within the anchors
    assert (source - driving).abs().max() > 2


@pytest.mark.parametrize("step", [1, 3])
def test_what_rests_has_no_flow_at_all(step):
    assert not spline_flow(spread(), spread(), SIZE, config=SplineConfig(step=step)).any()


def test_the_border_follows_a_motion():
    motion = torch.tensor([[1.02, 0.01, -0.5], [-0.01, 0.98, 0.7]])
    points = spread()
    moved = points @ motion[:, :2].T + motion[:, 2]
    flow = spline_flow(moved, points, SIZE, motion=motion)
    torch.testing.assert_close(flow, affine_flow(motion[None], SIZE), rtol=0, atol=1e-4)
    alone = spline_flow(points[:0], points[:0], SIZE, motion=motion)
    torch.testing.assert_close(alone, affine_flow(motion[None], SIZE), rtol=0, atol=1e-4)
    with pytest.raises(
        ShapeError, match=r"expected \(12, 2\) in the driving frame as in the source, got \(11"
    ):
        spline_flow(points, points[1:], SIZE)


@pytest.mark.parametrize("step", [1, 4])
def test_a_batch_at_once_is_each_alone_with_the_same_gradients(step):
    config = SplineConfig(step=step)
    here = landmarks(5).double().requires_grad_()
    there = torch.cat([landmarks(5, seed) for seed in (1, 2)]).double().requires_grad_()
    both = spline_flows(here, there, SIZE, config=config)
    alone = torch.cat([spline_flow(here[0], points, SIZE, config=config) for points in there])
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-9)
    weight = torch.rand(both.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one, other = (torch.autograd.grad((f * weight).sum(), (here, there)) for f in (both, alone))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_that_rests_has_no_flow_and_other_numbers_of_points_are_refused():
    points = landmarks(9).expand(2, -1, -1)
    assert not spline_flows(points, points, SIZE).any()
    with pytest.raises(ShapeError, match=r"expected \(2, 9, 2\) in the source"):
        spline_flows(points[:, :8], points, SIZE)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_border_anchors_are_even_and_without_doubles(count):
    points = border_points((30, 50), count)
    assert len(points) == len({tuple(p.tolist()) for p in points})
    on_edge = (points[:, 0] % 50 == 0) | (points[:, 1] % 30 == 0)
    assert on_edge.all()
    if count > 1:
        assert len(points) == 4 * count - 4
        assert {(0.0, 0.0), (50.0, 0.0), (0.0, 30.0), (50.0, 30.0)} <= {tuple(p.tolist()) for p in points}


@pytest.mark.parametrize(
    "options",
    [{"anchors": 1}, {"step": 0}, {"regularisation": -1.0}, {"regularisation": math.nan}],
)
def test_settings_that_have_no_spline_are_refused(options):
    with pytest.raises(
        HeadwarpError, match="spline: expected anchors >= 2, step >= 1 and a finite regularis"
    ):
        SplineConfig(**options)
