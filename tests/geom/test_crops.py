"""Windows of a picture: exact where no resampling is needed, and drawn where `to_crop` says."""

import math

import pytest
import torch

from headwarp.geom import crops
from headwarp.geom.crops import Crop, crop_image, head_crop, to_crop
from headwarp.geom.errors import ShapeError
from headwarp.geom.flow import pixel_grid


def picture(height=40, width=60, channels=3):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def spot(at, size=(96, 120), sigma=5.0):
    """A Gaussian spot centred at a pixel position."""
    grid = pixel_grid(size)
    square = (grid - torch.tensor(at)[:, None, None]).square().sum(1, keepdim=True)
    return torch.exp(-square / (2 * sigma**2))


def centroid(image):
    weight = image / image.sum()
    return (pixel_grid(tuple(image.shape[2:])) * weight).sum((2, 3))[0]


def ramp(size, x=0.02, y=0.01):
    grid = pixel_grid(size)
    return (x * grid[:, :1] + y * grid[:, 1:]).clone()


def test_a_whole_pixel_window_at_its_own_size_is_a_slice_bit_for_bit():
    image = picture()
    assert torch.equal(crop_image(image, Crop(7, 3, 32), 32), image[:, :, 3:35, 7:39])


@pytest.mark.parametrize(("x", "y"), [(-5, -9), (45, 30), (200, 100), (-300, 4)])
def test_beyond_the_picture_its_border_repeats_bit_for_bit(x, y):
    image = picture()
    rows = (torch.arange(20) + y).clamp(0, 39)
    columns = (torch.arange(20) + x).clamp(0, 59)
    assert torch.equal(crop_image(image, Crop(x, y, 20), 20), image[:, :, rows][:, :, :, columns])


@pytest.mark.parametrize("size", [7, 24, 64, 150])
@pytest.mark.parametrize("crop", [Crop(20, 10, 64), Crop(17.3, 9.8, 71.4), Crop(30.5, 11.25, 50.1)])
def test_a_spot_lands_where_to_crop_says(size, crop):
    at = torch.tensor([crop.x + 0.45 * crop.side, crop.y + 0.55 * crop.side])
    drawn = crop_image(spot(at.tolist()), crop, size)
    assert (centroid(drawn) - to_crop(at, crop, size)).abs().max() < 0.06


@pytest.mark.parametrize("size", [10, 33, 50, 90])
def test_a_ramp_is_restored_inside(size):
    crop = Crop(10.3, 8.7, 50.0)
    drawn = crop_image(ramp((80, 80)), crop, size)
    place = (pixel_grid((size, size)) / crop.scale(size)) + torch.tensor([crop.x, crop.y])[:, None, None]
    expected = 0.02 * place[:, :1] + 0.01 * place[:, 1:]
    edge = 1 + math.ceil(size / 50)
    torch.testing.assert_close(
        drawn[..., edge:-edge, edge:-edge], expected[..., edge:-edge, edge:-edge], rtol=0, atol=2e-3
    )


def test_shrinking_averages_instead_of_skipping_pixels():
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float()[None, None]
    assert (crop_image(board, Crop(0, 0, 64), 16)[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_flat_picture_stays_flat_and_in_range(size):
    image = torch.full((2, 3, 1, 1), 0.25)
    flat = crop_image(image, Crop(-3.3, 0.2, 9.9), size)
    torch.testing.assert_close(flat, torch.full((2, 3, size, size), 0.25), rtol=0, atol=1e-6)
    drawn = crop_image(picture(), Crop(-3.3, 0.2, 49.9), size)
    assert drawn.min() >= -1e-6
    assert drawn.max() <= 1 + 1e-6


def test_a_batch_is_its_pictures_and_keeps_its_type():
    images = torch.cat([picture(), picture().flip(3)]).double()
    crop = Crop(3.2, 5.5, 31.7)
    drawn = crop_image(images, crop, 20)
    assert drawn.dtype == torch.float64
    assert torch.equal(drawn, torch.cat([crop_image(image[None], crop, 20) for image in images]))


def test_to_crop_maps_corners_to_corners():
    crop = Crop(10.5, -4.0, 80.0)
    corners = torch.tensor([[10.5, -4.0], [90.5, 76.0], [50.5, 36.0]])
    assert to_crop(corners, crop, 256).tolist() == [[0, 0], [256, 256], [128, 128]]
    assert to_crop(corners[None].double(), crop, 256).shape == (1, 3, 2)
    assert crop.scale(160) == 2


def test_head_crop_of_a_known_box():
    points = torch.tensor([[100.0, 40], [140, 120], [float("nan"), 0], [130, float("inf")]])
    crop = head_crop(points, scale=2.0, lift=0.1)
    assert (crop.x, crop.y, crop.side) == pytest.approx((40, -16, 160))
    moved = head_crop(points * 3 + 7, scale=2.0, lift=0.1)
    assert (moved.x, moved.y, moved.side) == pytest.approx((127, -41, 480))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ((200, 150), (280, 230), (148, 94, 184)),  # room on all sides
        ((10, 20), (90, 100), (0, 0, 184)),  # shifted right and down
        ((560, 400), (640, 480), (456, 296, 184)),  # shifted left and up
        ((100, 100), (340, 340), (0, 0, 480)),  # made smaller than 2.3 faces
    ],
)
def test_head_crop_stays_inside_the_picture_where_it_can(low, high, expected):
    crop = head_crop(torch.tensor([low, high]).float(), size=(480, 640), lift=0.02173913)
    assert (crop.side, crop.y) == pytest.approx((expected[2], expected[1]), abs=0.1)
    if expected[2] < 480:
        assert crop.x == pytest.approx(expected[0], abs=0.1)
    assert crop.x >= 0
    assert crop.x + crop.side <= 640
    assert crop.y + crop.side <= 480 + 0.01


def test_head_crop_of_a_face_larger_than_the_picture_holds_the_face():
    crop = head_crop(torch.tensor([[10.0, 10.0], [110.0, 90.0]]), size=(60, 120))
    assert crop.side == pytest.approx(120)
    assert crop.x == pytest.approx(0)
    assert crop.y == pytest.approx(-30)


def test_landmarks_that_span_nothing_are_refused():
    with pytest.raises(ShapeError, match="expected finite landmarks, got none; detect a face first"):
        head_crop(torch.full((5, 2), float("nan")))
    with pytest.raises(ShapeError, match="expected finite landmarks, got none"):
        head_crop(torch.zeros(0, 2))
    with pytest.raises(ShapeError, match=r"a side above 0, got Crop\(.*side=0\.0\)"):
        head_crop(torch.tensor([[3.0, 4.0]]))


@pytest.mark.parametrize("values", [(0, 0, -1), (float("nan"), 0, 5), (0, 0, float("inf"))])
def test_a_window_without_place_or_size_is_refused(values):
    with pytest.raises(ShapeError, match="Crop: expected a finite corner and a side above 0"):
        Crop(*map(float, values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("columns", [(2, 9), (-4, 3), (7, 15), (-3, 16), (-9, -2), (13, 20)])
def test_pixels_of_a_box_repeat_the_border_as_an_index_would(columns, dtype):
    image = (torch.rand(2, 3, 8, 12, generator=torch.manual_seed(0)) * 255).to(dtype)
    x, y = torch.arange(*columns).clamp(0, 11), torch.arange(-2, 5).clamp(0, 7)
    expected = image[:, :, y][:, :, :, x]
    for laid in (image, image.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(crops._continued(laid, columns, (-2, 5)), expected)
