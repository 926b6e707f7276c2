"""Perceptual loss over given features, and the warped source as its input."""

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ShapeError
from headwarp.geom.pyramid import guidance_pyramid
from headwarp.training.losses.perceptual import (
    OFFICIAL,
    PAPER,
    PerceptualConfig,
    perceptual_levels,
    perceptual_loss,
)
from headwarp.training.losses.pixel import pixel_l1
from headwarp.training.losses.warped import warped_levels

MEANS = PerceptualConfig(strides=(1, 2), reduction="mean", weight=3.0)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 16, 24, generator=generator), torch.rand(2, 3, 16, 24, generator=generator)


@pytest.fixture
def features():
    """Two layers of a fixed network, smooth so that differences can check gradients."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64)

    def of(image):
        low = torch.tanh(F.conv2d(image, first.to(image), padding=1))
        return low, torch.tanh(F.conv2d(F.avg_pool2d(low, 2), second.to(image), padding=1))

    return of


def gradient(loss, image):
    leaf = image.detach().clone().requires_grad_()
    loss(leaf).backward()
    return leaf.grad


def test_it_is_eq_1(pair, features):
    image, target = pair
    by_hand = 0.0
    for scale in (1, 2, 4):
        (x,), (y,) = guidance_pyramid(image, [scale]), guidance_pyramid(target, [scale])
        for a, b in zip(features(x), features(y), strict=True):
            by_hand += float((a - b).abs().sum()) / 2  # a sample's sum
    assert perceptual_loss(image, target, features) == pytest.approx(by_hand, rel=1e-5)


def test_means_and_weight(pair, features):
    image, target = pair
    levels = zip(guidance_pyramid(image, (1, 2)), guidance_pyramid(target, (1, 2)), strict=True)
    pairs = [p for x, y in levels for p in zip(features(x), features(y), strict=True)]
    by_hand = 3 * sum(float((a - b).abs().mean()) for a, b in pairs)
    assert perceptual_loss(image, target, features, MEANS) == pytest.approx(by_hand, rel=1e-5)


def test_with_the_picture_as_its_feature_it_is_l1(pair):
    config = PerceptualConfig(strides=(1,), reduction="mean")
    assert perceptual_loss(*pair, lambda image: (image,), config) == pytest.approx(float(pixel_l1(*pair)))


def test_the_two_modes():
    assert (len(PAPER.taps), PAPER.strides, PAPER.reduction, PAPER.weight) == (5, (1, 2, 4), "sum", 1)
    assert (len(OFFICIAL.taps), OFFICIAL.strides, OFFICIAL.reduction, OFFICIAL.weight) == (
        5,
        (1, 2, 4, 8),
        "mean",
        10,
    )


def test_smallest_at_the_truth_and_with_a_gradient_off_it(pair, features):
    image, target = pair
    assert perceptual_loss(target, target, features) == 0
    assert gradient(lambda made: perceptual_loss(made, target, features, MEANS), image).abs().min() > 0


def test_gradcheck(pair, features):
    image, target = (value[:1, :, :8, :8].double() for value in pair)
    image.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda made: perceptual_loss(made, target, features, MEANS), image, fast_mode=True
    )


def test_the_truth_costs_no_graph(pair):
    """Its features are taken without a gradient: half the memory, and nothing flows there."""
    image, target = (value.requires_grad_() for value in pair)
    recorded = []

    def of(picture):
        recorded.append(torch.is_grad_enabled())
        return (picture * 2,)

    perceptual_loss(image, target, of, PerceptualConfig(strides=(1,))).backward()
    assert sorted(recorded) == [False, True]
    assert target.grad is None


def test_half_types_are_compared_in_float32(pair, features):
    image, target = (value.bfloat16() for value in pair)
    expected = perceptual_loss(image.float(), target.float(), features)
    assert torch.equal(perceptual_loss(image, target, features), expected)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a, f: perceptual_loss(a, a[..., :20], f), "of one shape"),
        (lambda a, f: perceptual_loss(a[..., :18], a[..., :18], f), "multiples of the stride 4"),
        (lambda a, f: perceptual_levels([a], [], f), "as many levels, got 1 and 0"),
        (lambda a, f: perceptual_levels([], [], f), "as many levels, got 0 and 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(pair, features, call, text):
    with pytest.raises(ShapeError, match=text):
        call(pair[0], features)


# Warped


def test_a_whole_pixel_shift_is_found_again(pair):
    source, _ = pair
    target = source.roll(-4, dims=3)
    flows = [
        torch.tensor([4.0 / s, 0.0])[None, :, None, None].expand(2, 2, 16 // s, 24 // s) for s in (4, 2, 1)
    ]
    for level, flow in zip(warped_levels(source, target, flows), flows, strict=True):
        inside = flow.shape[3] - round(float(flow[0, 0, 0, 0]))
        assert level.image.shape[2:] == flow.shape[2:] == level.target.shape[2:]
        torch.testing.assert_close(level.image[..., :inside], level.target[..., :inside])


def test_beyond_the_source_is_its_edge_or_black(pair):
    image, target = pair
    far = torch.zeros(len(image), 2, *image.shape[2:])
    far[:, 0] = 1000.0
    (edge,), (black,) = (
        warped_levels(image, target, [far], padding_mode=mode) for mode in ("border", "zeros")
    )
    assert torch.equal(edge.image, image[..., -1:].expand_as(image))
    assert not black.image.any()


def test_levels_are_area_means(pair):
    source, target = pair
    (level,) = warped_levels(source, target, [torch.zeros(2, 2, 4, 8)])
    torch.testing.assert_close(level.image, F.avg_pool2d(source, (4, 3)))
    torch.testing.assert_close(level.target, F.avg_pool2d(target, (4, 3)))


def test_the_displacement_learns_from_every_level(pair, features):
    source, target = pair
    flows = [(torch.randn(2, 2, 16 // s, 24 // s) * 0.3).requires_grad_() for s in (2, 1)]
    levels = warped_levels(source, target, flows)
    perceptual_levels(
        [level.image for level in levels], [level.target for level in levels], features
    ).backward()
    assert all(flow.grad.abs().sum() > 0 for flow in flows)


@pytest.mark.parametrize(
    ("target", "flow", "text"),
    [
        (torch.rand(2, 3, 16, 20), torch.zeros(2, 2, 16, 24), "source, target: expected one shape"),
        (torch.rand(2, 3, 16, 24), torch.zeros(2, 2, 32, 48), "within the picture's size"),
        (torch.rand(2, 3, 16, 24), torch.zeros(2, 16, 24), "within the picture's size"),
    ],
)
def test_levels_that_do_not_fit_are_refused(pair, target, flow, text):
    with pytest.raises(ShapeError, match=text):
        warped_levels(pair[0], target, [flow])
