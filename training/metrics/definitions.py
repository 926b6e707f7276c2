"""What each number in a report means, in the sentence that the report prints; and their common mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import SupportsFloat

__all__ = ["DEFINITIONS", "definitions_of", "mean_over_clips"]

DEFINITIONS: dict[str, str] = {
    "mean": "Every number is the mean over clips of per-clip means over frames.",
    "l1": "Mean absolute difference of RGB values in [0, 1] over all pixels; lower is better.",
    "psnr": "Peak signal-to-noise ratio in dB of RGB values in [0, 1], at most 100 dB; higher is better.",
    "ssim": "Structural similarity on RGB, Gaussian 11 x 11 window of sigma 1.5, data range 1, mean over the "
    "windows inside the frame and the channels; higher is better.",
    "akd": "Mean Euclidean distance of 68 face-mesh points between generated and true frame, in pixels of a "
    "256 px frame; a generated frame without a face counts with the distance that copying the source has "
    "there; lower is better.",
    "akd_l1": "As akd, with the mean absolute difference over both coordinates in place of the distance.",
    "akd_detected": "As akd, over the frames in which the generated face was found only.",
    "akd_l1_detected": "As akd_l1, over the frames in which the generated face was found only.",
    "missing_face_rate": "Share of the frames with a true face in which the generated frame shows none.",
    "jitter": "Mean length of the second temporal difference of the 68 points, in pixels of a 256 px frame "
    "per frame squared, over runs of three frames with a face; compare with that of the true frames.",
    "reprojection_percent_iod": "Mean distance of the projected mesh to 468 detected points, before the 2D "
    "residual is added, in percent of the 3D outer-canthal distance scaled by the camera; lower is better.",
}
"""Metric id, as in a report's ``metrics``, to its definition in one sentence."""


def definitions_of(ids: Iterable[str]) -> dict[str, str]:
    """The definitions of some metrics, for a report's ``definitions``; that of ``mean`` comes first.

    Raises:
        KeyError: an id without a definition: no number is reported without saying what it is.

    Example:
        >>> list(definitions_of(["ssim"]))
        ['mean', 'ssim']
    """
    ids = list(ids)
    unknown = [name for name in ids if name not in DEFINITIONS]
    if unknown:
        raise KeyError(f"no definition of {', '.join(unknown)}; there are {', '.join(DEFINITIONS)}")
    return {name: DEFINITIONS[name] for name in ("mean", *(name for name in ids if name != "mean"))}


def mean_over_clips(clips: Mapping[str, Iterable[SupportsFloat]]) -> float:
    """Mean over clips of per-clip means, so that a long clip weighs no more than a short one.

    Args:
        clips: clip name to its per-frame values (a sequence, array or tensor). NaN marks a frame that is not
            scored.

    Returns:
        The mean over the clips that have a scored frame; NaN when none has.

    Example:
        >>> mean_over_clips({"long": [1.0, 1.0, 1.0], "short": [3.0], "empty": [float("nan")]})
        2.0
    """
    means = []
    for values in clips.values():
        scored = [value for value in map(float, values) if not math.isnan(value)]
        if scored:
            means.append(math.fsum(scored) / len(scored))
    return math.fsum(means) / len(means) if means else math.nan
