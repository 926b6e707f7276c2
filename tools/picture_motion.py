"""A picture driven by pictures, no head looked for: what `animate` does where keypoints move the picture.

Source and driver are taken in centred squares. Whatever the animator's network was trained on may be in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.driving import Transfer, centre_square
from ..flame.landmarks import MEDIAPIPE_68
from ..geom.crops import Crop, crop_image
from ..geom.errors import HeadwarpError, MissingDependencyError, NoFaceError
from ..geom.guidance import Driving, Source, take
from ..training.data.portrait import Frame, to_image
from ..warping.animators import Animation, Animator
from ..warping.composite import paste_back
from ..warping.guided import GuidedAnimator
from ..warping.keypoint_animator import KeypointAnimator
from ..warping.observers import KeypointsObserver
from ..warping.relative_motion import nearest_frame
from .drivers import Driver
from .performance import on_device, ready
from .portrait import as_frames
from .stage import Stage

MESH = 478
OfPictures = KeypointAnimator | GuidedAnimator


@dataclass(frozen=True)
class PictureMotion:
    """Everything that is known before the first picture is made.

    Attributes:
        photo: the source's whole picture.
        crop: the square of it that is animated.
        image: that square, ``(1, 3, S, S)``.
        driver: what drives.
        relative: whether the driver's change is added to the source's own pose.
        transfer: which frame the change is counted from, and in what size.
    """

    photo: Frame
    crop: Crop
    image: Float[Tensor, "1 3 S S"]
    driver: Driver
    relative: bool
    transfer: Transfer

    def windows(self) -> Iterator[Float[Tensor, "1 3 S S"]]:
        """The driver's pictures, read as they are asked for."""
        size = self.image.shape[-1]
        for frame in as_frames(self.driver.pictures):
            whole = to_image(frame)
            yield crop_image(whole, centre_square((whole.shape[2], whole.shape[3])), size)

    @property
    def count(self) -> int | None:
        """Driving frames: 1, or as the file states; None where only reading all of them tells."""
        if self.alone:
            return 1
        if not isinstance(self.driver.pictures, (str, Path)):
            return None
        from ..training.data.media import probe

        return probe(self.driver.pictures).frames

    @cached_property
    def alone(self) -> bool:
        """Whether the driver is one frame."""
        return len(list(islice(as_frames(self.driver.pictures), 2))) < 2


@dataclass(frozen=True)
class Chosen:
    """The reference frame of relative motion.

    Attributes:
        number: from 0.
        by: how it was found: ``named``, ``first``, ``landmarks`` or ``keypoints``.
    """

    number: int
    by: str


def takes_pictures(animator: Animator) -> bool:
    """Whether an animator is driven by pictures alone."""
    return isinstance(animator, KeypointAnimator)


def takes_whole(animator: Animator) -> TypeGuard[OfPictures]:
    """Whether an animator can do with whole pictures, whatever is in them: by learned keypoints, its own or a
    guide's. Depth cannot: it would turn all of the picture as the one head that it takes it for.
    """
    guided = isinstance(animator, GuidedAnimator) and isinstance(animator.observer, KeypointsObserver)
    return takes_pictures(animator) or guided


def open_pictures(
    source: Any, driver: Driver, *, size: int, transfer: Transfer | None = None
) -> PictureMotion:
    """Open a source for a driver that has pictures.

    Args:
        source: a path, PIL, numpy or torch picture; one in a list.
        driver: of `drivers.open_clip`.
        size: side of the square that is animated.
        transfer: as for heads; relative by default, except for a driver of one frame.

    Raises:
        HeadwarpError: several sources, or contradictory options.
    """
    transfer = transfer or Transfer()
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if len(items) != 1:
        raise HeadwarpError(f"--source: expected one picture, got {len(items)}; this animator fuses none")
    if transfer.find_best_frame and transfer.best_frame is not None:
        raise HeadwarpError("best frame: expected --best-frame N or --find-best-frame, got both")
    photo = next(iter(as_frames(items[0])))
    crop = centre_square((photo.shape[0], photo.shape[1]))
    image = crop_image(to_image(photo), crop, size)
    motion = PictureMotion(photo, crop, image, driver, bool(transfer.relative), transfer)
    if transfer.relative is None:
        motion = dataclasses.replace(motion, relative=not motion.alone)
    elif transfer.relative and motion.alone:
        raise HeadwarpError(
            "relative: expected a driver of several frames, got one; use --absolute for a photo"
        )
    named = transfer.find_best_frame or transfer.best_frame is not None
    if named and not motion.relative:
        raise HeadwarpError(
            "best frame: expected relative motion with it; absolute motion has no reference frame"
        )
    return motion


def choose_reference(
    motion: PictureMotion, animator: OfPictures, cache: Any, *, landmarks: str | Path
) -> Chosen:
    """The driving frame that corresponds to the source picture.

    With ``find_best_frame``, the nearest in shape ([FOMM]'s public code): by face landmarks where source and
    driver show faces and a detector is installed, by the animator's own keypoints otherwise.

    Args:
        motion: source and driver.
        animator: that looks at both.
        cache: what it made of the source.
        landmarks: a detector's name.

    Raises:
        HeadwarpError: a frame beyond the clip, or a driver without frames.
    """
    transfer = motion.transfer
    if not transfer.find_best_frame:
        number = transfer.best_frame or 0
        return Chosen(number, "first" if transfer.best_frame is None else "named")
    found = _nearest_face(motion, landmarks)
    if found is not None:
        return Chosen(found, "landmarks")
    own, keypoints_of = _keypoints(animator, cache)
    points = [keypoints_of(Driving(image=each.to(own.device))) for each in motion.windows()]
    if not points:
        raise HeadwarpError("driver: expected at least one frame, got none")
    return Chosen(nearest_frame(own, torch.cat(points)), "keypoints")


