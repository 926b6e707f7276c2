"""`headwarp fit`: photos, videos and folders become fits, one record for every input frame."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from ..flame.detect import detect_faces, detector_names, get_detector
from ..flame.fitting import FitConfig, SolverConfig
from ..flame.fitting.acceptance import MAX_RESIDUAL_PERCENT
from ..flame.io import load_head
from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import head_pose
from ..geom.errors import HeadwarpError
from .inputs import check_folder, expand, is_numbered, output_names
from .portrait import FaceChoice, Frame, as_frames, find_face, fit_face

STAGES = ("decode", "detect", "fit")
JITTERS = ("detected", "fitted", "rotation_deg")
DEFINITIONS = {
    "reprojection_percent_iod": "Mean distance of the projected mesh to the detected points it was fitted to, before "
    "the 2D residual is added, in percent of the 3D outer-canthal distance scaled by the camera; mean over clips.",
    "jitter": "Mean length of the second temporal difference over runs of three detected frames, mean over clips: "
    "'detected' and 'fitted' of the 68 points (of all points of a head that lacks them) as found and as projected by "
    "the mesh, in pixels of a 256 px frame; 'rotation_deg' of yaw, pitch, roll in degrees.",
    "seconds_per_frame": "Wall time of decoding, of detection and tracking, and of the fit, over the frames of all "
    "fitted inputs; loading the head and starting the detector are not in it, see startup_seconds.",
}


@dataclass(frozen=True)
class Fit:
    """Fit a head to photos, videos and folders: NAME.npz each, and report.json.

    A folder stands for the photos and videos in it. Inputs that share a name get longer ones: x.mp4 and x.jpg become
    x_mp4.npz and x_jpg.npz. An input that fails is reported and the others go on.
    """

    input: Positional[tuple[Path, ...]]
    """Photos, videos, folders of them, or quoted patterns."""
    output: Path
    """Folder for the fits, report.json, and overlays/NAME.png."""
    head: str | None = None
    """builtin, or a head file; without it, what $HEADWARP_HEAD names, else builtin."""
    landmarks: str = "mediapipe"
    """mediapipe, face-alignment, or a file of landmarks (.npy, .npz, .csv) for a single input."""
    face: int | None = None
    """Which face, by rank; 0 is the largest confirmed one. The overlay shows the ranks."""
    focal: float | None = None
    """Focal length in pixels for a perspective camera; without it, weak perspective."""
    sigma: float = SolverConfig.sigma
    """Landmark noise in percent of the eye distance; smaller follows the points more closely."""
    smooth: float = SolverConfig.smooth
    """Weight of evenness in time; 0 fits every frame alone, with one shape."""
    sequence: bool = False
    """Take a folder, or a pattern, of numbered pictures as one clip."""
    overlay: bool = True
    """Draw the fitted mesh over a frame of every input."""
    provenance: bool = True
    """Say in the overlays how they were made."""


@dataclass(frozen=True)
class Fitted:
    """What came of one input.

    Attributes:
        fit: the head, with ``fps`` and ``kind`` of the input in its report.
        choice: the faces found, and which was fitted.
        seconds: wall time of each of `STAGES`.
        messages: what a person should know about this input.
        damaged: pictures or packets that were passed over.
    """

    fit: HeadFit
    choice: FaceChoice
    seconds: Mapping[str, float]
    messages: tuple[str, ...]
    damaged: int


def fit(
    frames_or_path: Any,
    *,
    head: str | Path | HeadModel = "builtin",
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
    config: FitConfig | None = None,
) -> HeadFit:
    """Fit a head to a photo or clip: one record for every frame.

    Args:
        frames_or_path: a photo or clip file, a folder or pattern of numbered pictures (one clip), a PIL picture, numpy
            uint8 (H, W, 3) or (T, H, W, 3), torch (3, H, W) or (T, 3, H, W), or an iterable of these.
        head: ``"builtin"``, a head file, or a loaded head.
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None for the first: the largest confirmed one.
        config: of the fitter.

    Raises:
        NoFaceError: no face, or none of that rank.
        MediaError: the file cannot be read.
        ModelFileError: the head cannot be read.
        HeadwarpError: an unknown detector, or landmarks that do not belong to the input.

    Example:
        >>> import skimage.data  # doctest: +SKIP
        >>> fit(skimage.data.astronaut()).report["detected"]  # doctest: +SKIP
        1
    """
    model = head if isinstance(head, HeadModel) else load_head(head)
    return fit_face(
        find_face(as_frames(frames_or_path), landmarks=landmarks, face=face), model, config=config
    )


def run(config: Fit) -> dict[str, Any]:
    """The command.

    Returns:
        The report, which also stands in ``report.json``; ``ok`` is False if any input failed.

    Raises:
        HeadwarpError: nothing can be done at all: the head, the detector, an option or the folder is wrong.
    """
    from tqdm import tqdm

    from ..training.data.atomic import write_json

    inputs = expand(config.input, sequence=config.sequence)
    _check(config, inputs)
    check_folder(config.output)
    started = time.perf_counter()
    model = load_head(config.head)
    _start_detector(config.landmarks)
    startup = time.perf_counter() - started
    names = output_names(inputs)
    bar = tqdm(names.items(), desc="fit", unit="input", disable=None if len(names) > 1 else True)
    clips = [_attempt(path, name, config, model) for path, name in bar]
    report = _report(config, model, clips, startup)
    write_json(config.output / "report.json", report)
    return report


def _check(config: Fit, inputs: Sequence[Path]) -> None:
    """Raise HeadwarpError for options that make no sense."""
    for name, value, least in (("sigma", config.sigma, 0.0), ("focal", config.focal, 0.0)):
        if value is not None and not (math.isfinite(value) and value > least):
            raise HeadwarpError(f"--{name}: expected a number above 0, got {value:g}")
    if not (math.isfinite(config.smooth) and config.smooth >= 0):
        raise HeadwarpError(f"--smooth: expected 0 or more, got {config.smooth:g}")
    if config.face is not None and config.face < 0:
        raise HeadwarpError(f"--face: expected 0 or more, got {config.face}")
    if config.landmarks not in detector_names() and len(inputs) > 1:
        get_detector(
            config.landmarks
        )  # an unknown name, or a file that does not read, is the first thing to say
        raise HeadwarpError(
            f"--landmarks {config.landmarks}: belongs to one input, got {len(inputs)}; fit them one by one"
        )


def _start_detector(landmarks: str) -> None:
    """Raise what is wrong with the detector before any input is opened; load its networks outside the clock."""
    get_detector(landmarks)
    if landmarks == "mediapipe":
        detect_faces(np.zeros((64, 64, 3), np.uint8))


def _attempt(path: Path, name: str, config: Fit, model: HeadModel) -> dict[str, Any]:
    """One input fitted and written; what went wrong stands in ``error``."""
    try:
        fitted = fit_input(path, config, model)
        target = config.output / f"{name}.npz"
        _save(fitted.fit, target)
        overlay = _overlay(path, name, fitted, config, model) if config.overlay else None
    except HeadwarpError as error:
        text = str(error)
        reason = text if path.name in text else f"{path}: {text}"
        return {"name": name, "input": path, "ok": False, "error": reason}
    return {
        "name": name,
        "input": path,
        "ok": True,
        "output": target,
        "overlay": overlay,
        **_facts(fitted),
    }


def fit_input(path: Path, config: Fit, model: HeadModel) -> Fitted:
    """Read, follow and fit one photo or clip; frames pass by and only landmarks are kept.

    Raises:
        MediaError: the file cannot be read.
        NoFaceError: no face, or none of the rank asked for.
        HeadwarpError: landmarks that do not belong to the input.
    """
    from ..training.data.media import VideoReader

    solver = SolverConfig(sigma=config.sigma, smooth=config.smooth)
    started = time.perf_counter()
    with VideoReader(path) as reader:
        frames = _Clock(_shown(reader, path.name, reader.info.frames), opening=time.perf_counter() - started)
        choice = find_face(frames, landmarks=config.landmarks, face=config.face)
        info, health = reader.info, (reader.damaged, reader.truncated)
    tracked = time.perf_counter()
    result = fit_face(choice, model, config=FitConfig(solver=solver, focal=config.focal))
    ended = time.perf_counter()
    source = {"kind": info.kind, "fps": None if info.fps is None else str(info.fps)}
    seconds = {"decode": frames.seconds, "detect": tracked - started - frames.seconds, "fit": ended - tracked}
    result = dataclasses.replace(result, report={**result.report, **source})
    return Fitted(result, choice, seconds, tuple(_messages(result, choice, health)), health[0])


class _Clock:
    """Frames passed on, and how long it took to get them, opening the file included."""

    def __init__(self, frames: Iterable[Frame], *, opening: float) -> None:
        self._frames = frames
        self.seconds = opening

    def __iter__(self) -> Iterator[Frame]:
        started = time.perf_counter()
        for frame in self._frames:
            self.seconds += time.perf_counter() - started
            yield frame
            started = time.perf_counter()
        self.seconds += time.perf_counter() - started


def _shown(frames: Iterable[Frame], name: str, count: int | None) -> Iterable[Frame]:
    """A progress bar on a terminal, for clips."""
    from tqdm import tqdm

    return tqdm(
        frames, desc=name, total=count, unit="frame", leave=False, disable=True if count == 1 else None
    )


def _messages(fit: HeadFit, choice: FaceChoice, health: tuple[int, str | None]) -> Iterator[str]:
    damaged, truncated = health
    if damaged:
        yield f"{damaged} damaged pictures or packets were passed over; they have no record"
    if truncated:
        yield f"{truncated} The frames before were fitted."
    others = len(choice.tracks) - 1
    if others:
        kind = "face" if fit.frames == 1 else "face track"
        chosen = (
            "the largest confirmed"
            if choice.rank == 0 and choice.track.confirmed
            else f"number {choice.rank}"
        )
        yield f"{others + 1} {kind}s; fitted {chosen}, --face 0 .. {others} chooses (the overlay shows the numbers)"
    if not choice.track.confirmed:
        yield "no face detector confirmed this face; accepted because a head fits it"
    residual = float(fit.report["reprojection_percent_iod"])
    if residual > MAX_RESIDUAL_PERCENT:
        yield f"a head hardly fits this face: residual {residual:.1f} % of the eye distance (people: about 1 %)"
    cut = _cut_off(fit)
    if cut:
        yield f"the face reaches beyond the picture in {cut} of {fit.frames} frames; landmarks there are guesses"


def _cut_off(fit: HeadFit) -> int:
    """Frames in which more than a twentieth of the landmarks lie outside the picture."""
    x, y = fit.landmarks.unbind(-1)  # (T, L); NaN compares as inside
    outside = (x < 0) | (y < 0) | (x > fit.size[1]) | (y > fit.size[0])
    return int((outside.float().mean(1) > 0.05).sum())


def _facts(fitted: Fitted) -> dict[str, Any]:
    """A fitted input's entries in the report."""
    result, frames = fitted.fit, fitted.fit.frames
    counted = ("frames", "detected", "interpolated", "missing", "reprojection_percent_iod", "kind", "fps")
    return {
        **{key: result.report[key] for key in counted},
        "size": list(result.size),
        "jitter": jitter(result),
        "seconds_per_frame": {stage: fitted.seconds[stage] / frames for stage in STAGES},
        "face": fitted.choice.rank,
        "faces": [
            {
                "face": rank,
                "frames": int(t.present.sum()),
                "span": t.span,
                "confirmed": t.confirmed,
                "size": _size(t),
            }
            for rank, t in enumerate(fitted.choice.tracks)
        ],
        "messages": list(fitted.messages),
    }


