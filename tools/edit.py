"""``headwarp edit``: a photo in another pose or with another expression, one picture or a track of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import Positional, arg

from ..flame.model import HeadModel
from ..flame.params import HeadFit, Pose
from ..flame.pose_track import absolute, read_pose_track
from ..flame.posing import apply_pose, expression_names, head_pose, reshaped
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, Portrait
from ..training.data.visible_mark import marked_frames
from ..warping.animators import Animation, Animator
from .faces import naming
from .frame_files import write_frames, write_preview
from .guidance import (
    GuidanceName,
    GuidanceOptions,
    guidance_of,
    guide_animator,
    guided_by,
    settled,
    warn_of_mesh,
)
from .heads import ready_head
from .landmark_motion import with_landmarks_of
from .motion import Motion, check_poses
from .motion_options import MotionOptions, motion_of, parse_amounts
from .performance import (
    CLIPS,
    PICTURES,
    check_device,
    check_output,
    check_rate,
    check_window,
    full_frames,
    has_weights,
    open_animator,
    perform,
    provenance_facts,
    provenance_of,
    window_size,
    windows,
)
from .portrait import as_frames, frame_of, open_portrait
from .pose_grid import (
    Grid,
    batch_size,
    check_grid_output,
    field_names,
    parse_grid,
    perform_in_batches,
    write_grid,
)

DEFAULT_FPS = 25.0
OF_HEADS = ("yaw", "pitch", "roll")
OF_FACES = ("jaw", "gaze", "blink", "expression")


@dataclass(frozen=True)
class Edit:
    """Turn the head of a photo, open its mouth, change its expression: a picture, or a track's clip."""

    photo: Positional[Path]
    """The photo, or a clip of which one frame is taken."""
    output: Path
    """Picture to write (.png, .jpg); with --track a clip (.mp4); with --grid a sheet, or a folder."""
    yaw: float = 0.0
    """Degrees; > 0 turns the nose to the image's left."""
    pitch: float = 0.0
    """Degrees; > 0 looks down."""
    roll: float = 0.0
    """Degrees; > 0 tilts clockwise in the image."""
    jaw: float = 0.0
    """0 as it is to 1 wide open."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Eyes, degrees sideways and down; signs as yaw and pitch."""
    blink: float = 0.0
    """0 as it is to 1 closed."""
    expression: tuple[str, ...] = ()
    """NAME=AMOUNT, such as smile=0.7; may be repeated. A wrong name lists the head's own. A number for a name
    is that expression coefficient of the head, in standard deviations: 3=1.2."""
    shape: tuple[str, ...] = ()
    """NUMBER=AMOUNT added to a shape coefficient of the head, in standard deviations; may be repeated."""
    absolute: bool = False
    """Replace the photo's own pose and expression instead of adding to them."""
    track: Path | None = None
    """Keyframes (.csv, .json): time or frame, then yaw, jaw, gaze_x, gaze_y, ... or expressions."""
    grid: tuple[str, ...] = ()
    """NAME=FIRST:LAST:COUNT, one or two, the first across: yaw, pitch, roll, jaw, blink, gaze_x, gaze_y, or
    an expression as --expression names it, such as smile=0:1:5."""
    grid_batch: int | None = None
    """Cells of the grid made at once; 4 where not given for geometry and pwm, else 1."""
    fps: float = DEFAULT_FPS
    """Frames per second of a track's clip."""
    preview: bool = False
    """First write the beginning of a track's clip in little, NAME.preview.mp4."""
    motion: Annotated[MotionOptions, arg(name="")] = field(default_factory=MotionOptions)
    full_frame: bool = False
    """Paste the window back into the whole photo; else the square window around the head is written."""
    size: int | None = None
    """Side of the window in pixels: 512; with --full-frame as large as the head is in the photo."""
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
    """mediapipe, face-alignment, or a landmark file."""
    face: int | None = None
    """Which face, by rank; the largest where not given."""
    frame: int = 0
    """Which frame of a clip, from 0."""
    device: str = "cpu"
    """Where the animator works: cpu, cuda."""
    mark: bool = False
    """Draw a visible mark into every frame: that it is altered."""
    provenance: bool = True
    """Say in the file, and in a JSON beside it, how it was made."""


