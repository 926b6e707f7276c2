"""What drives a portrait: a clip, a photo, a fit or a pose track, opened and fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..flame.model import HeadModel
from ..flame.params import HeadFit, Pose
from ..flame.pose_track import read_pose_track
from ..flame.posing import expression_names
from ..geom.errors import HeadwarpError
from .faces import choose_face, find_faces, fit_face, fit_frames, naming
from .performance import progress
from .portrait import as_frames

DEFAULT_FPS = Fraction(25)
TRACKS = (".csv", ".json")


@dataclass(frozen=True)
class Driver:
    """What drives, before it is brought into the source's window.

    Attributes:
        fit: the driver's head; None for a pose track.
        poses: the poses of a track; None for a fit.
        pictures: what `as_frames` reads again for panels and for animators that look at the driver; None
            without.
        fps: of the result.
        audio_from: a file with sound, or None.
        timed: whether ``fps`` is the driver's own, so that another rate shows other frames of it; else it is
            what was asked for, or 25.
    """

    fit: HeadFit | None
    poses: tuple[Pose, ...] | None
    pictures: Any
    fps: Fraction | float
    audio_from: Path | None = None
    timed: bool = False


def open_driver(
    driving: Any,
    model: HeadModel,
    *,
    fps: float | None = None,
    face: int | None = None,
    landmarks: str | Path = "mediapipe",
) -> Driver:
    """Fit a driver, or read its fit or pose track.

    Args:
        driving: a clip, photo, folder, fit file or pose track (paths), a `HeadFit`, poses, or frames.
        model: the head that is fitted.
        fps: of the result; None: the driver's own.
        face: rank of the face; None: the largest.
        landmarks: a detector's name, or a file of landmarks.

    Raises:
        NoFaceError: no face in it.
        HeadwarpError: a file that cannot be read.
    """
    if isinstance(driving, HeadFit):
        return Driver(driving, None, None, fps or _stored_fps(driving))
    if isinstance(driving, Sequence) and driving and all(isinstance(item, Pose) for item in driving):
        return Driver(None, tuple(driving), None, fps or DEFAULT_FPS)
    if isinstance(driving, (str, Path)):
        path = Path(driving)
        if path.suffix.lower() == ".npz":
            fit = HeadFit.load(path)
            timed = fps is None and bool(fit.report.get("fps"))
            return Driver(fit, None, None, fps or _stored_fps(fit), timed=timed)
        if path.suffix.lower() in TRACKS:
            rate = fps or DEFAULT_FPS
            poses = read_pose_track(path, rate, expressions=expression_names(model))
            return Driver(None, tuple(poses), None, rate)
        return _open_clip(path, model, fps=fps, face=face, landmarks=landmarks)
    frames = list(driving) if isinstance(driving, Iterator) else driving
    fit = fit_frames(as_frames(frames), model, landmarks=landmarks, face=face)
    return Driver(fit, None, frames, fps or DEFAULT_FPS)


def open_clip(driving: Any, *, fps: float | None = None, name: str = "driving") -> Driver:
    """A driver of which the pictures alone are looked at: a clip, a photo, a folder, or pictures.

    Args:
        driving: a clip, photo or folder (paths), or pictures.
        fps: of the result; None: the driver's own.
        name: of what it is, for the error.

    Raises:
        HeadwarpError: a fit or a pose track, which has none, or a file that cannot be read.
    """
    named = isinstance(driving, (str, Path))
    written = named and Path(driving).suffix.lower() in (".npz", *TRACKS)
    posed = isinstance(driving, Sequence) and driving and all(isinstance(item, Pose) for item in driving)
    if written or posed or isinstance(driving, HeadFit):
        what = f"{driving}, a fit or pose track" if named else "a fit or poses"
        raise HeadwarpError(f"{name}: expected pictures (a clip, photo or folder), got {what}")
    if not named:
        frames = list(driving) if isinstance(driving, Iterator) else driving
        return Driver(None, None, frames, fps or DEFAULT_FPS)
    from ..training.data.media import probe

    path = Path(driving)
    info = probe(path)
    sound = path if info.has_audio and fps is None else None  # another rate would be out of step
    timed = fps is None and info.fps is not None
    return Driver(None, None, path, fps or info.fps or DEFAULT_FPS, sound, timed)


def open_faces(
    pictures: Any, model: HeadModel, faces: Sequence[int | None], *, landmarks: str | Path = "mediapipe"
) -> list[Driver]:
    """Faces of one clip, photo or folder, found once: a driver a face, each at the clip's own rate.

    Args:
        pictures: a clip, photo or folder.
        model: the head that is fitted.
        faces: ranks; None: the first.
        landmarks: a detector's name, or a file of landmarks.

    Raises:
        NoFaceError: no face, or none of a rank.
        HeadwarpError: a fit or a pose track, which has no pictures, or a file that cannot be read.
    """
    from ..training.data.media import probe

    clip = open_clip(pictures, name="target")
    count = probe(clip.pictures).frames if isinstance(clip.pictures, Path) else None
    with naming(clip.pictures):
        tracks = find_faces(progress(as_frames(clip.pictures), count, "fit target"), landmarks=landmarks)
        return [replace(clip, fit=fit_face(choose_face(tracks, face), model)) for face in faces]


def _stored_fps(fit: HeadFit) -> Fraction:
    """The frame rate of the clip that was fitted, as `headwarp fit` notes it; 25 where it is not known."""
    return Fraction(fit.report.get("fps") or DEFAULT_FPS)


def _open_clip(
    path: Path, model: HeadModel, *, fps: float | None, face: int | None, landmarks: str | Path
) -> Driver:
    from ..training.data.media import probe

    info = probe(path)
    frames = progress(as_frames(path), info.frames, "fit driver")
    with naming(path):
        fit = fit_frames(frames, model, landmarks=landmarks, face=face)
    sound = path if info.has_audio and fps is None else None  # another rate would be out of step
    timed = fps is None and info.fps is not None
    return Driver(fit, None, path, fps or info.fps or DEFAULT_FPS, sound, timed)
