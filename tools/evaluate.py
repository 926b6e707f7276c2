"""`headwarp evaluate`: animators measured on clips, baselines beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..flame.fitting import fit_landmarks
from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..flame.residual import ResidualField
from ..geom.errors import HeadwarpError, MediaError, NoFaceError
from ..training.data.camera_motion import CameraMotion
from ..training.data.inputs import names_by_path
from ..training.data.portrait import Frame, Portrait, portrait_of, to_frame, to_image
from ..training.metrics import definitions_of
from ..training.metrics.image import l1, psnr, ssim
from ..training.metrics.landmarks import akd, akd_l1, missing_face_rate, to_256
from ..warping.animators import Animator, load_animator
from .heads import ready_head
from .portrait import as_frames

BASELINES = ("copy", "similarity", "tps")
FACE_SCORE = 0.5


@dataclass(frozen=True)
class Evaluate:
    """Measure an animator and the baselines on clips: each clip's first face is driven by the clip.

    Attributes:
        clips: a clip, or a folder of clips.
        animator: the animator to measure; copy, similarity and tps stand beside it.
        head: built-in, or a head file.
        stride: every how many frames are measured (fits always see the whole clip).
        frames: share of every clip that is measured, START:END in 0..1; the source stays the first frame.
        checkpoint: weights of the animator.
        still_camera: do not follow the background's motion.
        sheet: write a contact sheet here.
    """

    clips: Path
    animator: str = "geometry"
    head: str = "builtin"
    stride: int = 1
    frames: str = "0:1"
    checkpoint: Path | None = None
    still_camera: bool = False
    sheet: Path | None = None


@dataclass(frozen=True)
class ClipData:
    """One clip ready to measure.

    Attributes:
        path: the clip.
        points: detected face mesh of every frame in pixels, ``(T, 478, 3)``.
        fit: of every frame.
        portrait: the source.
        first: the frame it was taken from.
        measured: the frames that are measured.
    """

    path: Path
    points: NDArray[np.float32]
    fit: HeadFit
    portrait: Portrait
    first: int
    measured: tuple[int, ...]


def run(config: Evaluate) -> dict[str, Any]:
    """The command."""
    return evaluate(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)})


def evaluate(
    clips: str | Path,
    animator: str = "geometry",
    *,
    head: str | Path | HeadModel = "builtin",
    stride: int = 1,
    frames: str = "0:1",
    checkpoint: str | Path | None = None,
    still_camera: bool = False,
    sheet: str | Path | None = None,
) -> dict[str, Any]:
    """Measure an animator and the baselines on clips; see `Evaluate` for the arguments.

    Returns:
        The report: ``protocol``, ``metrics`` per animator, ``clips`` per clip, ``failed`` with the reason per
        clip that could not be measured (``ok`` is False then), ``definitions``.

    Raises:
        HeadwarpError: nothing to measure, or an unknown animator.
    """
    from tqdm import tqdm

    model = ready_head(head)
    names = list(dict.fromkeys([*BASELINES, animator]))
    animators = {n: load_animator(n, checkpoint if n == animator else None) for n in names}
    share = parse_share(frames)
    if stride < 1:
        raise HeadwarpError(f"--stride: expected 1 or more, got {stride}")
    results: dict[str, dict[str, dict[str, float]]] = {}
    failed: dict[str, str] = {}
    rows: list[list[Frame]] = []
    field: ResidualField | None = None  # the same for all clips: one head, one detector
    named = names_by_path(clip_paths(Path(clips))).items()
    for path, clip_name in tqdm(named, desc="evaluate", unit="clip", disable=None):
        try:
            clip = prepare_clip(path, model, field, stride=stride, share=share)
        except (NoFaceError, MediaError) as error:
            failed[clip_name] = str(error)
            continue
        field = clip.portrait.field
        results[clip_name], shown = measure_clip(clip, animators, still_camera=still_camera)
        rows += shown
    if not results:
        reasons = "; ".join(failed.values())
        raise HeadwarpError(f"evaluate: expected at least one clip with a face, got none: {reasons}")
    if sheet is not None:
        from .sheets import write_sheet

        write_sheet(Path(sheet), rows, ["source", "driver", *names])
    return _report(
        results,
        failed,
        names,
        animator,
        stride=stride,
        frames=frames,
        head=model.model_id,
        still=still_camera,
    )


def parse_share(text: str) -> tuple[float, float]:
    """``"0.8:1.0"`` to numbers.

    Raises:
        HeadwarpError: not START:END with 0 <= START < END <= 1.
    """
    try:
        start, end = (float(part) for part in text.split(":"))
    except ValueError:
        start, end = 1.0, 0.0
    if not 0 <= start < end <= 1:
        raise HeadwarpError(f"--frames: expected START:END with 0 <= START < END <= 1, got {text!r}")
    return start, end


def clip_paths(path: Path) -> list[Path]:
    """The clips of a folder, sorted, or the one clip.

    Raises:
        HeadwarpError: nothing there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise HeadwarpError(f"--clips: expected a clip or a folder, found nothing at {path}")
    kinds = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in kinds and not p.name.startswith("."))
    if not found:
        raise HeadwarpError(f"--clips: expected clips ({', '.join(sorted(kinds))}) in {path}, found none")
    return found


