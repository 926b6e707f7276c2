"""Distances of skin colours."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics.skin_colour import rgb_to_lab, skin_colour_error


def test_known_colours():
    red = rgb_to_lab(torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]).flatten()
    torch.testing.assert_close(red, torch.tensor([53.24, 80.09, 67.20]), atol=0.05, rtol=0)
    black = rgb_to_lab(torch.zeros(1, 3, 1, 1))
    torch.testing.assert_close(black, torch.zeros(1, 3, 1, 1), atol=1e-3, rtol=0)


def test_the_mean_forgives_noise_and_skin_alone_counts():
    truth = torch.full((1, 3, 8, 8), 0.5)
    skin = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    skin[..., :4] = True
    image = truth.clone()
    image[..., 4:] = 0
    assert float(skin_colour_error(image, truth, skin).pixel) < 1e-4
    image[..., ::2, :4] += 0.02
    image[..., 1::2, :4] -= 0.02
    error = skin_colour_error(image, truth, skin)
    assert float(error.mean_colour) < 0.1 < 1.5 < float(error.pixel)
    assert bool(skin_colour_error(image, truth, ~skin & skin).pixel.isnan())
    with pytest.raises(ShapeError, match="expected"):
        skin_colour_error(image, truth, skin[..., 1:])
