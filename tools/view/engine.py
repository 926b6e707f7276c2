"""From a document to pictures: fit once, encode once, then a picture for every pose. No browser in here.

The steps and their functions are those of ``headwarp edit``, so that the pixels are too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...flame.driving import Transfer, transfer_motion
from ...flame.expression_regions import ExpressionRegions, expression_regions
from ...flame.model import HeadModel
from ...flame.params import HeadFit, Pose
from ...flame.posing import apply_pose, posed_points, reshaped
from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving
from ...training.data.portrait import Frame, Portrait, portrait_of
from ...warping.animators import Animation, Animator
from ..drivers import Driver, open_driver
from ..edit import guided_animator
from ..faces import fit_frames
from ..heads import ready_head
from ..landmark_motion import with_landmarks_of
from ..performance import (
    animated,
    check_device,
    check_window,
    drivings,
    encoded,
    full_frames,
    has_weights,
    windows,
)
from ..portrait import frame_of
from ..posed_drivings import posed_drivings
from .document import Document, Maker, Source


@dataclass(frozen=True)
class Opened:
    """A photo, read and fitted.

    Attributes:
        source: what was asked for.
        photo: the whole picture.
        fit: of its head, in the photo's pixels.
    """

    source: Source
    photo: Frame
    fit: HeadFit


@dataclass(frozen=True)
class Subject:
    """Everything that is known before the first pose: all that a slider does not change.

    Attributes:
        opened: the photo.
        maker: what makes the pixels.
        portrait: the window around the head.
        animator: ready.
        cache: of the animator.
        device: where it works.
    """

    opened: Opened
    maker: Maker
    portrait: Portrait
    animator: Animator
    cache: Any
    device: torch.device

    @property
    def size(self) -> int:
        """Side of the window."""
        return self.portrait.image.shape[-1]

    @property
    def moved_pixels_only(self) -> bool:
        """Whether no network has a part in the pixels."""
        return not has_weights(self.animator)


@dataclass(frozen=True)
class Shown:
    """A pose, made.

    Attributes:
        fit: one frame, in the window.
        driving: what the animator took.
        animation: what it made.
    """

    fit: HeadFit
    driving: Driving
    animation: Animation

    @property
    def frame(self) -> Frame:
        """The window as uint8 (S, S, 3)."""
        return next(windows([self.animation]))


@dataclass(frozen=True)
class EngineOptions:
    """What holds for every document of an editor; as the options of ``headwarp edit``."""

    head: str | None = None
    landmarks: str = "mediapipe"
    face: int | None = None
    device: str = "cpu"


class Engine:
    """Heads and animators, loaded once for everybody who is connected.

    Photos are opened one after another; pictures are made by as many threads as ask for them.
    """

    def __init__(self, options: EngineOptions | None = None) -> None:
        """Load the head.

        Raises:
            HeadwarpError: the head cannot be loaded, or no such device.
        """
        self.options = options or EngineOptions()
        self.head: HeadModel = ready_head(self.options.head)
        self.device = check_device(self.options.device)
        self._animators: dict[Maker, Animator] = {}
        self._regions: ExpressionRegions | None = None
        self._lock = threading.Lock()

    def subject(self, document: Document, before: Subject | None = None) -> Subject:
        """The document's source, encoded for its maker; as much as possible is taken from ``before``.

        Raises:
            NoFaceError: no face in the source.
            HeadwarpError: no source, or what `headwarp edit` would refuse.
        """
        if document.source is None:
            raise HeadwarpError("source: expected a photo or clip, got none; open one first")
        with self._lock:
            same = before is not None and before.opened.source == document.source
            opened = before.opened if same and before is not None else self._open(document.source)
            animator = self._animator(document.maker)
            check_window(animator, document.size, name=document.maker.animator)
            portrait = portrait_of(opened.photo, self.head, opened.fit, size=document.size)
            portrait = with_landmarks_of(portrait, animator)
            cache = encoded([portrait], animator, device=self.device)
        return Subject(opened, document.maker, portrait, animator, cache, self.device)

    def driver(self, path: Path) -> Driver:
        """A clip, fit or track that drives, fitted.

        Raises:
            NoFaceError: no face in it.
            HeadwarpError: a file that cannot be read.
        """
        with self._lock:
            return open_driver(path, self.head, landmarks=self.options.landmarks)

    def animator(self, maker: Maker) -> Animator:
        """The animator, ready; loaded once.

        Raises:
            HeadwarpError: what `guided_animator` raises.
        """
        with self._lock:
            return self._animator(maker)

    def regions(self) -> ExpressionRegions:
        """Of the head's expressions; made once."""
        with self._lock:
            if self._regions is None:
                self._regions = expression_regions(self.head)
            return self._regions

    def _open(self, source: Source) -> Opened:
        photo = frame_of(source.path, source.frame)
        fit = fit_frames([photo], self.head, landmarks=self.options.landmarks, face=self.options.face)
        return Opened(source, photo, fit)

    def _animator(self, maker: Maker) -> Animator:
        if maker not in self._animators:
            self._animators[maker], _ = guided_animator(maker, device=self.device)
        return self._animators[maker]


