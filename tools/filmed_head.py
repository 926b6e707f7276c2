"""A clip as a source: the head in each of its frames driven by what a driver does at the same time.

Frames are read, changed and passed on one by one; of those before, a frame knows the masks alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..flame.driving import Transfer, bridged, reference_frame, transfer_motion
from ..flame.model import HeadModel
from ..flame.params import DETECTED, MISSING, HeadFit
from ..flame.pose_limit import Beyond
from ..flame.posing import apply_pose, pixels_per_metre
from ..flame.residual import ResidualField, field_of
from ..flame.still_body import over_still_body
from ..geom.crops import Crop, pixel_window
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, Portrait, portrait_of
from ..warping.animators import Animation, Animator
from ..warping.guided import refers
from .drivers import Driver
from .landmark_motion import with_landmarks_of
from .motion import Motion, Moved, check_poses
from .performance import animated, drivings, encoded, pasted
from .posed_drivings import posed_drivings
from .swap_windows import MASK_SHARE, head_windows

WINDOW = 2.3  # side of the window in sizes of the face


@dataclass(frozen=True)
class FilmedHead:
    """A fitted head of a clip, and what drives it.

    Attributes:
        model: the head.
        fit: one record for every frame of the clip, in its pixels.
        driver: with a fit or poses.
        transfer: of the driver's motion; ``relative`` is said.
        size: side of the windows; None: the head's own pixels.
        motion: how much of the driver's is taken.
    """

    model: HeadModel
    fit: HeadFit
    driver: Driver
    transfer: Transfer
    size: int | None = None
    motion: Motion = field(default_factory=Motion)

    @cached_property
    def windows(self) -> list[tuple[Crop, int]]:
        """A window of whole pixels for every frame, shifted into the frame where it fits; and its size."""
        crops = head_windows(self.model, self.fit, scale=WINDOW)
        drawn = [pixel_window(_within(crop, self.fit.size)) for crop in crops]
        return [(crop, self.size or size) for crop, size in drawn]

    @cached_property
    def residuals(self) -> ResidualField:
        """How the fit's residual spreads over its mesh."""
        return field_of(self.model, self.fit)

    @cached_property
    def reference(self) -> int | None:
        """The driver's frame that motion is counted from; None for poses."""
        if self.driver.fit is None:
            return None
        first = self.fit.select([int((self.fit.status == DETECTED).nonzero()[0])])
        return reference_frame(self.model, first, self.driver.fit, self.transfer)

    @cached_property
    def _bridged(self) -> HeadFit | None:
        """The driver, every frame of it usable."""
        fit = self.driver.fit
        if fit is None:
            return None
        whole = bridged(fit)
        return dataclasses.replace(whole, status=torch.full_like(whole.status, DETECTED))

    @property
    def metre(self) -> float:
        """Pixels of the clip: the larger, the nearer the head."""
        return float(pixels_per_metre(self.fit.params, self.fit.camera)[self.fit.status != MISSING].median())

    def shown(self, number: int) -> bool:
        """Whether a frame of the clip has the head."""
        return int(self.fit.status[number]) != MISSING

    def portrait(self, frame: Frame, number: int) -> Portrait:
        """The head of one frame in its window."""
        crop, size = self.windows[number]
        fit = self.fit.select([number])
        made = portrait_of(frame, self.model, fit, size=size, field=self.residuals, crop=crop)
        return dataclasses.replace(made, body_follow=0.0)

    def driven(self, own: HeadFit, number: int) -> Moved:
        """A frame's head as the driver's frame ``number`` moves it; the body rests."""
        if self.driver.poses is not None:
            posed = apply_pose(self.model, own, [self.driver.poses[number]])
            return self.motion.moved(self.model, own, posed)
        assert self._bridged is not None
        assert self.reference is not None
        pair = self._bridged.select([self.reference, number])
        plain = dataclasses.replace(self.transfer, best_frame=0, find_best_frame=False)
        moved = transfer_motion(self.model, own, pair, plain).fit.select([1])
        made = self.motion.moved(self.model, own, moved, pair.select([1]))
        return dataclasses.replace(made, fit=over_still_body(self.model, own, made.fit))


