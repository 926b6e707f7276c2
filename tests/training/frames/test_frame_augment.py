"""Changes of a sample: alike for its frames, exact where they can be, and as often as they should come."""

import numpy as np
import pytest
import torch
from toy_frames import moving_frames

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.frames.augment import FrameAugment, augmented_frames, zoomed
from headwarp.training.data.pairs.augment import colour_map

STILL = dict.fromkeys(("brightness", "contrast", "saturation", "hue", "flip", "time_flip"), 0.0)


@pytest.fixture(scope="module")
def frames():
    return torch.from_numpy(np.stack(moving_frames(3))).permute(0, 3, 1, 2).contiguous()


def made(frames, seed=0, **changes):
    return augmented_frames(frames, FrameAugment(**{**STILL, **changes}), np.random.default_rng(seed))


def test_nothing_asked_is_nothing_changed(frames):
    assert torch.equal(made(frames), frames)


def test_flips_take_the_whole_sample(frames):
    assert torch.equal(made(frames, flip=1.0), frames.flip(-1))
    assert torch.equal(made(frames, time_flip=1.0), frames.flip(0))
    assert torch.equal(made(frames, flip=1.0, time_flip=1.0), frames.flip(0).flip(-1))
    assert torch.equal(made(frames, flip=1.0, time_flip=1.0, exclusive=True), frames.flip(0))


def test_exclusive_flips_come_as_often_as_in_the_public_code(frames):
    turned = mirrored = 0
    for seed in range(400):
        result = made(frames, seed, flip=0.5, time_flip=0.5, exclusive=True)
        turned += torch.equal(result, frames.flip(0))
        mirrored += torch.equal(result, frames.flip(-1))
    assert turned / 400 == pytest.approx(0.5, abs=0.08)
    assert mirrored / 400 == pytest.approx(0.25, abs=0.07)


def test_colours_change_alike(frames):
    bright = made(torch.stack([frames[0], frames[0]]), brightness=0.1, hue=0.5)
    assert torch.equal(bright[0], bright[1])
    assert not torch.equal(bright[0], frames[0])
    draw = np.random.default_rng(3)
    factor = 1 + draw.uniform(-0.1, 0.1)
    expected = colour_map(factor, 1.0, 1.0, 0.0, grey=0.5)(frames.float() / 255).clamp(0, 1)
    assert torch.equal(made(frames, 3, brightness=0.1), (expected * 255).round().byte())


def test_equal_draws_are_equal_changes(frames):
    options = {"hue": 0.5, "zoom": (0.9, 1.1), "flip": 0.5, "time_flip": 0.5}
    assert torch.equal(made(frames, 7, **options), made(frames, 7, **options))
    assert not torch.equal(made(frames, 7, **options), made(frames, 8, **options))


def test_a_zoom_keeps_the_size_cuts_or_repeats_the_border(frames):
    pictures = frames.float() / 255
    assert torch.equal(zoomed(pictures, 1.0, (0.3, 0.9)), pictures)
    small = zoomed(pictures, 0.5, (0.9, 0.9))
    assert small.shape == pictures.shape
    assert torch.equal(small[..., :8], small[..., 8:9].expand(-1, -1, -1, 8))  # the border repeats
    assert torch.equal(small[..., :8, :], small[..., 8:9, :].expand(-1, -1, 8, -1))
    first, last = zoomed(pictures, 2.0, (0.0, 0.0)), zoomed(pictures, 2.0, (0.999, 0.999))
    large = torch.nn.functional.interpolate(
        pictures, scale_factor=2, mode="bilinear", align_corners=False, antialias=True
    )
    assert torch.equal(first, large[..., :32, :32])
    assert torch.equal(last, large[..., 32:, 32:])
    assert made(frames, 5, zoom=(0.9, 1.1)).shape == frames.shape


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"time_flip": 1.5}, "time_flip: expected 0 to 1, got 1.5"),
        ({"hue": 0.6}, "hue: expected 0 to 0.5"),
        ({"zoom": (1.1, 0.9)}, "zoom: expected 0.25 <= LEAST <= MOST <= 4.0"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(HeadwarpError, match=told):
        FrameAugment(**options)
