"""Thin-plate maps: how they are drawn, what they do to points and pictures, and their Jacobian."""

import dataclasses

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.thin_plate import (
    OFFICIAL,
    PAPER,
    ThinPlate,
    ThinPlateConfig,
    jacobian_ref,
    random_thin_plate,
    warp_thin_plate,
    warp_thin_plate_ref,
)

OURS = ThinPlateConfig()


def seeded(batch, config=OURS, seed=0):
    return random_thin_plate(batch, config, generator=torch.Generator().manual_seed(seed))


def points(batch=2, count=7, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, count, 2, generator=generator, dtype=dtype) * 1.8 - 0.9


def shifted(x, y):
    return ThinPlate(torch.eye(2)[None], torch.tensor([[x, y]]), torch.zeros(1, 2), torch.zeros(1, 1, 2))


def test_a_seed_draws_the_same_maps():
    one, other = seeded(3), seeded(3)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.linear, other.linear)


def test_deviations_are_standard_deviations():
    many = seeded(4000)
    assert (many.linear - torch.eye(2)).std() == pytest.approx(0.05, rel=0.05)
    assert many.translation.std() == pytest.approx(0.05, rel=0.05)
    assert many.weights.std() == pytest.approx(0.012, rel=0.02)
    variance = seeded(4000, PAPER)
    assert variance.translation.var() == pytest.approx(0.05, rel=0.05)
    assert variance.weights.var() == pytest.approx(0.005, rel=0.02)


def bends(spline):
    straight = dataclasses.replace(spline, weights=0 * spline.weights)
    where = points(len(spline.linear), 50)
    return spline.apply(where) - straight.apply(where)


def test_ours_bends_both_axes_and_the_public_one_the_diagonal():
    diagonal, both = bends(seeded(400, OFFICIAL)), bends(seeded(400))
    torch.testing.assert_close(diagonal[..., 0], diagonal[..., 1], atol=1e-6, rtol=0)
    assert abs(torch.corrcoef(both.flatten(0, 1).T)[0, 1]) < 0.1


def test_they_bend_as_far():
    far = [bends(seeded(300, config)).square().mean().sqrt() for config in (OURS, OFFICIAL)]
    assert far[0] == pytest.approx(float(far[1]), rel=0.15)


def test_the_public_form_by_hand():
    spline, where = seeded(1, OFFICIAL), points(1)
    expected = spline.linear[0] @ where[0, 3] + spline.translation[0]
    for centre, weight in zip(spline.control, spline.weights[0], strict=True):
        distance = (where[0, 3] - centre).abs().sum()
        expected = expected + weight * distance**2 * torch.log(distance + 1e-6)
    torch.testing.assert_close(spline.apply(where)[0, 3], expected)


def test_ours_by_hand():
    spline, where = seeded(1), points(1)
    expected = spline.linear[0] @ where[0, 3] + spline.translation[0]
    for centre, weight in zip(spline.control, spline.weights[0], strict=True):
        distance = (where[0, 3] - centre).norm()
        expected = expected + weight * distance**2 * torch.log(distance)
    torch.testing.assert_close(spline.apply(where)[0, 3], expected)


def test_ours_does_not_fold_and_the_papers_variances_do():
    line = torch.linspace(-1, 1, 21)
    grid = torch.cartesian_prod(line, line)[None]
    least = [torch.linalg.det(seeded(500, c).jacobian(grid)).amin(1) for c in (OURS, PAPER)]
    assert least[0].min() > 0
    assert (least[1] < 0).float().mean() > 0.5


@pytest.mark.parametrize("config", [OURS, OFFICIAL, PAPER])
def test_the_jacobian_is_autograds(config):
    where = points()
    where[0, 0] = 0.5  # on the lines of the grid
    where[0, 1] = torch.tensor([0.5, 0.1])
    where[1, 2] = -1
    spline = seeded(2, config)
    torch.testing.assert_close(spline.jacobian(where), jacobian_ref(spline, where))
    assert jacobian_ref(spline, where[:1]).shape == (2, 7, 2, 2)


