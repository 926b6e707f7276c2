"""Depth as a surface, and as a source of guidance: against exact flow, and by its invariants."""

import dataclasses

import pytest
import torch
from turned_heads import turned

from headwarp.geom.depth_surface import back_projected, depth_surface, seen_from, turned_away
from headwarp.geom.displacement import border
from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import pixel_grid, sample
from headwarp.geom.guidance import PRODUCERS, Driving, Source
from headwarp.geom.head_pose import rotation_of, turn_about
from headwarp.geom.rasterizer import rasterize
from headwarp.geom.sources.depth import DepthSource, DepthSourceConfig
from headwarp.geom.view_synthesis import intrinsics_matrix, rigid_flow

SIZE = (20, 24)
CAMERA = intrinsics_matrix(torch.tensor([[30.0, 30.0]]), torch.tensor([[12.0, 10.0]]))
REST = torch.eye(3, 4)[None]


def plane(distance=2.0):
    return torch.full((1, 1, *SIZE), distance)


def photo(depth=None, **fields):
    depth = plane() if depth is None else depth
    return Source(image=torch.zeros(1, 3, *depth.shape[2:]), depth=depth, **fields)


def shifted(x, y=0.0, z=0.0, **fields):
    pose = torch.cat([torch.eye(3), torch.tensor([[x], [y], [z]])], 1)[None]
    return Driving(relative_pose=pose, **{"intrinsics": CAMERA, **fields})


def guided(source, driving, config=None):
    maker = DepthSource(config)
    return maker.guide(maker.prepare(source), driving)


# The surface


def test_points_project_back_to_their_pixels():
    surface = depth_surface(torch.rand(1, 1, *SIZE) + 1, CAMERA, tear=-1.0)
    pixels = seen_from(surface.points, REST, CAMERA)[0]
    torch.testing.assert_close(pixels[:, :2], surface.pixels, rtol=0, atol=1e-4)
    assert len(surface.faces) == 2 * (SIZE[0] + 1) * (SIZE[1] + 1)


def test_a_plane_faces_the_camera_as_its_rays_do():
    surface = depth_surface(plane(), CAMERA)
    ray = back_projected(surface.pixels, torch.ones(len(surface.pixels)), CAMERA[0])
    torch.testing.assert_close(surface.facing, 1 / ray.norm(dim=1))


def test_jumps_are_torn_and_holes_are_left_out():
    depth = plane()
    depth[..., 12:] = 9.0
    depth[..., 5, 3] = torch.nan
    depth[..., 15, 3] = 0.0
    surface = depth_surface(depth, CAMERA)
    corners = surface.points[surface.faces][..., 2]
    assert (corners.amax(1) == corners.amin(1)).all()  # no triangle between the planes, none to a hole
    whole = depth_surface(plane(), CAMERA)
    assert len(whole.faces) - len(surface.faces) == 2 * 6 + 2 * (SIZE[0] + 1)


def test_what_lies_behind_another_camera_is_not_a_number():
    points = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    pixels = seen_from(points, torch.cat([torch.eye(3), torch.tensor([[0.0], [0], [-2]])], 1)[None], CAMERA)
    assert pixels[0, 0].isnan().all()
    torch.testing.assert_close(pixels[0, 1], torch.tensor([12.0, 10.0, 1.0]))


def test_backs_are_told_from_fronts():
    surface = depth_surface(plane(), CAMERA)
    for yaw, away in ((0.0, False), (180.0, True)):
        pose = turn_about(rotation_of(torch.tensor([[yaw, 0.0, 0.0]])), torch.tensor([[0.0, 0.0, 2.0]]))
        verts = seen_from(surface.points, pose, CAMERA)
        face = rasterize(verts, surface.faces, SIZE).face
        assert turned_away(verts, surface.faces, face)[face[:, None] >= 0].eq(away).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": torch.ones(2, 1, *SIZE)}, r"depth: expected one map \(1, 1, H, W\), got \(2, 1, 20, 24\)"),
        ({"intrinsics": torch.eye(3)}, r"intrinsics: expected one matrix \(1, 3, 3\), got \(3, 3\)"),
        (
            {"mask": torch.ones(1, 1, 4, 4)},
            r"mask: expected \(1, 1, 20, 24\) as the depth, got \(1, 1, 4, 4\)",
        ),
    ],
)
def test_a_surface_of_other_shapes_is_refused(change, message):
    with pytest.raises(ShapeError, match=message):
        depth_surface(**{"depth": plane(), "intrinsics": CAMERA, "mask": None, **change})


