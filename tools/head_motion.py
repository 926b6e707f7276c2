"""A head driven by a head: fits of both, motion carried over; what `animate` does in face windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..flame.driving import Driven, Transfer, transfer_motion
from ..flame.model import HeadModel
from ..flame.params import STATUS_NAMES, HeadFit
from ..flame.posing import apply_pose, pixels_per_metre
from ..flame.still_body import over_still_body
from ..geom.crops import Crop, crop_image
from ..geom.errors import HeadwarpError
from ..geom.guidance import Driving
from ..training.data.portrait import Frame, Portrait, to_image
from ..warping.animators import Animator
from ..warping.guided import Referring, refers
from .drivers import Driver
from .faces import naming
from .landmark_motion import with_landmarks_of
from .motion import Motion, check_poses
from .performance import drivings, encoded, full_frames, on_device
from .portrait import as_frames, open_portrait
from .posed_drivings import posed_drivings
from .stage import Stage


@dataclass(frozen=True)
class Performance:
    """Everything that is known before the first picture is made.

    Attributes:
        portraits: the sources; the first one is posed.
        photo: the first source's whole picture.
        driver: what drives.
        fit: the first portrait's head in every driving frame, in its window.
        driven: how the motion was transferred; None for a pose track.
        adapt_scale: of the transfer.
    """

    portraits: tuple[Portrait, ...]
    photo: Frame
    driver: Driver
    fit: HeadFit
    driven: Driven | None
    adapt_scale: bool = True


def prepare(
    source: Any,
    driver: Driver,
    model: HeadModel,
    *,
    transfer: Transfer | None = None,
    motion: Motion | None = None,
    size: int | None = 256,
    face: int | None = None,
    landmarks: str | Path = "mediapipe",
) -> Performance:
    """Open the sources and bring the driver's motion into the first one's window.

    ``size`` None is as large as the head is in its photo.

    Args:
        source: a path, PIL, numpy or torch picture; a list of them for animators that fuse several.
        driver: from `open_driver`.
        model: the head of all.
        transfer: how the driver's motion becomes the source's.
        motion: how much of it is taken over.
        size: side of the window in pixels; None: as large as the head is in its photo.
        face: rank of the face in the source; None: the largest.
        landmarks: a detector's name, or a file of landmarks.

    Raises:
        NoFaceError: a source has no face.
        HeadwarpError: a reference frame or relative motion is asked of a pose track, which says itself what
            it is.
    """
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    photo = next(iter(as_frames(items[0])))
    opened = partial(open_portrait, head=model, size=size, landmarks=landmarks, face=face)
    with naming(items[0]):
        first = opened(photo)
    portraits = (first, *map(opened, items[1:]))
    own = portraits[0].fit
    transfer, motion = transfer or Transfer(), motion or Motion()
    if driver.fit is not None:
        filtered = motion.filtered(model, driver.fit, float(driver.fps))
        driven = transfer_motion(model, own, filtered, transfer)
        fit = motion.applied(model, own, driven.fit, filtered)
        return Performance(portraits, photo, driver, fit, driven, transfer.adapt_scale)
    check_poses(motion)
    if transfer.best_frame is not None or transfer.find_best_frame:
        raise HeadwarpError(
            "best frame: expected a driver with a head, got a pose track, which needs no reference"
        )
    poses = list(driver.poses or ())
    if transfer.relative is not None:
        poses = [replace(pose, relative=transfer.relative) for pose in poses]
    posed = motion.filtered(model, apply_pose(model, own, poses), float(driver.fps))
    return Performance(portraits, photo, driver, motion.applied(model, own, posed), None)


def resting(performance: Performance) -> Performance:
    """The performance over a body that rests, as where the window is pasted back into the photo."""
    portraits = tuple(replace(portrait, body_follow=0.0) for portrait in performance.portraits)
    fit = performance.fit
    if performance.driven is not None:
        fit = over_still_body(portraits[0].head, portraits[0].fit, fit)
    return replace(performance, portraits=portraits, fit=fit)


def stage(performance: Performance, animator: Animator, *, device: torch.device | str = "cpu") -> Stage:
    """A performance with the sources encoded.

    Args:
        performance: from `prepare`.
        animator: that makes the pictures.
        device: where it works.
    """
    portraits = tuple(with_landmarks_of(each, animator) for each in performance.portraits)
    cache = encoded(portraits, animator, device=device)
    driven = performance.driven
    if refers(animator) and driven is not None and driven.relative:
        cache = _referred(performance, driven, animator, cache, device=device)
    looks = "image" in animator.needs_driving
    portrait = portraits[0]

    def each() -> Iterator[Driving]:
        images = driver_windows(performance) if looks else None
        frames = drivings(portrait, performance.fit, device=device, images=images)
        return frames if images else posed_drivings(animator, cache, portrait, performance.fit, frames)

    return Stage(
        source=portrait.image,
        driver=performance.driver,
        cache=cache,
        count=performance.fit.frames,
        drivings=each,
        pictures=partial(driver_windows, performance),
        pasted=partial(full_frames, performance.photo, portrait),
        facts={**_facts(performance), "window": "face"},
        nearness=_nearness(portrait),
    )


def _nearness(portrait: Portrait) -> float:
    """Pixels of the photo that a metre of the head takes."""
    scale = 1.0 if portrait.crop is None else portrait.crop.scale(portrait.image.shape[-1])
    return float(pixels_per_metre(portrait.fit.params, portrait.fit.camera)[0]) / scale


@torch.no_grad()
def _referred(
    performance: Performance,
    driven: Driven,
    animator: Referring,
    cache: Any,
    *,
    device: torch.device | str,
) -> Any:
    """The cache of an animator that looks at the driver, relative to the heads' reference frame."""
    windows = driver_windows(performance)
    if windows is None:
        return cache  # the fit is relative already, or the first frame says what is missing
    window = next(islice(windows, driven.reference, None))
    driving = on_device(Driving(image=window), torch.device(device))
    return animator.refer(cache, driving, adapt_scale=performance.adapt_scale)


def driver_windows(performance: Performance) -> Iterator[Tensor] | None:
    """The driver's pictures in the window, ``(1, 3, S, S)``; None where it has none (a fit, a track)."""
    if performance.driven is None or performance.driver.pictures is None:
        return None
    size = performance.fit.size[0]
    crop: Crop = performance.driven.crop
    return (crop_image(to_image(frame), crop, size) for frame in as_frames(performance.driver.pictures))


def _facts(performance: Performance) -> dict[str, Any]:
    driven, fit = performance.driven, performance.driver.fit
    if driven is None or fit is None:
        poses = performance.driver.poses or ()
        return {"relative": poses[0].relative, "reference_frame": None, "driver": None}
    counts = {name: int((fit.status == number).sum()) for number, name in enumerate(STATUS_NAMES)}
    return {"relative": driven.relative, "reference_frame": driven.reference, "driver": counts}
