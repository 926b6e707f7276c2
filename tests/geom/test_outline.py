"""The skull's outline and the hairline about it: known circles, and what moving, turning and scaling do."""

import math

import pytest
import torch
from toy_mesh import sphere

from headwarp.geom.errors import ShapeError
from headwarp.geom.flow import pixel_grid
from headwarp.geom.outline import BINS, MAX_REACH, hairline, hairline_anchors, in_plane_turn, skull_outline
from headwarp.geom.rasterizer import rasterize

SIZE = (160, 180)
CENTRE, RADIUS = (84.0, 78.0), 32.0


def outline_of(verts, faces, size=SIZE):
    covered = (rasterize(verts, faces, size).face >= 0)[:, None].float()
    return skull_outline(verts, torch.ones(verts.shape[1], dtype=torch.bool), covered)


def ball(centre=CENTRE, radius=RADIUS, wide=1.0):
    verts, faces = sphere((0.0, 0.0), radius, rows=25, columns=48)
    return outline_of(verts * torch.tensor([wide, 1.0, 1.0]) + torch.tensor([*centre, 0.0]), faces)


def disc(radius, centre=CENTRE, size=SIZE):
    return (
        (pixel_grid(size) - torch.tensor(centre)[:, None, None]).norm(dim=1, keepdim=True) < radius
    ).float()


def angles():
    return (torch.arange(BINS) + 0.5) / BINS * 2 * math.pi - math.pi


def anchors(line, driving):
    """Known anchors of a batch of one: here and there, ``(K, 2)``."""
    here, there, known = hairline_anchors(line, driving)
    return here[0][known[0]], there[0][known[0]]


# The silhouette


@pytest.mark.parametrize("radius", [4.0, 12.0, 32.0, 60.0])
def test_of_a_ball_it_is_a_circle(radius):
    outline = ball(radius=radius)
    torch.testing.assert_close(outline.centre, torch.tensor([CENTRE]), rtol=0, atol=0.1)
    assert outline.radius.shape == (1, BINS)
    assert (outline.radius - radius).abs().max() < 0.5


def test_of_an_ellipsoid_it_is_an_ellipse():
    outline, angle = ball(wide=1.3), angles()
    a, b = 1.3 * RADIUS, RADIUS
    expected = a * b / ((b * torch.cos(angle)) ** 2 + (a * torch.sin(angle)) ** 2).sqrt()
    assert (outline.radius[0] - expected).abs().max() < 0.6


def test_a_batch_is_its_frames():
    verts, faces = sphere((70.0, 70.0), 25.0)
    both = torch.cat([verts, verts * 1.2 + 5])
    together = outline_of(both, faces)
    for index in range(2):
        alone = outline_of(both[index : index + 1], faces)
        for field in ("centre", "radius", "points"):
            assert torch.equal(getattr(together, field)[index], getattr(alone, field)[0])


@pytest.mark.parametrize("place", [(-500.0, 40.0), (90.0, 4000.0)])
def test_off_the_frame_it_is_small_but_finite(place):
    outline = ball(centre=place)
    assert torch.isfinite(outline.radius).all()
    assert (outline.radius >= 1).all()


def test_vertices_in_one_place_give_a_point():
    faces = torch.tensor([[0, 1, 2]])
    outline = outline_of(torch.full((1, 3, 3), 40.0), faces)
    assert outline.centre.tolist() == [[40.0, 40.0]]
    assert (outline.radius == 1).all()


def test_a_skull_without_vertices_is_refused():
    with pytest.raises(ShapeError, match="skull: expected at least one vertex, got none"):
        skull_outline(torch.zeros(1, 4, 3), torch.zeros(4, dtype=torch.bool), torch.zeros(1, 1, 8, 8))


# The turn in the image


@pytest.mark.parametrize("degrees", [0.0, 10.0, -35.0, 90.0, 170.0])
def test_in_plane_turn_is_found(degrees):
    verts, faces = sphere(CENTRE, RADIUS)
    verts = (verts - torch.tensor([*CENTRE, 0])) * torch.tensor([1.0, 1.3, 1.0])
    turn = math.radians(degrees)
    matrix = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
    )
    turned = verts @ matrix.T * 1.2 + torch.tensor([90.0, 70.0, 0])
    source, driving = outline_of(verts + torch.tensor([*CENTRE, 0]), faces), outline_of(turned, faces)
    torch.testing.assert_close(in_plane_turn(source, driving), torch.tensor([turn]), rtol=0, atol=1e-4)


# The hairline


@pytest.mark.parametrize("reach", [1.1, 1.3, 1.6])
def test_the_reach_of_a_round_mask(reach):
    line = hairline(ball(), disc(reach * RADIUS))
    upwards = (angles() + math.pi / 2).abs() < math.radians(80)
    assert line.known[0][upwards].all()
    assert (line.reach[0][upwards] - reach).abs().max() < 0.06


