"""``headwarp animate``: a photo driven by a video, another photo, a fit, or a pose track."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor
from tyro.conf import FlagCreatePairsOff, arg

from ..flame.driving import Driven, Transfer, transfer_motion
from ..flame.model import HeadModel
from ..flame.params import STATUS_NAMES, HeadFit
from ..flame.posing import apply_pose
from ..geom.crops import Crop, crop_image
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame, Portrait, to_frame, to_image
from ..warping.animators import Animator
from .drivers import Driver, open_driver
from .heads import ready_head
from .performance import (
    CLIPS,
    PICTURES,
    Precision,
    check_device,
    check_output,
    check_window,
    full_frames,
    inference_of,
    open_animator,
    perform,
    progress,
    provenance_facts,
    provenance_of,
    windows,
)
from .portrait import as_frames, open_portrait


@dataclass(frozen=True)
class Animate:
    """Let a photo follow a video, another photo, a fit, or a pose track.

    FOMM's names are understood too: --source_image, --driving_video, --result_video, --find_best_frame,
    --adapt_scale.
    """

    source: Annotated[tuple[Path, ...], arg(aliases=["--source-image"])]
    """The photo; several of one person for animators that fuse them."""
    driving: Annotated[Path, arg(aliases=["--driving-video"])]
    """Video, photo, folder of pictures, fit (.npz), or pose track (.csv, .json)."""
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
    panels: bool = False
    """Source, driver and result side by side."""
    full_frame: bool = False
    """Paste the window back into the whole photo; else the square window around the head is written."""
    size: int = 256
    """Side of the window in pixels."""
    animator: str = "geometry"
    """What makes the pixels; geometry needs no weights."""
    checkpoint: Path | None = None
    """Weights of the animator."""
    head: str | None = None
    """builtin, or a head file; $HEADWARP_HEAD where not given."""
    landmarks: str = "mediapipe"
    """mediapipe or face-alignment."""
    face: int | None = None
    """Which face of the photo, by rank; the largest where not given."""
    driving_face: int | None = None
    """Which face of the driver, by rank; the largest and longest seen where not given."""
    fps: float | None = None
    """Frames per second; the driver's own where not given, 25 where it has none."""
    device: str = "cpu"
    """Where the animator works: cpu, cuda."""
    compile: bool = False
    """torch.compile the animator's network: a minute at the first frame, quicker frames from then on."""
    precision: Precision = "32"
    """Of a compiled network: bf16 is quicker where the device computes in it."""
    provenance: bool = True
    """Say in the file, and in a JSON beside it, how it was made."""


@dataclass(frozen=True)
class Performance:
    """Everything that is known before the first picture is made.

    Attributes:
        portraits: the sources; the first one is posed.
        photo: the first source's whole picture.
        driver: what drives.
        fit: the first portrait's head in every driving frame, in its window.
        driven: how the motion was transferred; None for a pose track.
    """

    portraits: tuple[Portrait, ...]
    photo: Frame
    driver: Driver
    fit: HeadFit
    driven: Driven | None