def _size(track: Any) -> float:
    """Mean longer side of a face in pixels."""
    return round(track.extent / max(int(track.present.sum()), 1), 1)


def jitter(fit: HeadFit) -> dict[str, float | None]:
    """How unsteady a clip's points are, as detected and as fitted; None where no three frames follow each other."""
    from ..training.metrics.landmarks import temporal_jitter, to_256

    seen = (fit.status == DETECTED).numpy()
    rows = _face_rows(fit.landmark_indices.tolist(), str(fit.report.get("family", "mediapipe")))
    found = fit.landmarks[:, rows].double().numpy()
    projected = found - fit.residual[:, rows].double().numpy()
    values = (
        temporal_jitter(to_256(found, fit.size), seen),
        temporal_jitter(to_256(projected, fit.size), seen),
        temporal_jitter(head_pose(fit.params)[:, None].double().numpy(), seen),
    )
    return {
        name: value if math.isfinite(value) else None for name, value in zip(JITTERS, values, strict=True)
    }


def _face_rows(indices: list[int], family: str) -> list[int]:
    """Rows of the 68 points; all rows where the head has not all of them."""
    place = {index: row for row, index in enumerate(indices)}
    if family == "mediapipe" and all(index in place for index in MEDIAPIPE_68):
        return [place[index] for index in MEDIAPIPE_68]
    return list(range(len(indices)))


