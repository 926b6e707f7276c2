"""``headwarp swap``: one person's head in place of another's, in a photo or a clip."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ..flame.model import HeadModel
from ..flame.params import STATUS_NAMES
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame
from ..training.data.visible_mark import marked_frames
from ..warping.swap_engines import Checkpoints, SwapEngine, load_engine
from .frame_files import preview_path, write_frames, write_preview
from .heads import ready_head
from .motion import Motion
from .motion_options import MotionOptions, motion_of
from .performance import (
    CLIPS,
    PICTURES,
    check_device,
    check_output,
    check_rate,
    provenance_facts,
    provenance_of,
    warn,
)
from .shows import check_faces, read_role
from .swap_amended import ROUNDS
from .swap_motion import check_led
from .swap_scene import Put, Scene, SceneOptions, made_frames, open_scenes
from .timeline import in_step

Engine = Literal["geometry", "heser", "aligner"]


@dataclass(frozen=True)
class Swap:
    """Put one person's head in place of another's, in a photo or a clip that keeps its motion.

    Only with the consent of both: see Responsible use in the README.
    """

    source: tuple[Path, ...]
    """Photo of the head that is put in; several, or a clip, of one person are fused."""
    target: Path
    """Photo, clip or folder of pictures whose head is replaced."""
    output: Path
    """Clip to write (.mp4); a picture (.png, .jpg) where the target is one frame."""
    engine: Engine = "geometry"
    """geometry needs no weights; aligner and heser are learned."""
    checkpoint: tuple[Path, ...] = ()
    """Weights of a learned engine: of the aligner; for heser, of the aligner and of the blender."""
    size: int = 512
    """Side in pixels of the window around the head in which the work is done."""
    head: str | None = None
    """builtin, or a head file; $HEADWARP_HEAD where not given."""
    landmarks: str = "mediapipe"
    """mediapipe or face-alignment."""
    segmentation: str = "rendered"
    """What tells the target's head from its neck: rendered from the fit; bisenet; a file of its weights; or
    class maps, a .png or a folder of one a frame, as headwarp segment writes them."""
    face: int | None = None
    """Which face of the target, by rank; the largest and longest seen where not given."""
    source_face: int | None = None
    """Which face of the sources, by rank; the largest where not given."""
    also: tuple[str, ...] = ()
    """Another face of the target and the photo or clip of the head for it, FACE=SOURCE, or FACE=SOURCE@FACE
    for a face of the source by rank; may be repeated. --face then says which face --source replaces."""
    motion: Annotated[MotionOptions, arg(name="")] = field(default_factory=MotionOptions)
    pose_rounds: int = ROUNDS
    """How often the result is fitted anew to mend its pose and expression (engine geometry); 0: never."""
    fps: float | None = None
    """Frames per second: of a clip other frames are shown, in step with its sound. Where not given, the
    target's own, 25 where it has none."""
    preview: bool = False
    """First write the beginning in little, NAME.preview.mp4."""
    device: str = "cpu"
    """Where the engine works: cpu, cuda."""
    mark: bool = False
    """Draw a visible mark into every frame: that it is altered."""
    provenance: bool = True
    """Say in the file, and in a JSON beside it, how it was made."""


def swap(
    source: Any,
    target: Any,
    *,
    engine: str | SwapEngine = "geometry",
    checkpoint: Checkpoints = None,
    head: str | Path | HeadModel | None = None,
    size: int = 512,
    face: int | None = None,
    source_face: int | None = None,
    also: Mapping[int, Any] | None = None,
    motion: Motion | None = None,
    device: str = "cpu",
) -> Iterator[Frame]:
    """One person's head in place of another's, in every frame of a photo or clip.

    Args:
        source: a path, PIL, numpy or torch picture, or a clip of the person whose head is put in; a list of
            them is fused.
        target: photo, clip, folder (paths) or pictures; read twice.
        engine: a name of `warping.swap_engines`, or an engine.
        checkpoint: weights of a learned engine; for ``heser`` two files, the aligner's and the blender's.
        head: ``"builtin"``, a head file, a loaded model; None: ``$HEADWARP_HEAD``, else the built-in.
        size: side of the square window around the head in which the work is done.
        face: which face of the target by rank; None: the largest.
        source_face: which face of the sources by rank; None: the largest.
        also: what is put in the place of other faces, by their ranks; ``face`` then must be said.
        motion: how much of the target's motion is taken over; see `Motion`. For the engine ``geometry``.
        device: where the engine works.

    Returns:
        uint8 (H, W, 3) whole frames of the target, one for every frame, each made when it is asked for;
        frames without a head are the target's. Outside the head's surroundings every bit is the target's.
        What can be wrong with the input is raised before the first one.

    Raises:
        NoFaceError: no face in a source or the target.
        HeadwarpError: an unknown engine, a checkpoint that is missing, or a file that cannot be read.
    """
    place = check_device(device)
    maker = load_engine(engine, checkpoint) if isinstance(engine, str) else engine
    name = engine if isinstance(engine, str) else type(maker).__name__
    taken = (motion or Motion()).held_by(maker, name)
    check_led(taken, maker, name=name)
    options = SceneOptions(size=size, device=place, motion=taken)
    puts = [Put(source, face, source_face), *(Put(item, rank) for rank, item in (also or {}).items())]
    check_faces([put.face for put in puts])
    return made_frames(open_scenes(puts, target, maker, ready_head(head), options))


