"""Direct alignment: it finds a known motion and perspective, and stays where nothing can be told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import sample
from headwarp.geom.relative_pose import RelativePose
from headwarp.geom.rigid_alignment import (
    AlignmentConfig,
    SurfaceMotion,
    align_surfaces,
    at_rest,
    likeliest_start,
    normalised,
    pose_of_surface,
    seen_at,
    surface_of_pose,
)
from headwarp.geom.transforms import axis_angle_to_matrix, rotation_angle
from headwarp.geom.view_synthesis import intrinsics_matrix, rigid_flow

SIDE = 64


def motion(turn=(0.0, 0.0, 0.0), *, shift=(0.0, 0.0), distance=0.0, perspective=0.5):
    return SurfaceMotion(
        axis_angle_to_matrix(torch.tensor([turn])),
        torch.tensor([shift]),
        torch.tensor([distance]),
        torch.tensor([perspective]),
    )


@pytest.fixture(scope="module")
def scene():
    """A bulging surface with a texture, seen without any motion, and its relief."""
    torch.manual_seed(0)
    texture = F.interpolate(torch.rand(1, 3, 20, 20), (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, SIDE), torch.linspace(-0.5, 0.5, SIDE), indexing="ij")
    relief = 0.6 * (x * x + y * y) - 0.1
    return texture, relief[None, None]


def source_of(target, relief, moved):
    """A source that shows the target's surface after a motion: its pixels looked up by fixed-point search."""
    backward = torch.zeros(1, 2, SIDE, SIDE)
    grid = seen_at(torch.zeros_like(relief), motion(perspective=0.0))
    for _ in range(60):
        forward = seen_at(relief, moved) - grid
        backward = -sample(forward, grid + backward, padding_mode="border", mode="bilinear")
    return sample(target, grid + backward, padding_mode="border", mode="bilinear")


MOVED = motion((0.06, 0.14, -0.05), shift=(0.03, -0.02), distance=0.05, perspective=0.6)


def test_it_finds_the_motion(scene):
    target, relief = scene
    source = source_of(target, relief, MOVED)
    start = motion(perspective=0.6)
    found = align_surfaces(target, source, relief, start, config=AlignmentConfig(steps=6))
    turned = torch.rad2deg(rotation_angle(found.motion.rotation, MOVED.rotation)).item()
    assert turned < 0.5 < 8 < torch.rad2deg(rotation_angle(start.rotation, MOVED.rotation)).item()
    assert torch.allclose(found.motion.shift, MOVED.shift, atol=4e-3)
    assert torch.allclose(found.motion.distance, MOVED.distance, atol=0.01)
    assert found.perspective == MOVED.perspective  # it was not asked for
    assert found.cost < 0.1  # something has left the frame


def test_the_likelier_of_two_starts_is_gone_on_from(scene):
    target, relief = scene
    source = source_of(target, relief, MOVED)
    astray = motion((0.9, -1.2, 0.4), shift=(0.4, 0.4), perspective=0.6)
    rest = at_rest(torch.tensor([0.6]))
    assert torch.equal(rest.rotation, torch.eye(3)[None])
    lost = align_surfaces(target, source, relief, astray, config=AlignmentConfig(steps=6))
    for starts in ([astray, rest], [rest, astray]):
        start = likeliest_start(target, source, relief, starts)
        found = align_surfaces(target, source, relief, start, config=AlignmentConfig(steps=6))
        assert torch.rad2deg(rotation_angle(found.motion.rotation, MOVED.rotation)).item() < 0.5
        assert found.cost < 0.3 * lost.cost
    both = likeliest_start(
        target.repeat(2, 1, 1, 1),
        torch.cat([source, target]),
        relief.repeat(2, 1, 1, 1),
        [motion_twice(astray), at_rest(torch.tensor([0.6, 0.6]))],
    )
    assert (
        rotation_angle(both.rotation, torch.eye(3).expand(2, 3, 3))[1] < 1e-3
    )  # nothing moved in the second
    with pytest.raises(HeadwarpError, match="at least one guess"):
        likeliest_start(target, source, relief, [])


def motion_twice(one):
    return SurfaceMotion(*(torch.cat([part, part]) for part in vars(one).values()))


@pytest.mark.parametrize("start", [0.1, 1.2])
def test_it_finds_the_perspective(scene, start):
    target, relief = scene
    source = source_of(target, relief, MOVED)
    config = AlignmentConfig(steps=6, perspective_steps=8)
    found = align_surfaces(target, source, relief, motion(perspective=start), config=config)
    assert found.perspective.item() == pytest.approx(0.6, abs=0.12)
    assert found.motion.perspective.item() == pytest.approx(start)


