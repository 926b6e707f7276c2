"""Normalised lattices: exact identities and whole pixels, two conventions, resizing, error texts."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.flow import warp
from headwarp.geom.grids import (
    GridConvention,
    check_convention,
    lattice,
    pixel_flow,
    resize_displacement,
    warp_displaced,
    warp_each,
)

OURS, CORNERS, LATE = (
    GridConvention(),
    GridConvention(True, True, "zeros"),
    GridConvention(True, False, "zeros"),
)


@pytest.mark.parametrize("convention", [OURS, CORNERS, LATE])
def test_lattice_of_sampling_is_the_identity(convention):
    image = torch.rand(1, 2, 6, 10)
    moved = warp_displaced(image, torch.zeros(1, 2, 6, 10), convention)
    if convention is LATE:  # the public code since torch 1.3
        assert (moved - image).abs().max() > 0.1
    else:
        torch.testing.assert_close(moved, image, rtol=0, atol=0 if convention is OURS else 1e-5)


@pytest.mark.parametrize("size", [(6, 10), (64, 64), (24, 48)])
def test_zero_and_whole_pixels_are_exact(size):
    image = torch.rand(2, 3, *size)
    assert torch.equal(warp_displaced(image, torch.zeros(1, 2, 3, 5), OURS), image)
    shift = torch.zeros(1, 2, *size)
    shift[:, 0], shift[:, 1] = 2 * 2 / size[1], -1 * 2 / size[0]
    moved = warp_displaced(image, shift, OURS)
    torch.testing.assert_close(moved[:, :, 1:, :-2], image[:, :, :-1, 2:], rtol=0, atol=1e-5)
    if size == (64, 64):
        assert torch.equal(moved[:, :, 1:, :-2], image[:, :, :-1, 2:])


@pytest.mark.parametrize("convention", [OURS, CORNERS, LATE])
def test_pixel_flow_is_what_is_sampled(convention):
    image, displacement = torch.rand(2, 3, 8, 12), 0.2 * torch.randn(2, 2, 8, 12)
    flow = pixel_flow(displacement, convention)
    expected = warp(image, flow, padding_mode=convention.padding_mode)
    torch.testing.assert_close(warp_displaced(image, displacement, convention), expected, rtol=0, atol=1e-5)


def test_corner_grids_are_resized_as_the_public_code_does():
    displacement = 0.2 * torch.randn(1, 2, 4, 6)
    places = lattice((4, 6), align_corners=True)
    grid = F.interpolate(places + displacement, size=(8, 12), mode="bilinear", align_corners=False)
    image = torch.rand(1, 3, 8, 12)
    expected = F.grid_sample(image, grid.permute(0, 2, 3, 1), align_corners=False)
    torch.testing.assert_close(warp_displaced(image, displacement, LATE), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("convention", [OURS, CORNERS])
def test_several_at_once_are_one_after_the_other(convention):
    image, each = torch.rand(1, 3, 8, 8), 0.3 * torch.randn(2, 4, 2, 8, 8)
    together = warp_each(image, each, convention)
    alone = [warp_displaced(image, one, convention) for one in each.unbind(1)]
    torch.testing.assert_close(together, torch.stack(alone, dim=1))


def test_layout_and_type_stay():
    image = torch.rand(1, 4, 8, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    moved = warp_displaced(image, torch.zeros(3, 2, 8, 8), OURS)
    assert moved.dtype == torch.bfloat16
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, image.expand(3, -1, -1, -1))


@pytest.mark.parametrize("convention", [OURS, CORNERS])
def test_gradients(convention):
    image = torch.rand(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    displacement = (0.1 * torch.randn(1, 2, 3, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda image, moved: warp_displaced(image, moved, convention), (image, displacement)
    )


def test_errors():
    with pytest.raises(HeadwarpError, match="centres are not read as corners"):
        check_convention(GridConvention(False, True))
    with pytest.raises(HeadwarpError, match="expected 'border' or 'zeros', got 'mirror'"):
        check_convention(GridConvention(padding_mode="mirror"))
    with pytest.raises(ShapeError, match="at least 2 x 2 pixels with align_corners, got 1 x 4"):
        lattice((1, 4), align_corners=True)
    with pytest.raises(ShapeError, match="bring them over with resize_displacement"):
        warp_each(torch.rand(1, 3, 8, 8), torch.zeros(1, 2, 2, 4, 4), OURS)
    assert resize_displacement(torch.zeros(1, 2, 4, 4), (4, 4), OURS).shape == (1, 2, 4, 4)
