"""What `headwarp fit` says about its work: notes for a person, numbers with their definitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.detect import Track
from ..flame.fitting import FitConfig
from ..flame.fitting.acceptance import MAX_RESIDUAL_PERCENT
from ..flame.fitting.percent import residual_percent
from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import head_pose
from .faces import FaceChoice
from .fit_curves import worst_frames
from .fit_identity import halves_apart

STAGES = ("decode", "detect", "fit")
CLOCKS = (*STAGES, "total", "report")
COUNTS = ("detected", "interpolated", "missing")
LISTED = 1000  # inputs, failures and messages in a report; the manifest holds all
SHOWN = 100  # of these on a terminal
DETECTOR_LICENCES = {
    "mediapipe": "MediaPipe's face detection, face mesh and iris networks, in its wheel: Apache-2.0",
    "face-alignment": "face-alignment with its S3FD and 2DFAN networks: BSD-3-Clause",
}
JITTERS = ("detected", "fitted", "rotation_deg")
DEFINITIONS = {
    "reprojection_percent_iod": "Mean distance of the projected mesh to the detected points it was fitted "
    "to, before the 2D residual is added, in percent of the 3D outer-canthal distance of the head model's "
    "mean face, scaled by the camera; mean over clips.",
    "jitter": "Mean length of the second temporal difference over runs of three detected frames, mean over "
    "clips: 'detected' and 'fitted' of the 68 points (of all points of a head that lacks them) as found and "
    "as projected by the mesh, in pixels of a 256 px frame; 'rotation_deg' of yaw, pitch, roll in degrees.",
    "seconds_per_frame": "Time of decoding, of detection and tracking, and of the fit, over the frames of "
    "all fitted inputs; 'total' is the wall time from opening an input to its fit, shorter than the sum, as "
    "frames are decoded in a thread beside detection; 'report' is pictures and measures afterwards. Loading "
    "the head and starting the detector are in startup_seconds.",
    "worst_frame": "Of an input: the frame of the largest mean residual, in percent of the eye distance as "
    "above.",
    "identity": "'within_mm': root mean square over landmarks between the rest faces fitted to the first and "
    "to the second half of a clip, each to at most 24 of its frames; mean over clips of 20 detected frames "
    "and more. 'between_mm': the same between the fits of clips of different persons, as far as names tell "
    "them apart; mean over pairs of at most 256 clips. 'ratio': one by the other.",
}


@dataclass(frozen=True)
class Fitted:
    """What came of one input.

    Attributes:
        fit: the head, with ``fps`` and ``kind`` of the input in its report.
        choice: the faces found, and which was fitted.
        seconds: of each of `CLOCKS`.
        messages: what a person should know about this input.
        damaged: pictures or packets that were passed over.
    """

    fit: HeadFit
    choice: FaceChoice
    seconds: Mapping[str, float]
    messages: tuple[str, ...]
    damaged: int


def notes(
    fit: HeadFit, choice: FaceChoice, *, damaged: int, truncated: str | None, all_faces: bool = False
) -> Iterator[str]:
    """What a person should know about an input that was fitted.

    Args:
        fit: of the input.
        choice: the face, and those that were left.
        damaged: pictures or packets that are.
        truncated: why the input ended early, or None.
        all_faces: whether the others are fitted too.
    """
    if damaged:
        yield f"{damaged} pictures or packets are damaged; those that do not decode have no record"
    if truncated:
        yield f"{truncated} The frames before were fitted."
    count = len(choice.tracks)
    if count > 1 and not all_faces:
        kind = "faces" if fit.frames == 1 else "face tracks"
        largest = choice.rank == 0 and choice.track.confirmed
        chosen = "the largest confirmed one" if largest else f"number {choice.rank}"
        yield (
            f"{count} {kind}; fitted {chosen}; --face N takes another, N = 0 .. {count - 1} as numbered in "
            "the overlay, --all-faces fits them all"
        )
    if not choice.track.confirmed:
        yield "no face detector confirmed this face; accepted because a head fits it"
    residual = float(fit.report["reprojection_percent_iod"])
    if residual > MAX_RESIDUAL_PERCENT:
        yield f"the head hardly fits: residual {residual:.1f} % of the eye distance (people: about 1 %)"
    cut = _cut_off(fit)
    if cut:
        yield f"the picture cuts the face off in {cut} of {fit.frames} frame(s); points outside are guesses"


def _cut_off(fit: HeadFit) -> int:
    """Frames in which more than a twentieth of the landmarks lie outside the picture."""
    x, y = fit.landmarks.unbind(-1)  # (T, L); NaN compares as inside
    outside = (x < 0) | (y < 0) | (x > fit.size[1]) | (y > fit.size[0])
    return int((outside.float().mean(1) > 0.05).sum())


def facts(fitted: Fitted) -> dict[str, Any]:
    """A fitted input's entries in the report."""
    result, frames = fitted.fit, fitted.fit.frames
    counted = ("frames", "detected", "interpolated", "missing", "reprojection_percent_iod", "kind", "fps")
    return {
        **{key: result.report[key] for key in counted},
        "size": list(result.size),
        "jitter": jitter(result),
        "damaged": fitted.damaged,
        "seconds_per_frame": {clock: fitted.seconds.get(clock, 0.0) / frames for clock in CLOCKS},
        "face": fitted.choice.rank,
        "track": fitted.choice.track.number,
        "span": list(fitted.choice.track.span),
        "faces": [
            {"face": rank, "track": track.number, "confirmed": track.confirmed, **_extent(track)}
            for rank, track in enumerate(fitted.choice.tracks)
        ],
        "messages": list(fitted.messages),
    }


