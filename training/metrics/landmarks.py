"""How near generated faces are to the true ones, by their landmarks; and how steady landmarks are in time.

Points are (T, 68, 2) arrays in pixels of a 256 px frame (:func:`to_256` scales others): x right, y down.
``found`` tells in which frames a face was detected; points of other frames are not looked at and may be NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from ...geom.errors import ShapeError

__all__ = [
    "KeypointScore",
    "akd",
    "akd_l1",
    "missing_face_rate",
    "missing_keypoint_rate",
    "temporal_jitter",
    "to_256",
]


@dataclass(frozen=True)
class KeypointScore:
    """Keypoint distance of one clip.

    Attributes:
        per_frame: (T,) pixels; ``copy``'s distance where the generated face was not found, NaN where the true
            face was not.
        mean: mean over the frames with a true face: the metric. NaN when there is none.
        detected_only: mean over the frames in which the generated face was found too. NaN when there is none.
        missing: number of frames with a true face but no generated one.
    """

    per_frame: Float[ndarray, " T"]
    mean: float
    detected_only: float
    missing: int


def akd(
    generated: Float[ndarray, "T L 2"],
    truth: Float[ndarray, "T L 2"],
    found: Bool[ndarray, " T"],
    *,
    copied: Float[ndarray, "T L 2"] | Float[ndarray, "L 2"],
    truth_found: Bool[ndarray, " T"] | None = None,
) -> KeypointScore:
    """Average keypoint distance: mean Euclidean distance of corresponding points, in pixels.

    A frame whose generated face was not found is not left out, which would reward destroying the face: it
    counts with the distance of ``copy``, the animator that repeats the source.

    Args:
        generated: points found in the generated frames.
        truth: points found in the true (driving) frames.
        found: in which generated frames a face was found.
        copied: points of ``copy``'s frames: of the source photo (L, 2), or frame by frame.
        truth_found: in which true frames a face was found; None for all. The others are not scored.

    Raises:
        ShapeError: shapes do not agree, or a point that is needed is not finite.

    Example:
        >>> truth = np.zeros((2, 68, 2))
        >>> score = akd(truth + [3.0, 4.0], truth, np.array([True, False]), copied=truth[0] + [0.0, 9.0])
        >>> score.mean, score.detected_only, score.missing
        (7.0, 5.0, 1)
    """
    return _score(generated, truth, found, copied=copied, truth_found=truth_found, distance=_euclidean)


def akd_l1(
    generated: Float[ndarray, "T L 2"],
    truth: Float[ndarray, "T L 2"],
    found: Bool[ndarray, " T"],
    *,
    copied: Float[ndarray, "T L 2"] | Float[ndarray, "L 2"],
    truth_found: Bool[ndarray, " T"] | None = None,
) -> KeypointScore:
    """:func:`akd` with the mean absolute difference over both coordinates in place of the distance.

    This is what the evaluation scripts of [FOMM] and its successors compute under the name AKD; it is smaller
    by a factor between 1.41 and 2.

    Args:
        generated: points found in the generated frames.
        truth: points found in the true frames.
        found: in which generated frames a face was found.
        copied: points of ``copy``'s frames.
        truth_found: in which true frames a face was found; None for all.

    Raises:
        ShapeError: shapes do not agree, or a point that is needed is not finite.
    """
    return _score(generated, truth, found, copied=copied, truth_found=truth_found, distance=_mean_absolute)


def missing_face_rate(found: Bool[ndarray, " T"], truth_found: Bool[ndarray, " T"] | None = None) -> float:
    """Share of the frames with a true face in which the generated face was not found, in [0, 1].

    Args:
        found: in which generated frames a face was found.
        truth_found: in which true frames; None for all.

    Returns:
        The share; NaN when no true frame has a face.

    Raises:
        ShapeError: the two do not agree in length or are not boolean.

    Example:
        >>> found = np.array([True, True, True, False])
        >>> missing_face_rate(found), missing_face_rate(found, truth_found=found)
        (0.25, 0.0)
    """
    scored = _mask(truth_found, len(found), "truth_found")
    missing = ~_mask(found, len(found), "found")
    return float(missing[scored].mean()) if scored.any() else float("nan")


def missing_keypoint_rate(found: Bool[ndarray, "T K"], truth_found: Bool[ndarray, "T K"]) -> float:
    """Share of the points present in the true frames that are missing in the generated ones, in [0, 1].

    For bodies, whose points a detector of the caller's choice finds one by one: [FOMM]'s missing keypoint
    rate. All frames and points of a clip count alike. Points found in the generated frame alone do not count.

    Args:
        found: which points the detector found in the generated frames, such as those above its threshold.
        truth_found: which it found in the true frames.

    Returns:
        The share; NaN when no true frame has a point.

    Raises:
        ShapeError: the two are not boolean or not of one shape.

    Example:
        >>> truth = np.array([[True, True, False], [True, True, False]])
        >>> missing_keypoint_rate(np.array([[True, False, False], [True, True, True]]), truth)
        0.25
    """
    found, truth_found = np.asarray(found), np.asarray(truth_found)
    same = found.shape == truth_found.shape and found.ndim == 2
    if not same or found.dtype != bool or truth_found.dtype != bool:
        raise ShapeError(
            "found, truth_found: expected two (T, K) of bool, got "
            f"{found.shape} of {found.dtype} and {truth_found.shape} of {truth_found.dtype}."
        )
    return float((~found)[truth_found].mean()) if truth_found.any() else float("nan")


def temporal_jitter(points: Float[ndarray, "T L 2"], found: Bool[ndarray, " T"] | None = None) -> float:
    """Mean length of the points' second differences in time, in pixels per frame squared: 0 for even motion.

    Real motion has some, so compare with that of the true frames.

    Args:
        points: points of a clip; any number of them and of coordinates.
        found: frames whose points count; None for all. Only runs of three such frames are used.

    Returns:
        The mean over points and runs; NaN where there is no run of three.

    Raises:
        ShapeError: the shapes do not agree, or a point that counts is not finite.

    Example:
        >>> steps = np.array([0.0, 1.0, 2.0, 4.0])[:, None, None] * np.array([1.0, 0.0])  # of one point
        >>> temporal_jitter(steps)
        0.5
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3:
        raise ShapeError(f"points: expected (T, L, 2), got {points.shape}.")
    present = _mask(found, len(points), "found")
    _finite(points[present], "points")
    runs = present[2:] & present[1:-1] & present[:-2]
    if not runs.any():
        return float("nan")
    bends = points[2:][runs] - 2 * points[1:-1][runs] + points[:-2][runs]
    return float(np.linalg.norm(bends, axis=-1).mean())


