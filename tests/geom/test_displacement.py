"""The geometric displacement: exact where the mesh lies, gated by what the source shows, filled elsewhere."""

import math

import pytest
import torch
from toy_mesh import bulge, sheet, sheet_faces, sphere, texture

from headwarp.geom.displacement import (
    DisplacementConfig,
    border,
    carried_mask,
    complete,
    dilate,
    erode,
    geometric_displacement,
    mesh_flow,
    mesh_radius,
    source_visibility,
)
from headwarp.geom.errors import ShapeError
from headwarp.geom.flow import pixel_grid, warp
from headwarp.geom.rasterizer import rasterize

SIZE = (40, 50)
FACES = sheet_faces()
SHEET = sheet((10, 8, 34, 30))


def seen(verts):
    return torch.ones(verts.shape[:2], dtype=verts.dtype)


def raw(source, driving, size=SIZE, **options):
    return mesh_flow(source, driving, FACES, size=size, **{"visibility": seen(source), **options})


# masks


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_dilate_and_erode_are_the_extremes_over_a_square_inside_the_frame(radius):
    mask = torch.rand(2, 1, 9, 12, generator=torch.Generator().manual_seed(radius))
    grown, shrunk = dilate(mask, radius), erode(mask, radius)
    for y in range(9):
        for x in range(12):
            near = mask[:, :, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            assert torch.equal(grown[:, :, y, x], near.amax((2, 3)))
            torch.testing.assert_close(shrunk[:, :, y, x], near.amin((2, 3)), rtol=0, atol=1e-6)


def test_a_full_mask_does_not_erode_at_the_frame():
    assert torch.equal(erode(torch.ones(1, 1, 4, 4), 2), torch.ones(1, 1, 4, 4))
    assert torch.equal(erode(torch.ones(1, 1, 1, 1)), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("sides", "count"), [("", 0), ("t", 5), ("l", 4), ("tb", 10), ("lr", 8), ("tblr", 14)]
)
def test_border_marks_the_named_sides(sides, count):
    edge = border((4, 5), sides, torch.zeros(1))
    assert edge.shape == (1, 1, 4, 5)
    assert int(edge.sum()) == count
    assert bool(edge[0, 0, -1].all()) == ("b" in sides)
    assert bool(edge[0, 0, :, 0].all()) == ("l" in sides)


def test_border_of_one_pixel():
    assert border((1, 1), "b", torch.zeros(1)).all()


def test_mesh_radius_of_a_square():
    corners = torch.tensor([[[0.0, 0, 9], [6, 0, -9], [6, 8, 0], [0, 8, 0]]])
    torch.testing.assert_close(mesh_radius(corners), torch.tensor([5.0]))
    torch.testing.assert_close(mesh_radius(3 * corners + 7), torch.tensor([15.0]))
    assert mesh_radius(torch.zeros(1, 4, 3)).tolist() == [0.0]


# visibility


def test_a_sheet_that_faces_the_camera_is_seen_and_its_back_is_not():
    assert source_visibility(SHEET, FACES, SIZE).all()
    assert not source_visibility(SHEET, FACES.flip(1), SIZE).any()


def test_of_a_sphere_the_part_within_the_normal_threshold_is_seen():
    verts, faces = sphere((32, 30), 20.0)
    visible = source_visibility(verts, faces, (60, 64))[0] > 0.5
    cosine = -verts[0, :, 2] / 20.0
    assert visible[cosine > 0.42].all()
    assert not visible[cosine < 0.28].any()
    tight = (
        source_visibility(verts, faces, (60, 64), config=DisplacementConfig(normal_threshold=0.9))[0] > 0.5
    )
    assert 0 < int(tight.sum()) < int(visible.sum())
    assert not tight[cosine < 0.85].any()


@pytest.mark.parametrize(("behind", "expected"), [(0.2, True), (0.9, True), (1.2, False), (5.0, False)])
def test_what_lies_further_behind_than_the_tolerance_is_hidden(behind, expected):
    front, count = SHEET, SHEET.shape[1]
    config = DisplacementConfig(depth_tolerance=0.05)
    both = torch.cat([front, front + torch.tensor([0, 0, 1.0])], 1)
    gap = behind * float(config.depth_tolerance * mesh_radius(both))
    both = torch.cat([front, front + torch.tensor([0, 0, gap])], 1)
    visible = source_visibility(both, torch.cat([FACES, FACES + count]), SIZE, config=config)[0]
    assert visible[:count].all()
    inner = (sheet((-1, -1, 1, 1))[0, :, :2].abs() < 0.9).all(1)  # the rim is not covered by its own pixels
    assert bool(visible[count:][inner].all()) == expected
    assert bool(visible[count:][inner].any()) == expected


def test_off_the_frame_and_off_the_person_is_not_seen():
    half_out = source_visibility(SHEET - torch.tensor([22.0, 0, 0]), FACES, SIZE)[0]
    assert torch.equal(half_out > 0.5, SHEET[0, :, 0] >= 22)
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :20, :] = 0.9
    masked = source_visibility(SHEET, FACES, SIZE, mask=mask)[0]
    assert torch.equal(masked > 0.5, SHEET[0, :, 1] < 20)
    assert not source_visibility(SHEET + 1000, FACES, SIZE).any()