def _extent(track: Track) -> dict[str, Any]:
    """From where to where a face is seen, in how many frames, and its mean longer side in pixels."""
    frames = len(track.frames)
    return {"span": list(track.span), "frames": frames, "size": round(track.extent / max(frames, 1), 1)}


def jitter(fit: HeadFit) -> dict[str, float | None]:
    """How unsteady a clip is, as detected and as fitted; None without three detected frames in a row."""
    from ..training.metrics.landmarks import temporal_jitter, to_256

    seen = (fit.status == DETECTED).numpy()
    rows = _face_rows(fit.landmark_indices.tolist(), str(fit.report.get("family", "mediapipe")))
    found = fit.landmarks[:, rows].double().numpy()
    projected = found - fit.residual[:, rows].double().numpy()
    values = (
        temporal_jitter(to_256(found, fit.size), seen),
        temporal_jitter(to_256(projected, fit.size), seen),
        _rotation_jitter(head_pose(fit.params).double().numpy(), seen),
    )
    known = (value if math.isfinite(value) else None for value in values)
    return dict(zip(JITTERS, known, strict=True))


def _rotation_jitter(angles: NDArray[np.floating], seen: NDArray[np.bool_]) -> float:
    """Mean length of the second difference of yaw, pitch, roll over runs of three detected frames, or NaN."""
    runs = seen[2:] & seen[1:-1] & seen[:-2]
    return (
        float(np.linalg.norm(np.diff(angles, n=2, axis=0)[runs], axis=1).mean()) if runs.any() else math.nan
    )


def _face_rows(indices: list[int], family: str) -> list[int]:
    """Rows of the 68 points; all rows where the head has not all of them."""
    place = {index: row for row, index in enumerate(indices)}
    if family == "mediapipe" and all(index in place for index in MEDIAPIPE_68):
        return [place[index] for index in MEDIAPIPE_68]
    return list(range(len(indices)))


def measures(model: HeadModel, fit: HeadFit, config: FitConfig) -> dict[str, Any]:
    """What takes the head to know of a fitted input: ``worst_frame`` and ``identity_halves_mm``.

    Args:
        model: the head of the fit.
        fit: of the input.
        config: that it was fitted with.
    """
    percent = residual_percent(model, fit)
    worst = [{"frame": frame, "percent": float(percent[frame])} for frame in worst_frames(percent, 1)]
    return {
        "worst_frame": worst[0] if worst else None,
        "identity_halves_mm": halves_apart(model, fit, config),
    }


def licences(model: HeadModel, landmarks: str) -> dict[str, str]:
    """The licence of every model that was used: the head's and the detector's."""
    own = f"points from {landmarks}: the user's own"
    return {model.model_id: model.licence, "landmarks": DETECTOR_LICENCES.get(landmarks, own)}