# The source


@pytest.mark.parametrize("angles", [[10.0, 0.0, 0.0], [25.0, -8.0, 5.0], [-40.0, 10.0, 0.0]])
def test_a_turned_head_moves_as_its_exact_flow_says(angles):
    case = turned(torch.tensor(angles))
    made, truth = guided(case.source, case.driving), case.truth
    error = (made.flow - truth.flow).norm(dim=1, keepdim=True)
    seen, known = (truth.person > 0.5) & (truth.visible > 0.5), made.known > 0.5
    moved = truth.flow.norm(dim=1, keepdim=True)[seen].mean()
    assert error[seen & known].mean() < 0.04 * moved  # an exact surface, sampled once a pixel
    assert error[seen & known].median() < 0.03
    assert error[seen].mean() < 0.12 * moved  # the rest is a fill
    assert (known & seen).sum() > 0.6 * seen.sum()
    assert (known & ~seen & (truth.person > 0.5)).sum() < 0.12 * known.sum()  # hair


def test_at_rest_nothing_moves():
    case = turned(torch.zeros(3))
    made = guided(case.source, case.driving)
    assert made.flow.abs().max() < 1e-3
    assert made.known.sum() > 0.7 * case.source.mask.sum()


def test_a_plane_that_comes_nearer_grows_from_the_cameras_axis():
    made = guided(photo(), shifted(0.0, 0.0, -1.0), DepthSourceConfig(normal_threshold=0.0))
    x = torch.arange(SIZE[1]) + 0.5
    torch.testing.assert_close(made.flow[0, 0, 9], -(x - 12) / 2, rtol=0, atol=1e-4)