def film(
    model: HeadModel,
    fit: HeadFit,
    driver: Driver,
    transfer: Transfer,
    *,
    size: int | None = None,
    motion: Motion,
) -> FilmedHead:
    """A `FilmedHead`; relative is the default but for a driver of one frame.

    Args:
        model: the head of all fits.
        fit: of the filmed head, T frames.
        driver: what drives it.
        transfer: how the driver's motion becomes its own.
        size: side of the window in pixels; None: as large as the head is.
        motion: how much of the motion is taken over.

    Raises:
        HeadwarpError: contradictory options, or a reference of a pose track.
        NoFaceError: no face where the reference is to be.
    """
    if driver.fit is None:
        check_poses(motion)
        if transfer.best_frame is not None or transfer.find_best_frame:
            raise HeadwarpError(
                "best frame: expected a driver with a head, got a pose track, which needs no reference"
            )
        poses = tuple(driver.poses or ())
        if transfer.relative is not None:
            poses = tuple(dataclasses.replace(pose, relative=transfer.relative) for pose in poses)
        return FilmedHead(model, fit, dataclasses.replace(driver, poses=poses), transfer, size, motion)
    relative = driver.fit.frames > 1 if transfer.relative is None else transfer.relative
    if relative and driver.fit.frames == 1:
        raise HeadwarpError(
            "relative: expected a driver of several frames, got one; use --absolute for a photo"
        )
    driver = dataclasses.replace(driver, fit=motion.filtered(model, driver.fit, float(driver.fps)))
    head = FilmedHead(model, fit, driver, dataclasses.replace(transfer, relative=relative), size, motion)
    _ = head.reference  # says what is wrong with it before anything is made
    return head


def check_filmed(animator: Animator, *, name: str) -> None:
    """Refuse what looks at the driver's pictures, or compares them with one source picture.

    Raises:
        HeadwarpError: such an animator.
    """
    if "image" in animator.needs_driving or refers(animator):
        raise HeadwarpError(
            f"--source: {name} looks at the driver's pictures and takes a photo; for a clip take geometry, "
            "pwm, sparse2dense or tps"
        )


@torch.no_grad()
def with_head_driven(
    frames: Iterable[Frame],
    numbers: Sequence[tuple[int, int]],
    head: FilmedHead,
    animator: Animator,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[Frame]:
    """Whole frames of a clip with the head driven; frames without it as they are.

    Turns beyond what the animator holds are told after the last frame, each frame being its own photo.

    Args:
        frames: of the clip, in the order of ``numbers``.
        numbers: of each, its number in the clip and that of the driver's frame.
        head: whose motion is changed.
        animator: not one that `check_filmed` refuses.
        device: where the animator works.
    """
    mask: Tensor | None = None
    beyond = Beyond()
    for frame, (number, driving) in zip(frames, numbers, strict=False):
        if not head.shown(number):
            mask = None
            yield frame
            continue
        portrait = with_landmarks_of(head.portrait(frame, number), animator)
        if mask is not None and mask.shape == portrait.mask.shape:
            portrait = dataclasses.replace(portrait, mask=torch.lerp(mask, portrait.mask, MASK_SHARE))
        mask = portrait.mask
        moved = head.driven(portrait.fit, driving)
        beyond = beyond.joined(moved.beyond)
        yield pasted(frame, portrait, _animated(portrait, moved.fit, animator, device))
    head.motion.tell(beyond)


def _animated(portrait: Portrait, fit: HeadFit, animator: Animator, device: torch.device | str) -> Animation:
    cache = encoded([portrait], animator, device=device)
    posed = posed_drivings(animator, cache, portrait, fit, drivings(portrait, fit, device=device))
    return next(animated(animator, cache, posed))


def _within(crop: Crop, size: tuple[int, int]) -> Crop:
    """The window shifted into the frame, and made smaller where the frame is smaller."""
    side = min(crop.side, *map(float, size))
    x = crop.x + (crop.side - side) / 2
    y = crop.y + (crop.side - side) / 2
    return Crop(min(max(x, 0.0), size[1] - side), min(max(y, 0.0), size[0] - side), side)
