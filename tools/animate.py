"""``headwarp animate``: a photo driven by a video, another photo, a fit, a pose track, or landmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from tyro.conf import FlagCreatePairsOff, arg

from ..flame.driving import Transfer
from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, to_frame
from ..training.data.visible_mark import marked_frames
from ..warping.animators import Animator
from ..warping.guided import GuidedAnimator
from ..warping.landmark_motion import SmoothingConfig
from . import head_motion, landmark_motion, picture_motion
from .drivers import DEFAULT_FPS, TRACKS, Driver, open_clip, open_driver
from .filmed_head import check_filmed
from .frame_files import preview_path, write_frames, write_preview
from .guidance import GuidanceName, guidance_of, guide_animator, guided_by, settled, warn_of_mesh
from .heads import ready_head
from .motion_options import MotionOptions, check_no_head, motion_of
from .panels import panels
from .performance import (
    CLIPS,
    PICTURES,
    Precision,
    animated,
    check_device,
    check_output,
    check_window,
    explained,
    inference_of,
    open_animator,
    provenance_facts,
    provenance_of,
    window_size,
    windows,
)
from .picture_motion import takes_pictures, takes_whole
from .portrait import as_frames
from .shows import Audio, Role, Show, check_roles, film_show, is_film, photo_show, read_role
from .stage import Stage

Window = Literal["face", "whole"]


@dataclass(frozen=True)
class Animate:
    """Let a photo follow a video, another photo, a fit, or a pose track.

    FOMM's names are understood too: --source_image, --driving_video, --result_video, --find_best_frame,
    --adapt_scale.
    """

    source: Annotated[tuple[Path, ...], arg(aliases=["--source-image"])]
    """The photo; several of one person for animators that fuse them. A clip: the head in each of its frames
    is driven by what the driver does at that time, in whole frames."""
    driving: Annotated[Path, arg(aliases=["--driving-video"])]
    """Video, photo, folder of pictures, fit (.npz), or pose track (.csv, .json); for sparse2dense and tps a
    file of landmarks too (.npz, .npy, .csv)."""
    output: Annotated[Path, arg(aliases=["--result-video"])]
    """Clip to write (.mp4); a picture (.png, .jpg) where the driver is one frame."""
    relative: FlagCreatePairsOff[bool] = False
    """Add the driver's change to the photo's own pose: the default but for a driver of one frame."""
    absolute: FlagCreatePairsOff[bool] = False
    """Take the driver's pose and expression themselves."""
    adapt_scale: bool = True
    """Measure relative shifts in sizes of the head; else in shares of the driver's frame."""
    find_best_frame: bool = False
    """Relative to the driving frame that is nearest to the photo in pose and expression."""
    best_frame: int | None = None
    """Relative to this driving frame, from 0; the first one with a face where not given."""
    motion: Annotated[MotionOptions, arg(name="")] = field(default_factory=MotionOptions)
    panels: bool = False
    """Source, driver and result side by side; with fomm and dagan how the result came about too."""
    window: Window | None = None
    """face: the square around the head. whole: the centred square of whole pictures, no head is looked for:
    the default of animators that look at pictures alone (fomm, dagan), and for --guidance keypoints."""
    full_frame: bool = False
    """Paste the window back into the whole photo; else the square window around the head is written."""
    size: int | None = None
    """Side of the window in pixels: 256; in whole frames as large as the head is in its picture."""
    animator: str = "geometry"
    """What makes the pixels; geometry needs no weights."""
    checkpoint: Path | None = None
    """Weights of the animator."""
    guidance: GuidanceName | None = None
    """What guides the animator; what its weights were trained with where not given. mesh, codes, both, or in
    place of the mesh depth or keypoints of a trained network, or the head's 68 landmarks."""
    depth_checkpoint: Path | None = None
    """Weights for --guidance depth, of headwarp train depth."""
    keypoints_checkpoint: Path | None = None
    """Weights for --guidance keypoints, of fomm or dagan."""
    guide_side: int | None = None
    """Longer side of the pictures that this network sees, best that of its training; where not given, what it
    saw when the animator was trained, else 256."""
    head: str | None = None
    """builtin, or a head file; $HEADWARP_HEAD where not given."""
    landmarks: str = "mediapipe"
    """mediapipe or face-alignment."""
    face: int | None = None
    """Which face of the photo, by rank; the largest where not given."""
    driving_face: int | None = None
    """Which face of the driver, by rank; the largest and longest seen where not given."""
    also: tuple[str, ...] = ()
    """Another face of the source and its driver, FACE=DRIVER, or FACE=DRIVER@FACE for a face of the driver by
    rank; may be repeated. --face then says which face --driving moves; whole frames are written."""
    audio: Audio | None = None
    """Whose sound is taken along; the driver's where not given, else the source clip's."""
    loop: bool = False
    """Begin a driver again that ends before the source clip or before another driver; else the shortest ends
    the result."""
    fps: float | None = None
    """Frames per second: of a clip other frames are shown, in step with its sound. Where not given, those of
    the source clip, else the driver's own, 25 where it has none."""
    preview: bool = False
    """First write the beginning in little, NAME.preview.mp4."""
    device: str = "cpu"
    """Where the animator works: cpu, cuda."""
    compile: bool = False
    """torch.compile the animator's network: a minute at the first frame, quicker frames from then on."""
    precision: Precision = "32"
    """Of a compiled network: bf16 is quicker where the device computes in it."""
    mark: bool = False
    """Draw a visible mark into every frame: that it is altered."""
    provenance: bool = True
    """Say in the file, and in a JSON beside it, how it was made."""