class _Totals:
    """Sums over inputs, taken one by one."""

    def __init__(self) -> None:
        self.inputs = self.done = self.frames = 0
        self.counts = dict.fromkeys(COUNTS, 0)
        self.seconds = dict.fromkeys(CLOCKS, 0.0)
        self.means: dict[str, list[float]] = {}  # name -> sum, count

    def add(self, clip: Mapping[str, Any]) -> None:
        self.inputs += 1
        if not clip["ok"]:
            return
        self.done += 1
        self.frames += clip["frames"]
        for name in COUNTS:
            self.counts[name] += clip[name]
        for clock in CLOCKS:
            self.seconds[clock] += clip["seconds_per_frame"].get(clock, 0.0) * clip["frames"]
        self._mean("reprojection_percent_iod", clip["reprojection_percent_iod"])
        for name in JITTERS:
            self._mean(name, clip["jitter"][name])

    def _mean(self, name: str, value: float | None) -> None:
        total = self.means.setdefault(name, [0.0, 0])
        if value is not None:
            total[0] += value
            total[1] += 1

    def mean(self, name: str) -> float | None:
        total, count = self.means.get(name, (0.0, 0))
        return total / count if count else None


def summary(
    clips: Iterable[Mapping[str, Any]],
    *,
    messages: Sequence[str],
    protocol: Mapping[str, Any],
    startup: float,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The report over all inputs, each a mapping with ``name``, ``ok`` and `facts`, or ``error``.

    One pass; of more than `LISTED` inputs, failures or messages the first are in the report, and a
    message says so. ``more`` is put into it as it is.

    Args:
        clips: what was found of each input.
        messages: for a person, that belong to no input.
        protocol: with what they were fitted.
        startup: seconds before the first input.
        more: further fields.
    """
    totals = _Totals()
    listed: list[Mapping[str, Any]] = []
    failed: dict[str, str] = {}
    told = list(messages)
    for clip in clips:
        totals.add(clip)
        if len(listed) < LISTED:
            listed.append(clip)
        if not clip["ok"] and len(failed) < LISTED:
            failed[clip["name"]] = clip["error"]
        if clip["ok"] and len(told) < LISTED:
            told += [f"{clip['name']}: {text}" for text in clip["messages"]]
    if totals.inputs > LISTED:
        told.insert(0, f"{totals.inputs} inputs: the first {LISTED} are listed, manifest.jsonl holds all")
    return {
        "ok": totals.done == totals.inputs,
        "inputs": totals.inputs,
        "done": totals.done,
        "frames": totals.frames,
        **totals.counts,
        "reprojection_percent_iod": totals.mean("reprojection_percent_iod"),
        "jitter": {name: totals.mean(name) for name in JITTERS},
        "seconds_per_frame": {k: v / max(totals.frames, 1) for k, v in totals.seconds.items()},
        **more,
        "clips": listed,
        "failed": failed,
        "messages": told,
        "startup_seconds": startup,
        "protocol": dict(protocol),
        "definitions": DEFINITIONS,
    }


def describe(report: Mapping[str, Any]) -> str:
    """A line an input, what to know about them, and the sum."""
    done = [clip for clip in report["clips"] if clip["ok"]]
    lines = _first([_line(face) for clip in done for face in (clip, *clip.get("others", ()))], report["done"])
    lines += _first([f"note: {text}" for text in report["messages"]], len(report["messages"]))
    line = f"{report['done']} of {report['inputs']} input(s), {report['frames']} frame(s)"
    if done:
        seconds = report["seconds_per_frame"]
        line += "; a frame: " + ", ".join(f"{stage} {1000 * seconds[stage]:.1f} ms" for stage in STAGES)
        line += f" ({1 / seconds['total']:.0f} frames a second)"
    lines.append(line)
    identity = report.get("identity") or {}
    if identity.get("within_mm") is not None:
        between = identity["between_mm"]
        against = "" if between is None else f", {between:.2f} mm between persons"
        lines.append(f"identity: halves of a clip differ by {identity['within_mm']:.2f} mm{against}")
    if report.get("sheet"):
        lines.append(f"{report['sheet']}: look at it: worst fits first")
    if report.get("page"):
        lines.append(f"{report['page']}: the run as a page for a browser")
    return "\n".join(lines)


def _first(lines: list[str], total: int) -> list[str]:
    """As many lines as a person reads."""
    if max(total, len(lines)) <= SHOWN:
        return lines
    return [*lines[:SHOWN], f".. and {max(total, len(lines)) - SHOWN} more: report.json, manifest.jsonl"]


def _line(clip: Mapping[str, Any]) -> str:
    rest = [f"{clip[key]} {key}" for key in ("interpolated", "missing") if clip[key]]
    counts = ", ".join([f"face in {clip['detected']} of {clip['frames']} frame(s)", *rest])
    residual = clip["reprojection_percent_iod"]
    return f"{clip['output']}: {counts}; residual {residual:.2f} % of the eye distance"