def posed(subject: Subject, poses: Sequence[Pose], shape: Mapping[int, float]) -> HeadFit:
    """The subject's head in poses, one frame each.

    Args:
        subject: the opened photo.
        poses: a pose a frame.
        shape: amounts added to shape coefficients.

    Raises:
        HeadwarpError: an expression or coefficient that the head does not have.
    """
    return apply_pose(subject.portrait.head, reshaped(subject.portrait.fit, shape), poses)


def check_driven(subject: Subject) -> None:
    """Raise HeadwarpError where the animator looks at a driver's pictures."""
    if "image" in subject.animator.needs_driving:
        name = subject.maker.animator
        raise HeadwarpError(f"{name} looks at the driver's pictures, not at its head; use headwarp animate")


def driven(subject: Subject, driver: Driver, shape: Mapping[int, float]) -> HeadFit:
    """The subject's head in every frame of a driver.

    Args:
        subject: the opened photo.
        driver: what drives it.
        shape: amounts added to shape coefficients.

    Raises:
        HeadwarpError: an animator that looks at the driver's pictures.
    """
    check_driven(subject)
    if driver.fit is None:
        return posed(subject, list(driver.poses or ()), shape)
    own = reshaped(subject.portrait.fit, shape)
    return transfer_motion(subject.portrait.head, own, driver.fit, Transfer()).fit


def shown(subject: Subject, fit: HeadFit) -> Iterator[Shown]:
    """The picture of every frame of a fit in the window, each made when it is asked for."""
    made = drivings(subject.portrait, fit, device=subject.device)
    made = posed_drivings(subject.animator, subject.cache, subject.portrait, fit, made)
    for frame, driving in enumerate(made):
        animation = next(animated(subject.animator, subject.cache, [driving]))
        yield Shown(fit.select([frame]), driving, animation)


def frames(subject: Subject, fit: HeadFit, *, full_frame: bool) -> Iterator[Frame]:
    """The frames that are written: windows, or whole photos with the window pasted back.

    Args:
        subject: the opened photo.
        fit: T frames.
        full_frame: whole photos with the window pasted back.
    """
    animations = (each.animation for each in shown(subject, fit))
    return (
        full_frames(subject.opened.photo, subject.portrait, animations) if full_frame else windows(animations)
    )


@torch.no_grad()
def mesh(subject: Subject, fit: HeadFit) -> NDArray[np.float32]:
    """The head of a one-frame fit in its own axes (x left, y up, z front), metres, ``(V, 3)``: as the camera
    sees it turned, where the portrait's own place is left out.
    """
    return posed_points(subject.portrait.head, fit.params)[0].numpy()
