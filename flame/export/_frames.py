"""What the exports share: the frame rate of a fit, checks, frames without a face."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import torch

from ...geom.errors import HeadwarpError
from ..params import DETECTED, HeadFit, HeadParams

DEFAULT_FPS = Fraction(25)


def frame_rate(fit: HeadFit, fps: Fraction | float | None = None) -> Fraction:
    """Frames a second: as asked, else as the fit's report says, else 25.

    Raises:
        HeadwarpError: not a positive number.
    """
    asked = fit.report.get("fps") if fps is None else fps
    if asked is None:
        return DEFAULT_FPS
    try:
        rate = (
            Fraction(asked).limit_denominator(100_000)
            if math.isfinite(float(Fraction(asked)))
            else Fraction(0)
        )
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        rate = Fraction(0)
    if rate <= 0:
        raise HeadwarpError(f"fps: expected a number above 0, got {asked!r}; give one with --fps")
    return rate


def frame_times(fit: HeadFit, rate: Fraction) -> list[float]:
    """Seconds from the first frame, rising: as the fit's report has them for uneven clips, else evenly by
    the rate.

    Times that do not rise, or not one a frame, are passed over.
    """
    times = fit.report.get("times")
    if isinstance(times, (list, tuple)) and len(times) == fit.frames:
        shifted = [float(time) - float(times[0]) for time in times]
        if all(later > earlier for earlier, later in itertools.pairwise(shifted)):
            return shifted
    return [float(frame / rate) for frame in range(fit.frames)]


def check_finite(params: HeadParams) -> None:
    """Raise HeadwarpError for NaN or infinity; the text names the parameter."""
    for name, value in vars(params).items():
        if not torch.isfinite(value).all():
            raise HeadwarpError(
                f"export: expected finite parameters, got NaN or infinity in {name!r}; fit again"
            )


def not_detected(fit: HeadFit) -> tuple[int, ...]:
    """Frames whose face was not seen."""
    return tuple((fit.status != DETECTED).nonzero()[:, 0].tolist())
