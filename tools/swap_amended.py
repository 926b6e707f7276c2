"""A swapped head as its picture shows it: made, fitted anew, and held otherwise by what is missing."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.detect import detect_faces
from ..flame.fitting import FitConfig, fit_views
from ..flame.model import HeadModel, restrict
from ..flame.params import DETECTED, HeadFit, HeadParams
from ..flame.posing import project_head, window_fit
from ..flame.replacement import Amendment, replaced_head
from ..geom.crops import Crop
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from ..training.data.portrait import Frame, to_frame
from ..warping.swap_engines import SwapTarget
from .performance import on_device
from .portrait import as_frames
from .swap_measures import GOALS, SwapErrors, apart_mm, expression_mm, swap_errors
from .swap_windows import target_windows

if TYPE_CHECKING:
    from .swap_scene import Scene

ROUNDS = 4
FRAMES = 5  # of a clip that are looked at
GAIN = 1.4  # a detector follows what is drawn by about two thirds
MOST_TURN = math.radians(8.0)
CONTOUR = 17  # leading points of the 68, which lie where the outline is seen and not on the mesh

SAME_MM = 1.2  # shapes nearer to each other than this: which of them a picture shows is chance
SLIGHT_MM = 0.5  # a target's expression below this: amending it would follow the error of a reading

Points = Float[np.ndarray, "L 2"]


@dataclass(frozen=True)
class Look:
    """How an amendment turned out, and the one to try next."""

    errors: SwapErrors
    following: Amendment


@dataclass(frozen=True)
class _Sample:
    """One frame of the target: its fit in the frame's pixels, its window and what is seen in that.

    Attributes:
        fit: of the frame, as the swap takes it.
        target: what the engine takes.
        crop: the window.
        seen: the window's own picture, fitted, in window pixels.
        wanted: landmarks that the swapped head should show, in window pixels.
    """

    fit: HeadFit
    target: SwapTarget
    crop: Crop
    seen: HeadFit
    wanted: Points


@torch.no_grad()
def seen_amendment(scene: Scene, *, landmarks: str, rounds: int = ROUNDS) -> Amendment | None:
    """How the head is held so that the fit of its picture has the target's pose and expression.

    Frames of the target, spread over it, are made and read. What their landmarks lack of those of the
    source's shape in the target's pose and expression is added to the landmarks that were drawn, and the
    source's shape fitted to these: the median of what that holds otherwise than the target is the next
    amendment.

    Args:
        scene: a mesh-driven engine's.
        landmarks: the detector's name.
        rounds: how often it is mended; one more picture tells whether the last one helped.

    Returns:
        The best by `best_amendment`, turned by at most 8 degrees; None where no face is found in the target's
        windows.
    """
    samples = _samples(scene, landmarks)
    if not samples:
        return None
    start = Amendment.none(scene.fit.params.expression.shape[1])
    return best_amendment(lambda tried: _look(scene, samples, tried, landmarks), start, rounds)


def best_amendment(look: Callable[[Amendment], Look | None], start: Amendment, rounds: int) -> Amendment:
    """The best of those that are tried in turn.

    The sum of the three errors, each in its goal, decides. Those that miss the goal of pose by more than the
    first one did are out, and those that miss that of shape so, unless the first one missed the pose.

    Args:
        look: what an amendment does; None: nothing is seen of it.
        start: the first one.
        rounds: how many follow.
    """
    current, best, least = start, start, math.inf
    first: SwapErrors | None = None
    for _ in range(rounds + 1):
        seen = look(current)
        if seen is None:
            break
        first = first or seen.errors
        cost = _cost(seen.errors, first)
        if cost < least:
            best, least = current, cost
        current = seen.following
    return best


def _cost(errors: SwapErrors, first: SwapErrors) -> float:
    """The sum of the errors, each in its goal; infinite where one is out of bounds."""
    turned = first.pose_deg > GOALS.pose_deg  # a pose that was missed is worth some shape
    if not turned and errors.shape_ratio > max(GOALS.shape_ratio, first.shape_ratio):
        return math.inf
    if errors.pose_deg > max(GOALS.pose_deg, first.pose_deg):
        return math.inf
    pairs = zip(dataclasses.astuple(errors), dataclasses.astuple(GOALS), strict=True)
    return float(sum(error / goal for error, goal in pairs))


def _samples(scene: Scene, landmarks: str) -> list[_Sample]:
    seen = np.flatnonzero((scene.fit.status == DETECTED).numpy())
    chosen = sorted({int(n) for n in seen[np.linspace(0, len(seen) - 1, FRAMES).round().astype(int)]})
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
    model, source = head.stencil.model, head.seen.fit
    return [
        _Sample(one, target, crop, fit, _drawn(model, replaced_head(model, source, fit), len(points)))
        for (one, target, crop, points), fit in zip(found, fits, strict=True)
    ]


def _look(scene: Scene, samples: Sequence[_Sample], tried: Amendment, landmarks: str) -> Look | None:
    """The samples made with an amendment, and read."""
    head = scene.sources.heads[0]
    model, side, source = head.stencil.model, head.stencil.size, head.seen.fit
    kept, read, lacking = [], [], []
    for sample in samples:
        posed = replaced_head(model, source, sample.fit, amended=tried)
        posed = window_fit(posed, sample.crop, side)
        points = _read(_made(scene, sample, posed), landmarks)
        if points is None:
            continue
        kept.append(sample)
        read.append(points)
        lacking.append(_drawn(model, posed, len(points)) + GAIN * (sample.wanted - points))
    if not kept:
        return None
    shape = source.params.shape
    free, known, next_ = _fitted(scene, read), _fitted(scene, read, shape), _fitted(scene, lacking, shape)
    wanted = _joined([sample.seen for sample in kept])
    errors = swap_errors(model, _joined(free), _joined(known), wanted, shape)
    if apart_mm(model, shape, wanted.shape) < SAME_MM:
        errors = dataclasses.replace(errors, shape_ratio=0.0)
    following = _amendment([sample.fit for sample in kept], next_)
    if expression_mm(model, wanted) < SLIGHT_MM:
        errors = dataclasses.replace(errors, expression_percent=0.0)
        following = dataclasses.replace(Amendment.none(len(following.expression)), turn=following.turn)
    return Look(errors, following)


def _made(scene: Scene, sample: _Sample, posed: HeadFit) -> Float[Tensor, "1 3 S S"]:
    given = sample.target.driving
    driving = scene.sources.heads[0].posed(posed)
    driving = dataclasses.replace(driving, image=given.image, region_map=given.region_map)
    target = on_device(dataclasses.replace(sample.target, driving=driving), scene.device)
    return scene.engine.swap(scene.cache, target).image.cpu()


def _read(image: Float[Tensor, "1 3 S S"], landmarks: str) -> Points | None:
    """Landmarks of the face nearest to the window's middle, as steady as the detector allows."""
    frame = to_frame(image)
    found = detect_faces(frame, detector=landmarks)
    if not found:
        return None
    middle = np.full(2, frame.shape[0] / 2)
    nearest = min(found, key=lambda face: _distance(face.landmarks, middle))
    return steadied(frame, nearest.landmarks, landmarks)


