"""The baselines (copy, similarity, thin-plate spline) against what they must give exactly."""

import math

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import pixel_grid, warp_points
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.spline import border_points
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.tps import TpsConfig

SIZE = (90, 120)


def landmarks(count=68, seed=0):
    """Points over the middle of the frame, ``(1, L, 2)``."""
    share = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed))
    return share * torch.tensor([60.0, 50.0]) + torch.tensor([30.0, 20.0])


def pattern(positions):
    """A picture that is known between its pixels: RGB at positions ``(..., 2, H, W)``."""
    x, y = positions.unbind(-3)
    waves = [torch.sin(x / 9 + k) * torch.cos(y / 11 - k) for k in range(3)]
    return 0.5 + 0.4 * torch.stack(waves, -3)


def photo(points, size=SIZE):
    return Source(image=pattern(pixel_grid(size)), landmarks=points)


def run(name, source, points, **options):
    animator = load_animator(name, **options)
    return animator.animate(animator.encode([source]), Driving(landmarks=points))


def similarity(scale=1.1, degrees=8.0, shift=(5.0, -3.0)):
    """A map about the frame's centre as (matrix, offset)."""
    turn = math.radians(degrees)
    matrix = scale * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    centre = torch.tensor([SIZE[1] / 2, SIZE[0] / 2])
    return matrix, centre - matrix @ centre + torch.tensor(shift)


def backward(matrix, offset, size=SIZE):
    """Where the pixels of the moved picture come from."""
    inverse = torch.linalg.inv(matrix)
    return torch.einsum("ij,njhw->nihw", inverse, pixel_grid(size) - offset[:, None, None])


def inside(positions, margin=1.0):
    limits = torch.tensor([SIZE[1] - margin, SIZE[0] - margin])[:, None, None]
    return ((positions > margin) & (positions < limits)).all(1, keepdim=True)


# copy


def test_copy_shows_the_source_bit_for_bit_for_every_driving_frame():
    source = photo(landmarks())
    result = run("copy", source, landmarks(seed=1).expand(3, -1, -1))
    assert result.image.shape == (3, 3, *SIZE)
    assert all(torch.equal(image, source.image[0]) for image in result.image)
    assert not result.flow.any()
    assert result.occlusion.eq(1).all()


def test_copy_needs_nothing_of_the_driver():
    animator = load_animator("copy")
    assert animator.animate(animator.encode([photo(landmarks())]), Driving()).image.shape == (1, 3, *SIZE)


# similarity


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"), [(1, 0, (7, -4)), (1.2, 0, (0, 0)), (1, 25, (0, 0)), (0.8, -12, (6, 9))]
)
def test_similarity_is_exact_on_a_picture_moved_by_one(scale, degrees, shift):
    matrix, offset = similarity(scale, degrees, shift)
    points = landmarks()
    result = run("similarity", photo(points), points @ matrix.T + offset)
    there = backward(matrix, offset)
    torch.testing.assert_close(result.flow, there - pixel_grid(SIZE), rtol=0, atol=1e-3)
    difference = (result.image - pattern(there)).abs() * inside(there)
    assert difference.max() < 0.003  # bilinear interpolation of the waves


def test_similarity_leaves_a_picture_at_rest():
    points = landmarks()
    torch.testing.assert_close(
        run("similarity", photo(points), points).image, pattern(pixel_grid(SIZE)), rtol=0, atol=1e-4
    )


def test_similarity_averages_the_landmarks_out():
    points, (matrix, offset) = landmarks(), similarity()
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(5))
    flow = run("similarity", photo(points), points @ matrix.T + offset + noise).flow
    error = (flow - (backward(matrix, offset) - pixel_grid(SIZE))).norm(dim=1)
    assert 0.01 < error.mean() < 0.4  # of landmarks 1.25 px off on average