def animate(
    source: Any,
    driving: Any,
    *,
    animator: str | Animator = "geometry",
    transfer: Transfer | None = None,
    head: str | Path | HeadModel | None = None,
    size: int = 256,
    face: int | None = None,
    window: Window | None = None,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One photo in every pose of a driver.

    Args:
        source: a path, PIL, numpy or torch picture; a list of them for animators that fuse several.
        driving: a clip, photo, folder, fit file, pose track or file of landmarks (paths), a `HeadFit`, poses,
            or frames; frames are read once, and a second time only for an animator that looks at the driver.
        animator: a registered name, or one from ``load_animator(name, checkpoint)``; `prepare_animator_` of
            `warping.inference` makes that one quicker.
        transfer: relative or absolute motion, reference frame; see `Transfer`.
        head: ``"builtin"``, a head file, a loaded model; None: ``$HEADWARP_HEAD``, else the built-in.
        size: side of the square window around the head.
        face: which face of the source by rank; None: the largest.
        window: ``"face"``, the square around the head, or ``"whole"``, the centred square of whole pictures,
            in which no head is looked for: for animators that look at pictures alone (`fomm`), whose default
            it is, and those that keypoints guide.
        device: where the animator works.

    Returns:
        uint8 (size, size, 3) windows, one for every driving frame, each made when it is asked for. What can
        be wrong with the input is raised before the first one.

    Raises:
        NoFaceError: no face in the source or the driver.
        HeadwarpError: unknown animator, contradictory options, or a file that cannot be read.
    """
    place = check_device(device)
    maker = open_animator(animator, device=place) if isinstance(animator, str) else animator
    warn_of_mesh(maker)
    name = animator if isinstance(animator, str) else type(maker).__name__
    check_window(maker, size, name=name)
    if landmark_motion.is_landmark_file(driving):
        landmark_motion.check_landmark_driven(maker, name=name)
        stage = landmark_motion.stage(
            source,
            driving,
            maker,
            model=ready_head(head),
            size=size,
            transfer=transfer or Transfer(),
            face=face,
            device=place,
        )
    elif _window(window, maker, name=name) == "whole":
        motion = picture_motion.open_pictures(source, open_clip(driving), size=size, transfer=transfer)
        stage = picture_motion.stage(motion, maker, device=place)
    else:
        model = ready_head(head)
        driver = open_driver(driving, model)
        performance = head_motion.prepare(source, driver, model, transfer=transfer, size=size, face=face)
        stage = head_motion.stage(performance, maker, device=place)
    return windows(animated(maker, stage.cache, stage.drivings()))


def run(config: Animate) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``fps``, ``width``, ``height``, ``relative``, ``reference_frame``, ``driver``
        (frames ``detected``, ``interpolated``, ``missing``; None where no head was looked for), ``window``,
        ``animator``, ``guidance``, ``audio``, ``mark``, ``provenance``, ``seconds``.

    Raises:
        HeadwarpError: contradictory options, or what `animate` raises.
    """
    began = time.perf_counter()
    _transfer(config)
    motion_of(config.motion)
    if config.size is not None and config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    roles = roles_of(config)
    check_roles(roles)
    filmed = is_film(config.source)
    if filmed or len(roles) > 1:
        config = replace(config, full_frame=True)
    if config.panels and config.full_frame:
        raise HeadwarpError("--panels: expected --panels or --full-frame, got both")
    check_output(config.output, [*CLIPS, *PICTURES], what="a clip or a picture")
    place = check_device(config.device)
    chosen = inference_of(compile=config.compile, precision=config.precision)
    animator = open_animator(config.animator, config.checkpoint, device=place, inference=chosen)
    guidance = settled(guidance_of(config), guided_by(animator), name=config.animator)
    animator = guide_animator(animator, guidance, name=config.animator, device=place)
    size = window_size(config.size, animator, full_frame=config.full_frame, default=256)
    if size is not None:
        check_window(animator, size, name=config.animator)
    if config.preview:
        preview_path(config.output)
    opened = _open_film if filmed else _open_photo
    show, head = opened(config, roles, animator, size, place)
    if config.output.suffix.lower() in PICTURES and show.count != 1:
        many = "several" if show.count is None else str(show.count)
        raise HeadwarpError(f"--output: expected a clip (.mp4) for {many} frames, got {config.output.name}")
    heard, audio_from = show.sound(config.audio)
    prepared = time.perf_counter()
    provenance = None
    if config.provenance:
        inputs = [*config.source, *(role.driving for role in roles)]
        provenance = provenance_of(config.animator, inputs=inputs)

    def frames() -> Iterator[Frame]:
        return marked_frames(show.frames(), config.mark)

    how: dict[str, Any] = {"fps": show.fps, "audio_from": audio_from, "provenance": provenance}
    preview = write_preview(config.output, frames, **how) if config.preview else None
    written = write_frames(config.output, frames(), count=show.count, **how)
    seconds = {"prepare": prepared - began, "animate": time.perf_counter() - prepared}
    return {
        "output": str(config.output),
        "frames": written.frames,
        "fps": float(show.fps),
        "width": written.width,
        "height": written.height,
        **show.facts,
        "animator": config.animator,
        "guidance": guidance.name,
        "head": head,
        "audio": audio_from is not None and config.output.suffix.lower() in CLIPS,
        "audio_of": heard,
        "preview": None if preview is None else str(preview),
        "mark": config.mark,
        "provenance": provenance_facts(provenance),
        "seconds": {**seconds, "per_frame": seconds["animate"] / written.frames},
    }


def describe(report: Mapping[str, Any]) -> str:
    """What was written, how the motion was taken, and what the driver lacked."""
    lines = [
        f"{report['output']}: {report['width']} x {report['height']}, {report['frames']} frame(s) at "
        f"{report['fps']:g} per second, {'with' if report['audio'] else 'no'} sound"
    ]
    if report["reference_frame"] is not None:
        kind = "relative" if report["relative"] else "absolute"
        lines.append(f"  motion: {kind}, reference frame {report['reference_frame']}")
    lost = {name: count for name, count in (report["driver"] or {}).items() if name != "detected" and count}
    if lost:
        said = ", ".join(f"{count} {name}" for name, count in lost.items())
        lines.append(f"  driver: frames without a face: {said}; the motion bridges them")
    for number, face in enumerate(report.get("faces", [report])):
        if face.get("unchanged_frames"):
            whose = "the face" if "faces" not in report else f"face {number + 1}"
            lines.append(
                f"  source: {face['unchanged_frames']} frame(s) do not show {whose} and stay as they are"
            )
    if report.get("ends_with") == "driver":
        lines.append("  the driver ends before the source, and so does the result; --loop begins it again")
    if report["preview"]:
        lines.append(f"  preview: {report['preview']}")
    return "\n".join([*lines, f"  provenance: {report['provenance']}"])


def _transfer(config: Animate) -> Transfer:
    if config.relative and config.absolute:
        raise HeadwarpError("--relative, --absolute: expected one of them, got both")
    relative = True if config.relative else (False if config.absolute else None)
    return Transfer(relative, config.adapt_scale, config.best_frame, config.find_best_frame)


def _window(asked: Window | None, animator: Animator, *, name: str) -> Window:
    """The window that is animated.

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


def _open_film(
    config: Animate, roles: Sequence[Role], animator: Animator, size: int | None, place: torch.device
) -> tuple[Show, str | None]:
    """A source clip and its drivers."""
    transfer = _transfer(config)
    check_filmed(animator, name=config.animator)
    motion = motion_of(config.motion)
    if motion.clamp:
        raise HeadwarpError("--clamp: belongs to a photo, the source is a clip; leave it out")
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
        motion=motion,
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


def _open_photo(
    config: Animate, roles: Sequence[Role], animator: Animator, size: int | None, place: torch.device
) -> tuple[Show, str | None]:
    """A photo and the drivers of its faces."""
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
    transfer = _transfer(config)
    if landmark_motion.is_landmark_file(config.driving):
        return _open_landmarks(config, animator, size or 256, place)
    if _window(config.window, animator, name=config.animator) == "whole":
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
        transfer=_transfer(config),
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