def prepare_clip(
    path: Path, model: HeadModel, field: ResidualField | None, *, stride: int, share: tuple[float, float]
) -> ClipData:
    """Detect and fit the whole clip; its first frame with the face becomes the source.

    Raises:
        NoFaceError: no face, or none in a frame that was asked for.
        MediaError: the clip cannot be read.
    """
    from ..flame.detect import track_clip

    tracks = track_clip(as_frames(path))
    if not tracks:
        raise NoFaceError(f"{path.name}: no face found")
    track = tracks[0]
    fit = fit_landmarks(model, track.landmarks, track.size, scores=track.score, family=track.family)
    seen = np.flatnonzero((fit.status == DETECTED).numpy())
    first = int(seen[0])
    window = (int(share[0] * fit.frames), int(np.ceil(share[1] * fit.frames)))
    asked = [t for t in range(first + stride, fit.frames, stride) if window[0] <= t < window[1]]
    detected = set(seen.tolist())
    measured = tuple(t for t in asked if t in detected)
    if not measured:
        raise NoFaceError(
            f"{path.name}: expected a face in a frame to measure, got none in the {len(asked)} asked for of "
            f"{fit.frames}; take a longer clip, a smaller --stride or more --frames"
        )
    frame = next(f for t, f in enumerate(as_frames(path)) if t == first)
    portrait = portrait_of(frame, model, fit.select([first]), field=field)
    return ClipData(path, track.landmarks, fit, portrait, first, measured)


def measure_clip(
    clip: ClipData, animators: Mapping[str, Animator], *, still_camera: bool
) -> tuple[dict[str, dict[str, float]], list[list[Frame]]]:
    """Per-animator means over the clip, and a few rows for the sheet."""
    from ..flame.detect.mediapipe import landmarks_in_roi

    source = clip.portrait.source()
    caches = {name: a.encode([source]) for name, a in animators.items()}
    camera = None if still_camera else CameraMotion(source)
    scores: dict[str, list[tuple[float, float, float]]] = {n: [] for n in animators}
    points: dict[str, list[NDArray[np.float32]]] = {n: [] for n in animators}
    targets: list[NDArray[np.float32]] = []
    shown_at = set(np.asarray(clip.measured)[np.linspace(0, len(clip.measured) - 1, 3).astype(int)].tolist())
    rows: list[list[Frame]] = []
    wanted = set(clip.measured)
    for t, frame in enumerate(as_frames(clip.path)):
        if t not in wanted:
            continue
        target = to_image(frame)
        motion = None if camera is None else camera.follow(target)
        driving = clip.portrait.driving(clip.fit.select([t]), image=target, camera_motion=motion)
        near = clip.points[t]
        targets.append(landmarks_in_roi(frame, near)[0][list(MEDIAPIPE_68), :2])
        row = [to_frame(clip.portrait.image), frame]
        for name, animator in animators.items():
            image = animator.animate(caches[name], driving).image
            scores[name].append(
                (float(l1(image, target)), float(psnr(image, target)), float(ssim(image, target)))
            )
            picture = to_frame(image)
            found, score = landmarks_in_roi(picture, near)
            points[name].append(
                found[list(MEDIAPIPE_68), :2] if score >= FACE_SCORE else np.full((68, 2), np.nan)
            )
            row.append(picture)
        if t in shown_at:
            rows.append(row)
    stacked = {n: np.asarray(p) for n, p in points.items()}
    truth = np.asarray(targets)
    copied = landmarks_in_roi(to_frame(clip.portrait.image), clip.points[clip.first])[0][
        list(MEDIAPIPE_68), :2
    ]
    return {n: _clip_means(scores[n], stacked[n], copied, truth, clip.fit.size) for n in animators}, rows


def _clip_means(
    scores: Sequence[tuple[float, float, float]],
    points: NDArray[np.floating],
    copied: NDArray[np.floating],
    targets: NDArray[np.floating],
    size: tuple[int, int],
) -> dict[str, float]:
    """Means over the frames of one clip by the definitions of the report."""
    image = np.mean(np.asarray(scores), axis=0)
    found = np.isfinite(points).all((1, 2))
    made, true, still = (to_256(np.nan_to_num(p), size) for p in (points, targets, copied))
    euclidean = akd(made, true, found, copied=still)
    return {
        "l1": float(image[0]),
        "psnr": float(image[1]),
        "ssim": float(image[2]),
        "akd": euclidean.mean,
        "akd_detected": euclidean.detected_only,
        "akd_l1": akd_l1(made, true, found, copied=still).mean,
        "missing_face_rate": missing_face_rate(found),
        "frames": len(scores),
    }


def _report(
    results: Mapping[str, Mapping[str, Mapping[str, float]]],
    failed: Mapping[str, str],
    names: Sequence[str],
    animator: str,
    **protocol: Any,
) -> dict[str, Any]:
    keys = [k for k in next(iter(results.values()))[animator] if k != "frames"]
    mean = {n: {k: float(np.nanmean([c[n][k] for c in results.values()])) for k in keys} for n in names}
    return {
        "ok": not failed,
        "protocol": {
            "source": "first frame with the face",
            "mean": "over clips of per-clip means",
            **protocol,
        },
        "metrics": mean,
        "clips": {clip: dict(values) for clip, values in results.items()},
        "failed": dict(failed),
        "definitions": definitions_of(keys),
    }


def describe(report: Mapping[str, Any]) -> str:
    """The table for a person."""
    keys = ("l1", "psnr", "ssim", "akd", "missing_face_rate")
    rows = [f"{'':12s}" + "".join(f"{k:>10s}" for k in (*keys[:-1], "missing"))]
    for name, values in report["metrics"].items():
        rows.append(f"{name:12s}" + "".join(f"{values[k]:10.4f}" for k in keys))
    return "\n".join(rows)