def _save(fit: HeadFit, target: Path) -> None:
    try:
        fit.save(target)
    except OSError as error:
        raise HeadwarpError(f"{target}: cannot be written ({error.strerror or error})") from error


def _overlay(path: Path, name: str, fitted: Fitted, config: Fit, model: HeadModel) -> Path:
    from .overlay import fit_overlay, write_overlay

    seen = np.flatnonzero((fitted.fit.status == DETECTED).numpy())
    index = int(seen[np.abs(seen - (fitted.fit.frames - 1) / 2).argmin()])
    frame = _frame_at(path, index, seek=not fitted.damaged)
    picture = fit_overlay(frame, fitted.fit.select([index]), model, fitted.choice, index)
    target = config.output / "overlays" / f"{name}.png"
    write_overlay(target, picture, path if config.provenance else None)
    return target


def _frame_at(path: Path, index: int, *, seek: bool) -> Frame:
    """A frame again; where damage makes numbers uncertain, by the same way through the file."""
    from ..training.data.media import VideoReader

    with VideoReader(path, start=index if seek else 0) as reader:
        return next(itertools.islice(reader, 0 if seek else index, None))


def _report(config: Fit, model: HeadModel, clips: list[dict[str, Any]], startup: float) -> dict[str, Any]:
    done = [clip for clip in clips if clip["ok"]]
    frames = sum(clip["frames"] for clip in done)
    numbered = [str(p) for p in config.input if not config.sequence and is_numbered(p)]
    return {
        "ok": len(done) == len(clips),
        "frames": frames,
        **{key: sum(clip[key] for clip in done) for key in ("detected", "interpolated", "missing")},
        "reprojection_percent_iod": _mean([clip["reprojection_percent_iod"] for clip in done]),
        "jitter": {key: _mean([clip["jitter"][key] for clip in done]) for key in JITTERS},
        "seconds_per_frame": {
            stage: sum(clip["seconds_per_frame"][stage] * clip["frames"] for clip in done) / max(frames, 1)
            for stage in STAGES
        },
        "clips": clips,
        "failed": {clip["name"]: clip["error"] for clip in clips if not clip["ok"]},
        "messages": [
            *(
                f"{folder}: numbered pictures were fitted one by one; --sequence takes them as a clip"
                for folder in numbered
            ),
            *(f"{clip['name']}: {text}" for clip in done for text in clip["messages"]),
        ],
        "startup_seconds": startup,
        "protocol": {
            "head": model.model_id,
            **{
                key: getattr(config, key)
                for key in ("landmarks", "face", "focal", "sigma", "smooth", "provenance")
            },
        },
        "definitions": DEFINITIONS,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def describe(report: Mapping[str, Any]) -> str:
    """A line an input, what to know about them, and the sum."""
    lines = [_line(clip) for clip in report["clips"] if clip["ok"]]
    lines += [f"note: {text}" for text in report["messages"]]
    seconds = report["seconds_per_frame"]
    done, total = sum(clip["ok"] for clip in report["clips"]), len(report["clips"])
    lines.append(
        f"{done} of {total} inputs, {report['frames']} frames; per frame: "
        + ", ".join(f"{stage} {1000 * seconds[stage]:.1f} ms" for stage in STAGES)
    )
    return "\n".join(lines)


def _line(clip: Mapping[str, Any]) -> str:
    rest = [f"{clip[key]} {key}" for key in ("interpolated", "missing") if clip[key]]
    counts = ", ".join([f"{clip['detected']} of {clip['frames']} frames detected", *rest])
    return (
        f"{clip['output']}: {counts}; residual {clip['reprojection_percent_iod']:.2f} % of the eye distance"
    )
