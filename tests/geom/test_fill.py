"""The harmonic fill: known pixels untouched, the maximum principle, and near its exact twin on every path."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ShapeError
from headwarp.geom.fill import _fill_torch, harmonic_fill, harmonic_fill_ref, push_pull_fill

SIZES = [(8, 8), (13, 17), (32, 48), (64, 64), (200, 160)]


def device_path(values, known):
    """What runs on an accelerator, on the CPU."""
    return _fill_torch(values, known > 0.5, 128)


PATHS = [harmonic_fill, device_path]


def smooth(size, seed, channels=2):
    coarse = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)


def blob(size, seed, share=0.3):
    """Some connected pieces that cover a share of the frame."""
    field = smooth(size, seed + 100, 1)
    return (field >= field.flatten().quantile(1 - share)).float()


def head_and_border(size):
    known = torch.zeros(1, 1, *size)
    known[..., 0, :] = known[..., -1, :] = known[..., 0] = known[..., -1] = 1
    known[..., size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] = 1
    return known


def ramp(size, x=0.5, y=-0.25):
    rows, columns = torch.arange(size[0]).float()[:, None], torch.arange(size[1]).float()
    return (x * columns + y * rows)[None, None]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["blob", "head_and_border"])
def test_equals_the_exact_twin_within_a_small_share_of_the_range(size, seed, shape):
    values = smooth(size, seed)
    known = blob(size, seed) if shape == "blob" else head_and_border(size)
    truth = harmonic_fill_ref(values, known)
    given = values[known.expand_as(values) > 0.5]
    span = given.max() - given.min()
    fast, device = harmonic_fill(values, known), device_path(values, known)
    assert (fast - truth).abs().max() < 0.03 * span
    assert (fast - truth).abs().mean() < 0.01 * span
    assert (device - truth).abs().max() < 0.06 * span
    assert (device - truth).abs().mean() < 0.015 * span


def test_the_twin_solves_laplace_with_a_free_border():
    values, known = smooth((9, 11), 0).double(), blob((9, 11), 0)
    filled = harmonic_fill_ref(values, known)
    padded = F.pad(filled, (1, 1, 1, 1), mode="replicate")
    around = (
        padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    ) / 4
    assert ((around - filled) * (1 - known)).abs().max() < 1e-12


@pytest.mark.parametrize("fill", [*PATHS, harmonic_fill_ref])
def test_a_ramp_between_two_columns_is_restored(fill):
    size = (12, 20)
    values, known = ramp(size, y=0), torch.zeros(1, 1, *size)
    known[..., 0] = known[..., -1] = 1
    torch.testing.assert_close(fill(values, known), values, rtol=0, atol=0.2)
    assert (fill(values, known) - values).abs().mean() < 0.06


@pytest.mark.parametrize("fill", [*PATHS, harmonic_fill_ref])
def test_a_plane_given_on_the_frame_border_is_restored(fill):
    values, known = ramp((24, 40)), torch.zeros(1, 1, 24, 40)
    known[..., 0, :] = known[..., -1, :] = known[..., 0] = known[..., -1] = 1
    assert (fill(values, known) - values).abs().max() < 0.01 * (values.max() - values.min())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e4])
def test_known_pixels_stay_bit_for_bit_and_garbage_elsewhere_is_ignored(dtype, garbage):
    known = blob((24, 31), 1)
    values = (smooth((24, 31), 1).double() / 3).to(dtype)
    spoilt = torch.where(known > 0.5, values, torch.full_like(values, garbage))
    filled = harmonic_fill(spoilt, known)
    assert filled.dtype == dtype
    assert torch.equal(filled * known.to(dtype), values * known.to(dtype))
    assert torch.equal(filled, harmonic_fill(values, known))
    assert torch.isfinite(filled).all()


@pytest.mark.parametrize("fill", [*PATHS, harmonic_fill_ref])
@pytest.mark.parametrize("seed", range(3))
def test_stays_within_the_range_of_the_known_values(fill, seed):
    values, known = (
        torch.randn(1, 3, 33, 47, generator=torch.Generator().manual_seed(seed)),
        blob((33, 47), seed),
    )
    filled = fill(values, known)
    for channel in range(3):
        given = values[0, channel][known[0, 0] > 0.5]
        slack = 0.02 * (given.max() - given.min())  # over-relaxation may overshoot by a little
        assert filled[0, channel].min() >= given.min() - slack
        assert filled[0, channel].max() <= given.max() + slack


@pytest.mark.parametrize("fill", [*PATHS, harmonic_fill_ref])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 6), (40, 24)])
def test_all_none_and_one_known(fill, size):
    values = smooth(size, 2) + 3
    assert torch.equal(fill(values, torch.ones(1, 1, *size)), values)
    assert torch.equal(fill(values, torch.zeros(1, 1, *size)), torch.zeros_like(values))
    single = torch.zeros(1, 1, *size)
    single[..., -1, 0] = 1
    expected = values[..., -1:, :1].expand_as(values)
    torch.testing.assert_close(fill(values, single), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fill", PATHS)
def test_affine_in_the_values(fill):
    values, known = smooth((40, 30), 3), blob((40, 30), 3)
    torch.testing.assert_close(fill(5 * values + 2, known), 5 * fill(values, known) + 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fill", PATHS)
def test_a_batch_is_its_images_and_channels_do_not_mix(fill):
    values = torch.cat([smooth((21, 34), seed, 3) for seed in range(3)])
    known = torch.cat([blob((21, 34), 0), torch.zeros(1, 1, 21, 34), head_and_border((21, 34))])
    together = fill(values, known)
    for index in range(3):
        alone = fill(values[index : index + 1], known[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-6)
        one = fill(values[index : index + 1, 1:2], known[index : index + 1])
        torch.testing.assert_close(together[index : index + 1, 1:2], one, rtol=0, atol=1e-6)


def test_takes_any_strides_and_any_known_type_and_leaves_its_input_alone():
    values, known = smooth((30, 20), 4), blob((30, 20), 4)
    before = values.clone()
    expected = harmonic_fill(values, known)
    assert torch.equal(harmonic_fill(values.mT.contiguous().mT, known.mT.contiguous().mT), expected)
    assert torch.equal(harmonic_fill(values, known * 0.51), expected)
    assert torch.equal(harmonic_fill(values, known > 0.5), expected)
    assert torch.equal(values, before)


def test_is_data_without_a_gradient():
    values = smooth((9, 9), 5).requires_grad_()
    assert not harmonic_fill(values, blob((9, 9), 5)).requires_grad


@pytest.mark.parametrize("fill", [harmonic_fill, harmonic_fill_ref])
@pytest.mark.parametrize(
    ("values", "known"),
    [
        ((2, 8, 8), (1, 8, 8)),
        ((1, 2, 8, 8), (1, 2, 8, 8)),
        ((1, 2, 8, 8), (1, 1, 8, 9)),
        ((2, 2, 8, 8), (1, 1, 8, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(fill, values, known):
    with pytest.raises(ShapeError, match=r"expected values \(B, C, H, W\) and known \(B, 1, H, W\), got"):
        fill(torch.zeros(values), torch.zeros(known))


def test_push_and_pull_keep_what_is_known_and_stay_within_its_range():
    known, values = blob((33, 46), 2), smooth((33, 46), 2)
    spoilt = torch.where(known > 0.5, values, torch.nan)
    filled = push_pull_fill(spoilt, known)
    assert torch.equal(filled * known, values * known)
    given = values.masked_select(known > 0.5)
    assert given.min() <= filled.min() <= filled.max() <= given.max()
    flat = torch.full_like(values, 0.25)
    torch.testing.assert_close(push_pull_fill(flat, known), flat)
    assert not push_pull_fill(values, torch.zeros_like(known)).any()
    with pytest.raises(ShapeError, match=r"push_pull_fill: expected values \(B, C, H, W\)"):
        push_pull_fill(values, known[..., 1:])


def test_push_and_pull_is_the_mean_of_two_by_two_at_each_level():
    values = torch.tensor([[1.0, 3.0, 0, 0, 9, 9, 9, 9]]).expand(8, 8)[None, None].clone()
    known = torch.zeros(1, 1, 8, 8)
    known[..., :2] = known[..., 4:] = 1
    row = push_pull_fill(values, known)[0, 0, 4]
    middle = (2 + 9 + 9) / 3  # at half size 2, ?, 9, 9: four pixels, where the mean stands
    torch.testing.assert_close(row[2:4], torch.tensor([0.75 * middle + 0.25 * 2, 0.75 * middle + 0.25 * 9]))
