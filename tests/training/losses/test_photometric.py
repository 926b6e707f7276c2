"""Photometric errors and smoothness: the formulas, minimum, gradients, masks."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.training.losses.photometric import (
    MONODEPTH2,
    PAPER,
    PhotometricConfig,
    least_error,
    local_ssim,
    local_ssim_ref,
    photometric_error,
    weighted_mean,
)
from headwarp.training.losses.smoothness import smoothness_loss


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.rand(2, 3, 7, 6), torch.rand(2, 3, 7, 6)


def test_similarity_is_its_twin(pair):
    first, second = (picture.double() for picture in pair)
    assert torch.allclose(local_ssim(first, second), local_ssim_ref(first, second), atol=1e-10)
    assert torch.equal(local_ssim(first, first), torch.ones_like(first))


@pytest.mark.parametrize("config", [PAPER, MONODEPTH2])
def test_both_forms(pair, config):
    first, second = pair
    similarity = local_ssim_ref(first, second)
    unlike = 1 - similarity if config is PAPER else ((1 - similarity) / 2).clamp(0, 1)
    expected = config.alpha * unlike + (1 - config.alpha) * (first - second).abs()
    found = photometric_error(first, second, config)
    assert found.shape == (2, 1, 7, 6)
    assert torch.allclose(found, expected.mean(1, keepdim=True), atol=1e-5)
    assert photometric_error(first, first, config).abs().max() < 1e-6


@pytest.mark.parametrize("config", [PAPER, MONODEPTH2])
def test_it_descends_and_passes_gradcheck(pair, config):
    made, target = pair[0].double().requires_grad_(), pair[1].double()
    assert torch.autograd.gradcheck(lambda image: photometric_error(image, target, config), made)
    loss = photometric_error(made, target, config).mean()
    (slope,) = torch.autograd.grad(loss, made)
    assert slope.abs().min() > 0
    assert photometric_error(made - 1e-2 * slope / slope.abs().max(), target, config).mean() < loss


def test_the_least_error_wins_and_what_stands_still_teaches_nothing():
    first = torch.tensor([0.1, 0.5, 0.3]).view(1, 1, 1, 3).requires_grad_()
    second = torch.tensor([0.2, 0.4, 0.3]).view(1, 1, 1, 3).requires_grad_()
    still = torch.tensor([0.3, 0.1, 0.3]).view(1, 1, 1, 3)
    found = least_error([first, second], [still])
    assert found.error.flatten().tolist() == pytest.approx([0.1, 0.1, 0.3])
    assert found.moving.flatten().tolist() == [True, False, False]
    found.error.sum().backward()
    assert first.grad.flatten()[:2].tolist() == [1.0, 0.0]
    assert second.grad.flatten()[:2].tolist() == [0.0, 0.0]
    assert least_error([first]).moving.all()


def test_weights(pair):
    values = pair[0][:, :1]
    weight = torch.zeros(1, 1, 7, 6)
    weight[..., 2:4] = 0.5
    assert torch.allclose(weighted_mean(values, weight), values[..., 2:4].mean())
    assert torch.allclose(weighted_mean(values), values.mean())
    assert weighted_mean(values, torch.zeros(1, 1, 7, 6)) == 0


def test_smoothness_spares_edges_of_the_picture():
    step = torch.ones(1, 1, 4, 6)
    step[..., 3:] = 2
    flat, edge = torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, 4, 6)
    edge[..., 3:] = 1
    assert smoothness_loss(torch.full((1, 1, 4, 6), 3.0), flat) == 0
    on_edge, off_edge = smoothness_loss(step, edge), smoothness_loss(step, flat)
    assert float(on_edge / off_edge) == pytest.approx(float(torch.exp(torch.tensor(-1.0))), rel=1e-5)
    assert torch.allclose(smoothness_loss(step * 7, flat), off_edge)
    assert float(smoothness_loss(step, flat, normalise=False)) == pytest.approx(0.2)


def test_smoothness_descends(pair):
    disparity = (0.1 + pair[0][:, :1]).double().requires_grad_()
    picture = pair[1].double()
    assert torch.autograd.gradcheck(lambda d: smoothness_loss(d, picture), disparity)
    loss = smoothness_loss(disparity, picture)
    (slope,) = torch.autograd.grad(loss, disparity)
    assert smoothness_loss(disparity - 1e-2 * slope, picture) < loss


def test_what_does_not_fit_is_refused(pair):
    first, second = pair
    with pytest.raises(HeadwarpError, match="alpha in"):
        photometric_error(first, second, PhotometricConfig(alpha=1.5))
    with pytest.raises(ShapeError, match="at least 2 px"):
        local_ssim(torch.rand(1, 3, 1, 4), torch.rand(1, 3, 1, 4))
    with pytest.raises(ShapeError, match="expected one or more"):
        least_error([])
    with pytest.raises(ShapeError, match="weight: expected"):
        weighted_mean(first[:, :1], torch.ones(1, 1, 3, 3))
    with pytest.raises(ShapeError, match="the picture's size"):
        smoothness_loss(first[:, :1], torch.rand(2, 3, 4, 4))
