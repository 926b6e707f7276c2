"""Pixel, adversarial and matching losses: values by hand, gradients, types, and what they refuse."""

import math

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.losses import adversarial, matching
from headwarp.training.losses.adversarial import (
    AdversarialConfig,
    discriminator_loss,
    generator_loss,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from headwarp.training.losses.matching import MatchingConfig, feature_matching, features_l1
from headwarp.training.losses.pixel import masked_l1, pixel_l1


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 6, 5, generator=generator), torch.rand(2, 3, 6, 5, generator=generator)


def gradient(loss, *inputs):
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    loss(*leaves).backward()
    return [leaf.grad for leaf in leaves]


# Pixels


def test_l1_is_the_mean_or_the_sum_of_a_sample(pair):
    image, target = pair
    assert pixel_l1(image, target) == pytest.approx((image - target).abs().mean())
    assert pixel_l1(image, target, reduction="sum") == pytest.approx(
        float((image - target).abs().sum() / 2), rel=1e-6
    )


def test_l1_is_smallest_at_the_truth_and_descends_towards_it(pair):
    image, target = pair
    assert pixel_l1(target, target) == 0
    (slope,) = gradient(lambda made: pixel_l1(made, target), image)
    assert (slope != 0).all()
    assert pixel_l1(image - 0.01 * slope.sign(), target) < pixel_l1(image, target)


def test_a_sum_does_not_grow_with_the_batch(pair):
    image, target = pair
    for reduction in ("mean", "sum"):
        once = pixel_l1(image, target, reduction=reduction)
        twice = pixel_l1(image.repeat(3, 1, 1, 1), target.repeat(3, 1, 1, 1), reduction=reduction)
        assert twice == pytest.approx(float(once), rel=1e-6)


def test_masked_l1_sees_the_masked_pixels_alone(pair):
    image, target = pair
    mask = torch.zeros(1, 1, 6, 5)
    mask[..., 2:4, 1:3] = 0.25
    expected = (image - target)[..., 2:4, 1:3].abs().mean()
    assert masked_l1(image, target, mask) == pytest.approx(float(expected), rel=1e-6)
    (slope,) = gradient(lambda made: masked_l1(made, target, mask), image)
    assert torch.equal(slope != 0, (mask > 0).expand(2, 3, -1, -1))


def test_masked_l1_does_not_hang_on_the_masks_scale_and_is_l1_under_a_full_one(pair):
    image, target = pair
    mask = torch.rand(2, 1, 6, 5)
    assert masked_l1(image, target, mask * 1e-20) == pytest.approx(
        float(masked_l1(image, target, mask)), rel=1e-5
    )
    full = torch.ones(1, 1, 6, 5)
    assert masked_l1(image, target, full) == pytest.approx(float(pixel_l1(image, target)), rel=1e-6)


def test_an_empty_mask_gives_zero_and_no_gradient(pair):
    image, target = pair
    empty = torch.zeros(2, 1, 6, 5)
    assert masked_l1(image, target, empty) == 0
    (slope,) = gradient(lambda made: masked_l1(made, target, empty), image)
    assert (slope == 0).all()