def test_vertices_that_are_not_finite_are_not_seen_and_the_flow_stays_finite():
    broken = SHEET.clone()
    broken[0, 12] = float("nan")
    assert not source_visibility(broken, FACES, SIZE)[0, 12]
    flow = raw(SHEET, broken)
    assert torch.isfinite(flow.flow).all()
    assert flow.covered.any()


def test_a_mask_of_another_size_or_batch_is_refused():
    for shape in [(1, 1, 40, 51), (2, 1, *SIZE), (1, *SIZE)]:
        with pytest.raises(ShapeError, match=r"mask: expected \(1, 1, 40, 50\), got"):
            source_visibility(SHEET, FACES, SIZE, mask=torch.ones(shape))


# the displacement of the mesh


def test_a_mesh_that_rests_does_not_move_its_pixels():
    bent = bulge(SHEET, 6.0)
    still = raw(bent, bent)
    assert still.flow.abs().max() < 1e-5
    assert torch.equal(still.covered[:, 0] > 0.5, rasterize(bent, FACES, SIZE).face >= 0)
    assert torch.equal(still.known, erode(still.covered))


@pytest.mark.parametrize("shift", [(3.0, -2.0), (-0.37, 1.4), (12.0, 5.0)])
def test_a_shifted_mesh_pulls_its_pixels_back_by_the_shift(shift):
    moved = raw(SHEET, SHEET + torch.tensor([*shift, 0.0]))
    inside = moved.covered[0, 0] > 0.5
    expected = -torch.tensor(shift)[:, None].expand(2, int(inside.sum()))
    torch.testing.assert_close(moved.flow[0][:, inside], expected, rtol=0, atol=2e-5)
    assert not moved.flow[0][:, ~inside].any()


def test_an_affine_motion_is_inverted_at_every_covered_pixel():
    matrix, shift = torch.tensor([[1.1, 0.2], [-0.15, 0.9]]), torch.tensor([2.0, 5.0])
    driving = torch.cat([SHEET[..., :2] @ matrix.T + shift, SHEET[..., 2:]], -1)
    moved = raw(SHEET, driving)
    at = pixel_grid(SIZE)[0].flatten(1).T
    expected = ((at - shift) @ torch.linalg.inv(matrix).T - at).T.reshape(2, *SIZE)
    inside = moved.covered[0, 0] > 0.5
    assert inside.sum() > 300
    torch.testing.assert_close(moved.flow[0][:, inside], expected[:, inside], rtol=0, atol=2e-4)


