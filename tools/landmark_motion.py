"""A head driven by a file of landmarks alone, with no picture of the driver: 136 numbers a frame.

The file is what ``--landmarks FILE`` is too (`flame.detect.arrays`): .npz, .npy or .csv of (T, L, 2 or 3)
pixels with 68, 468 or 478 points, NaN where nobody found them. Any animator that reads of a driver nothing
but landmarks takes it (`sparse2dense`, `tps`, `similarity`).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.driving import Transfer
from ..flame.landmarks import MEDIAPIPE_68
from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError, ModelFileError, NoFaceError
from ..geom.guidance import Driving, take
from ..training.data.portrait import MESH, Portrait
from ..warping.animators import Animator
from ..warping.landmark_motion import SmoothingConfig, TrackConfig, driving_landmarks
from ..warping.relative_motion import nearest_frame
from .drivers import DEFAULT_FPS, Driver
from .faces import naming
from .performance import encoded, full_frames, on_device
from .portrait import as_frames, open_portrait
from .stage import Stage

LEAST_CELLS = 2 * 68


@dataclass(frozen=True)
class LandmarkTrack:
    """Landmarks of a driver.

    Attributes:
        points: pixels of any frame, finite, ``(T, L, 2)``; frames without a face are bridged.
        missing: how many of them had none.
        first: the first frame with a face.
    """

    points: Float[Tensor, "T L 2"]
    missing: int
    first: int


def is_landmark_file(driving: Any) -> bool:
    """Whether a driver is a file of landmarks: .npy; .npz that is no fit; .csv that begins with a row of 136
    cells or more, or of numbers alone, which no pose track does.
    """
    if not isinstance(driving, (str, Path)) or not Path(driving).is_file():
        return False
    path, suffix = Path(driving), Path(driving).suffix.lower()
    if suffix == ".npz":
        from ..flame._files import read_npz

        try:
            return not {"model_id", "expression"} & set(read_npz(path))
        except ModelFileError:
            return False  # whoever reads it as a fit says what is wrong
    if suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            first = next(csv.reader(file), [])
        return len(first) >= LEAST_CELLS or (bool(first) and all(map(_is_number, first)))
    return suffix == ".npy"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_track(path: str | Path, count: int) -> LandmarkTrack:
    """Landmarks of a file, as many as an animator takes: the 68 are found among the face mesh's.

    Args:
        path: see the module.
        count: 68 or 478.

    Raises:
        NoFaceError: no frame has all of them.
        HeadwarpError: a file that cannot be read, or fewer landmarks than that.
    """
    from ..flame.detect.arrays import read_landmarks

    points = read_landmarks(path)[..., :2]
    if points.shape[1] != count and count == len(MEDIAPIPE_68):
        points = points[:, list(MEDIAPIPE_68)]
    if points.shape[1] != count:
        raise HeadwarpError(
            f"--driving {Path(path).name}: expected {count} landmarks a frame, as the animator was trained "
            f"with, got {points.shape[1]}"
        )
    seen = np.isfinite(points).all((1, 2))
    if not seen.any():
        raise NoFaceError(f"--driving {Path(path).name}: expected all landmarks in some frame, found none")
    times, known = np.arange(len(points)), np.flatnonzero(seen)
    flat = points.reshape(len(points), -1)
    bridged = np.stack([np.interp(times, known, column[known]) for column in flat.T], axis=1)
    whole = torch.from_numpy(bridged.reshape(points.shape)).float()
    return LandmarkTrack(whole, int((~seen).sum()), int(known[0]))


def check_landmark_driven(animator: Animator, *, name: str) -> None:
    """Refuse a file of landmarks for an animator that reads more of its driver.

    Raises:
        HeadwarpError: it does.
    """
    if tuple(animator.needs_driving) != ("landmarks",):
        raise HeadwarpError(
            f"--driving: a file of landmarks drives sparse2dense, tps, similarity, and what --guidance "
            f"landmarks guides; {name} reads {', '.join(animator.needs_driving) or 'nothing'} of its driver: "
            "take a clip, photo, fit or pose track"
        )


def landmark_count(animator: Animator) -> int:
    """How many landmarks an animator is driven by; those without a say take the 68."""
    return int(getattr(getattr(animator, "config", None), "landmarks", 68))


def common_count(animators: Mapping[str, Animator]) -> int:
    """How many landmarks animators beside each other are driven by; those without a say take any number.

    Raises:
        HeadwarpError: they were trained with different numbers.
    """
    counts = {name: landmark_count(each) for name, each in animators.items() if _says_how_many(each)}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise HeadwarpError(
            f"--checkpoint: expected one number of landmarks, got {told}; measure them one by one"
        )
    return next(iter(counts.values()), len(MEDIAPIPE_68))


def _says_how_many(animator: Animator) -> bool:
    return "landmarks" in animator.needs_driving and hasattr(getattr(animator, "config", None), "landmarks")


def with_landmarks_of(portrait: Portrait, animator: Animator) -> Portrait:
    """The portrait with as many landmarks as the animator takes."""
    return with_landmark_count(portrait, landmark_count(animator))


def with_landmark_count(portrait: Portrait, count: int) -> Portrait:
    """The portrait with so many landmarks, 68 or 478; as it is for numbers that no head has."""
    same = count == portrait.landmarks or count not in (len(MEDIAPIPE_68), MESH)
    return portrait if same else dataclasses.replace(portrait, landmarks=count)


def stage(
    source: Any,
    driving: str | Path,
    animator: Animator,
    *,
    model: HeadModel,
    size: int,
    transfer: Transfer,
    smoothing: SmoothingConfig | None = None,
    fps: float | None = None,
    face: int | None = None,
    detector: str | Path = "mediapipe",
    device: torch.device | str = "cpu",
) -> Stage:
    """A source, its landmarks those of its fitted head, and a file that drives it.

    Relative motion begins where the source's landmarks lie; absolute landmarks are pixels of the source's
    whole picture.

    Args:
        source: a photo; of a list the first.
        driving: the file of landmarks.
        animator: one that landmarks drive.
        model: the head that is fitted to the source.
        size: side of the window in pixels.
        transfer: relative or absolute motion, reference frame.
        smoothing: of the track; None: as it is.
        fps: of the result; None: 25.
        face: rank of the face in the source; None: the largest.
        detector: of the source's landmarks: a name, or a file.
        device: where the animator works.

    Raises:
        NoFaceError: no face in the source, or in any frame of the file.
        HeadwarpError: contradictory options, or a file that cannot be read.
    """
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    track = read_track(driving, landmark_count(animator))
    relative = len(track.points) > 1 if transfer.relative is None else transfer.relative
    _check(transfer, track, relative)
    photo = next(iter(as_frames(items[0])))
    with naming(items[0]):
        portrait = open_portrait(photo, head=model, size=size, landmarks=detector, face=face)
    portrait = with_landmarks_of(portrait, animator)
    (own,) = take(portrait.source(), ("landmarks",), by="landmarks")
    reference = nearest_frame(own, track.points) if transfer.find_best_frame else transfer.best_frame
    reference = track.first if reference is None else reference
    points = track.points if relative else _in_window(track.points, portrait)
    moved = driving_landmarks(own, points, TrackConfig(relative, reference, smoothing))

    def each() -> Iterator[Driving]:
        return (on_device(Driving(landmarks=p[None]), torch.device(device)) for p in moved)

    return Stage(
        source=portrait.image,
        driver=Driver(None, None, None, fps or DEFAULT_FPS),
        cache=encoded([portrait], animator, device=device),
        count=len(moved),
        drivings=each,
        pictures=lambda: None,
        pasted=partial(full_frames, photo, portrait),
        facts={
            "relative": relative,
            "reference_frame": reference if relative else None,
            "driver": {"detected": len(moved) - track.missing, "interpolated": track.missing, "missing": 0},
            "window": "face",
        },
    )


def _check(transfer: Transfer, track: LandmarkTrack, relative: bool) -> None:
    if transfer.relative and len(track.points) == 1:
        raise HeadwarpError("relative: expected a driver of several frames, got one; use --absolute for it")
    if not transfer.adapt_scale:
        raise HeadwarpError("--no-adapt-scale: landmarks in a file say nothing of their frame; leave it out")
    if transfer.find_best_frame and transfer.best_frame is not None:
        raise HeadwarpError("best frame: expected --best-frame N or --find-best-frame, got both")
    if (transfer.find_best_frame or transfer.best_frame is not None) and not relative:
        raise HeadwarpError(
            "best frame: expected relative motion with it; absolute motion has no reference frame"
        )


def _in_window(points: Float[Tensor, "T L 2"], portrait: Portrait) -> Float[Tensor, "T L 2"]:
    """Pixels of the whole picture in the window's."""
    crop = portrait.crop
    if crop is None:
        return points
    return (points - points.new_tensor([crop.x, crop.y])) * crop.scale(portrait.image.shape[-1])
