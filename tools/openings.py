"""What `animate` was asked for, opened: its sources, drivers and faces as frames to be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..flame.driving import Transfer
from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, to_frame
from ..warping.animators import Animator
from ..warping.guided import GuidedAnimator
from ..warping.landmark_motion import SmoothingConfig
from . import head_motion, landmark_motion, picture_motion
from .drivers import DEFAULT_FPS, TRACKS, Driver, open_clip, open_driver
from .filmed_head import check_filmed
from .heads import ready_head
from .motion import Motion, check_still
from .motion_options import check_no_head, motion_of
from .panels import panels
from .performance import animated, explained, windows
from .picture_motion import takes_pictures, takes_whole
from .portrait import as_frames
from .shows import Role, Show, film_show, photo_show, read_role
from .stage import Stage

if TYPE_CHECKING:
    from .animate import Animate

Window = Literal["face", "whole"]


def transfer_of(config: Animate) -> Transfer:
    """What the options say of the motion.

    Raises:
        HeadwarpError: relative and absolute at once.
    """
    if config.relative and config.absolute:
        raise HeadwarpError("--relative, --absolute: expected one of them, got both")
    relative = True if config.relative else (False if config.absolute else None)
    return Transfer(relative, config.adapt_scale, config.best_frame, config.find_best_frame)


def window_of(asked: Window | None, animator: Animator, *, name: str) -> Window:
    """The window that is animated.

    Args:
        asked: what was asked for, or None.
        animator: that will work in it.
        name: of it, for messages.

    Raises:
        HeadwarpError: the whole picture is asked of an animator that looks at a head.
    """
    if asked == "whole" and not takes_whole(animator):
        why = f"{name} moves a head and looks for one"
        if isinstance(animator, GuidedAnimator) and animator.observer is not None:
            why = f"depth turns what it sees as one head, and would turn all of {name}'s picture"
        raise HeadwarpError(
            f"--window whole: {why}; leave it out, or take --guidance keypoints, which moves anything"
        )
    return asked or ("whole" if takes_pictures(animator) else "face")


def _check_whole(config: Animate) -> None:
    """Refuse options that are about heads where none is looked for."""
    for option in ("head", "face", "driving_face"):
        if getattr(config, option) is not None:
            raise HeadwarpError(
                f"--{option.replace('_', '-')}: {config.animator} looks at pictures alone and finds no head; "
                "leave it out, or take --window face"
            )


def roles_of(config: Animate) -> list[Role]:
    """The faces of a command and their drivers, --face and --driving first."""
    return [Role(config.face, config.driving, config.driving_face), *map(read_role, config.also)]


def open_film(
    config: Animate, roles: Sequence[Role], animator: Animator, size: int | None, place: torch.device
) -> tuple[Show, str | None]:
    """A source clip and its drivers, and the ``model_id`` of their head.

    Args:
        config: of the command.
        roles: who drives which face.
        animator: that makes the pictures.
        size: side of the windows in pixels; None: as large as the heads are.
        place: the device.

    Raises:
        HeadwarpError: options of photos alone, or an animator that cannot move filmed heads.
    """
    transfer = transfer_of(config)
    check_filmed(animator, name=config.animator)
    if config.window == "whole" or any(landmark_motion.is_landmark_file(role.driving) for role in roles):
        what = "--window whole" if config.window == "whole" else "--driving: a file of landmarks"
        raise HeadwarpError(f"{what}: belongs to a photo, the source is a clip; take a frame of it")
    model = ready_head(config.head)
    drivers = [_driver(config, role, model) for role in roles]
    show = film_show(
        config.source[0],
        list(zip(roles, drivers, strict=True)),
        model,
        animator,
        transfer=transfer,
        size=size,
        landmarks=config.landmarks,
        fps=config.fps,
        loop=config.loop,
        device=place,
        motion=motion_of(config.motion, animator, name=config.animator),
    )
    return show, model.model_id


def _driver(config: Animate, role: Role, model: HeadModel) -> Driver:
    """A driver at its own rate; a pose track, which has none, at the one asked for."""
    track = role.driving.suffix.lower() in TRACKS
    driver = open_driver(
        role.driving,
        model,
        fps=config.fps if track else None,
        face=role.driving_face,
        landmarks=config.landmarks,
    )
    return driver if driver.timed or not config.fps else replace(driver, fps=config.fps)


def open_photo(
    config: Animate, roles: Sequence[Role], animator: Animator, size: int | None, place: torch.device
) -> tuple[Show, str | None]:
    """A photo and the drivers of its faces.

    Args:
        config: of the command.
        roles: who drives which face.
        animator: that makes the pictures.
        size: side of the windows in pixels; None: as large as the heads are.
        place: the device.
    """
    opened = [
        _open(
            replace(config, face=role.face, driving=role.driving, driving_face=role.driving_face),
            animator,
            size,
            place,
        )
        for role in roles
    ]
    show = photo_show(
        [stage for stage, _ in opened],
        lambda: next(iter(as_frames(config.source[0]))),
        lambda stage: _frames(config, stage, animator),
        animator,
        fps=config.fps,
        loop=config.loop,
    )
    return show, opened[0][1]


def _open(
    config: Animate, animator: Animator, size: int | None, place: torch.device
) -> tuple[Stage, str | None]:
    """Source and driver together, and the head model's id where one was fitted."""
    transfer = transfer_of(config)
    if landmark_motion.is_landmark_file(config.driving):
        return _open_landmarks(config, animator, size or 256, place)
    if window_of(config.window, animator, name=config.animator) == "whole":
        _check_whole(config)
        check_no_head(config.motion)
        motion = picture_motion.open_pictures(
            config.source, open_clip(config.driving), size=size or 256, transfer=transfer
        )
        return picture_motion.stage(motion, animator, device=place, landmarks=config.landmarks), None
    model = ready_head(config.head)
    driver = _driver(config, roles_of(config)[0], model)
    performance = head_motion.prepare(
        list(config.source),
        driver,
        model,
        transfer=transfer,
        motion=motion_of(config.motion, animator, name=config.animator),
        size=size,
        face=config.face,
        landmarks=config.landmarks,
    )
    if config.full_frame:
        performance = head_motion.resting(performance)
    return head_motion.stage(performance, animator, device=place), model.model_id