def test_the_nearest_surface_wins():
    near, far = SHEET - torch.tensor([0, 0, 5.0]), SHEET
    faces = torch.cat([FACES, FACES + SHEET.shape[1]])
    source = torch.cat([near + torch.tensor([4.0, 0, 0]), far], 1)
    flow = mesh_flow(source, torch.cat([near, far], 1), faces, size=SIZE, visibility=seen(source))
    inside = flow.covered[0, 0] > 0.5
    assert (flow.flow[0, 0][inside] - 4).abs().max() < 1e-4


def test_only_what_the_source_shows_is_known():
    visibility = (SHEET[..., 0] < 21).float()
    moved = raw(SHEET, SHEET + torch.tensor([8.0, 0, 0]), visibility=visibility)
    known = moved.known[0, 0] > 0.5
    assert known.any()
    assert not known[:, 30:].any()  # unseen from 21 + 8 on
    assert not (moved.known > moved.covered).any()
    assert moved.flow[0, 0][known].add(8).abs().max() < 1e-4


def test_a_cavity_counts_as_unseen_and_is_reported():
    hollow = (SHEET[0, :, 1] > 18) & (SHEET[0, :, 1] < 20)  # the middle row of vertices
    moved = raw(SHEET, SHEET, cavity=hollow)
    assert hollow.sum() == 5
    assert moved.cavity.max() > 0.9
    assert not (moved.known * (moved.cavity > 0.5)).any()
    assert torch.equal(raw(SHEET, SHEET).cavity, torch.zeros(1, 1, *SIZE))


def test_one_source_serves_a_batch_and_a_batch_is_its_frames():
    shifts = torch.tensor([[0.0, 0, 0], [3, 1, 0], [-60, 0, 0]])
    together = raw(SHEET, SHEET + shifts[:, None])
    for index in range(3):
        alone = raw(SHEET, SHEET + shifts[index])
        for name in ("flow", "covered", "known", "cavity"):
            assert torch.equal(getattr(together, name)[index], getattr(alone, name)[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (40, 50)])
def test_a_mesh_off_the_frame_covers_nothing(size):
    away = raw(SHEET, SHEET + 500, size)
    assert not away.covered.any()
    assert not away.known.any()
    assert not away.flow.any()
    filled = complete(away, anchors=border(size, "", away.flow))
    assert torch.equal(filled, torch.zeros(1, 2, *size))


def test_a_frame_of_one_pixel_inside_the_mesh():
    around = sheet((-5, -5, 6, 6))
    moved = raw(around, around + torch.tensor([2.0, 0, 0]), (1, 1))
    torch.testing.assert_close(moved.flow, torch.tensor([-2.0, 0])[None, :, None, None], rtol=0, atol=1e-5)
    assert moved.known.item() == 1