def edit(
    photo: Any,
    pose: Pose,
    *,
    animator: str | Animator = "geometry",
    head: str | Path | HeadModel | None = None,
    size: int = 512,
    face: int | None = None,
    full_frame: bool = False,
    motion: Motion | None = None,
    device: str = "cpu",
) -> Frame:
    """One photo in one new pose.

    Args:
        photo: a path, PIL, numpy or torch picture.
        pose: relative to the photo's own, or absolute; see `Pose`.
        animator: a registered name, or one from ``load_animator(name, checkpoint)``; `prepare_animator_` of
            `warping.inference` makes that one quicker.
        head: ``"builtin"``, a head file, a loaded model; None: ``$HEADWARP_HEAD``, else the built-in.
        size: side of the square window around the head in which the work is done.
        face: which face by rank; None: the largest.
        full_frame: the whole photo with the window pasted back, instead of the window.
        motion: how much of the pose is taken over, and within what; see `Motion`.
        device: where the animator works.

    Returns:
        The window as uint8 (H, W, 3), size x size, or the whole photo with ``full_frame``.

    Raises:
        NoFaceError: nothing to fit.
        HeadwarpError: unknown animator or expression, or a file that cannot be read.
    """
    frames = edit_track(
        photo,
        [pose],
        animator=animator,
        head=head,
        size=size,
        face=face,
        full_frame=full_frame,
        motion=motion,
        device=device,
    )
    return next(frames)