def test_similarity_never_mirrors():
    points = landmarks()
    mirrored = points * torch.tensor([-1.0, 1.0]) + torch.tensor([120.0, 0.0])
    flow = run("similarity", photo(points), mirrored).flow
    grid = pixel_grid(SIZE) + flow
    across, down = grid[0, :, 40, 61] - grid[0, :, 40, 60], grid[0, :, 41, 60] - grid[0, :, 40, 60]
    assert across[0] * down[1] - across[1] * down[0] > 0


def test_similarity_refuses_landmarks_in_one_place_or_not_finite():
    points = landmarks()
    with pytest.raises(ShapeError, match="at least two different points"):
        run("similarity", photo(points), torch.full_like(points, 4.0))
    broken = points.clone()
    broken[0, 3] = float("nan")
    with pytest.raises(ShapeError, match="finite"):
        run("similarity", photo(points), broken)


@pytest.mark.parametrize("name", ["similarity", "tps"])
def test_landmarks_of_another_count_are_refused(name):
    with pytest.raises(HeadwarpError, match="68"):
        run(name, photo(landmarks()), landmarks(count=67))


# thin-plate spline


@pytest.mark.parametrize(("step", "worst"), [(1, 0.02), (4, 0.25)])
def test_tps_carries_every_landmark_to_its_source(step, worst):
    y, x = torch.meshgrid(torch.linspace(20, 70, 6), torch.linspace(30, 90, 7), indexing="ij")
    driving = torch.stack([x, y], -1).reshape(1, -1, 2)
    source = driving + 4 * torch.sin(driving.flip(-1) / 15)
    flow = run("tps", photo(source), driving, config=TpsConfig(step=step)).flow
    assert (warp_points(driving, flow) - source).norm(dim=-1).max() < worst
    assert (driving - source).norm(dim=-1).max() > 4


def test_tps_leaves_the_anchors_on_the_border():
    points = landmarks()
    shifted = points + torch.tensor([6.0, 4.0])
    flow = run("tps", photo(points), shifted, config=TpsConfig(step=1)).flow
    anchors = border_points(SIZE, TpsConfig().anchors)[None]
    assert warp_points(anchors, flow).sub(anchors).norm(dim=-1).max() < 0.35  # half a pixel inside of them
    torch.testing.assert_close(warp_points(shifted, flow), points, rtol=0, atol=0.1)


def test_tps_at_rest_leaves_the_picture_as_it_is():
    points = landmarks()
    result = run("tps", photo(points), points)
    assert result.flow.abs().max() < 1e-3
    torch.testing.assert_close(result.image, pattern(pixel_grid(SIZE)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("where", ["driving", "source", "both", "all in one place", "on a line"])
def test_tps_does_not_stumble_over_coincident_landmarks(where):
    source, driving = landmarks(), landmarks() + 2
    if where in ("driving", "both"):
        driving[:, 1] = driving[:, 0]
    if where in ("source", "both"):
        source[:, 1] = source[:, 0]
    if where == "all in one place":
        driving[:] = 50.0
    if where == "on a line":
        driving[..., 1] = 40.0
    result = run("tps", photo(source), driving)
    assert torch.isfinite(result.image).all()
    assert torch.isfinite(result.flow).all()
    if where != "all in one place":
        assert result.flow[..., 0, 0].abs().max() < 2.0  # the corner stays near its place


def test_tps_refuses_landmarks_that_are_not_finite():
    broken = landmarks()
    broken[0, 5, 1] = float("inf")
    with pytest.raises(HeadwarpError, match="finite"):
        run("tps", photo(landmarks()), broken)
    with pytest.raises(HeadwarpError, match="finite"):
        run("tps", photo(broken), landmarks())


@pytest.mark.parametrize("size", [(3, 3), (1, 5), (2, 40)])
def test_tps_on_frames_smaller_than_its_step(size):
    source = Source(image=torch.rand(1, 3, *size), landmarks=landmarks())
    assert run("tps", source, landmarks() + 1).image.shape == (1, 3, *size)
