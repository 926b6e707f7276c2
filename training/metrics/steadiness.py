"""How steady a clip is, what steadiness costs: jitter, lag, and what is left of blinks and of the mouth.

Points are (T, 478, 2) of the face mesh, pixels. Openings are ratios, so that they do not change with the size
or the turn of a head.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

EYES = (((159, 145), (158, 153), (33, 133)), ((386, 374), (385, 380), (362, 263)))
"""Two upright distances of each eye and the one across."""
MOUTH = ((13, 14), (10, 152))
"""Between the lips, and the face's height."""
SHARE = 0.5  # of the range of an opening that an event must stand out by
REACH = 12  # frames within which an event rises and falls


def eye_opening(points: Float[ndarray, "T 478 2"]) -> Float[ndarray, " T"]:
    """Mean over both eyes of the lids' distance over the eye's width."""
    eyes = [(_length(points, a) + _length(points, b)) / (2 * _length(points, c)) for a, b, c in EYES]
    return (eyes[0] + eyes[1]) / 2


def mouth_opening(points: Float[ndarray, "T 478 2"]) -> Float[ndarray, " T"]:
    """Distance of the lips over the face's height."""
    return _length(points, MOUTH[0]) / _length(points, MOUTH[1])


def _length(points: Float[ndarray, "T L 2"], pair: tuple[int, int]) -> Float[ndarray, " T"]:
    return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)


def amplitude_kept(signal: Float[ndarray, " T"], changed: Float[ndarray, " T"]) -> float:
    """Height of the peaks of a signal that is left in a changed one, their sum over theirs.

    A peak stands out by half of the range between the median and the highest 0.5 %; its height is that over
    the mean of the lowest points within 12 frames before and after. In the changed signal it may lie a frame
    aside.

    Args:
        signal: any unit, one value a frame.
        changed: the same signal, smoothed for example.

    Returns:
        1 where nothing was lost; NaN for a signal without peaks.

    Example:
        >>> wave = np.maximum(np.sin(np.arange(60.0) / 4), 0)
        >>> round(amplitude_kept(wave, 0.9 * wave), 3)
        0.9
    """
    from scipy.signal import find_peaks

    range_up = float(np.percentile(signal, 99.5) - np.median(signal))
    peaks, found = find_peaks(signal, prominence=max(SHARE * range_up, 1e-12), distance=3)
    before = after = 0.0
    for peak, left, right in zip(peaks, found["left_bases"], found["right_bases"], strict=True):
        first, last = max(left, peak - REACH), min(right, peak + REACH)
        low = first + int(np.argmin(signal[first : peak + 1]))
        high = peak + int(np.argmin(signal[peak : last + 1]))
        before += signal[peak] - (signal[low] + signal[high]) / 2
        top = changed[max(peak - 1, 0) : peak + 2].max()
        after += top - (changed[low] + changed[high]) / 2
    return float(after / before) if before > 0 else math.nan


def lag(signal: Float[ndarray, " T"], changed: Float[ndarray, " T"], *, most: int = 6) -> int:
    """Frames by which a changed signal is behind, where both agree best.

    Args:
        signal: any unit, one value a frame.
        changed: the same signal, smoothed for example.
        most: frames that are tried either way.

    Example:
        >>> wave = np.sin(np.arange(60.0) / 4)
        >>> lag(wave[2:], wave[:-2])
        2
    """
    middle = signal[most : len(signal) - most]
    shifted = [changed[most + s : len(changed) - most + s] for s in range(-most, most + 1)]
    return int(np.argmin([np.std(middle - other) for other in shifted])) - most