def test_gradients_reach_both_meshes_in_double_precision():
    small = sheet((1, 1, 7, 6), rows=3, columns=3).double()
    driving = small + torch.tensor([0.83, 0.41, 0.0])
    faces, visibility = sheet_faces(3, 3), torch.ones(1, 9).double()

    def flow(source, target):
        return mesh_flow(source, target, faces, size=(8, 9), visibility=visibility).flow

    assert torch.autograd.gradcheck(flow, (small.clone().requires_grad_(), driving))
    bent = driving + 0.1 * torch.randn(
        driving.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    bent[..., 2] = 0
    assert torch.autograd.gradcheck(flow, (small, bent.requires_grad_()))


def test_two_different_meshes_are_refused():
    with pytest.raises(
        ShapeError, match=r"driving_verts: expected \(25, 3\) vertices as the source, got \(24, 3\)"
    ):
        raw(SHEET, SHEET[:, :-1])


# the fill


def test_complete_keeps_known_pixels_bit_for_bit_and_they_win_over_anchors():
    moved = raw(SHEET, SHEET + torch.tensor([5.3, 0, 0]))
    full = complete(moved, anchors=torch.ones(1, 1, *SIZE), anchor_flow=torch.full((1, 2, *SIZE), 7.0))
    known = (moved.known > 0.5).expand_as(full)
    assert torch.equal(full[known], moved.flow[known])
    assert (full[~known] == 7).all()


def test_complete_runs_from_the_mesh_to_rest_at_the_border():
    moved = raw(SHEET, SHEET + torch.tensor([6.0, 0, 0]))
    filled = complete(moved, anchors=border(SIZE, "tblr", moved.flow))
    assert not filled[..., 0, :].any()
    assert not filled[..., -1].any()
    assert filled[:, 0].max() <= 1e-4
    assert filled[:, 0].min() >= -6 - 1e-4
    assert filled[:, 1].abs().max() < 1e-4
    column = filled[0, 0, 19]
    assert (column[:14].diff() <= 1e-4).all()  # ever further from rest towards the mesh


def test_complete_without_anything_known_or_anchored_is_zero_and_with_anchors_alone_is_theirs():
    nothing = raw(SHEET, SHEET + 500)
    anchors = border(SIZE, "tblr", nothing.flow)
    assert not complete(nothing, anchors=anchors).any()
    carried = complete(nothing, anchors=anchors, anchor_flow=torch.full((1, 2, *SIZE), -3.0))
    torch.testing.assert_close(carried, torch.full_like(carried, -3.0), rtol=0, atol=1e-4)


def test_anchors_of_one_serve_a_batch():
    moved = raw(SHEET, SHEET + torch.tensor([[[4.0, 0, 0]], [[0, 4.0, 0]]]))
    filled = complete(moved, anchors=border(SIZE, "tblr", moved.flow), anchor_flow=torch.ones(1, 2, *SIZE))
    assert filled.shape == (2, 2, *SIZE)
    assert (filled[:, :, 0] == 1).all()


# the whole


def test_the_same_pose_leaves_the_picture_as_it_is():
    image, bent = texture(SIZE), bulge(SHEET, 5.0)
    guidance = geometric_displacement(bent, bent, FACES, size=SIZE)
    assert guidance.flow.abs().max() < 1e-5
    torch.testing.assert_close(warp(image, guidance.flow), image, rtol=0, atol=1e-5)


def test_a_turned_sphere_shows_its_texture_where_it_turned_to():
    verts, faces = sphere((40, 40), 26.0, rows=25, columns=48)
    angle = math.radians(15)
    turn = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    centre = torch.tensor([40.0, 40.0, 0.0])
    guidance = geometric_displacement(verts, (verts - centre) @ turn.T + centre, faces, size=(80, 80))
    y, x = torch.meshgrid(torch.arange(80) + 0.5 - 40, torch.arange(80) + 0.5 - 40, indexing="ij")
    depth = -(26.0**2 - x**2 - y**2).clamp(min=0).sqrt()
    there = torch.stack([x, y, depth], -1) @ turn  # back by the transpose
    known = guidance.known[0, 0] > 0.5
    assert known.sum() > 900
    error = (guidance.flow[0].permute(1, 2, 0) - (there - torch.stack([x, y, depth], -1))[..., :2]).norm(
        dim=-1
    )
    assert error[known].mean() < 0.15
    assert error[known].max() < 0.6
    assert (there[..., 2][known] < 0).all()  # what was behind is not known
    assert torch.equal(guidance.known, guidance.visible)


def test_the_person_mask_gates_the_whole():
    mask = torch.zeros(1, 1, *SIZE)
    guidance = geometric_displacement(SHEET, SHEET + 4, FACES, size=SIZE, mask=mask)
    assert not guidance.known.any()
    assert not guidance.flow.any()


def test_carried_mask_goes_with_the_flow():
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 10:20, 10:20] = 1
    flow = torch.zeros(3, 2, *SIZE)
    flow[1, 0] = -5
    carried = carried_mask(mask, flow)
    assert torch.equal(carried[0], mask[0])
    assert torch.equal(carried[1], mask[0].roll(5, -1))
