"""The pose of a swapped head as its picture shows it: made, fitted anew, and turned by what is missing."""

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
from ..flame.fitting import fit_views
from ..flame.params import DETECTED, HeadFit
from ..flame.posing import window_fit
from ..flame.replacement import replaced_head
from ..geom.crops import Crop
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from ..training.data.portrait import to_frame
from ..warping.swap_engines import SwapTarget
from .performance import on_device
from .portrait import as_frames
from .swap_windows import target_windows

if TYPE_CHECKING:
    from .swap_scene import Scene

POSE_ROUNDS = 2
FRAMES = 5  # of a clip that are looked at
GAIN = 0.8
MOST_TURN = math.radians(8.0)


@dataclass(frozen=True)
class _Sample:
    """One frame of the target: its fit in the frame's pixels, and its window."""

    fit: HeadFit
    target: SwapTarget
    crop: Crop


@torch.no_grad()
def seen_turn(scene: Scene, *, landmarks: str, rounds: int = POSE_ROUNDS) -> Float[Tensor, "3"]:
    """By how much the head has to be turned so that the fit of its picture has the target's pose.

    A source's pixels carry what its shape does not: a smile, a shadow, a beard. The detector takes part of
    it for another pose. Frames of the target, spread over it, are made and fitted anew with one shape; the
    median of what they lack turns the head, a few times over.

    Args:
        scene: a mesh-driven engine's.
        landmarks: the detector's name.
        rounds: how often the turn is mended; one more picture tells whether the last one helped.

    Returns:
        ``turn`` of `replaced_head`, at most 8 degrees; of all that were tried the one after which the poses
        lay nearest to the target's. Zero where no face is found in what was made.
    """
    samples = _samples(scene)
    return nearest_turn(lambda turn: _missing(scene, samples, turn, landmarks), rounds)


def nearest_turn(missing: Callable[[Tensor], Tensor], rounds: int) -> Float[Tensor, "3"]:
    """A damped fixed point: the turn that leaves the least missing.

    Args:
        missing: what a turn leaves, axis-angle in the head's axes, a row a frame; no row: not known.
        rounds: how often the turn is mended.

    Example:
        >>> wanted = torch.tensor([0.0, 0.05, 0.0])
        >>> turn = nearest_turn(lambda turn: (wanted - turn)[None], 4)
        >>> bool((turn - wanted).norm() < 1e-3)
        True
    """
    turn = best = torch.zeros(3)
    least = math.inf
    for number in range(rounds + 1):
        left = missing(turn)
        if not len(left):
            break
        size = float(left.norm(dim=-1).mean())
        if size < least:
            best, least = turn, size
        if number < rounds:
            step = axis_angle_to_matrix(GAIN * left.median(0).values)
            turn = matrix_to_axis_angle(axis_angle_to_matrix(turn) @ step)
            turn = turn * min(1.0, MOST_TURN / max(float(turn.norm()), 1e-9))
    return best


def _samples(scene: Scene) -> list[_Sample]:
    seen = np.flatnonzero((scene.fit.status == DETECTED).numpy())
    chosen = sorted({int(n) for n in seen[np.linspace(0, len(seen) - 1, FRAMES).round().astype(int)]})
    samples = []
    frames = itertools.islice(as_frames(scene.target.pictures), chosen[-1] + 1)
    for number, frame in enumerate(frames):
        if number not in chosen:
            continue
        one = scene.fit.select([number])
        windows = target_windows([frame], one, scene.sources.heads[0], scene.given)
        for _, pictured, target in windows:
            if pictured is not None and target is not None:
                samples.append(_Sample(one, target, pictured.crop))
    return samples


def _missing(
    scene: Scene, samples: Sequence[_Sample], turn: Float[Tensor, "3"], landmarks: str
) -> Float[Tensor, "N 3"]:
    """From the pose seen in the pictures to the target's, axis-angle in the head's axes."""
    head = scene.sources.heads[0]
    model, side = head.stencil.model, head.stencil.size
    wanted, points = [], []
    for sample in samples:
        posed = replaced_head(model, head.seen.fit, sample.fit, turn=turn)
        driving = head.posed(window_fit(posed, sample.crop, side))
        given = sample.target.driving
        driving = dataclasses.replace(driving, image=given.image, region_map=given.region_map)
        target = on_device(dataclasses.replace(sample.target, driving=driving), scene.device)
        made = scene.engine.swap(scene.cache, target).image
        found = detect_faces(to_frame(made.cpu()), detector=landmarks)
        if found:
            wanted.append(axis_angle_to_matrix(sample.fit.params.rotation[0]))
            middle = np.full(2, side / 2)
            nearest = min(found, key=lambda face: _distance(face.landmarks, middle))
            points.append(nearest.landmarks[:, :2])
    if not points:
        return torch.zeros(0, 3)
    fits = fit_views(model, points, [(side, side)] * len(points), family=_family(scene.fit))
    own = [axis_angle_to_matrix(fit.params.rotation[0]) for fit in fits]
    return matrix_to_axis_angle(torch.stack([a.mT @ b for a, b in zip(own, wanted, strict=True)]))


def _distance(points: np.ndarray, middle: np.ndarray) -> float:
    return float(np.linalg.norm(np.nanmean(points[:, :2], axis=0) - middle))


def _family(fit: HeadFit) -> str:
    return str(fit.report.get("family", "mediapipe"))