def test_the_nearer_surface_hides_the_farther_one():
    depth = plane(4.0)
    depth[..., 8:12, 4:8] = 2.0  # moves twice as far: by 6 px
    made = guided(photo(depth), shifted(0.4), DepthSourceConfig(normal_threshold=0.0))
    assert made.known[0, 0, 10, 12] == 1
    torch.testing.assert_close(made.flow[0, :, 10, 12], torch.tensor([-6.0, 0.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(made.flow[0, :, 15, 12], torch.tensor([-3.0, 0.0]), rtol=0, atol=1e-3)
    assert made.known[0, 0, 10, 8:10].sum() == 0  # uncovered behind it


def test_it_is_the_inverse_of_the_sources_own_rigid_flow():
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    depth = (2 + 0.3 * (x * x + y * y))[None, None]  # a bowl
    pose = turn_about(rotation_of(torch.tensor([[8.0, -4.0, 6.0]])), torch.tensor([[0.0, 0.0, 2.2]]))
    made = guided(photo(depth), Driving(relative_pose=pose, intrinsics=CAMERA))
    forward = rigid_flow(depth, pose[:, :, :3], pose[:, :, 3], CAMERA).flow
    there = pixel_grid(SIZE) + forward
    back = forward + sample(made.flow, there)  # to the driving frame and back
    inside = (sample(made.known, there) > 0.99).expand(-1, 2, -1, -1)
    assert inside.float().mean() > 0.6
    assert back[inside].abs().mean() < 0.03


def test_a_camera_of_each_frame_and_of_the_source():
    zoomed = CAMERA.clone()
    zoomed[:, 0, 0] = zoomed[:, 1, 1] = 60.0
    both = torch.cat([CAMERA, zoomed])
    poses = shifted(0.2).relative_pose.expand(2, -1, -1)
    maker = DepthSource()
    pairs = maker.guide(maker.prepare(photo()), Driving(relative_pose=poses, intrinsics=both))
    for n in range(2):
        alone = guided(photo(), shifted(0.2, intrinsics=both[[n]]))
        assert torch.equal(pairs.flow[[n]], alone.flow)
    torch.testing.assert_close(pairs.flow[:, 0, 10, 12], torch.tensor([-3.0, -6.0]), rtol=0, atol=1e-3)
    still = guided(photo(intrinsics=CAMERA), Driving(relative_pose=REST, intrinsics=zoomed))
    torch.testing.assert_close(still.flow[0, 0, 10, 20], torch.tensor(-4.25), rtol=0, atol=1e-3)


def test_the_mask_moves_alone_and_the_border_rests_or_follows_the_camera():
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., 6:14, 8:16] = 1
    made = guided(photo(mask=mask), shifted(0.2))
    edge = border(SIZE, "tblr", mask).expand(1, 2, -1, -1)
    assert not made.flow[edge].any()
    assert 0 < made.known.sum() < mask.sum()
    pan = torch.tensor([[[1.0, 0, -4], [0, 1, 2]]])
    panned = guided(photo(mask=mask), shifted(0.2, camera_motion=pan))
    assert panned.flow[0, 0][edge[0, 0]].eq(-4).all()
    torch.testing.assert_close(panned.flow[0, :, 10, 14], torch.tensor([-3.0, 0.0]), rtol=0, atol=1e-3)


def test_below_the_chin_the_motion_fades_into_the_torsos():
    points = torch.tensor([[[12.0, 2.0], [12.0, 8.0]]])
    source = photo(mask=torch.ones(1, 1, *SIZE), landmarks=points)
    made = guided(source, shifted(0.2), DepthSourceConfig(neck=1.0))
    column = made.flow[0, 0, :, 12]
    torch.testing.assert_close(column[:7], torch.full((7,), -3.0), rtol=0, atol=1e-3)
    assert (column[8:13].diff() > 0).all()
    assert column[15:].abs().max() < 1e-3
    carried = guided(source, shifted(0.2, body_motion=torch.tensor([[[1.0, 0, -1], [0, 1, 0]]])))
    torch.testing.assert_close(carried.flow[0, 0, 15:19, 12], torch.full((4,), -1.0), rtol=0, atol=1e-3)
    whole = guided(source, shifted(0.2), DepthSourceConfig(neck=0.0))
    assert whole.flow[0, 0, 15, 12] < -2.9


@pytest.mark.parametrize("depth", [0.0, -1.0, torch.nan])
def test_without_depth_nothing_is_known(depth):
    made = guided(photo(plane(depth)), shifted(0.2))
    assert not made.known.any()
    assert not made.flow.any()


def test_a_head_that_left_the_frame_or_passed_the_camera_gives_nothing_known():
    for driving in (shifted(100.0), shifted(0.0, 0.0, -5.0)):
        made = guided(photo(), driving)
        assert not made.known.any()
        assert torch.isfinite(made.flow).all()


def test_missing_needs_name_their_producers_and_another_size_is_refused():
    with pytest.raises(HeadwarpError) as caught:
        DepthSource().prepare(dataclasses.replace(photo(), depth=None))
    assert str(caught.value) == (
        f"depth source: Source.depth: expected a tensor, got None; it is made by {PRODUCERS['depth']}"
    )
    with pytest.raises(HeadwarpError, match=r"depth source: Driving\.relative_pose: .*turn_about"):
        guided(photo(), Driving(intrinsics=CAMERA))
    source = photo()
    object.__setattr__(source, "depth", torch.ones(1, 1, 4, 4))  # past the hook that checks shapes
    with pytest.raises(
        ShapeError, match=r"depth: expected \(1, 1, 20, 24\) as the picture, got \(1, 1, 4, 4\)"
    ):
        DepthSource().prepare(source)
