"""What `headwarp fit` says about its work: notes for a person, numbers with their definitions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.detect import Track
from ..flame.fitting.acceptance import MAX_RESIDUAL_PERCENT
from ..flame.landmarks import MEDIAPIPE_68
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import head_pose
from .faces import FaceChoice

STAGES = ("decode", "detect", "fit")
CLOCKS = (*STAGES, "total")
JITTERS = ("detected", "fitted", "rotation_deg")
DEFINITIONS = {
    "reprojection_percent_iod": "Mean distance of the projected mesh to the detected points it was fitted "
    "to, before the 2D residual is added, in percent of the 3D outer-canthal distance scaled by the camera; "
    "mean over clips.",
    "jitter": "Mean length of the second temporal difference over runs of three detected frames, mean over "
    "clips: 'detected' and 'fitted' of the 68 points (of all points of a head that lacks them) as found and "
    "as projected by the mesh, in pixels of a 256 px frame; 'rotation_deg' of yaw, pitch, roll in degrees.",
    "seconds_per_frame": "Time of decoding, of detection and tracking, and of the fit, over the frames of "
    "all fitted inputs; 'total' is the wall time from opening an input to its fit, shorter than the sum, as "
    "frames are decoded in a thread beside detection. Loading the head and starting the detector are in "
    "startup_seconds.",
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
    """What a person should know about an input that was fitted."""
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
        "seconds_per_frame": {clock: fitted.seconds[clock] / frames for clock in CLOCKS},
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


def summary(
    clips: Sequence[Mapping[str, Any]],
    *,
    messages: Sequence[str],
    protocol: Mapping[str, Any],
    startup: float,
) -> dict[str, Any]:
    """The report over all inputs, each a mapping with ``name``, ``ok`` and `facts`, or ``error``."""
    done = [clip for clip in clips if clip["ok"]]
    frames = sum(clip["frames"] for clip in done)
    return {
        "ok": len(done) == len(clips),
        "frames": frames,
        **{key: sum(clip[key] for clip in done) for key in ("detected", "interpolated", "missing")},
        "reprojection_percent_iod": _mean([clip["reprojection_percent_iod"] for clip in done]),
        "jitter": {key: _mean([clip["jitter"][key] for clip in done]) for key in JITTERS},
        "seconds_per_frame": {
            clock: sum(clip["seconds_per_frame"][clock] * clip["frames"] for clip in done) / max(frames, 1)
            for clock in CLOCKS
        },
        "clips": list(clips),
        "failed": {clip["name"]: clip["error"] for clip in clips if not clip["ok"]},
        "messages": [*messages, *(f"{clip['name']}: {text}" for clip in done for text in clip["messages"])],
        "startup_seconds": startup,
        "protocol": dict(protocol),
        "definitions": DEFINITIONS,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def describe(report: Mapping[str, Any]) -> str:
    """A line an input, what to know about them, and the sum."""
    done = [clip for clip in report["clips"] if clip["ok"]]
    lines = [_line(face) for clip in done for face in (clip, *clip.get("others", ()))]
    lines += [f"note: {text}" for text in report["messages"]]
    line = f"{len(done)} of {len(report['clips'])} input(s), {report['frames']} frame(s)"
    if done:
        seconds = report["seconds_per_frame"]
        line += "; a frame: " + ", ".join(f"{stage} {1000 * seconds[stage]:.1f} ms" for stage in STAGES)
        line += f" ({1 / seconds['total']:.0f} frames a second)"
    lines.append(line)
    return "\n".join(lines)


def _line(clip: Mapping[str, Any]) -> str:
    rest = [f"{clip[key]} {key}" for key in ("interpolated", "missing") if clip[key]]
    counts = ", ".join([f"face in {clip['detected']} of {clip['frames']} frame(s)", *rest])
    residual = clip["reprojection_percent_iod"]
    return f"{clip['output']}: {counts}; residual {residual:.2f} % of the eye distance"
