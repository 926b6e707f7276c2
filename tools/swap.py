"""``headwarp swap``: one person's head in place of another's, in a photo or a clip."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..flame.detect import detector_names
from ..flame.detect.regions import RegionSegmenter, load_segmenter
from ..flame.model import HeadModel
from ..flame.params import STATUS_NAMES, HeadFit
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame
from ..training.data.visible_mark import marked_frames
from ..warping.composite import paste_back
from ..warping.swap_engines import Checkpoints, SwapEngine, Swapped, SwapSource, SwapTarget, load_engine
from .drivers import Driver, open_clip, open_driver
from .frame_files import write_frames
from .heads import ready_head
from .performance import (
    CLIPS,
    PICTURES,
    check_device,
    check_output,
    on_device,
    provenance_facts,
    provenance_of,
    ready,
    warn,
)
from .portrait import as_frames
from .swap_pose import POSE_ROUNDS, seen_turn
from .swap_sources import Sources, open_sources
from .swap_windows import target_windows

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
    pose_rounds: int = POSE_ROUNDS
    """How often the result is fitted anew to mend the pose of its head (engine geometry); 0: never."""
    fps: float | None = None
    """Frames per second; the target's own where not given, 25 where it has none."""
    device: str = "cpu"
    """Where the engine works: cpu, cuda."""
    mark: bool = False
    """Draw a visible mark into every frame: that it is altered."""
    provenance: bool = True
    """Say in the file, and in a JSON beside it, how it was made."""


@dataclass(frozen=True)
class SceneOptions:
    """How a `Scene` is opened; each field as in `Swap`.

    Attributes:
        size: side of the window.
        face, source_face: rank of a face; None: the largest.
        device: where the engine and the segmenter work.
        landmarks: a detector's name.
        segmentation: what tells the target's head.
        fps: frames per second; None: the target's own.
        pose_rounds: how often the pose of the result is mended.
    """

    size: int = 512
    face: int | None = None
    source_face: int | None = None
    device: torch.device | str = "cpu"
    landmarks: str = "mediapipe"
    segmentation: str = "rendered"
    fps: float | None = None
    pose_rounds: int = POSE_ROUNDS


@dataclass(frozen=True)
class Scene:
    """Source and target before the first picture is made; ``turn`` is that of `replaced_head`."""

    engine: SwapEngine
    sources: Sources
    given: SwapSource
    cache: Any
    target: Driver
    fit: HeadFit
    segmenter: RegionSegmenter
    device: torch.device
    turn: Tensor | None = None


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
    options = SceneOptions(size=size, face=face, source_face=source_face, device=place)
    scene = open_scene(source, target, maker, ready_head(head), options)
    return frames_of(scene)


def run(config: Swap) -> dict[str, Any]:
    """The command.

    Returns:
        ``output``, ``frames``, ``fps``, ``width``, ``height``, ``engine``, ``size``, ``head``, ``sources``
        (``views``, ``main``, ``apart_mm``), ``target`` (frames ``detected``, ``interpolated``, ``missing``),
        ``turned_deg`` (to mend its pose), ``notes``, ``audio``, ``mark``, ``provenance``, ``seconds``.

    Raises:
        HeadwarpError: contradictory options, or what `swap` raises.
    """
    began = time.perf_counter()
    check_output(config.output, [*CLIPS, *PICTURES], what="a clip or a picture")
    place = check_device(config.device)
    engine = load_engine(config.engine, config.checkpoint)
    model = ready_head(config.head)
    options = SceneOptions(
        size=config.size,
        face=config.face,
        source_face=config.source_face,
        device=place,
        landmarks=config.landmarks,
        segmentation=config.segmentation,
        fps=config.fps,
        pose_rounds=config.pose_rounds,
    )
    scene = open_scene(list(config.source), config.target, engine, model, options)
    if config.output.suffix.lower() in PICTURES and scene.fit.frames != 1:
        raise HeadwarpError(
            f"--output: expected a clip (.mp4) for {scene.fit.frames} frames, got {config.output.name}"
        )
    for note in scene.sources.notes:
        warn(note)
    prepared = time.perf_counter()
    provenance = None
    if config.provenance:
        provenance = provenance_of(config.engine, inputs=[*config.source, config.target])
    frames = marked_frames(frames_of(scene), config.mark)
    written = write_frames(
        config.output,
        frames,
        fps=scene.target.fps,
        count=scene.fit.frames,
        what="swap",
        audio_from=scene.target.audio_from,
        provenance=provenance,
    )
    seconds = {"prepare": prepared - began, "swap": time.perf_counter() - prepared}
    status = scene.fit.status
    sources = scene.sources
    return {
        "output": str(config.output),
        "frames": written.frames,
        "fps": float(scene.target.fps),
        "width": written.width,
        "height": written.height,
        "engine": config.engine,
        "size": config.size,
        "head": model.model_id,
        "sources": {"views": sources.views, "main": sources.main, "apart_mm": list(sources.apart_mm)},
        "target": {name: int((status == number).sum()) for number, name in enumerate(STATUS_NAMES)},
        "turned_deg": 0.0 if scene.turn is None else math.degrees(float(scene.turn.norm())),
        "notes": list(sources.notes),
        "audio": scene.target.audio_from is not None and config.output.suffix.lower() in CLIPS,
        "mark": config.mark,
        "provenance": provenance_facts(provenance),
        "seconds": {**seconds, "per_frame": seconds["swap"] / written.frames},
    }