@pytest.mark.parametrize("config", [OURS, OFFICIAL])
def test_gradcheck(config):
    spline, where = seeded(2, config), points(dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(spline.apply, where)
    assert torch.autograd.gradcheck(spline.jacobian, where)


def test_gradients_are_finite_on_the_control_points():
    for config in (OURS, OFFICIAL):
        spline = seeded(1, config)
        where = spline.control[None].clone().requires_grad_()
        (spline.apply(where).sum() + spline.jacobian(where).sum()).backward()
        assert torch.isfinite(where.grad).all()


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_identity_is_exact(align_corners):
    picture = torch.rand(2, 3, 11, 7)
    still = seeded(2, ThinPlateConfig(0.0, 0.0))
    assert torch.equal(warp_thin_plate(picture, still, align_corners=align_corners), picture)


@pytest.mark.parametrize(("align_corners", "size"), [(False, (8, 16)), (True, (9, 17))])
def test_whole_pixels_shift_exactly_and_the_edge_is_a_mirror(align_corners, size):
    picture = torch.rand(1, 3, *size)
    moved = warp_thin_plate(picture, shifted(3 * 2 / 16, -1 * 2 / 8), align_corners=align_corners)
    assert torch.equal(moved[:, :, 1:, :-3], picture[:, :, :-1, 3:])
    mirrored = picture[..., -4:-1].flip(3) if align_corners else picture[..., -3:].flip(3)
    top = 1 if align_corners else 0
    assert torch.equal(moved[:, :, 1:, -3:], mirrored[:, :, :-1])
    assert torch.equal(moved[:, :, 0, :-3], picture[:, :, top, 3:])


@pytest.mark.parametrize("config", [OURS, OFFICIAL, PAPER])
@pytest.mark.parametrize("conventions", [(False, None), (True, None), (True, False), (False, True)])
def test_the_warp_is_torchs(config, conventions):
    picture = torch.rand(3, 2, 12, 9)
    flags = dict(zip(("align_corners", "sample_align_corners"), conventions, strict=True))
    fast, plain = (f(picture, seeded(3, config), **flags) for f in (warp_thin_plate, warp_thin_plate_ref))
    torch.testing.assert_close(fast, plain, atol=2e-5, rtol=0)


def test_two_conventions_shift_the_identity_as_the_public_code_does():
    picture, still = torch.rand(1, 1, 8, 8), seeded(1, ThinPlateConfig(0.0, 0.0))
    assert not torch.allclose(
        warp_thin_plate(picture, still, align_corners=True, sample_align_corners=False), picture, atol=1e-2
    )


@pytest.mark.parametrize("align_corners", [False, True])
def test_what_a_picture_shows_at_p_was_at_t_of_p(align_corners):
    """A smooth blob: its place in the moved picture, mapped, is its place in the picture."""
    side, spline = 64, seeded(1, seed=3)
    axis = torch.linspace(-1, 1, side) if align_corners else (torch.arange(side) + 0.5) * 2 / side - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (H, W, 2)
    centre = torch.tensor([0.3, -0.2])

    def place(picture):
        weight = picture[0, 0, ..., None].square()
        return (weight * grid).sum((0, 1)) / weight.sum()

    blob = torch.exp(-(grid - centre).square().sum(-1) / 0.01)[None, None]
    moved = place(warp_thin_plate(blob, spline, align_corners=align_corners))
    assert (moved - centre).norm() > 0.02
    torch.testing.assert_close(spline.apply(moved[None, None])[0, 0], centre, atol=2e-3, rtol=0)


def test_the_warp_is_differentiable_in_the_picture():
    picture = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: warp_thin_plate(x, seeded(1), align_corners=False), picture)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: seeded(2).apply(torch.zeros(3, 4, 2)), ShapeError, r"expected \(2 or 1, N, 2\)"),
        (lambda: seeded(2).apply(torch.zeros(4, 2)), ShapeError, r"points\[None\]"),
        (lambda: seeded(2).jacobian(torch.zeros(2, 4, 3)), ShapeError, r"\(2, 4, 3\)"),
        (
            lambda: warp_thin_plate(torch.zeros(1, 3, 4, 4), seeded(2), align_corners=False),
            ShapeError,
            "a picture for each map",
        ),
        (
            lambda: warp_thin_plate(torch.zeros(1, 3, 1, 4), seeded(1), align_corners=True),
            ShapeError,
            "at least 2 x 2",
        ),
        (lambda: seeded(1, ThinPlateConfig(points=1)), HeadwarpError, "at least 2 points"),
        (lambda: seeded(1, ThinPlateConfig(bend_sigma=-1.0)), HeadwarpError, "deviations >= 0"),
        (lambda: seeded(1, ThinPlateConfig(axes="x")), HeadwarpError, "axes: expected both or diagonal"),
        (lambda: seeded(1, ThinPlateConfig(radius="l1")), HeadwarpError, "expected euclidean or city_block"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