@dataclass(frozen=True)
class Wanted:
    """What holds for every face of a photo that is animated from Python; else as the arguments of `animate`.

    Attributes:
        animator: ready.
        name: of it, for messages.
        size: side of the windows in pixels; None: as large as the heads are.
        full_frame: windows are pasted back into whole photos.
    """

    animator: Animator
    name: str
    head: str | Path | HeadModel | None
    transfer: Transfer | None
    motion: Motion | None
    size: int | None
    window: Window | None
    full_frame: bool
    device: torch.device


def open_stage(source: Any, driving: Any, wanted: Wanted, *, face: int | None, several: bool) -> Stage:
    """A photo and what drives one of its faces.

    Args:
        source: a picture, or several of one person.
        driving: whatever `animate` takes.
        wanted: what holds for all of them.
        face: of the source, by rank; None: the largest.
        several: other faces are driven too.

    Raises:
        NoFaceError: no face in the source or the driver.
        HeadwarpError: contradictory options, or a file that cannot be read.
    """
    animator, name, place = wanted.animator, wanted.name, wanted.device
    if landmark_motion.is_landmark_file(driving):
        check_still(wanted.motion, what="a file of landmarks")
        landmark_motion.check_landmark_driven(animator, name=name)
        return landmark_motion.stage(
            source,
            driving,
            animator,
            model=ready_head(wanted.head),
            size=wanted.size or 256,
            transfer=wanted.transfer or Transfer(),
            face=face,
            device=place,
        )
    if window_of(wanted.window, animator, name=name) == "whole":
        if several:
            raise HeadwarpError(f"also: {name} looks at whole pictures and finds no face; take window='face'")
        check_still(wanted.motion, what=f"{name} on whole pictures")
        clip, transfer = open_clip(driving), wanted.transfer
        pictures = picture_motion.open_pictures(source, clip, size=wanted.size or 256, transfer=transfer)
        return picture_motion.stage(pictures, animator, device=place)
    model = ready_head(wanted.head)
    performance = head_motion.prepare(
        source,
        open_driver(driving, model),
        model,
        transfer=wanted.transfer,
        motion=(wanted.motion or Motion()).held_by(animator, name),
        size=wanted.size,
        face=face,
    )
    if wanted.full_frame:
        performance = head_motion.resting(performance)
    return head_motion.stage(performance, animator, device=place)


def _open_landmarks(config: Animate, animator: Animator, size: int, place: torch.device) -> tuple[Stage, str]:
    """A source driven by a file of landmarks, and the id of the head that its own are of."""
    landmark_motion.check_landmark_driven(animator, name=config.animator)
    if config.window == "whole" or config.driving_face is not None:
        option = "--window whole" if config.window == "whole" else "--driving-face"
        raise HeadwarpError(f"{option}: a file of landmarks has one face and moves a head; leave it out")
    check_no_head(replace(config.motion, smooth=False))
    fps = float(config.fps or DEFAULT_FPS)
    model = ready_head(config.head)
    stage = landmark_motion.stage(
        list(config.source),
        config.driving,
        animator,
        model=model,
        size=size,
        transfer=transfer_of(config),
        smoothing=SmoothingConfig(fps=fps) if config.motion.smooth else None,
        fps=fps,
        face=config.face,
        detector=config.landmarks,
        device=place,
    )
    return stage, model.model_id


def _frames(config: Animate, stage: Stage, animator: Animator) -> Iterator[Frame]:
    if config.panels and takes_pictures(animator):
        return _explained(stage, animator)
    animations = animated(animator, stage.cache, stage.drivings())
    if config.full_frame:
        return stage.pasted(animations)
    if not config.panels:
        return windows(animations)
    source, drivers = to_frame(stage.source), stage.pictures()
    if drivers is None:
        return (np.concatenate([source, frame], axis=1) for frame in windows(animations))
    return (
        np.concatenate([source, to_frame(driver), frame], axis=1)
        for driver, frame in zip(drivers, windows(animations), strict=False)
    )


def _explained(stage: Stage, animator: Animator) -> Iterator[Frame]:
    """Source, driver, result, and how it came about."""
    maps = explained(animator, stage.cache, stage.drivings())
    drivers = stage.pictures()
    if drivers is None:
        raise HeadwarpError("--panels: expected a driver with pictures; this one is a fit or a pose track")
    return (panels(each, stage.source, driver) for driver, each in zip(drivers, maps, strict=False))
