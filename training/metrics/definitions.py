"""What each number in a report means, in the sentence that the report prints; and their common mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import SupportsFloat

__all__ = [
    "BASES",
    "DEFINITIONS",
    "HIGHER_IS_BETTER",
    "UNITS",
    "definition_id",
    "definitions_of",
    "mean_over_clips",
]

DEFINITIONS: dict[str, str] = {
    "mean": "Every number is the mean over clips of per-clip means over frames.",
    "l1": "Mean absolute difference of RGB values in [0, 1] over all pixels; lower is better.",
    "psnr": "Peak signal-to-noise ratio in dB of RGB values in [0, 1], at most 100 dB; higher is better.",
    "ssim": "Structural similarity on RGB, Gaussian 11 x 11 window of sigma 1.5, data range 1, mean over the "
    "windows inside the frame and the channels; higher is better.",
    "ms_ssim": "Structural similarity over five scales, window and range as of ssim, means over windows and "
    "channels before the powers 0.0448, 0.2856, 0.3001, 0.2363, 0.1333; frames of 176 px or more; higher is "
    "better.",
    "lpips": "Learned perceptual distance (version 0.1) of RGB in [-1, 1] by the network of the named file; "
    "lower is better.",
    "fid": "Squared Frechet distance of the 2048 Inception-V3 features of all frames, generated against true "
    "(driven by their own clip) or against the sources (driven by others); one number for all frames, which "
    "falls with their count: compare equal counts only; lower is better.",
    "csim": "Cosine of recognition embeddings of faces aligned to the 112 px template by five points, "
    "generated against true (driven by their own clip) or against the source (driven by others), over frames "
    "with a generated face; higher is better.",
    "aed_id": "Euclidean distance of the embeddings of csim, over frames with a generated face; lower is "
    "better.",
    "aed_id_sq": "Sum of squared differences of the embeddings of csim, as FOMM's published script computes "
    "its AED; lower is better.",
    "akd": "Mean Euclidean distance of 68 face-mesh points between generated and true frame, in pixels of a "
    "256 px frame; a generated frame without a face counts with the distance that copying the source has "
    "there; lower is better.",
    "akd_l1": "As akd, with the mean absolute difference over both coordinates in place of the distance; "
    "lower is better.",
    "akd_detected": "As akd, over the frames in which the generated face was found only; lower is better.",
    "akd_l1_detected": "As akd_l1, over the frames in which the generated face was found only; lower is "
    "better.",
    "apd": "Mean absolute difference of yaw, pitch and roll in degrees, of heads fitted to the generated and "
    "to the driving frames alike, over frames with a generated face; lower is better.",
    "prmse": "Root of the mean squared difference of yaw, pitch and roll in degrees, frame by frame, of the "
    "heads of apd; lower is better.",
    "aed_exp_l1": "Mean absolute difference of the expression coefficients of the heads of apd; numbers of "
    "different heads do not compare; lower is better.",
    "aucon": "Share of the named expression units of the heads of apd that are on (at half of their full "
    "strength or more) in both frames or off in both; not the action units of published AUCON; higher is "
    "better.",
    "aucon_active": "As aucon, over the units that are on in at least one of the frames, over frames with "
    "such a unit; higher is better.",
    "missing_face_rate": "Share of the frames with a true face in which the generated frame shows none; "
    "lower is better.",
    "missing_keypoint_rate": "Share of the body's points that the detector finds in the true frames and not "
    "in the generated ones, over the clip's frames and points; [FOMM]'s MKR; lower is better.",
    "jitter": "Mean length of the second temporal difference of the 68 points, in pixels of a 256 px frame "
    "per frame squared, over runs of three frames with a face; lower is steadier, but compare with that of "
    "the true frames.",
    "jitter_driver": "As jitter, of the driving frames themselves.",
    "flow_epe": "Mean Euclidean distance of the flow from the true one, in pixels, where the source shows "
    "the person; synthetic clips; lower is better.",
    "visibility_iou": "Intersection over union of the person's pixels that the source hides, by the "
    "animator's map and in truth, where its mesh covers the person; synthetic clips; higher is better.",
    "reprojection_percent_iod": "Mean distance of the projected mesh to 468 detected points, before the 2D "
    "residual is added, in percent of the 3D outer-canthal distance of the head model's mean face, scaled by "
    "the camera; lower is better.",
}
"""Metric id, as in a report's ``metrics``, to its definition in one sentence."""

HIGHER_IS_BETTER = frozenset(
    {"psnr", "ssim", "ms_ssim", "csim", "aucon", "aucon_active", "visibility_iou"},
)
"""The metrics of which more is better; of all others less is."""

UNITS: dict[str, str] = {
    "l1": "of 0..1",
    "psnr": "dB",
    **dict.fromkeys(("akd", "akd_l1", "akd_detected", "akd_l1_detected"), "px of 256"),
    **dict.fromkeys(("jitter", "jitter_driver"), "px of 256 a frame\u00b2"),
    **dict.fromkeys(("apd", "prmse"), "degrees"),
    "flow_epe": "px",
    **dict.fromkeys(("missing_face_rate", "missing_keypoint_rate", "aucon", "aucon_active"), "share"),
    "reprojection_percent_iod": "% of the eye distance",
}
"""Unit of a metric, where it has one."""

BASES: dict[str, str] = {
    **dict.fromkeys(
        ("akd", "akd_l1", "akd_detected", "akd_l1_detected", "jitter", "jitter_driver"), "mesh68"
    ),
    "missing_face_rate": "mesh68",
    **dict.fromkeys(("apd", "prmse", "aed_exp_l1", "aucon", "aucon_active"), "head"),
    **dict.fromkeys(("csim", "aed_id", "aed_id_sq"), "arcface"),
    "missing_keypoint_rate": "body",
    "fid": "inception",
    "lpips": "lpips",
}
"""What a metric's numbers depend on beside its formula: the 68 face-mesh points, the fitted head, or the
weights of a network."""


def definition_id(name: str, bases: Mapping[str, str]) -> str:
    """A metric's id with what its numbers depend on: two numbers compare if their definition ids are equal.

    Args:
        name: a key of `DEFINITIONS`.
        bases: for ``head``, ``arcface``, ``inception``, ``lpips`` and ``body`` (the detector of a body's
            points), which one: an id or the start of a hash.

    Raises:
        KeyError: an unknown metric, or a basis that is needed and not named.

    Example:
        >>> definition_id("aed_exp_l1", {"head": "builtin-0123"}), definition_id("l1", {})
        ('aed_exp_l1/builtin-0123', 'l1')
    """
    if name not in DEFINITIONS:
        raise KeyError(f"no definition of {name}; there are {', '.join(DEFINITIONS)}")
    basis = BASES.get(name)
    if basis is None or basis == "mesh68":
        return name if basis is None else f"{name}/{basis}"
    return f"{name}/{bases[basis]}"


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
