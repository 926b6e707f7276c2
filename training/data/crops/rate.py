"""Pictures at a constant rate: which frame of a video stands at which moment.

Training reads clips by frame, and sound runs by the clock; both agree only where frames come evenly. A video
of constant rate passes as it is; in one of variable rate (phones, screen recordings, damaged files) frames
are repeated and left out, so that each moment shows the picture it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Int64

from ....geom.errors import MediaError
from ..media import exact_fps

__all__ = ["Timeline", "timeline"]

_USUAL = tuple(
    Fraction(rate)
    for rate in (5, 6, "7.5", 8, 10, 12, "12.5", 15, 20, "24000/1001", 24, 25, "30000/1001", 30, 48, 50)
) + (Fraction(60000, 1001), Fraction(60), Fraction(120))
_NEAR = 0.01  # a measured rate this near a usual one is the usual one
_UNKNOWN = Fraction(25)
_LONGEST_HOLD = 1.0  # seconds
_EVEN = 0.25  # of an interval: how far a frame of a constant rate may be from its place
_SLOWEST, _FASTEST = 0.1, 1000.0


@dataclass(frozen=True)
class Timeline:
    """Pictures at a constant rate.

    Attributes:
        fps: pictures a second.
        sources: which frame of the video is shown; never falls.
        numbers: number of each picture, counted at ``fps`` from the start of the video; consecutive but where
            it stands still for more than a second.
        repeated: pictures that repeat the one before.
        left_out: frames that are not shown.
    """

    fps: Fraction
    sources: Int64[np.ndarray, " N"]
    numbers: Int64[np.ndarray, " N"]
    repeated: int
    left_out: int


def timeline(
    times: Sequence[float | None],
    stated: Fraction | None,
    *,
    fps: Fraction | None = None,
    first: int = 0,
) -> Timeline:
    """Place the frames of a video at a constant rate.

    Args:
        times: seconds of each frame from the start of the video; None where the file does not say: then
            frames are taken as even.
        stated: the rate the file states, or None.
        fps: the rate wanted; None for the video's own: the stated one if all frames are due at it, else the
            one of its usual interval.
        first: number of the first frame, for files that do not say.

    Raises:
        MediaError: no frames.

    Example:
        >>> timeline([0.0, 0.04, 0.12, 0.16], Fraction(25)).sources.tolist()
        [0, 1, 1, 2, 3]
    """
    if not len(times):
        raise MediaError("the clip has no frames.")
    known = [time for time in times if time is not None]
    if len(known) < len(times) or not np.isfinite(known).all():
        even = stated or _UNKNOWN
        return _placed(np.arange(len(times)) / float(even), fps or even, began=first / float(even))
    seconds = np.maximum.accumulate(np.array(known) - known[0])
    return _placed(seconds, fps or _own_rate(seconds, stated), began=max(known[0], 0.0))


def _own_rate(seconds: np.ndarray, stated: Fraction | None) -> Fraction:
    """The rate at which every frame has a place of its own and no place is empty; else the usual one."""
    if len(seconds) == 1 or seconds[-1] <= 0:
        return stated or _UNKNOWN
    measured = (len(seconds) - 1) / float(seconds[-1])
    for rate in (stated, _usual(measured), _possible(measured)):
        if rate and np.abs(seconds * float(rate) - np.arange(len(seconds))).max() < _EVEN:
            return rate
    steps = np.diff(seconds)
    interval = float(np.median(steps[steps > 0]))
    return _usual(1 / interval) or _possible(1 / interval)


def _possible(rate: float) -> Fraction:
    return exact_fps(min(max(rate, _SLOWEST), _FASTEST))


def _usual(rate: float) -> Fraction | None:
    nearest = min(_USUAL, key=lambda usual: abs(float(usual) - rate))
    return nearest if abs(float(nearest) - rate) <= _NEAR * rate else None


def _placed(seconds: np.ndarray, rate: Fraction, *, began: float) -> Timeline:
    places = np.floor(seconds * float(rate) + 0.5).astype(np.int64)
    shown = np.flatnonzero(np.diff(places, append=places[-1] + 1))  # of frames in one place the last
    starts = places[shown]
    stays = np.diff(starts, append=starts[-1] + 1)
    stays = np.where(stays > max(1.0, _LONGEST_HOLD * float(rate)), 1, stays)  # a longer one is a break
    firsts = np.cumsum(stays) - stays
    numbers = round(began * float(rate)) + np.repeat(starts - firsts, stays) + np.arange(stays.sum())
    repeated, left_out = int((stays - 1).sum()), len(seconds) - len(shown)
    return Timeline(rate, np.repeat(shown, stays), numbers, repeated, left_out)