def to_256(points: Float[ndarray, "... 2"], size: tuple[float, float]) -> Float[ndarray, "... 2"]:
    """Points of a frame of ``size`` (height, width) in pixels of a 256 px one: the longer side becomes 256.

    Args:
        points: x, y in pixels.
        size: (H, W) of the frame.

    Example:
        >>> to_256(np.array([512.0, 256.0]), (512, 512)).tolist()
        [256.0, 128.0]
    """
    return np.asarray(points) * (256.0 / max(size))


def _score(
    generated: Float[ndarray, "T L 2"],
    truth: Float[ndarray, "T L 2"],
    found: Bool[ndarray, " T"],
    *,
    copied: Float[ndarray, "*shape 2"],
    truth_found: Bool[ndarray, " T"] | None,
    distance: Callable[[Float[ndarray, "T L 2"]], Float[ndarray, " T"]],
) -> KeypointScore:
    generated, truth = np.asarray(generated, np.float64), np.asarray(truth, np.float64)
    copied = np.asarray(copied, np.float64)
    if generated.ndim != 3 or generated.shape != truth.shape or generated.shape[2] != 2:
        got = f"{generated.shape} and {truth.shape}"
        raise ShapeError(f"generated, truth: expected two (T, L, 2) of one shape, got {got}.")
    if copied.shape not in (truth.shape, truth.shape[1:]):
        raise ShapeError(f"copied: expected {truth.shape[1:]} or {truth.shape}, got {copied.shape}.")
    scored = _mask(truth_found, len(truth), "truth_found")
    present = _mask(found, len(truth), "found") & scored
    absent = scored & ~present
    per_frame = np.full(len(truth), np.nan)
    copied = np.broadcast_to(copied, truth.shape)
    for frames, points, name in ((present, generated, "generated"), (absent, copied, "copied")):
        _finite(points[frames], name)
        _finite(truth[frames], "truth")
        per_frame[frames] = distance(points[frames] - truth[frames])
    return KeypointScore(per_frame, _mean(per_frame[scored]), _mean(per_frame[present]), int(absent.sum()))


def _euclidean(difference: Float[ndarray, "T L 2"]) -> Float[ndarray, " T"]:
    return np.linalg.norm(difference, axis=-1).mean(axis=1)


def _mean_absolute(difference: Float[ndarray, "T L 2"]) -> Float[ndarray, " T"]:
    return np.abs(difference).mean(axis=(1, 2))


def _mean(values: Float[ndarray, " T"]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _mask(flags: Bool[ndarray, " T"] | None, length: int, name: str) -> Bool[ndarray, " T"]:
    if flags is None:
        return np.ones(length, dtype=bool)
    flags = np.asarray(flags)
    if flags.dtype != bool or flags.shape != (length,):
        raise ShapeError(f"{name}: expected ({length},) of bool, got {flags.shape} of {flags.dtype}.")
    return flags


def _finite(points: Float[ndarray, "*shape 2"], name: str) -> None:
    if not np.isfinite(points).all():
        raise ShapeError(
            f"{name}: a point of a frame with a face is not finite; mark that frame as not found."
        )