def _keypoints(animator: OfPictures, cache: Any) -> tuple[Tensor, Callable[[Driving], Tensor]]:
    """The source's keypoints ``(1, K, 2)``, and what finds those of a driving frame."""
    if isinstance(animator, KeypointAnimator):
        return cache.features.keypoints.points, lambda driving: animator.keypoints(cache, driving).points
    observer = animator.observer
    assert isinstance(observer, KeypointsObserver)
    (own,) = take(cache.source, ("keypoints",), by="best frame")
    return own, lambda driving: take(observer.driving(cache.source, driving), ("keypoints",), by="driver")[0]


def _nearest_face(motion: PictureMotion, detector: str | Path) -> int | None:
    """By 68 face landmarks; None where there are none."""
    try:
        own, driving = (
            _face_points(frames, detector) for frames in ([motion.photo], as_frames(motion.driver.pictures))
        )
        return nearest_frame(own, driving)
    except (MissingDependencyError, NoFaceError):
        return None


def _face_points(frames: Iterable[Frame], detector: str | Path) -> Float[Tensor, "T 68 2"]:
    from ..flame.detect import track_clip

    tracks = track_clip(frames, face=0, detector=detector)
    points = tracks[0].landmarks[..., :2]
    if points.shape[1] == MESH:
        points = points[:, list(MEDIAPIPE_68)]
    return torch.from_numpy(np.ascontiguousarray(points))


def frame_of(motion: PictureMotion, number: int) -> Float[Tensor, "1 3 S S"]:
    """One of the driver's pictures.

    Raises:
        HeadwarpError: the clip is shorter.
    """
    count = -1
    for count, window in enumerate(motion.windows()):
        if count == number:
            return window
    raise HeadwarpError(f"best frame: expected 0 to {count}, got {number}")


@torch.no_grad()
def begin(
    motion: PictureMotion,
    animator: Animator,
    *,
    device: torch.device | str = "cpu",
    landmarks: str | Path = "mediapipe",
) -> tuple[Any, Chosen | None]:
    """Encode the source; for relative motion with the driver's reference frame.

    Args:
        motion: source and driver.
        animator: that looks at both.
        device: where it works.
        landmarks: name of the detector that finds the reference frame.

    Returns:
        The animator's cache, and the reference; None for absolute motion.

    Raises:
        HeadwarpError: an animator that looks at heads, or a reference frame beyond the clip.
    """
    if not takes_whole(animator):
        raise HeadwarpError(f"animator: expected one of pictures alone, got {type(animator).__name__}")
    device = torch.device(device)
    ready(animator, device)
    cache: Any = animator.encode([on_device(Source(image=motion.image), device)])
    if not motion.relative:
        return cache, None
    chosen = choose_reference(motion, animator, cache, landmarks=landmarks)
    driving = on_device(Driving(image=frame_of(motion, chosen.number)), device)
    return animator.refer(cache, driving, adapt_scale=motion.transfer.adapt_scale), chosen


def stage(
    motion: PictureMotion,
    animator: Animator,
    *,
    device: torch.device | str = "cpu",
    landmarks: str | Path = "mediapipe",
) -> Stage:
    """Source and driver with the source encoded, and the reference frame found where motion is relative.

    Args:
        motion: source and driver.
        animator: that looks at both.
        device: where it works.
        landmarks: name of the detector that finds the reference frame.

    Raises:
        HeadwarpError: an animator that looks at heads, or a reference frame beyond the clip.
    """
    cache, chosen = begin(motion, animator, device=device, landmarks=landmarks)
    facts = {
        "relative": motion.relative,
        "reference_frame": None if chosen is None else chosen.number,
        "reference_by": None if chosen is None else chosen.by,
        "driver": None,
        "window": "whole",
    }
    return Stage(
        source=motion.image,
        driver=motion.driver,
        cache=cache,
        count=motion.count,
        drivings=partial(drivings, motion, device=device),
        pictures=motion.windows,
        pasted=partial(pasted, motion),
        facts=facts,
    )


def drivings(motion: PictureMotion, *, device: torch.device | str = "cpu") -> Iterator[Driving]:
    """What the animator takes, for every frame. None hangs on another, so that a reference in the middle
    needs no second, backward run.
    """
    return (on_device(Driving(image=window), torch.device(device)) for window in motion.windows())


def pasted(
    motion: PictureMotion, animations: Iterable[Animation], *, onto: Iterable[Frame] | None = None
) -> Iterator[Frame]:
    """The whole photo, or what it became, with each square pasted back.

    Args:
        motion: source and driver.
        animations: of the square.
        onto: pictures that the squares are pasted into; None: the photo.
    """
    for animation, frame in zip(animations, repeat(motion.photo) if onto is None else onto, strict=False):
        whole = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]  # (1, 3, H, W)
        made = paste_back(whole, animation.image.cpu(), motion.crop)
        yield made[0].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