def describe(report: Mapping[str, Any]) -> str:
    """What was written, of which sources, and which frames stayed as they were."""
    lines = [
        f"{report['output']}: {report['width']} x {report['height']}, {report['frames']} frame(s) at "
        f"{report['fps']:g} per second, {'with' if report['audio'] else 'no'} sound",
        f"  head: {report['sources']['views']} view(s), engine {report['engine']}",
    ]
    if report["target"]["missing"]:
        lines.append(
            f"  {report['target']['missing']} frame(s) show no head of this face and stay as they are"
        )
    lines += [f"  note: {note}" for note in report["notes"]]
    return "\n".join([*lines, f"  provenance: {report['provenance']}"])


def frames_of(scene: Scene) -> Iterator[Frame]:
    """The target's frames with the head put in; at the target's own resolution."""
    for frame, swapped in swapped_windows(scene):
        yield frame if swapped is None else pasted(frame, *swapped)


@torch.no_grad()
def swapped_windows(scene: Scene) -> Iterator[tuple[Frame, tuple[SwapTarget, Swapped, Any] | None]]:
    """Every frame of the target with what the engine made of its window; None where no head is."""
    from ..training.data.media import read_ahead

    pictures = as_frames(scene.target.pictures)
    windows = target_windows(
        pictures,
        scene.fit,
        scene.sources.heads[0],
        scene.given,
        segmenter=scene.segmenter,
        turn=scene.turn,
    )
    with contextlib.closing(read_ahead(windows, depth=2)) as ahead:  # a second core tells regions
        for frame, seen, target in ahead:
            if seen is None or target is None:
                yield frame, None
                continue
            made = scene.engine.swap(scene.cache, on_device(target, scene.device))
            yield frame, (target, on_device(made, torch.device("cpu")), seen.crop)


def pasted(frame: Frame, target: SwapTarget, swapped: Swapped, crop: Any) -> Frame:
    """The whole frame with the window put back; where nothing changed it keeps its bits."""
    whole = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]  # (1, 3, H, W)
    made = paste_back(whole, swapped.image, crop, mask=swapped.changed)
    return made[0].permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)


def open_scene(
    source: Any,
    target: Any,
    engine: SwapEngine,
    model: HeadModel,
    options: SceneOptions | None = None,
) -> Scene:
    """Fit both, cut the sources out and encode them.

    Raises:
        NoFaceError: no face in a source or the target.
        HeadwarpError: a target without pictures, or a window that the engine does not take.
    """
    options = options or SceneOptions()
    if options.pose_rounds < 0:
        raise HeadwarpError(f"--pose-rounds: expected 0 or more, got {options.pose_rounds}")
    size, step, device = options.size, engine.window_multiple, torch.device(options.device)
    if size < 64 or size % step:
        raise HeadwarpError(f"--size: expected 64 pixels or more in multiples of {step}, got {size}")
    segmenter = load_segmenter(options.segmentation, head=model, device=device)
    open_clip(target)  # a fit or a pose track has no pictures: say so before anything is fitted
    landmarks = options.landmarks
    driver = open_driver(target, model, fps=options.fps, face=options.face, landmarks=landmarks)
    assert driver.fit is not None
    sources = open_sources(
        source, driver.fit, model, size=size, landmarks=landmarks, face=options.source_face
    )
    given = [on_device(head.swap_source(), device) for head in sources.heads]
    with torch.no_grad():
        cache = ready(engine, device).encode(given)
    main = sources.heads[0].swap_source()
    scene = Scene(engine, sources, main, cache, driver, driver.fit, segmenter, device)
    if engine.checkpoints or options.pose_rounds < 1 or landmarks not in detector_names():
        return scene  # an engine that has learned sees the pose in the target's picture
    return dataclasses.replace(scene, turn=seen_turn(scene, landmarks=landmarks, rounds=options.pose_rounds))
