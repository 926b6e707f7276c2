"""Windows go back where they came from: in place, at the picture's resolution, nothing else touched."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.crops import Crop, crop_image
from headwarp.geom.errors import ShapeError
from headwarp.warping.composite import over, paste_back, paste_back_ref, window_feather


def photo(height=70, width=90, *, dtype=torch.uint8):
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))
    return image if dtype == torch.uint8 else image.to(dtype) / 255


def smooth(height=70, width=90):
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([x, y, (x + y) / 2])[None].float()


def test_over_is_exact_at_both_ends():
    front, back = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert torch.equal(over(front * torch.nan, back, torch.zeros(1, 1, 4, 4)), back)
    assert torch.equal(over(front * 1e-7, back, torch.ones(1, 1, 4, 4)), front * 1e-7)
    torch.testing.assert_close(over(front, back, torch.full((1, 1, 4, 4), 0.5)), (front + back) / 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_outside_the_window_bits_are_the_pictures(dtype):
    image = photo(dtype=dtype)
    result = paste_back(image, torch.zeros(1, 3, 32, 32), Crop(20.3, 11.7, 30.0))
    assert result.dtype == dtype
    changed = (result != image).any(1)[0]
    assert changed[12:41, 21:50].float().mean() > 0.7
    changed[11:42, 20:51] = False
    assert not changed.any()


def test_where_the_mask_is_zero_bits_are_the_pictures():
    image = photo()
    mask = torch.zeros(1, 1, 32, 32)
    assert torch.equal(paste_back(image, torch.ones(1, 3, 32, 32), Crop(20, 10, 40), mask=mask), image)
    mask[..., 8:16, 8:16] = 1
    result = paste_back(image, torch.zeros(1, 3, 32, 32), Crop(20, 10, 32), mask=mask, feather=0.05)
    assert (result[..., 18:26, 28:36] == 0).all()
    changed = (result != image).any(1)[0]
    changed[18:26, 28:36] = False
    assert not changed.any()


def test_without_a_feather_the_pixels_with_their_centre_in_the_window_change():
    image = photo().clamp(min=1)
    result = paste_back(image, torch.zeros(1, 3, 60, 60), Crop(20.3, 11.7, 30.0), feather=0.0)
    inside = torch.zeros(70, 90, dtype=torch.bool)
    inside[12:42, 20:50] = True
    assert torch.equal((result == 0).all(1)[0], inside)
    assert torch.equal((result != image).any(1)[0], inside)


def test_the_input_is_not_written_to():
    image = photo()
    before = image.clone()
    paste_back(image, torch.zeros(1, 3, 32, 32), Crop(20, 10, 40))
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [30, 60, 23])
@pytest.mark.parametrize("crop", [Crop(20.0, 10.0, 30.0), Crop(20.4, 9.7, 31.3), Crop(-8.2, -5.5, 40.0)])
def test_a_window_that_was_not_changed_changes_little(size, crop):
    image = smooth()
    result = paste_back(image, crop_image(image, crop, size), crop)
    assert (result - image).abs().max() < 0.02
    assert (result - image).mean().abs() < 1e-3  # no shift by half a pixel: the ramps would show it


def test_a_shift_by_half_a_pixel_would_show():
    image = smooth()
    crop = Crop(20.0, 10.0, 30.0)
    moved = crop_image(image, Crop(20.5, 10.5, 30.0), 30)
    assert (paste_back(image, moved, crop) - image)[0, 0].mean() > 3e-4


def test_whole_pixels_go_back_exactly():
    image = photo()
    crop = Crop(20.0, 10.0, 32.0)
    window = image[..., 10:42, 20:52].float() / 255
    assert torch.equal(paste_back(image, window, crop), image)
    dark = paste_back(image, window * 0, crop, feather=0.0)
    assert (dark[..., 10:42, 20:52] == 0).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("corner", [(20, 10), (-7, 3), (61, 45), (-3, -40), (200, 0)])
@pytest.mark.parametrize(
    "masked", [(slice(None), slice(None)), (slice(4, 17), slice(9, 33)), (slice(0), slice(0))]
)
def test_a_window_of_the_pictures_own_pixels_is_not_drawn_again_and_keeps_every_bit(dtype, corner, masked):
    random = torch.Generator().manual_seed(1)
    image, window = photo(dtype=dtype), torch.rand(1, 3, 48, 48, generator=random)
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., masked[0], masked[1]] = torch.rand(48, 48, generator=random)[masked]
    for chosen, feather in ((mask, 0.08), (mask, 0.0), (None, 0.08)):
        how = {"mask": chosen, "feather": feather}
        crop = Crop(float(corner[0]), float(corner[1]), 48.0)
        assert torch.equal(paste_back(image, window, crop, **how), paste_back_ref(image, window, crop, **how))


@pytest.mark.parametrize("crop", [Crop(20.0, 10.0, 31.0), Crop(20.5, 10.0, 32.0), Crop(20.0, 10.25, 32.0)])
def test_other_windows_are_drawn_again(crop):
    image, window = photo(), torch.rand(1, 3, 32, 32, generator=torch.manual_seed(2))
    made = paste_back(image, window, crop)
    assert torch.equal(made, paste_back_ref(image, window, crop))
    assert not torch.equal(made, paste_back(image, window, Crop(20.0, 10.0, 32.0)))


@pytest.mark.parametrize("crop", [Crop(-200, 0, 50), Crop(0, 500, 50), Crop(89.9999, 0, 0.00001)])
def test_a_window_beside_the_picture_changes_nothing(crop):
    image = photo()
    assert torch.equal(paste_back(image, torch.zeros(1, 3, 16, 16), crop), image)


def test_a_window_over_the_border_fills_to_the_border():
    result = paste_back(photo(), torch.zeros(1, 3, 32, 32), Crop(-20.0, -20.0, 64.0))
    assert (result[..., :20, :20] == 0).all()


@pytest.mark.parametrize(
    ("crop", "side"),
    [
        (Crop(0.0, 12.0, 40.0), "left"),
        (Crop(-7.0, 12.0, 40.0), "left"),
        (Crop(20.0, -1.5, 40.0), "top"),
        (Crop(56.0, 12.0, 40.0), "right"),
        (Crop(20.0, 32.0, 40.0), "bottom"),
    ],
)
def test_nothing_shines_through_at_the_pictures_own_border(crop, side):
    image = torch.ones(1, 3, 72, 96)
    made = paste_back(image, torch.zeros(1, 3, 40, 40), crop)[0, 0]
    down, across = slice(24, 40), slice(36, 44)
    edges = {
        "left": made[down, 0],
        "right": made[down, -1],
        "top": made[0, across],
        "bottom": made[-1, across],
    }
    assert not edges[side][4:-4].any()
    for name, edge in edges.items():
        assert edge.all() == (name != side)  # the picture is as it was at its other sides
    faded = ((made > 0) & (made < 1)).float().mean()
    assert 0.01 < faded < 0.2  # into which the window fades


def test_the_feather_is_smooth_and_symmetric():
    feather = window_feather(64)[0, 0]
    assert torch.equal(feather, feather.flip(0))
    assert torch.equal(feather, feather.T)
    assert feather[0].max() == feather[:, -1].max() == 0
    assert feather[32, 32] == 1
    assert (feather[32].diff().abs() < 0.35).all()
    with pytest.raises(ShapeError, match=r"feather: expected 0 to 0\.5"):
        window_feather(8, feather=0.7)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image": torch.zeros(3, 8, 8)}, r"image: expected \(1, 3, H, W\)"),
        ({"image": torch.zeros(1, 3, 8, 8, dtype=torch.int64)}, "uint8 or floats"),
        ({"window": torch.zeros(1, 3, 8, 9)}, r"window: expected a square .* got \(1, 3, 8, 9\)"),
        ({"mask": torch.zeros(1, 1, 4, 4)}, r"mask: expected \(1, 1, 8, 8\), got \(1, 1, 4, 4\)"),
    ],
)
def test_wrong_shapes_are_named(change, text):
    given = {
        "image": torch.zeros(1, 3, 8, 8),
        "window": torch.zeros(1, 3, 8, 8),
        "crop": Crop(0, 0, 8),
        "mask": None,
    }
    given |= change
    with pytest.raises(ShapeError, match=text):
        paste_back(given["image"], given["window"], given["crop"], mask=given["mask"])
