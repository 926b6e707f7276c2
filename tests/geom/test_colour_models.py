"""Histograms of colours: sums, likelihood where seen and where not."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.colour_models import colour_bins, colour_histogram, log_likelihood
from headwarp.geom.errors import ShapeError


def two_tone():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4], image[:, 4:] = (200, 40, 40), (30, 30, 180)
    return colour_bins(image)


def test_a_histogram_sums_to_one_and_peaks_where_the_weights_are():
    bins = two_tone()
    left = np.zeros((8, 8))
    left[:, :4] = 1
    histogram = colour_histogram(bins, left)
    assert histogram.sum() == pytest.approx(1)
    assert np.unravel_index(histogram.argmax(), histogram.shape) == (200 >> 4, 40 >> 4, 40 >> 4)
    np.testing.assert_allclose(colour_histogram(bins, 5 * left), histogram)


def test_likelihood_tells_the_tones_apart():
    bins = two_tone()
    left = np.zeros((8, 8))
    left[:, :4] = 1
    seen = log_likelihood(bins, colour_histogram(bins, left))
    assert seen[:, :4].min() > seen[:, 4:].max() + 4
    assert np.isfinite(seen).all()


def test_without_weights_every_colour_is_as_likely():
    bins = two_tone()
    values = log_likelihood(bins, colour_histogram(bins, np.zeros((8, 8))))
    np.testing.assert_allclose(values, -np.log(16**3))
    with pytest.raises(ShapeError, match="weights"):
        colour_histogram(bins, np.zeros((8, 7)))
