"""Relative motion: the source itself in the reference frame, sizes, hulls, the nearest frame, errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from headwarp.geom.errors import HeadwarpError, NoFaceError, ShapeError
from headwarp.geom.keypoints import Keypoints
from headwarp.warping.relative_motion import (
    adapted_scale,
    convex_hull,
    hull_area,
    nearest_frame,
    relative_keypoints,
)


def points(batch: int = 1, seed: int = 0, count: int = 10) -> Keypoints:
    torch.manual_seed(seed)
    near = torch.eye(2) + 0.3 * torch.randn(batch, count, 2, 2)
    return Keypoints(2 * torch.rand(batch, count, 2) - 1, near, torch.rand(batch, count, 4, 4))


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_the_reference_frame_gives_the_sources_own_keypoints_exactly(scale):
    source, driving = points(seed=0), points(seed=1)
    moved = relative_keypoints(source, driving, driving, scale=scale)
    assert torch.equal(moved.points, source.points)
    assert torch.equal(moved.jacobians, source.jacobians)
    assert moved.heatmaps is None


def test_the_formula_of_the_appendix():
    """[FOMM] A.3 with torch's own inverse; the same driver as source moves as itself."""
    source, driving, reference = points(seed=0), points(4, seed=1), points(seed=2)
    moved = relative_keypoints(source, driving, reference, scale=0.5, condition_guard=None)
    expected = source.points + 0.5 * (driving.points - reference.points)
    torch.testing.assert_close(moved.points, expected)
    change = driving.jacobians @ torch.linalg.inv(reference.jacobians) @ source.jacobians
    torch.testing.assert_close(moved.jacobians, change, rtol=1e-4, atol=1e-4)
    own = relative_keypoints(reference, driving, reference)
    torch.testing.assert_close(own.points, driving.points)
    torch.testing.assert_close(own.jacobians, driving.jacobians, rtol=1e-4, atol=1e-4)


def test_a_driver_that_is_moved_and_enlarged_as_a_whole_moves_the_source_alike():
    source, driving, reference = points(seed=0), points(seed=1), points(seed=2)
    large = [replace(each, points=2 * each.points + 0.3) for each in (driving, reference)]
    small = relative_keypoints(
        source, driving, reference, scale=adapted_scale(source.points, reference.points)
    )
    scale = adapted_scale(source.points, large[1].points)
    torch.testing.assert_close(relative_keypoints(source, *large, scale=scale).points, small.points)


def test_offsets_alone():
    source, driving, reference = (replace(points(seed=seed), jacobians=None) for seed in range(3))
    assert relative_keypoints(source, driving, reference).jacobians is None
    with pytest.raises(HeadwarpError, match="jacobians: expected those of source, driving and reference"):
        relative_keypoints(points(), driving, reference)


def test_collapsed_reference_jacobians_stay_bounded():
    source, driving, reference = points(seed=0), points(seed=1), points(seed=2)
    flat = replace(reference, jacobians=torch.ones_like(reference.jacobians))
    assert torch.isfinite(relative_keypoints(source, driving, flat).jacobians).all()
    assert not torch.isfinite(relative_keypoints(source, driving, flat, condition_guard=None).jacobians).all()


@pytest.mark.parametrize("count", [3, 10, 68])
def test_hull_is_that_of_scipy(count):
    cloud = np.random.default_rng(count).normal(size=(count, 2))
    expected = ConvexHull(cloud)
    assert hull_area(torch.from_numpy(cloud)) == pytest.approx(expected.volume)
    assert set(convex_hull(cloud.tolist())) == {tuple(cloud[i]) for i in expected.vertices}


@pytest.mark.parametrize("cloud", [[[0, 0]], [[0, 0], [1, 1]], [[0, 0], [1, 1], [2, 2]], [[1, 1]] * 4])
def test_hull_of_points_on_a_line(cloud):
    assert hull_area(torch.tensor(cloud, dtype=torch.float32)) == 0


def test_hull_of_what_is_not_finite():
    assert np.isnan(hull_area(torch.tensor([[0.0, 0], [1, 0], [torch.nan, 1]])))


@pytest.mark.parametrize("flat", [0, 1])
def test_scale_of_points_on_a_line(flat):
    pair = [points().points, points(seed=1).points]
    pair[flat] = pair[flat][..., :1].expand(-1, -1, 2)
    who = ("source", "driver")[flat]
    with pytest.raises(HeadwarpError, match=f"those of the {who} lie on a line; leave it out"):
        adapted_scale(*pair)
    assert adapted_scale(points().points, 0.5 * points().points) == pytest.approx(2)


def test_the_nearest_frame_is_found_wherever_it_lies_and_however_large_it_is():
    source = points().points
    driving = points(5, seed=1).points
    driving[3] = 3 * source[0] + 7 + 0.01 * torch.randn(10, 2)
    assert nearest_frame(source, driving) == 3
    driving[3] = torch.nan
    assert nearest_frame(source, driving) != 3


def test_no_frame_to_choose():
    source = points().points
    with pytest.raises(NoFaceError, match="expected a face in the source and in a driving frame"):
        nearest_frame(source, torch.full((2, 10, 2), torch.nan))
    with pytest.raises(ShapeError, match="driving: expected the source's points"):
        nearest_frame(source, torch.zeros(2, 9, 2))
