"""The fitter on the private clips: time a frame, what smoothing costs and saves, how steady an identity is.

Needs ``$HEADWARP_TEST_DATA`` with ``dev/clips`` and ``dev/MANIFEST.csv``.
"""

from __future__ import annotations

import csv
import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...geom.errors import HeadwarpError

if TYPE_CHECKING:
    from ...flame.detect import Track
    from ...flame.model import HeadModel
    from ...flame.params import HeadFit
    from .suites import Case

VARIABLE = "HEADWARP_TEST_DATA"
TIMED = (
    "c01_studio_headturns.mp4",
    "c03_expressions_earring.mp4",
    "c11_mead_disgust_1080p.mp4",
    "c15_interview_suit.mp4",
    "c20_long_speech.mov",
)
UNFIT = ("c24",)  # several people behind cuts


def clip_cases() -> Sequence[Case]:
    """Some clips as photographed, whole and as streams, and the identities of all.

    Raises:
        HeadwarpError: the private clips are not here.
    """
    from ...flame.io import load_head
    from .suites import Case

    folder = Path(os.environ.get(VARIABLE, "")) / "dev"
    if not os.environ.get(VARIABLE) or not (folder / "clips").is_dir():
        raise HeadwarpError(
            f"--suite clips: expected dev/clips under ${VARIABLE}, sought {folder.absolute()}; set it to the "
            "folder of private test data"
        )
    head = load_head("builtin")
    cases = []
    for name in TIMED:
        track = _track(folder / "clips" / name)
        frames, stem = len(track.landmarks), name.split(".")[0]
        cases.append(Case(f"clips/{stem}", 478, frames, _fit(head, track), None, _facts(head, track)))
        stream = _fit(head, track, mode="stream")
        live = functools.partial(live_steps, head, track)
        cases.append(Case(f"clips/stream_{stem}", 478, frames, stream, None, live))
    cases.append(_identity_case(head, folder))
    return cases


def _track(path: Path) -> Track:
    from ...flame.detect import track_clip
    from ...training.data.media import VideoReader

    with VideoReader(path) as reader:
        return track_clip(reader)[0]


def _fit(head: HeadModel, track: Track, *, mode: str = "clip", **solver: Any) -> Callable[[], HeadFit]:
    from ...flame.fitting import FitConfig, SolverConfig, fit_landmarks

    config = FitConfig(mode="stream" if mode == "stream" else "clip", solver=SolverConfig(**solver))
    return lambda: fit_landmarks(head, track.landmarks, track.size, scores=track.score, config=config)


def _facts(head: HeadModel, track: Track) -> Callable[[], Mapping[str, float]]:
    """Default and steady fits against the landmarks' own jitter and the fit without smoothing."""

    def facts() -> Mapping[str, float]:
        alone = _fit(head, track, smooth=0.0)()
        found = {"alone_" + k: v for k, v in steadiness(alone, alone).items() if k in ("jitter", "rotation")}
        for name, fit in (("", _fit(head, track)()), ("steady_", _fit(head, track, steady=True)())):
            found |= {name + key: value for key, value in steadiness(fit, alone).items()}
        return {key: value for key, value in found.items() if math.isfinite(value)}  # no mouth that opens

    return facts


def live_steps(head: HeadModel, track: Track) -> dict[str, float]:
    """``live_median_ms`` and ``live_p90_ms`` of a `StreamFitter.step` after the warm-up."""
    from ...flame.fitting import StreamFitter

    stream, times = StreamFitter(head, track.size), []
    for points, score in zip(track.landmarks, track.score, strict=True):
        started = time.perf_counter()
        stream.step(points, float(score))
        times.append(1000 * (time.perf_counter() - started))
    median, slow = np.percentile(times[stream.config.warm_up :], [50, 90])
    return {"live_median_ms": float(median), "live_p90_ms": float(slow)}


def steadiness(fit: HeadFit, alone: HeadFit) -> dict[str, float]:
    """A smoothed fit against one without smoothing.

    Returns:
        ``jitter``: of the projected 68 points over that of the detected ones; ``rotation``: mean second
        difference of yaw, pitch, roll in degrees; ``reprojection``: over that without smoothing; ``lag`` of
        the mouth in frames; ``blink`` and ``mouth``: share of the amplitude without smoothing that is kept.
    """
    from ...flame.landmarks import MEDIAPIPE_68
    from ...flame.posing import head_pose
    from ...training.metrics.landmarks import temporal_jitter
    from ...training.metrics.steadiness import amplitude_kept, eye_opening, lag, mouth_opening

    seen = (fit.status == 2).numpy() & (alone.status == 2).numpy()
    points, before = _projected(fit)[seen], _projected(alone)[seen]
    detected = _by_number(fit, fit.landmarks.double().numpy())[seen]
    rows = list(MEDIAPIPE_68)
    turns = np.diff(head_pose(fit.params).double().numpy()[seen], n=2, axis=0)
    mouth, mouth_before = mouth_opening(points), mouth_opening(before)
    return {
        "jitter": temporal_jitter(points[:, rows]) / temporal_jitter(detected[:, rows]),
        "rotation": float(np.linalg.norm(turns, axis=1).mean()),
        "reprojection": fit.report["reprojection_percent_iod"] / alone.report["reprojection_percent_iod"],
        "lag": float(lag(mouth_before, mouth)),
        "blink": amplitude_kept(-eye_opening(before), -eye_opening(points)),
        "mouth": amplitude_kept(mouth_before, mouth),
    }


def _projected(fit: HeadFit) -> np.ndarray:
    return _by_number(fit, (fit.landmarks - fit.residual).double().numpy())


def _by_number(fit: HeadFit, points: np.ndarray) -> np.ndarray:
    full = np.full((len(points), 478, 2), np.nan)
    full[:, fit.landmark_indices.numpy()] = points
    return full


def _identity_case(head: HeadModel, folder: Path) -> Case:
    from .suites import Case

    def facts() -> Mapping[str, float]:
        with (folder / "MANIFEST.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["name"].startswith("clips/")]
        person = {Path(row["name"]).name: row["person"] for row in rows}
        paths = [p for p in sorted((folder / "clips").iterdir()) if p.name[:3] not in UNFIT]
        shapes = {path.name: _half_shapes(head, _track(path)) for path in paths}
        within = [_apart(first, second) for first, second in shapes.values()]
        between = [
            _apart(a, b)
            for one, other in itertools.combinations(shapes, 2)
            if person[one] != person[other]
            for a in shapes[one]
            for b in shapes[other]
        ]
        mean, others = float(np.mean(within)), float(np.mean(between))
        return {"within_mm": 1000 * mean, "between_mm": 1000 * others, "within_over_between": mean / others}

    return Case("clips/identity", 468, 1, lambda: None, None, facts)


def _half_shapes(head: HeadModel, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the face (468, 3), of the fits to both halves of a clip."""
    from ...flame.fitting import fit_landmarks

    middle, basis = len(track.landmarks) // 2, head.shape_basis[:468]
    halves = (track.landmarks[:middle], track.landmarks[middle:])
    first, second = (
        (basis @ fit_landmarks(head, half, track.size).params.shape).double().numpy() for half in halves
    )
    return first, second


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square distance in metres."""
    return float(np.sqrt(np.square(first - second).sum(1).mean()))