def run(config: Swap) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``fps``, ``width``, ``height``, ``engine``, ``size``, ``head``, ``sources``
        (``views``, ``main``, ``apart_mm``), ``target`` (frames ``detected``, ``interpolated``, ``missing``),
        ``turned_deg`` (to mend its pose), ``notes``, ``audio``, ``preview``, ``mark``, ``provenance``,
        ``seconds``; of several ``faces`` the three of each.

    Raises:
        HeadwarpError: contradictory options, or what `swap` raises.
    """
    began = time.perf_counter()
    check_rate(config.fps)
    check_output(config.output, [*CLIPS, *PICTURES], what="a clip or a picture")
    if config.preview:
        preview_path(config.output)
    roles = [read_role(word) for word in config.also]
    check_faces([config.face, *(role.face for role in roles)])
    place = check_device(config.device)
    engine = load_engine(config.engine, config.checkpoint)
    motion = motion_of(config.motion, engine, name=config.engine)
    check_led(motion, engine, name=config.engine)
    model = ready_head(config.head)
    options = SceneOptions(
        size=config.size,
        device=place,
        landmarks=config.landmarks,
        segmentation=config.segmentation,
        pose_rounds=config.pose_rounds,
        motion=motion,
    )
    puts = [Put(list(config.source), config.face, config.source_face)]
    puts += [Put([role.driving], role.face, role.driving_face) for role in roles]
    scenes = open_scenes(puts, config.target, engine, model, options)
    target = scenes[0].target
    rate = config.fps or target.fps
    numbers = in_step(scenes[0].fit.frames, target.fps if target.timed else rate, rate)
    if config.output.suffix.lower() in PICTURES and len(numbers) != 1:
        raise HeadwarpError(
            f"--output: expected a clip (.mp4) for {len(numbers)} frames, got {config.output.name}"
        )
    notes = [note for scene in scenes for note in scene.sources.notes]
    for note in notes:
        warn(note)
    prepared = time.perf_counter()
    provenance = None
    if config.provenance:
        inputs = [*config.source, *(role.driving for role in roles), config.target]
        provenance = provenance_of(config.engine, inputs=inputs)

    def frames() -> Iterator[Frame]:
        return marked_frames(made_frames(scenes, numbers), config.mark)

    how: dict[str, Any] = {"fps": rate, "audio_from": target.audio_from, "provenance": provenance}
    preview = write_preview(config.output, frames, **how) if config.preview else None
    written = write_frames(config.output, frames(), count=len(numbers), what="swap", **how)
    seconds = {"prepare": prepared - began, "swap": time.perf_counter() - prepared}
    faces = [_facts(scene) for scene in scenes]
    return {
        "output": str(config.output),
        "frames": written.frames,
        "fps": float(rate),
        "width": written.width,
        "height": written.height,
        "engine": config.engine,
        "size": config.size,
        "head": model.model_id,
        **faces[0],
        **({"faces": faces} if len(faces) > 1 else {}),
        "notes": notes,
        "audio": target.audio_from is not None and config.output.suffix.lower() in CLIPS,
        "preview": None if preview is None else str(preview),
        "mark": config.mark,
        "provenance": provenance_facts(provenance),
        "seconds": {**seconds, "per_frame": seconds["swap"] / written.frames},
    }


def _facts(scene: Scene) -> dict[str, Any]:
    """What a report says of one face."""
    sources, status = scene.sources, scene.fit.status
    return {
        "sources": {"views": sources.views, "main": sources.main, "apart_mm": list(sources.apart_mm)},
        "target": {name: int((status == number).sum()) for number, name in enumerate(STATUS_NAMES)},
        "turned_deg": 0.0 if scene.amended is None else math.degrees(float(scene.amended.turn.norm())),
    }


def describe(report: Mapping[str, Any]) -> str:
    """What was written, of which sources, and which frames stayed as they were."""
    lines = [
        f"{report['output']}: {report['width']} x {report['height']}, {report['frames']} frame(s) at "
        f"{report['fps']:g} per second, {'with' if report['audio'] else 'no'} sound",
        f"  head: {report['sources']['views']} view(s), engine {report['engine']}",
    ]
    for face in report.get("faces", [report]):
        if face["target"]["missing"]:
            lines.append(
                f"  {face['target']['missing']} frame(s) show no head of this face and stay as they are"
            )
    if report["preview"]:
        lines.append(f"  preview: {report['preview']}")
    lines += [f"  note: {note}" for note in report["notes"]]
    return "\n".join([*lines, f"  provenance: {report['provenance']}"])