def steadied(frame: Frame, points: np.ndarray, landmarks: str) -> Points:
    """Detected landmarks, read many times over where the detector can; x and y.

    Args:
        frame: RGB.
        points: as they were detected, in pixels.
        landmarks: the detector's name.
    """
    from ..flame.detect.steady import steady_landmarks

    if landmarks != "mediapipe" or not np.isfinite(points[:, :2]).all():
        return points[:, :2]
    return steady_landmarks(frame, points)


def _distance(points: np.ndarray, middle: np.ndarray) -> float:
    return float(np.linalg.norm(np.nanmean(points[:, :2], axis=0) - middle))


def _drawn(model: HeadModel, fit: HeadFit, count: int) -> Points:
    """Landmarks of one frame's mesh, its residual left out; NaN where there is none, and of outlines."""
    face = restrict(model, _family(model, fit))
    points = np.full((count, 2), np.nan)
    points[face.indices.numpy()] = project_head(face, fit.params, fit.camera)[0, :, :2].double().numpy()
    if count == 68:
        points[:CONTOUR] = np.nan
    return points


def _fitted(scene: Scene, points: Sequence[Points], shape: Tensor | None = None) -> list[HeadFit]:
    """Landmarks in windows fitted with one shape, the one that is given where it is known."""
    if not points:
        return []
    stencil = scene.sources.heads[0].stencil
    config = FitConfig(shape=None if shape is None else tuple(shape.tolist()))
    sizes = [(stencil.size, stencil.size)] * len(points)
    family = _family(stencil.model, scene.fit)
    return fit_views(stencil.model, points, sizes, family=family, config=config)


def _joined(fits: Sequence[HeadFit]) -> HeadParams:
    """The parameters of fits of one frame that share their shape."""
    names = [field.name for field in dataclasses.fields(HeadParams) if field.name != "shape"]
    joined = {name: torch.cat([getattr(fit.params, name) for fit in fits]) for name in names}
    return HeadParams(shape=fits[0].params.shape, **joined)


def _amendment(fits: Sequence[HeadFit], held: Sequence[HeadFit]) -> Amendment:
    """By what the second fits are held otherwise than the first, the median of them."""
    own, other = _joined(fits), _joined(held)
    turns = axis_angle_to_matrix(own.rotation).mT @ axis_angle_to_matrix(other.rotation)
    turn = matrix_to_axis_angle(turns).median(0).values
    return Amendment(
        turn=turn * min(1.0, MOST_TURN / max(float(turn.norm()), 1e-9)),
        expression=(other.expression - own.expression).median(0).values,
        jaw=(other.jaw - own.jaw).median(0).values,
    )


def _family(model: HeadModel, fit: HeadFit) -> str:
    family = str(fit.report.get("family", "mediapipe"))
    return family if family in model.landmarks else next(iter(model.landmarks))