def test_light_that_changes_slowly_does_not_matter(scene):
    target, relief = scene
    shade = torch.linspace(0.5, 1.0, SIDE)
    source = source_of(target, relief, MOVED) * shade
    found = align_surfaces(target, source, relief, motion(perspective=0.6), config=AlignmentConfig(steps=6))
    assert torch.rad2deg(rotation_angle(found.motion.rotation, MOVED.rotation)).item() < 1.5


def test_pairs_are_aligned_each_by_itself_and_weights_leave_out(scene):
    target, relief = scene
    source = source_of(target, relief, MOVED)
    spoilt = source.clone()
    spoilt[..., :20, :] = torch.rand(1, 3, 20, SIDE)
    weight = torch.ones(1, 1, SIDE, SIDE)
    weight[..., :24, :] = 0
    config, start = AlignmentConfig(steps=6), motion(perspective=0.6)
    alone = align_surfaces(target, spoilt, relief, start, weight=weight, config=config)
    assert torch.rad2deg(rotation_angle(alone.motion.rotation, MOVED.rotation)).item() < 1.5
    twice = [torch.cat([value, value]) for value in (target, relief)]
    both = align_surfaces(
        twice[0],
        torch.cat([target, spoilt]),
        twice[1],
        SurfaceMotion(*(torch.cat([v, v]) for v in vars(start).values())),
        weight=weight,
        config=config,
    )
    assert torch.allclose(both.motion.rotation[1], alone.motion.rotation[0], atol=1e-4)
    assert rotation_angle(both.motion.rotation[:1], torch.eye(3)[None]).item() < 1e-3


def test_pictures_that_say_nothing_leave_the_start(scene):
    _, relief = scene
    flat = torch.full((1, 3, SIDE, SIDE), 0.5)
    config = AlignmentConfig(perspective_steps=2)
    found = align_surfaces(flat, flat, relief, MOVED, config=config)
    assert torch.allclose(found.motion.rotation, MOVED.rotation, atol=1e-5)
    assert torch.isfinite(found.perspective).all()
    nothing = align_surfaces(*[torch.rand(1, 3, SIDE, SIDE)] * 2, relief, MOVED, weight=0 * relief)
    assert torch.isfinite(nothing.motion.rotation).all()


def test_brightness_and_contrast_are_taken_out():
    picture = torch.rand(1, 3, 32, 48)
    once, again = normalised(picture, (16, 24)), normalised(0.9 * picture + 0.05, (16, 24))
    assert once.shape == (1, 1, 16, 24)
    assert (once - again).abs().mean() < 0.05 * once.abs().mean()


@pytest.mark.parametrize("perspective", [0.3, 1.1])
def test_it_is_the_motion_of_a_pinhole_camera(scene, perspective):
    _, relief = scene
    moved = motion((0.1, -0.2, 0.05), shift=(0.02, 0.01), distance=0.1, perspective=perspective)
    pose = pose_of_surface(moved, (SIDE, SIDE))
    found = rigid_flow(
        1 + relief * perspective,
        axis_angle_to_matrix(pose.rotation),
        pose.translation,
        pose.intrinsics,
    )
    grid = seen_at(torch.zeros_like(relief), motion(perspective=0.0))
    assert torch.allclose(grid + found.flow, seen_at(relief, moved), atol=2e-3)
    again = surface_of_pose(pose, SIDE)
    for one, other in zip(vars(again).values(), vars(moved).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_seen_at_passes_gradients_to_everything():
    relief = (0.1 * torch.rand(1, 1, 3, 4, dtype=torch.float64)).requires_grad_()
    turn = torch.tensor([[0.1, 0.2, -0.1]], dtype=torch.float64, requires_grad=True)
    rest = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([[0.1, 0.0]], [0.1], [0.5])]

    def place(relief, turn, *rest):
        return seen_at(relief, SurfaceMotion(axis_angle_to_matrix(turn), *rest))

    assert torch.autograd.gradcheck(place, (relief, turn, *rest))


def test_what_does_not_fit_is_refused(scene):
    target, relief = scene
    with pytest.raises(ShapeError, match="target, source: expected two"):
        align_surfaces(target, target[..., 1:], relief, MOVED)
    with pytest.raises(ShapeError, match="relief: expected"):
        align_surfaces(target, target, relief[..., 1:], MOVED)
    with pytest.raises(HeadwarpError, match="expected sides from 4 px on"):
        align_surfaces(target, target, relief, MOVED, config=AlignmentConfig(sides=()))
    K = intrinsics_matrix(torch.tensor([[60.0, 70.0]]), torch.full((1, 2), 32.0))
    with pytest.raises(HeadwarpError, match="square pixels"):
        surface_of_pose(RelativePose(torch.zeros(1, 3), torch.zeros(1, 3), K), SIDE)