def test_neck_and_shoulders_have_no_hairline():
    line = hairline(ball(), disc(1.3 * RADIUS))
    down = (angles() - math.pi / 2).abs() < math.radians(55)
    assert not line.known[0][down].any()


@pytest.mark.parametrize("mask", ["everything", "beyond the reach", "over the frame"])
def test_a_mask_without_an_end_has_no_hairline(mask):
    outline = ball(centre=(84.0, 30.0)) if mask == "over the frame" else ball()
    shape = {
        "everything": torch.ones(1, 1, *SIZE),
        "beyond the reach": disc((MAX_REACH + 0.1) * RADIUS),
        "over the frame": disc(1.4 * RADIUS, (84.0, 30.0)),
    }[mask]
    line = hairline(outline, shape)
    up = (angles() + math.pi / 2).abs() < math.radians(30)
    assert not line.known[0][up].any()


def test_a_mask_of_nobody_ends_at_once():
    line = hairline(ball(), torch.zeros(1, 1, *SIZE))
    assert (line.reach <= 1.03).all()  # 1 where unknown, 0.8 upwards, smoothed
    assert (line.reach >= 0.8).all()


# Anchors


def test_a_skull_that_rests_anchors_its_hair_where_it_is():
    outline = ball(wide=1.2)
    here, there = anchors(hairline(outline, disc(1.4 * RADIUS)), outline)
    assert len(here) > 300
    torch.testing.assert_close(here, there, rtol=0, atol=1e-3)
    distance = (here - torch.tensor(CENTRE)).norm(dim=1)
    assert distance.min() > RADIUS
    assert distance.max() < 1.5 * RADIUS


def test_a_shift_of_the_head_shifts_the_hair():
    line = hairline(ball(), disc(1.4 * RADIUS))
    here, there = anchors(line, ball(centre=(CENTRE[0] + 9, CENTRE[1] - 5)))
    torch.testing.assert_close(here - there, torch.tensor([9.0, -5.0]).expand_as(here), rtol=0, atol=0.6)


def test_a_larger_head_has_larger_hair():
    line = hairline(ball(), disc(1.4 * RADIUS))
    here, there = anchors(line, ball(radius=1.25 * RADIUS))
    scaled = (there - torch.tensor(CENTRE)) * 1.25 + torch.tensor(CENTRE)
    torch.testing.assert_close(here, scaled, rtol=0, atol=0.8)


def test_hair_keeps_its_thickness_where_the_outline_widens():
    source, driving = ball(), ball(wide=1.2)
    here, there = anchors(hairline(source, disc(1.4 * RADIUS)), driving)
    centre = torch.tensor(CENTRE)
    sides = ((here - centre)[:, 1].abs() < 6) & ((here - centre)[:, 0].abs() > 0)
    size = driving.radius.mean() / source.radius.mean()
    thickness = (here - centre).norm(dim=1) - 1.2 * RADIUS
    own = (there - centre).norm(dim=1) - RADIUS
    assert sides.any()
    assert (thickness - size * own)[sides].abs().max() < 1.2


def test_a_rolled_head_rolls_its_hair():
    verts, faces = sphere((0.0, 0.0), RADIUS, rows=25, columns=48)
    verts = verts * torch.tensor([1.0, 1.2, 1.0])
    turn = math.radians(20)
    matrix = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]]
    )
    place = torch.tensor([*CENTRE, 0.0])
    source, driving = outline_of(verts + place, faces), outline_of(verts @ matrix.T + place, faces)
    here, there = anchors(hairline(source, disc(1.5 * RADIUS)), driving)
    expected = (there - place[:2]) @ matrix[:2, :2].T + place[:2]
    assert (here - expected).norm(dim=1).mean() < 0.5
    assert (here - expected).norm(dim=1).max() < 1.5


def test_one_source_serves_a_batch_of_drivers():
    line = hairline(ball(), disc(1.4 * RADIUS))
    verts, faces = sphere(CENTRE, RADIUS, rows=25, columns=48)
    both = torch.cat([verts + torch.tensor([6.0, 0, 0]), verts * 1.1])
    together = hairline_anchors(line, outline_of(both, faces))
    for index in range(2):
        alone = hairline_anchors(line, outline_of(both[index : index + 1], faces))
        for whole, single in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[index], single[0], rtol=0, atol=1e-4)


def test_anchors_lie_inside_the_mask_so_that_its_edge_is_drawn_unstretched():
    outline = ball()
    _, there = anchors(hairline(outline, disc(1.4 * RADIUS)), outline)
    distance = (there - torch.tensor(CENTRE)).norm(dim=-1)
    assert float(distance.max()) < 1.37 * RADIUS
    assert float(distance.min()) > 1.25 * RADIUS
