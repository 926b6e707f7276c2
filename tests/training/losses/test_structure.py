"""The structure loss: the same as its plain twin, smallest at the truth, and useful from afar."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.losses._ssim import MeanSsim, mean_ssim_ref, window_mean
from headwarp.training.losses.structure import StructureConfig, structure_loss, structure_loss_ref
from headwarp.training.metrics import ssim


def pictures(*sizes, seed=0, dtype=torch.float32):
    """Smooth pictures with some grain, which two neighbouring pixels share in part."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 6, 6, generator=generator, dtype=dtype)
    grain = 0.1 * torch.rand(2, 3, *sizes, generator=generator, dtype=dtype)
    return F.interpolate(coarse, size=sizes, mode="bicubic", align_corners=False) * 0.9 + grain


@pytest.fixture
def pair():
    return pictures(32, 28), pictures(32, 28, seed=1)


def gradient(loss, image, *rest):
    leaf = image.detach().clone().requires_grad_()
    loss(leaf, *rest).backward()
    return leaf.grad


@pytest.mark.parametrize("size", [(32, 28), (11, 11), (11, 40), (47, 23)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fast_and_plain_agree_in_value_and_gradient(size, dtype):
    image, target = pictures(*size, dtype=dtype), pictures(*size, seed=1, dtype=dtype)
    config = StructureConfig(levels=3, gradient_weight=0.7, ssim_weight=1.3, epsilon=0.01)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    fast, plain = (loss(image, target, config) for loss in (structure_loss, structure_loss_ref))
    assert fast.dtype == dtype
    torch.testing.assert_close(fast, plain, rtol=tolerance, atol=tolerance)
    slopes = [gradient(loss, image, target, config) for loss in (structure_loss, structure_loss_ref)]
    torch.testing.assert_close(*slopes, rtol=100 * tolerance, atol=tolerance * float(slopes[1].abs().max()))


def test_ssim_is_the_one_that_is_reported(pair):
    assert MeanSsim.apply(*pair) == pytest.approx(float(ssim(*pair).mean()), abs=1e-5)
    assert mean_ssim_ref(*pair) == pytest.approx(float(ssim(*pair).mean()), abs=1e-5)


def test_gradcheck():
    image = pictures(12, 13, dtype=torch.float64)[:1, :1].requires_grad_()
    target = pictures(12, 13, seed=1, dtype=torch.float64)[:1, :1]
    assert torch.autograd.gradcheck(lambda made: structure_loss(made, target), image)
    image = pictures(24, 22, dtype=torch.float64)[:1, :1].requires_grad_()
    target = pictures(24, 22, seed=1, dtype=torch.float64)[:1, :1]
    assert torch.autograd.gradcheck(
        lambda made: structure_loss(made, target), image, fast_mode=True
    )  # two levels


def test_the_windows_transpose_is_the_window_over_a_padded_frame():
    maps, weights = torch.rand(1, 2, 14, 17, dtype=torch.float64), torch.rand(1, 2, 4, 7, dtype=torch.float64)
    forward = (window_mean(maps) * weights).sum()
    torch.testing.assert_close(forward, (maps * window_mean(weights, padding=10)).sum())


def test_smallest_at_the_truth_where_it_is_flat(pair):
    image, target = pair
    assert structure_loss(target, target) == pytest.approx(0, abs=1e-6)
    assert gradient(structure_loss, target, target).abs().max() < 1e-6
    for other in (image, target + 0.1, target.flip(3), target * 0.5, torch.zeros_like(target)):
        assert structure_loss(other, target) > 1e-3
        assert gradient(structure_loss, other, target).abs().max() > 1e-5


def test_a_step_against_the_gradient_helps(pair):
    image, target = pair
    for _ in range(5):
        before, slope = structure_loss(image, target), gradient(structure_loss, image, target)
        image = image - 5 * slope
        assert structure_loss(image, target) < before


@pytest.mark.parametrize("shift", [1, 2, 4, 8])
def test_a_farther_shift_costs_more(shift):
    wide = pictures(64, 96)
    target = wide[..., 16:80]
    near, far = (structure_loss(wide[..., 16 + s : 80 + s], target) for s in (shift, shift + 2))
    assert far > near > 0


def test_flips_transposition_and_repetition_change_nothing(pair):
    image, target = pair
    image, target = image[..., :28, :], target[..., :28, :]  # halves of 28 and 14 are whole
    value = float(structure_loss(image, target))
    for change in (
        lambda x: x.flip(3),
        lambda x: x.flip(2),
        lambda x: x.transpose(2, 3),
        lambda x: x.repeat(2, 1, 1, 1),
        lambda x: x.flip(1),
    ):
        assert structure_loss(change(image), change(target)) == pytest.approx(value, rel=1e-5)
    assert structure_loss(target, image) == pytest.approx(value, rel=1e-5)


def test_grain_is_seen_far_better_than_an_offset_of_its_strength(pair):
    """Why recipes add `pixel_l1`: neither term is made for the level of a colour."""
    _, target = pair
    grain = torch.randn(target.shape, generator=torch.Generator().manual_seed(2))
    offset = structure_loss(target + 0.05, target)
    assert 0 < offset < 0.1 * structure_loss(target + 0.05 * grain, target)


def test_weights_take_their_terms_alone(pair):
    edges, similar = StructureConfig(ssim_weight=0), StructureConfig(gradient_weight=0)
    both = structure_loss(*pair)
    assert structure_loss(*pair, edges) + structure_loss(*pair, similar) == pytest.approx(
        float(both), rel=1e-6
    )
    _, target = pair
    assert structure_loss(target + 0.3, target, edges) == pytest.approx(0, abs=1e-5)


def test_levels_below_the_window_are_left_out(pair):
    """32 x 28 halves to 16 x 14 and then to 8 x 7, which no window fits."""
    values = [float(structure_loss(*pair, StructureConfig(levels=count))) for count in (1, 2, 3, 9)]
    assert values[0] != values[1] == values[2] == values[3]


def test_the_target_gets_no_gradient(pair):
    image, target = (value.requires_grad_() for value in pair)
    structure_loss(image, target).backward()
    assert target.grad is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_flat_pictures_give_finite_values_and_gradients(value):
    flat = torch.full((1, 3, 16, 16), value)
    for target in (flat, 1 - flat, pictures(16, 16)[:1]):
        assert torch.isfinite(structure_loss(flat, target))
        assert torch.isfinite(gradient(structure_loss, flat, target)).all()


def test_half_types_and_autocast_compute_in_float32(pair):
    image, target = (value.bfloat16() for value in pair)
    expected = structure_loss(image.float(), target.float())
    assert torch.equal(structure_loss(image, target), expected)
    leaf = image.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = structure_loss(leaf, target.float())
        value.backward()
    assert torch.equal(value, expected)
    assert torch.equal(leaf.grad, gradient(structure_loss, image.float(), target.float()))


def test_a_second_derivative_is_refused_not_wrong(pair):
    leaf = pair[0].requires_grad_()
    with pytest.raises(HeadwarpError, match="use structure_loss_ref"):
        torch.autograd.grad(structure_loss(leaf, pair[1]), leaf, create_graph=True)
    (slope,) = torch.autograd.grad(structure_loss_ref(leaf, pair[1]), leaf, create_graph=True)
    assert torch.isfinite(torch.autograd.grad(slope.square().sum(), leaf)[0]).all()


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda p: structure_loss(p[..., :10], p[..., :10]),
            ShapeError,
            "at least 11 px a side, got 32 x 10",
        ),
        (lambda p: structure_loss(p, p[:1]), ShapeError, "of one shape"),
        (lambda p: structure_loss(p, p, StructureConfig(levels=0)), HeadwarpError, "levels=0"),
        (lambda p: structure_loss(p, p, StructureConfig(epsilon=0.0)), HeadwarpError, "epsilon=0.0"),
    ],
)
def test_what_cannot_be_compared_is_refused(pair, call, kind, text):
    with pytest.raises(kind) as caught:
        call(pair[0])
    assert text in str(caught.value)


def test_the_rival_of_the_bench_computes_the_same():
    from headwarp.tools.bench.losses import structure_by_autograd

    image, target = pictures(96, 88), pictures(96, 88, seed=1)
    torch.testing.assert_close(structure_by_autograd(image, target), structure_loss(image, target))
    slopes = [gradient(loss, image, target) for loss in (structure_by_autograd, structure_loss)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-8)
