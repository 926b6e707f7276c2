"""``headwarp animate``: a photo driven by a video, another photo, a fit, a pose track, or landmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from ..flame.driving import Transfer
from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame
from ..training.data.visible_mark import marked_frames
from ..warping.animators import Animator
from .frame_files import preview_path, write_frames, write_preview
from .guidance import GuidanceName, guidance_of, guide_animator, guided_by, settled, warn_of_mesh
from .heads import ready_head
from .motion import Motion
from .motion_options import MotionOptions, motion_of
from .openings import Wanted, Window, open_film, open_photo, open_stage, roles_of, transfer_of
from .performance import (
    CLIPS,
    PICTURES,
    Precision,
    animated,
    check_device,
    check_output,
    check_rate,
    check_window,
    inference_of,
    open_animator,
    provenance_facts,
    provenance_of,
    window_size,
    windows,
)
from .portrait import as_frames
from .shows import Audio, check_faces, is_film, photo_show
from .stage import Stage


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
    size: int | None = None,
    face: int | None = None,
    also: Mapping[int, Any] | None = None,
    window: Window | None = None,
    full_frame: bool = False,
    motion: Motion | None = None,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One photo in every pose of a driver, or several of its faces, each by a driver of its own.

    Args:
        source: a path, PIL, numpy or torch picture; a list of them for animators that fuse several.
        driving: a clip, photo, folder, fit file, pose track or file of landmarks (paths), a `HeadFit`, poses,
            or frames; frames are read once, and a second time only for an animator that looks at the driver.
        animator: a registered name, or one from ``load_animator(name, checkpoint)``; `prepare_animator_` of
            `warping.inference` makes that one quicker.
        transfer: relative or absolute motion, reference frame; see `Transfer`.
        head: ``"builtin"``, a head file, a loaded model; None: ``$HEADWARP_HEAD``, else the built-in.
        size: side of the square window around the head; None: 256, and in whole frames as large as the head
            is in its picture.
        face: which face of the source by rank; None: the largest.
        also: drivers of other faces of the source, by their ranks; ``face`` then must be said, and whole
            frames come. The shortest driver ends the result; it has the rate of ``driving``.
        window: ``"face"``, the square around the head, or ``"whole"``, the centred square of whole pictures,
            in which no head is looked for: for animators that look at pictures alone (`fomm`), whose default
            it is, and those that keypoints guide.
        full_frame: whole photos with the window pasted back; else the square window around the head.
        motion: how much of the driver's motion is taken over, and within what; see `Motion`. For fitted
            heads.
        device: where the animator works.

    Returns:
        uint8 (size, size, 3) windows, or (H, W, 3) whole frames, one for every driving frame, each made when
        it is asked for. What can be wrong with the input is raised before the first one.

    Raises:
        NoFaceError: no face in the source or the driver.
        HeadwarpError: unknown animator, contradictory options, or a file that cannot be read.
    """
    place = check_device(device)
    maker = open_animator(animator, device=place) if isinstance(animator, str) else animator
    warn_of_mesh(maker)
    name = animator if isinstance(animator, str) else type(maker).__name__
    roles = [(face, driving), *(also or {}).items()]
    check_faces([rank for rank, _ in roles])
    full_frame = full_frame or len(roles) > 1
    side = window_size(size, maker, full_frame=full_frame, default=256)
    if side is not None:
        check_window(maker, side, name=name)
    if isinstance(source, Iterator):  # every face looks at the same picture
        source = next(as_frames(source))
    if len(roles) > 1:
        head = ready_head(head)
    wanted = Wanted(maker, name, head, transfer, motion, side, window, full_frame, place)
    stages = [open_stage(source, driver, wanted, face=rank, several=len(roles) > 1) for rank, driver in roles]

    def made(stage: Stage) -> Iterator[Frame]:
        animations = animated(maker, stage.cache, stage.drivings())
        return stage.pasted(animations) if full_frame else windows(animations)

    first = source[0] if isinstance(source, (list, tuple)) else source
    return photo_show(stages, lambda: next(as_frames(first)), made, maker, fps=None, loop=False).frames()


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
    transfer_of(config)
    motion_of(config.motion)
    if config.size is not None and config.size < 16:
        raise HeadwarpError(f"--size: expected 16 pixels or more, got {config.size}")
    roles = roles_of(config)
    check_faces([role.face for role in roles])
    filmed = is_film(config.source)
    if filmed or len(roles) > 1:
        config = replace(config, full_frame=True)
    if config.panels and config.full_frame:
        raise HeadwarpError("--panels: expected --panels or --full-frame, got both")
    check_rate(config.fps)
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
    opened = open_film if filmed else open_photo
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
