"""What a swapped head shows: frames of a target made with an amendment, read and fitted anew."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.detect import detect_faces
from ..flame.fitting import FitConfig, fit_views
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit, HeadParams
from ..flame.posing import window_fit
from ..flame.replacement import Amendment, replaced_head
from ..geom.crops import Crop
from ..training.data.portrait import Frame, to_frame
from ..warping.swap_engines import SwapTarget
from .performance import on_device
from .portrait import as_frames
from .swap_measures import Deviation, SwapErrors, deviation, errors_of
from .swap_windows import target_windows

if TYPE_CHECKING:
    from .swap_scene import Scene

Points = Float[np.ndarray, "L 2"]


@dataclass(frozen=True)
class Sample:
    """One frame of the target: its fit in the frame's pixels, its window and what is seen in that.

    Attributes:
        fit: of the frame, as the swap takes it.
        target: what the engine takes.
        crop: the window.
        seen: the window's own picture, fitted, in window pixels.
    """

    fit: HeadFit
    target: SwapTarget
    crop: Crop
    seen: HeadFit


@dataclass(frozen=True)
class Look:
    """How samples turned out: the errors, and what they are made of."""

    errors: SwapErrors
    lacking: Deviation


def target_samples(scene: Scene, landmarks: str, count: int) -> list[Sample]:
    """Up to ``count`` frames spread over those of the target that were detected and show a face again.

    Args:
        scene: a mesh-driven engine's.
        landmarks: the detector's name.
        count: 1 or more.
    """
    seen = np.flatnonzero((scene.fit.status == DETECTED).numpy())
    if not len(seen):
        return []
    chosen = sorted({int(n) for n in seen[np.linspace(0, len(seen) - 1, count).round().astype(int)]})
    head, found = scene.sources.heads[0], []
    for number, frame in enumerate(itertools.islice(as_frames(scene.target.pictures), chosen[-1] + 1)):
        if number not in chosen:
            continue
        one = scene.fit.select([number])
        for _, pictured, target in target_windows([frame], one, head, scene.given):
            points = None if target is None else _read(target.image, landmarks)
            if pictured is not None and target is not None and points is not None:
                found.append((one, target, pictured.crop, points))
    fits = _fitted(scene, [points for *_, points in found])
    return [Sample(one, target, crop, fit) for (one, target, crop, _), fit in zip(found, fits, strict=True)]


def looked(
    scene: Scene, samples: Sequence[Sample], tried: Amendment, landmarks: str, *, passes: int | None = None
) -> Look | None:
    """Samples made with an amendment and fitted anew; None where one of them shows no face.

    Args:
        scene, landmarks: as of the samples.
        samples: one or more.
        tried: how the head is held.
        passes: of `steady_landmarks`; None: as many as it takes by itself.
    """
    head = scene.sources.heads[0]
    model, side, source = head.stencil.model, head.stencil.size, head.seen.fit
    read = []
    for sample in samples:
        posed = window_fit(replaced_head(model, source, sample.fit, amended=tried), sample.crop, side)
        points = _read(_made(scene, sample, posed), landmarks, passes)
        if points is None:
            return None
        read.append(points)
    shape = source.params.shape
    free, known = (_joined(_fitted(scene, read, each)) for each in (None, shape))
    target = targets_of(samples)
    lacking = deviation(model, free, known, target, shape)
    return Look(errors_of(model, lacking, free.shape, target), lacking)


def targets_of(samples: Sequence[Sample]) -> HeadParams:
    """What is seen in the samples' own pictures."""
    return _joined([sample.seen for sample in samples])


def _made(scene: Scene, sample: Sample, posed: HeadFit) -> Float[Tensor, "1 3 S S"]:
    given = sample.target.driving
    driving = scene.sources.heads[0].posed(posed)
    driving = dataclasses.replace(driving, image=given.image, region_map=given.region_map)
    target = on_device(dataclasses.replace(sample.target, driving=driving), scene.device)
    return scene.engine.swap(scene.cache, target).image.cpu()


def _read(image: Float[Tensor, "1 3 S S"], landmarks: str, passes: int | None = None) -> Points | None:
    """Landmarks of the face nearest to the window's middle, as steady as the detector allows."""
    frame = to_frame(image)
    found = detect_faces(frame, detector=landmarks)
    if not found:
        return None
    middle = np.full(2, frame.shape[0] / 2)
    nearest = min(found, key=lambda face: _distance(face.landmarks, middle))
    return steadied(frame, nearest.landmarks, landmarks, passes)


def steadied(frame: Frame, points: np.ndarray, landmarks: str, passes: int | None = None) -> Points:
    """Detected landmarks, read many times over where the detector can; x and y.

    Args:
        frame: RGB.
        points: as they were detected, in pixels.
        landmarks: the detector's name.
        passes: of `steady_landmarks`; None: as many as it takes by itself.
    """
    from ..flame.detect.steady import PASSES, steady_landmarks

    if landmarks != "mediapipe" or not np.isfinite(points[:, :2]).all():
        return points[:, :2]
    return steady_landmarks(frame, points, passes=passes or PASSES)


def _distance(points: np.ndarray, middle: np.ndarray) -> float:
    return float(np.linalg.norm(np.nanmean(points[:, :2], axis=0) - middle))


def _fitted(scene: Scene, points: Sequence[Points], shape: Tensor | None = None) -> list[HeadFit]:
    """Landmarks in windows fitted with one shape, the one that is given where it is known."""
    if not points:
        return []
    stencil = scene.sources.heads[0].stencil
    config = FitConfig(shape=None if shape is None else tuple(shape.tolist()))
    sizes = [(stencil.size, stencil.size)] * len(points)
    family = family_of(stencil.model, scene.fit)
    return fit_views(stencil.model, points, sizes, family=family, config=config)


def _joined(fits: Sequence[HeadFit]) -> HeadParams:
    """The parameters of fits of one frame that share their shape."""
    names = [field.name for field in dataclasses.fields(HeadParams) if field.name != "shape"]
    joined = {name: torch.cat([getattr(fit.params, name) for fit in fits]) for name in names}
    return HeadParams(shape=fits[0].params.shape, **joined)


def family_of(model: HeadModel, fit: HeadFit) -> str:
    """The landmark family that a fit was made with, as far as the model has it."""
    family = str(fit.report.get("family", "mediapipe"))
    return family if family in model.landmarks else next(iter(model.landmarks))
