"""Depth in colours and point clouds from three sides: order, places, holes, scale, what is refused."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.view_synthesis import intrinsics_matrix
from headwarp.tools.depth_pictures import (
    PAPER,
    cloud_views,
    depth_colours,
    depth_row,
    depth_sheet,
    heat_colours,
)

RED, BLUE = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])


def nose(size=24):
    """A blue wall at depth 3 with a bump that comes towards the camera, its tip red; and the colours."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    bump = (1 - 6 * (x.square() + y.square())).clamp_min(0)
    colours = torch.where((bump > 0.6)[..., None], RED, BLUE)
    return torch.stack([x, y, 3 - bump], -1).flatten(0, 1), colours.flatten(0, 1)


def centre_of(view, colour):
    seen = (view - colour[:, None, None]).abs().sum(0) < 0.1
    return seen.nonzero().float().mean(0) + 0.5  # y, x


def test_heat_grows_brighter():
    brightness = heat_colours(torch.linspace(0, 1, 50)).sum(-1)
    assert (brightness.diff() > 0).all()
    assert torch.equal(heat_colours(torch.tensor([-1.0, 2.0])), heat_colours(torch.tensor([0.0, 1.0])))


def test_near_is_bright_and_single_pixels_do_not_matter():
    depth = torch.linspace(1, 3, 900).view(1, 30, 30)
    brightness = depth_colours(depth).sum(0).flatten()
    assert (brightness.diff() <= 0).all()
    assert brightness[0] > 10 * brightness[-1]
    spoiled = depth.clone()
    spoiled[0, 0, 0], spoiled[0, -1, -1] = 1e-3, 1e6
    torch.testing.assert_close(
        depth_colours(spoiled)[:, 5:25], depth_colours(depth)[:, 5:25], atol=0.02, rtol=0
    )
    assert depth_colours(torch.ones(1, 4, 4)).isfinite().all()
    with pytest.raises(HeadwarpError, match="expected above 0 everywhere, got 0 as the least"):
        depth_colours(0 * depth)


def test_a_nose_turns_to_the_side_that_the_yaw_says():
    points, colours = nose()
    left, front, right = cloud_views(points, colours, size=64, kept=1.0)
    middle = centre_of(front, RED)
    torch.testing.assert_close(middle, torch.tensor([32.0, 32.0]), atol=1, rtol=0)
    assert centre_of(left, RED)[1] < middle[1] - 2
    assert centre_of(right, RED)[1] > middle[1] + 2
    assert abs(centre_of(left, RED)[0] - 32) < 1


def test_the_front_has_no_holes_and_a_side_has():
    points, colours = nose()
    side, front = cloud_views(points, colours, views_deg=(60, 0), size=96, kept=1.0)
    wall = (front != PAPER).any(0)
    rows, columns = wall.nonzero().T
    assert wall[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert wall.float().mean() > 0.9  # as large as it can be
    assert (side != PAPER).any(0).sum() < wall.sum()


def test_near_points_hide_far_ones():
    points = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 0.0, 1.5]])
    colours = torch.stack([RED, BLUE, BLUE])
    for order in ([0, 1, 2], [1, 0, 2]):
        (view,) = cloud_views(points[order], colours[order], views_deg=(0,), size=32, kept=1.0)
        assert (view == RED[:, None, None]).all(0).any()


def test_what_is_far_behind_leaves_the_rest_large():
    points, colours = nose()
    far = torch.tensor([[50.0, 0.0, 900.0]]).expand(20, -1)
    given = torch.cat([points, far]), torch.cat([colours, BLUE.expand(20, -1)])
    (whole,), (kept,) = (cloud_views(*given, views_deg=(0,), size=48, kept=share) for share in (1.0, 0.95))
    assert (kept == RED[:, None, None]).all(0).sum() > 20 * (whole == RED[:, None, None]).all(0).sum()


def test_a_row_and_a_sheet_of_a_photo():
    image, depth = torch.rand(1, 3, 32, 48), 1 + torch.rand(1, 1, 32, 48)
    intrinsics = intrinsics_matrix(torch.tensor([[60.0, 60.0]]), torch.tensor([[24.0, 16.0]]))
    row = depth_row(image, depth, intrinsics)
    assert [frame.shape for frame in row] == [(32, 48, 3)] * 2 + [(48, 48, 3)] * 3
    assert depth_sheet([row, row]).shape == (18 + 512, 5 * 256, 3)


def test_clouds_that_are_none_are_refused():
    points, colours = nose()
    with pytest.raises(HeadwarpError, match=r"expected points and a share in \(0, 1\], got 0 and 0.9"):
        cloud_views(points[:0], colours[:0])
    with pytest.raises(HeadwarpError, match=r"got 576 and 1\.5"):
        cloud_views(points, colours, kept=1.5)
    assert len(cloud_views(points[:1], colours[:1], size=16)) == 3  # a single point is a cloud