def test_pixel_losses_pass_gradcheck(pair):
    image, target = (value.double().requires_grad_() for value in pair)
    mask = torch.rand(2, 1, 6, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(pixel_l1, (image, target))
    assert torch.autograd.gradcheck(lambda made: masked_l1(made, target.detach(), mask), image)


@pytest.mark.parametrize("loss", [pixel_l1, lambda a, b: masked_l1(a, b, torch.ones(1, 1, 6, 5))])
def test_half_types_are_summed_in_float32(pair, loss):
    image, target = (value.bfloat16() for value in pair)
    assert loss(image, target).dtype == torch.float32
    assert torch.equal(loss(image, target), loss(image.float(), target.float()))
    assert loss(image.double(), target).dtype == torch.float64


@pytest.mark.parametrize(
    ("image", "target", "text"),
    [
        (torch.rand(3, 4, 4), torch.rand(3, 4, 4), "expected two (B, C, H, W) of one shape"),
        (torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5), "(1, 3, 4, 4) and (1, 3, 4, 5)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.rand(1, 3, 4, 4), "divide bytes by 255"),
        (torch.rand(0, 3, 4, 4), torch.rand(0, 3, 4, 4), "expected at least one pixel"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(image, target, text):
    with pytest.raises(ShapeError) as caught:
        pixel_l1(image, target)
    assert text in str(caught.value)


@pytest.mark.parametrize("mask", [torch.ones(1, 3, 6, 5), torch.ones(1, 1, 5, 6), torch.ones(3, 1, 6, 5)])
def test_masks_that_do_not_fit_are_refused(pair, mask):
    with pytest.raises(ShapeError, match="masked_l1: mask: expected"):
        masked_l1(*pair, mask)


def test_an_unknown_reduction_is_refused(pair):
    with pytest.raises(HeadwarpError, match='expected "mean" or "sum", got \'none\''):
        pixel_l1(*pair, reduction="none")


# Adversarial


def logits(*values):
    return [torch.full((2, 1, 3, 4), value) for value in values]


@pytest.mark.parametrize(
    ("loss", "arguments", "mean"),
    [
        (hinge_generator, [(0.5,)], -0.5),
        (hinge_generator, [(0.5, -2.0)], 1.5),  # scales are summed
        (hinge_discriminator, [(0.25,), (-0.5,)], 0.75 + 0.5),
        (hinge_discriminator, [(1.5,), (-1.5,)], 0.0),  # beyond the margins
        (hinge_discriminator, [(0.0, 0.0), (0.0, 0.0)], 4.0),
        (least_squares_generator, [(0.5,)], 0.25),
        (least_squares_discriminator, [(0.5,), (0.5,)], 0.5),
        (least_squares_discriminator, [(1.0,), (0.0,)], 0.0),
    ],
)
def test_adversarial_values(loss, arguments, mean):
    arguments = [logits(*values) for values in arguments]
    assert loss(*arguments) == pytest.approx(mean)
    assert loss(*arguments, reduction="sum") == pytest.approx(12 * mean)  # 3 x 4 patches, not the batch


def test_the_paper_sums_a_hinge_and_the_public_code_means_squares():
    real, fake = logits(0.25, 0.5), logits(-0.5, 0.25)
    assert generator_loss(fake) == pytest.approx(12 * 0.25)
    assert discriminator_loss(real, fake) == pytest.approx(12 * (0.75 + 0.5 + 0.5 + 1.25))
    assert generator_loss(fake, adversarial.OFFICIAL) == pytest.approx(1.5**2 + 0.75**2)
    halved = AdversarialConfig("least_squares", "mean", weight=0.5)
    assert discriminator_loss(real, fake, halved) == pytest.approx(
        0.5 * (0.75**2 + 0.5**2 + 0.5**2 + 0.25**2)
    )


@pytest.mark.parametrize("config", [adversarial.PAPER, adversarial.OFFICIAL])
def test_the_players_pull_logits_apart(config):
    undecided = torch.full((1, 1, 2, 2), 0.25)
    (of_fake,) = gradient(lambda fake: generator_loss([fake], config), undecided)
    assert (of_fake < 0).all()  # the generator raises them
    of_real, of_fake = gradient(lambda r, f: discriminator_loss([r], [f], config), undecided, undecided)
    assert (of_real < 0).all()
    assert (of_fake > 0).all()


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_adversarial_losses_pass_gradcheck(kind):
    real, fake = (torch.randn(2, 1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    config = AdversarialConfig(kind, "mean")
    assert torch.autograd.gradcheck(lambda f: generator_loss([f, f[..., :1]], config), fake)
    assert torch.autograd.gradcheck(lambda r, f: discriminator_loss([r], [f], config), (real, fake))


def test_half_logits_are_summed_in_float32():
    many = torch.full((1, 1, 300, 300), 1.0, dtype=torch.float16)  # its sum is beyond float16
    assert hinge_generator([many], reduction="sum") == -90000


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: generator_loss([]), "expected a sequence of one tensor a scale, got no scale"),
        (lambda: generator_loss(torch.zeros(1, 1, 2, 2)), "got a tensor"),
        (lambda: discriminator_loss(logits(0.0), logits(0.0, 0.0)), "as many scales, got 1 and 2"),
        (
            lambda: generator_loss(logits(0.0), AdversarialConfig("wgan")),
            "hinge or least_squares, got 'wgan'",
        ),
    ],
)
def test_games_that_cannot_be_played_are_refused(call, text):
    with pytest.raises(HeadwarpError, match=text):
        call()


# Feature matching


def features(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(2, 4, 6, 6), (2, 8, 3, 3)], [(2, 4, 3, 3), (2, 8, 2, 2)]]
    return [[torch.randn(s, generator=generator, dtype=dtype) for s in layers] for layers in shapes]


def test_matching_is_eq_4():
    real, fake = features(0), features(1)
    by_hand = 0.0
    for layers, others in zip(real, fake, strict=True):
        for a, b in zip(layers, others, strict=True):
            by_hand += float((a - b).abs().sum()) / 2
    assert feature_matching(real, fake) == pytest.approx(by_hand, rel=1e-6)
    means = sum(
        float((a - b).abs().mean())
        for x, y in zip(real, fake, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert feature_matching(real, fake, matching.OFFICIAL) == pytest.approx(10 * means, rel=1e-6)


def test_matching_is_zero_where_all_agree_and_moves_every_layer():
    real, fake = features(0), features(1)
    assert feature_matching(real, real) == 0
    leaves = [[value.requires_grad_() for value in layers] for layers in fake]
    feature_matching(real, leaves, MatchingConfig("mean")).backward()
    assert all((leaf.grad != 0).all() for layers in leaves for leaf in layers)


def test_the_real_side_gets_no_gradient():
    real = [[value.requires_grad_() for value in layers] for layers in features(0)]
    fake = [[value.requires_grad_() for value in layers] for layers in features(1)]
    feature_matching(real, fake).backward()
    assert all(leaf.grad is None for layers in real for leaf in layers)


def test_matching_passes_gradcheck_and_sums_half_types_in_float32():
    real, fake = features(0, torch.float64)[1], features(1, torch.float64)[1]
    leaf = fake[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda f: feature_matching([real[:1]], [[f]]), leaf)
    half = [[torch.ones(1, 64, 64, 64, dtype=torch.float16)]], [[torch.zeros(1, 64, 64, 64).half()]]
    assert feature_matching(*half) == 64**3
    assert math.isfinite(float(feature_matching(*half)))


@pytest.mark.parametrize(
    ("made", "wanted", "text"),
    [
        ([], [], "as many scales, got 0 and 0"),
        ([[torch.zeros(1)]], [[torch.zeros(1)], [torch.zeros(1)]], "as many scales, got 1 and 2"),
        ([[torch.zeros(1)]], [[]], "as many layers at scale 0, got 1 and 0"),
        ([[torch.zeros(1, 2)]], [[torch.zeros(1, 3)]], r"features 0.0: expected one shape, got \(1, 2\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(made, wanted, text):
    with pytest.raises(ShapeError, match=text):
        features_l1(made, wanted, reduction="mean")
