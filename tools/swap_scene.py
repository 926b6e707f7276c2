"""A head swap before and while it is made: sources and targets opened, frames with their heads put in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ..flame.detect import detector_names
from ..flame.detect.regions import RegionSegmenter, load_segmenter
from ..flame.model import HeadModel
from ..flame.params import MISSING, HeadFit
from ..flame.posing import pixels_per_metre
from ..flame.replacement import Amendment
from ..geom.errors import HeadwarpError
from ..training.data.portrait import Frame
from ..warping.composite import paste_back
from ..warping.swap_engines import SwapEngine, Swapped, SwapSource, SwapTarget
from .drivers import Driver, open_faces
from .motion import Motion, Moved
from .performance import on_device, ready
from .portrait import as_frames
from .swap_amended import ROUNDS, seen_amendment
from .swap_motion import led_head
from .swap_sources import Sources, open_sources
from .swap_windows import target_windows
from .timeline import picked


@dataclass(frozen=True)
class SceneOptions:
    """How a `Scene` is opened; each field as in `Swap`.

    Attributes:
        size: side of the window.
        face, source_face: rank of a face; None: the largest.
        device: where the engine and the segmenter work.
        landmarks: a detector's name.
        segmentation: what tells the target's head.
        pose_rounds: how often pose and expression of the result are mended.
        motion: how much of the target's motion is taken over.
    """

    size: int = 512
    face: int | None = None
    source_face: int | None = None
    device: torch.device | str = "cpu"
    landmarks: str = "mediapipe"
    segmentation: str = "rendered"
    pose_rounds: int = ROUNDS
    motion: Motion = field(default_factory=Motion)


@dataclass(frozen=True)
class Put:
    """A head and the face in whose place it is put.

    Attributes:
        source: a photo, a clip, or a list of them, of one person.
        face: of the target, by rank; None: the largest.
        source_face: of the sources, by rank; None: the largest.
    """

    source: Any
    face: int | None = None
    source_face: int | None = None


@dataclass(frozen=True)
class Scene:
    """Source and target before the first picture is made.

    Attributes:
        engine: what makes the head.
        sources: the heads that are put in; ``given`` is the main one as the engine has it.
        cache: of the engine.
        target: its pictures.
        fit: of the face whose place is taken.
        segmenter: of the target's regions.
        device: where the engine works.
        amended: of `replaced_head`.
        motion: how much of the target's motion is taken over.
    """

    engine: SwapEngine
    sources: Sources
    given: SwapSource
    cache: Any
    target: Driver
    fit: HeadFit
    segmenter: RegionSegmenter
    device: torch.device
    amended: Amendment | None = None
    motion: Motion = field(default_factory=Motion)

    @cached_property
    def led(self) -> Moved:
        """The head that is put in, in every frame of the target."""
        head, fps = self.sources.heads[0], float(self.target.fps)
        model, amended = head.stencil.model, self.amended
        return led_head(model, head.seen.fit, self.fit, self.motion, fps=fps, amended=amended)

    @property
    def metre(self) -> float:
        """Pixels of the target: the larger, the nearer the head."""
        return float(pixels_per_metre(self.fit.params, self.fit.camera)[self.fit.status != MISSING].median())


def made_frames(scenes: Sequence[Scene], numbers: Sequence[int] | None = None) -> Iterator[Frame]:
    """The target's frames with every scene's head put in, the farthest first.

    Args:
        scenes: of the same target.
        numbers: which of its frames, rising; a frame that is shown twice is made once. None: all.
    """
    for scene in scenes:
        scene.motion.tell(scene.led.beyond)
    shown = list(range(scenes[0].fit.frames)) if numbers is None else sorted(set(numbers))

    def once() -> Iterator[Frame]:
        made = picked(lambda: as_frames(scenes[0].target.pictures), shown)
        for scene in sorted(scenes, key=lambda each: each.metre):
            made = frames_of(scene, made, shown)
        return made

    place = {number: index for index, number in enumerate(shown)}
    return once() if numbers is None else picked(once, [place[number] for number in numbers])


def frames_of(
    scene: Scene, frames: Iterable[Frame] | None = None, numbers: Sequence[int] | None = None
) -> Iterator[Frame]:
    """The target's frames with the head put in; at the target's own resolution.

    Args:
        scene, frames, numbers: as for `swapped_windows`.
    """
    for frame, swapped in swapped_windows(scene, frames, numbers):
        yield frame if swapped is None else pasted(frame, *swapped)


@torch.no_grad()
def swapped_windows(
    scene: Scene, frames: Iterable[Frame] | None = None, numbers: Sequence[int] | None = None
) -> Iterator[tuple[Frame, tuple[SwapTarget, Swapped, Any] | None]]:
    """Every frame of the target with what the engine made of its window; None where no head is.

    Args:
        scene: from `open_scene`.
        frames: the target's, as where other heads of theirs were replaced before; None: its own.
        numbers: of each frame, its number in the target; None: 0, 1, ...
    """
    from ..training.data.media import read_ahead

    windows = target_windows(
        as_frames(scene.target.pictures) if frames is None else frames,
        scene.fit,
        scene.sources.heads[0],
        scene.given,
        segmenter=scene.segmenter,
        led=scene.led.fit,
        numbers=numbers,
    )
    with contextlib.closing(read_ahead(windows, depth=2)) as ahead:  # a second core tells regions
        for frame, seen, target in ahead:
            if seen is None or target is None:
                yield frame, None
                continue
            made = scene.engine.swap(scene.cache, on_device(target, scene.device))
            yield frame, (target, on_device(made, torch.device("cpu")), seen.crop)


def pasted(frame: Frame, target: SwapTarget, swapped: Swapped, crop: Any) -> Frame:
    """The whole frame with the window put back; where nothing changed it keeps its bits.

    Args:
        frame: of the target.
        target: what the engine was given.
        swapped: what it made.
        crop: the window.
    """
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
    """`open_scenes` of one face, as ``options`` say.

    Args:
        source: one or several of one person, as for `headwarp.swap`.
        target: as for `headwarp.swap`.
        engine: that swaps.
        model: the head that is fitted.
        options: see `SceneOptions`.
    """
    options = options or SceneOptions()
    (scene,) = open_scenes([Put(source, options.face, options.source_face)], target, engine, model, options)
    return scene


def open_scenes(
    puts: Sequence[Put], target: Any, engine: SwapEngine, model: HeadModel, options: SceneOptions
) -> list[Scene]:
    """Fit every head and face, cut the sources out and encode them.

    Args:
        puts: whose head comes where.
        target: as for `headwarp.swap`.
        engine: that swaps.
        model: the head that is fitted.
        options: of all of them.

    Raises:
        NoFaceError: no face in a source or the target.
        HeadwarpError: a target without pictures, or a window that the engine does not take.
    """
    if options.pose_rounds < 0:
        raise HeadwarpError(f"--pose-rounds: expected 0 or more, got {options.pose_rounds}")
    size, step, device = options.size, engine.window_multiple, torch.device(options.device)
    if size < 64 or size % step:
        raise HeadwarpError(f"--size: expected 64 pixels or more in multiples of {step}, got {size}")
    segmenter = load_segmenter(options.segmentation, head=model, device=device)
    targets = open_faces(target, model, [put.face for put in puts], landmarks=options.landmarks)
    return [
        _opened(put, of_face, engine, model, segmenter, options)
        for put, of_face in zip(puts, targets, strict=True)
    ]


def _opened(
    put: Put,
    target: Driver,
    engine: SwapEngine,
    model: HeadModel,
    segmenter: RegionSegmenter,
    options: SceneOptions,
) -> Scene:
    landmarks, device = options.landmarks, torch.device(options.device)
    assert target.fit is not None
    sources = open_sources(
        put.source, target.fit, model, size=options.size, landmarks=landmarks, face=put.source_face
    )
    given = [on_device(head.swap_source(), device) for head in sources.heads]
    with torch.no_grad():
        cache = ready(engine, device).encode(given)
    main = sources.heads[0].swap_source()
    scene = Scene(engine, sources, main, cache, target, target.fit, segmenter, device, motion=options.motion)
    if engine.checkpoints or options.pose_rounds < 1 or landmarks not in detector_names():
        return scene  # an engine that has learned sees the pose in the target's picture
    amended = seen_amendment(scene, landmarks=landmarks, rounds=options.pose_rounds)
    return dataclasses.replace(scene, amended=amended)