def edit_track(
    photo: Any,
    poses: Sequence[Pose],
    *,
    animator: str | Animator = "geometry",
    head: str | Path | HeadModel | None = None,
    size: int = 512,
    face: int | None = None,
    full_frame: bool = False,
    motion: Motion | None = None,
    fps: float = DEFAULT_FPS,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One photo in many poses, frame by frame.

    Args:
        photo: as for `edit`.
        poses: a pose a frame, each relative or absolute.
        animator: as for `edit`.
        head: as for `edit`.
        size: as for `edit`.
        face: as for `edit`.
        full_frame: as for `edit`.
        motion: as for `edit`.
        fps: rate of the poses, for a motion that smooths them.
        device: where the animator works.

    Returns:
        uint8 (H, W, 3) a pose, as `edit` returns it, each made when it is asked for. What can be wrong with
        the input is raised before the first one.

    Raises:
        NoFaceError: nothing to fit.
        HeadwarpError: unknown animator or expression, a motion that follows a driver, or a file that cannot
            be read.
    """
    place = check_device(device)
    maker = open_animator(animator, device=place) if isinstance(animator, str) else animator
    warn_of_mesh(maker)
    name = animator if isinstance(animator, str) else type(maker).__name__
    check_window(maker, size, name=name)
    taken = (motion or Motion()).held_by(maker, name)
    check_poses(taken)
    model = ready_head(head)
    picture = next(iter(as_frames(photo)))
    portrait = with_landmarks_of(open_portrait(picture, head=model, size=size, face=face), maker)
    fit = said_poses(portrait, poses, taken, fps=fps)
    animations = perform([portrait], fit, maker, device=place)
    return shown(picture, portrait, animations, full_frame=full_frame)


def said_poses(
    portrait: Portrait,
    poses: Sequence[Pose],
    motion: Motion,
    *,
    fps: float = DEFAULT_FPS,
    shape: Mapping[int, float] | None = None,
) -> HeadFit:
    """The portrait's head in poses that a person says, as far as the motion takes them over.

    Args:
        portrait: whose head is posed.
        poses: a pose a frame.
        motion: how much of them is taken over.
        fps: rate of the poses, for a motion that smooths them.
        shape: amounts added to shape coefficients, see `reshaped`.
    """
    model, own = portrait.head, portrait.fit
    posed = apply_pose(model, reshaped(own, shape or {}), poses)
    return motion.applied(model, own, motion.filtered(model, posed, fps))


def shown(
    photo: Frame, portrait: Portrait, animations: Iterator[Animation], *, full_frame: bool
) -> Iterator[Frame]:
    """The frames that are written: windows, or whole photos.

    Args:
        photo: the whole picture.
        portrait: its window.
        animations: what was made of the window.
        full_frame: paste each back into the photo.
    """
    return full_frames(photo, portrait, animations) if full_frame else windows(animations)


def run(config: Edit) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``width``, ``height``, ``animator``, ``guidance``, ``head_pose`` (``photo``,
        ``first`` and ``last``: yaw, pitch, roll in degrees), ``reprojection_percent_iod``, ``mark``,
        ``provenance``, ``seconds``.

    Raises:
        HeadwarpError: contradictory options, or what `edit` raises.
    """
    began = time.perf_counter()
    model = ready_head(config.head) if config.grid else None  # whose expressions may be axes
    grid = None if model is None else parse_grid(config.grid, expressions=expression_names(model))
    _check(config, grid)
    check_poses(motion_of(config.motion))
    place = check_device(config.device)
    animator, guidance = guided_animator(config, device=place)
    _check_whole(config, guidance.name, grid)
    batch = batch_size(config.grid_batch, animator, name=config.animator)
    size = window_size(config.size, animator, full_frame=config.full_frame, default=512)
    if size is not None:
        check_window(animator, size, name=config.animator)
    model = model or ready_head(config.head)
    poses, shape = poses_of(config, model), parse_shape(config.shape)
    poses = poses if grid is None else grid.poses(poses[0])
    picture = frame_of(config.photo, config.frame)
    with naming(config.photo):
        portrait = open_portrait(picture, head=model, size=size, landmarks=config.landmarks, face=config.face)
    portrait = with_landmarks_of(portrait, animator)
    motion = motion_of(config.motion, animator, name=config.animator)
    fit = said_poses(portrait, poses, motion, fps=config.fps, shape=shape)
    prepared = time.perf_counter()

    def frames() -> Iterator[Frame]:
        if grid is None:
            animations = perform([portrait], fit, animator, device=place)
        else:
            animations = perform_in_batches(portrait, fit, animator, batch=batch, device=place)
        made = shown(picture, portrait, animations, full_frame=config.full_frame)
        return marked_frames(made, config.mark)

    provenance = None
    if config.provenance:
        provenance = provenance_of(
            config.animator,
            inputs=[config.photo, config.track],
            moved_pixels_only=not has_weights(animator),
        )
    how: dict[str, Any] = {"fps": config.fps, "provenance": provenance}
    preview = write_preview(config.output, frames, **how) if config.preview else None
    if grid is None:
        written = write_frames(config.output, frames(), count=len(poses), what="edit", **how)
    else:
        written = write_grid(config.output, frames(), grid, provenance=provenance)
    angles = {"photo": head_pose(portrait.fit.params)[0], "first": head_pose(fit.params)[0]}
    return {
        "output": str(config.output),
        "frames": len(poses),
        "width": written.width,
        "height": written.height,
        "animator": config.animator,
        "guidance": guidance.name,
        "head": model.model_id,
        "head_pose": {**angles, "last": head_pose(fit.params)[-1]},
        "reprojection_percent_iod": portrait.fit.report["reprojection_percent_iod"],
        "preview": None if preview is None else str(preview),
        "mark": config.mark,
        "provenance": provenance_facts(provenance),
        "seconds": {"prepare": prepared - began, "animate": time.perf_counter() - prepared},
    }


def guided_animator(config: Any, *, device: torch.device | str = "cpu") -> tuple[Animator, GuidanceOptions]:
    """The animator of a command's options, with what guides it, and the guidance that was settled on.

    Args:
        config: with ``animator``, ``checkpoint`` and the fields that `guidance_of` reads.
        device: where it works.

    Raises:
        HeadwarpError: what `open_animator`, `settled` and `guide_animator` raise.
    """
    animator = open_animator(config.animator, config.checkpoint, device=device)
    guidance = settled(guidance_of(config), guided_by(animator), name=config.animator)
    return guide_animator(animator, guidance, name=config.animator, device=device), guidance


def describe(report: Mapping[str, Any]) -> str:
    """What was written, and the head's pose before and after."""
    angles = {
        name: "yaw {:+.0f}, pitch {:+.0f}, roll {:+.0f}".format(*(float(angle) for angle in value))
        for name, value in report["head_pose"].items()
    }
    return "\n".join(
        [
            f"{report['output']}: {report['width']} x {report['height']}, {report['frames']} frame(s)",
            f"  head: {angles['photo']} in the photo; {angles['last']} at the end",
            f"  provenance: {report['provenance']}",
        ]
    )


def parse_shape(words: Sequence[str]) -> dict[int, float]:
    """``["0=1.5"]`` to a mapping of coefficients' numbers.

    Raises:
        HeadwarpError: not a number, =, an amount; or a number twice.

    Example:
        >>> parse_shape(["0=1.5", "3=-1"])
        {0: 1.5, 3: -1.0}
    """
    amounts = parse_amounts(words, option="--shape")
    wrong = [name for name in amounts if not (name.isascii() and name.isdigit())]
    if wrong:
        raise HeadwarpError(f"--shape: expected a number from 0 on before the =, got {wrong[0]!r}")
    return {int(name): amount for name, amount in amounts.items()}


def _check(config: Edit, grid: Grid | None) -> None:
    if grid is None and config.grid_batch is not None:
        raise HeadwarpError("--grid-batch: belongs to --grid, got it alone; leave it out")
    if config.preview and config.track is None:
        raise HeadwarpError("--preview: belongs to the clip of a --track, got none; leave it out")
    if grid is not None:
        _check_grid(config, grid)
    said = [name for name in (*OF_HEADS, *OF_FACES) if _given(config, name)]
    if config.track is not None and said:
        raise HeadwarpError(f"--track: expected a track or a pose, got both (--{', --'.join(said)})")
    if config.size is not None and config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    check_rate(config.fps)
    if grid is not None:
        check_grid_output(config.output)
    elif config.track is None:
        check_output(config.output, PICTURES, what="one picture")
    else:
        check_output(config.output, CLIPS, what="a track")


def _check_grid(config: Edit, grid: Grid) -> None:
    if config.track is not None or config.motion.smooth:
        other = "--smooth" if config.track is None else "--track"
        raise HeadwarpError(f"--grid: expected poses without an order in time, got {other} too")
    said = parse_amounts(config.expression, option="--expression")
    twice = [
        axis.name
        for axis in grid.axes
        if axis.name in said or (axis.name in OF_HEADS + OF_FACES and _given(config, axis.name))
    ]
    if twice:
        raise HeadwarpError(f"--grid: expected {twice[0]} once, got an axis and --{twice[0]}; leave one out")


def _check_whole(config: Edit, guidance: str | None, grid: Grid | None) -> None:
    """Refuse what moves parts of a face where the head is one piece."""
    axes = field_names(grid)
    said = [name for name in OF_FACES if name in axes or _given(config, name)]
    if guidance == "depth" and said:
        raise HeadwarpError(
            f"--{said[0]}: depth turns the head as one piece; take --guidance mesh, keypoints or "
            "landmarks, or leave it out"
        )


def _given(config: Edit, name: str) -> bool:
    return getattr(config, name) != Edit.__dataclass_fields__[name].default


def poses_of(config: Edit, model: HeadModel) -> list[Pose]:
    """The pose that the options say, or those of the track.

    Raises:
        HeadwarpError: an expression that the head does not know, a malformed track, or a pose out of range.
    """
    known = expression_names(model)
    if config.track is not None:
        poses = read_pose_track(config.track, config.fps, expressions=known)
        return absolute(poses) if config.absolute else poses
    expressions = parse_amounts(config.expression, option="--expression")
    unknown = sorted(set(expressions) - set(known))
    if unknown:
        names = ", ".join(sorted(model.named_expressions)) or "none"
        raise HeadwarpError(f"--expression: no {', '.join(unknown)}; head {model.model_id} has {names}")
    return [
        Pose(
            yaw=config.yaw,
            pitch=config.pitch,
            roll=config.roll,
            jaw=config.jaw,
            gaze=config.gaze,
            blink=config.blink,
            expressions=expressions,
            relative=not config.absolute,
        )
    ]