def animate(
    source: Any,
    driving: Any,
    *,
    animator: str | Animator = "geometry",
    transfer: Transfer | None = None,
    head: str | Path | HeadModel | None = None,
    size: int = 256,
    face: int | None = None,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One photo in every pose of a driver.

    Args:
        source: a path, PIL, numpy or torch picture; a list of them for animators that fuse several.
        driving: a clip, photo, folder, fit file or pose track (paths), a `HeadFit`, poses, or frames; frames
            are read once, and a second time only for an animator that looks at the driver.
        animator: a registered name, or one from ``load_animator(name, checkpoint)``; `prepare_animator_` of
            `warping.inference` makes that one quicker.
        transfer: relative or absolute motion, reference frame; see `Transfer`.
        head: ``"builtin"``, a head file, a loaded model; None: ``$HEADWARP_HEAD``, else the built-in.
        size: side of the square window around the head.
        face: which face of the source by rank; None: the largest.
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
    check_window(maker, size, name=animator if isinstance(animator, str) else type(maker).__name__)
    model = ready_head(head)
    driver = open_driver(driving, model)
    performance = prepare(source, driver, model, transfer=transfer, size=size, face=face)
    return windows(performed(performance, maker, device=place))


def prepare(
    source: Any,
    driver: Driver,
    model: HeadModel,
    *,
    transfer: Transfer | None = None,
    size: int = 256,
    face: int | None = None,
    landmarks: str | Path = "mediapipe",
) -> Performance:
    """Open the sources and bring the driver's motion into the first one's window.

    Raises:
        NoFaceError: a source has no face.
        HeadwarpError: a reference frame or relative motion is asked of a pose track, which says itself what
            it is.
    """
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    photo = next(iter(as_frames(items[0])))
    opened = [photo, *items[1:]]
    portraits = tuple(
        open_portrait(item, head=model, size=size, landmarks=landmarks, face=face) for item in opened
    )
    own = portraits[0].fit
    if driver.fit is not None:
        driven = transfer_motion(model, own, driver.fit, transfer)
        return Performance(portraits, photo, driver, driven.fit, driven)
    transfer = transfer or Transfer()
    if transfer.best_frame is not None or transfer.find_best_frame:
        raise HeadwarpError(
            "best frame: expected a driver with a head, got a pose track, which needs no reference"
        )
    poses = list(driver.poses or ())
    if transfer.relative is not None:
        poses = [replace(pose, relative=transfer.relative) for pose in poses]
    return Performance(portraits, photo, driver, apply_pose(model, own, poses), None)


def performed(performance: Performance, animator: Animator, *, device: Any = "cpu"):
    """The animations of a performance, made as they are asked for."""
    images = driver_windows(performance) if "image" in animator.needs_driving else None
    return perform(performance.portraits, performance.fit, animator, device=device, images=images)


def driver_windows(performance: Performance) -> Iterator[Tensor] | None:
    """The driver's pictures in the window, ``(1, 3, S, S)``; None where it has none (a fit, a track)."""
    if performance.driven is None or performance.driver.pictures is None:
        return None
    size = performance.fit.size[0]
    crop: Crop = performance.driven.crop
    return (crop_image(to_image(frame), crop, size) for frame in as_frames(performance.driver.pictures))


def run(config: Animate) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``fps``, ``width``, ``height``, ``relative``, ``reference_frame``, ``driver``
        (frames ``detected``, ``interpolated``, ``missing``), ``animator``, ``audio``, ``provenance``,
        ``seconds``.

    Raises:
        HeadwarpError: contradictory options, or what `animate` raises.
    """
    began = time.perf_counter()
    transfer = _transfer(config)
    if config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    if config.panels and config.full_frame:
        raise HeadwarpError("--panels: expected --panels or --full-frame, got both")
    check_output(config.output, [*CLIPS, *PICTURES], what="a clip or a picture")
    place = check_device(config.device)
    chosen = inference_of(compile=config.compile, precision=config.precision)
    animator = open_animator(config.animator, config.checkpoint, device=place, inference=chosen)
    check_window(animator, config.size, name=config.animator)
    model = ready_head(config.head)
    driver = open_driver(
        config.driving, model, fps=config.fps, face=config.driving_face, landmarks=config.landmarks
    )
    performance = prepare(
        list(config.source),
        driver,
        model,
        transfer=transfer,
        size=config.size,
        face=config.face,
        landmarks=config.landmarks,
    )
    count = performance.fit.frames
    if config.output.suffix.lower() in PICTURES and count != 1:
        raise HeadwarpError(f"--output: expected a clip (.mp4) for {count} frames, got {config.output.name}")
    prepared = time.perf_counter()
    frames = _frames(config, performance, performed(performance, animator, device=place))
    provenance = (
        provenance_of(config.animator, inputs=[*config.source, config.driving]) if config.provenance else None
    )
    height, width = _write(config.output, frames, performance, provenance)
    seconds = {"prepare": prepared - began, "animate": time.perf_counter() - prepared}
    return {
        "output": str(config.output),
        "frames": count,
        "fps": float(driver.fps),
        "width": width,
        "height": height,
        **_transfer_facts(performance),
        "animator": config.animator,
        "head": model.model_id,
        "audio": driver.audio_from is not None and config.output.suffix.lower() in CLIPS,
        "provenance": provenance_facts(provenance),
        "seconds": {**seconds, "per_frame": seconds["animate"] / count},
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
    return "\n".join([*lines, f"  provenance: {report['provenance']}"])


def _transfer(config: Animate) -> Transfer:
    if config.relative and config.absolute:
        raise HeadwarpError("--relative, --absolute: expected one of them, got both")
    relative = True if config.relative else (False if config.absolute else None)
    return Transfer(relative, config.adapt_scale, config.best_frame, config.find_best_frame)


def _transfer_facts(performance: Performance) -> dict[str, Any]:
    driven, fit = performance.driven, performance.driver.fit
    if driven is None or fit is None:
        poses = performance.driver.poses or ()
        return {"relative": poses[0].relative, "reference_frame": None, "driver": None}
    counts = {name: int((fit.status == number).sum()) for number, name in enumerate(STATUS_NAMES)}
    return {"relative": driven.relative, "reference_frame": driven.reference, "driver": counts}


def _frames(config: Animate, performance: Performance, animations: Iterator[Any]) -> Iterator[Frame]:
    if config.full_frame:
        return full_frames(performance.photo, performance.portraits[0], animations)
    if not config.panels:
        return windows(animations)
    source = to_frame(performance.portraits[0].image)
    drivers = driver_windows(performance)
    if drivers is None:
        return (np.concatenate([source, frame], axis=1) for frame in windows(animations))
    return (
        np.concatenate([source, to_frame(driver), frame], axis=1)
        for driver, frame in zip(drivers, windows(animations), strict=False)
    )


def _write(path: Path, frames: Iterable[Frame], performance: Performance, provenance: Any) -> tuple[int, int]:
    """Write the clip or the one picture; returns height and width."""
    from ..training.data.media import VideoWriter, write_image

    if path.suffix.lower() in PICTURES:
        frame = next(iter(frames))
        write_image(path, frame, provenance=provenance)
        return frame.shape[0], frame.shape[1]
    driver = performance.driver
    with VideoWriter(path, driver.fps, audio_from=driver.audio_from, provenance=provenance) as writer:
        for frame in progress(frames, performance.fit.frames, "animate"):
            writer.write(frame)
    return frame.shape[0], frame.shape[1]
