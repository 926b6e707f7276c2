"""Which material a pixel is of, by its colour: histograms of marked pixels, and their likelihoods elsewhere.

Histograms take what one Gaussian cannot: patterned cloth, hair with lights, skin in light and shade. They are
of one picture and are thrown away with it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import gaussian_filter

from .errors import ShapeError

BINS = 16
_SPREAD = 1.0  # bins by which a histogram is blurred
_FLOOR = 0.02  # share of a histogram that is spread evenly: what was never seen is unlikely, not impossible


def colour_bins(image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
    """The cell of a histogram that each pixel's RGB falls into.

    Example:
        >>> int(colour_bins(np.full((1, 1, 3), 128, np.uint8))[0, 0]) == 8 * (256 + 16 + 1)
        True
    """
    red, green, blue = (image >> 4).astype(np.int64).transpose(2, 0, 1)
    return (red * BINS + green) * BINS + blue


def colour_histogram(
    bins: Int[np.ndarray, "H W"], weights: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "B B B"]:
    """How often each colour occurs among weighted pixels: 16 x 16 x 16, blurred, summing to 1.

    Args:
        bins: of the picture, `colour_bins`.
        weights: of each pixel, 0 or more; with a sum of 0 all colours are as likely.

    Raises:
        ShapeError: weights of another size.

    Example:
        >>> grey = colour_bins(np.full((4, 4, 3), 128, np.uint8))
        >>> int(colour_histogram(grey, np.ones((4, 4))).argmax()) == int(grey[0, 0])
        True
    """
    if weights.shape != bins.shape:
        raise ShapeError(f"weights: expected {bins.shape} as the bins, got {weights.shape}")
    counts = np.bincount(bins.ravel(), weights.ravel().astype(np.float64), BINS**3)
    blurred = gaussian_filter(counts.reshape(BINS, BINS, BINS), _SPREAD, mode="nearest")
    total = blurred.sum()
    even = np.full(blurred.shape, 1 / BINS**3)
    return even if total <= 0 else (1 - _FLOOR) * blurred / total + _FLOOR * even


def log_likelihood(
    bins: Int[np.ndarray, "H W"], histogram: Float[np.ndarray, "B B B"]
) -> Float[np.ndarray, "H W"]:
    """Logarithm of a histogram at each pixel's colour."""
    return np.log(histogram).ravel()[bins]
