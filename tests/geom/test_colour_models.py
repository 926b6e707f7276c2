"""Histograms of colours: sums, likelihood where seen and where not."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.colour_models import colour_histogram, log_likelihood
from headwarp.geom.errors import ShapeError


def two_tone():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4], image[:, 4:] = (200, 40, 40), (30, 30, 180)
    return image


def test_a_histogram_sums_to_one_and_peaks_where_the_weights_are():
    image = two_tone()
    left = np.zeros((8, 8))
    left[:, :4] = 1
    histogram = colour_histogram(image, left)
    assert histogram.sum() == pytest.approx(1)
    assert np.unravel_index(histogram.argmax(), histogram.shape) == (200 >> 4, 40 >> 4, 40 >> 4)
    np.testing.assert_allclose(colour_histogram(image, 5 * left), histogram)


def test_likelihood_tells_the_tones_apart():
    image = two_tone()
    left = np.zeros((8, 8))
    left[:, :4] = 1
    seen = log_likelihood(image, colour_histogram(image, left))
    assert seen[:, :4].min() > seen[:, 4:].max() + 4
    assert np.isfinite(seen).all()


def test_without_weights_every_colour_is_as_likely():
    image = two_tone()
    values = log_likelihood(image, colour_histogram(image, np.zeros((8, 8))))
    np.testing.assert_allclose(values, -np.log(16**3))
    with pytest.raises(ShapeError, match="weights"):
        colour_histogram(image, np.zeros((8, 7)))
