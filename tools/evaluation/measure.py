"""A trial performed by every animator, and the numbers of it, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from ...flame.fitting import FitConfig, SolverConfig, fit_landmarks
from ...flame.landmarks import MEDIAPIPE_68
from ...flame.model import HeadModel
from ...flame.params import HeadParams
from ...flame.posing import head_pose
from ...geom.guidance import Driving, Source
from ...training.data.portrait import Frame, to_frame, to_image
from ...training.metrics.head import aed_exp_l1, apd, aucon, aucon_active, prmse, unit_activations
from ...training.metrics.identity import aed_id, aed_id_sq, csim
from ...training.metrics.image import l1, psnr, ssim
from ...training.metrics.landmarks import akd, akd_l1, missing_face_rate, temporal_jitter, to_256
from ...training.metrics.multiscale import ms_ssim, smallest_side
from ...warping.animators import Animator
from ...warping.guided import refers
from ..landmark_motion import common_count
from ..pages.pictures import made_small
from ..performance import on_device
from .flows import motion_scores
from .networks import Networks
from .sights import Sight, Sights, found_in, look
from .trials import Made, Moment, Place, Trial, Watch

HEADS = FitConfig(mode="clip", solver=SolverConfig(smooth=0.0))
"""How heads are fitted to compare them: one identity a sequence, every frame by itself otherwise."""
OF_HEADS = ("apd", "prmse", "aed_exp_l1", "aucon", "aucon_active")
SHOWN = 3  # rows of a sheet a trial
SIDE = 256  # pixels of the longer side of a picture that is kept for the sheet, at most


@dataclass(frozen=True)
class Setting:
    """What all trials of a run share.

    Attributes:
        animators: by the name that the report has for them, ready on the device.
        model: the head.
        networks: those whose weights are there.
        device: where animators work.
        shown: rows of the sheet a trial; 0 keeps no picture.
    """

    animators: Mapping[str, Animator]
    model: HeadModel
    networks: Networks = field(default_factory=Networks)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shown: int = SHOWN

    @property
    def landmarks(self) -> int:
        """How many landmarks all animators are driven by."""
        return common_count(self.animators)


@dataclass(frozen=True)
class Scores:
    """Numbers of one animator in one trial.

    Attributes:
        frames: by metric, a value a frame, NaN where not scored.
        means: by metric, over the frames; also of what has no value a frame.
        count: of frames.
        features: of generated pictures, for the distance of sets; one a frame or none.
    """

    frames: Mapping[str, Float[ndarray, " T"]]
    means: Mapping[str, float]
    count: int
    features: tuple[Float[Tensor, " F"], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A trial measured.

    Attributes:
        scores: by animator.
        reference: features that generated ones are set against: of the true frames, or of the source.
        rows: pictures for sheet and page: source, driver (the part of its frame that generated ones cover),
            every animator, of `SIDE` pixels at most; of the steps of `shown_steps`.
        times: number of every measured frame in its clip.
    """

    scores: Mapping[str, Scores]
    reference: tuple[Float[Tensor, " F"], ...]
    rows: list[list[Frame]]
    times: tuple[int, ...] = ()


@torch.no_grad()
def measure(trial: Trial, setting: Setting, watch: Watch | None = None) -> Outcome:
    """Perform a trial by every animator and measure it.

    Args:
        trial: what is performed.
        setting: by whom, and how it is measured.
        watch: sees every frame as it is made.
    """
    source = on_device(trial.portrait.source(), setting.device)
    start = None if trial.reference is None else on_device(trial.reference, setting.device)
    caches = {name: _begun(animator, source, start) for name, animator in setting.animators.items()}
    pictures: dict[str, list[dict[str, float]]] = {name: [] for name in caches}
    faces, count = trial.place is not None, len(trial.numbers)
    sights = {name: Sights(count, faces=faces) for name in caches}
    drivers = Sights(count, faces=faces)
    times: list[int] = []
    rows: list[list[Frame]] = []
    shown = to_frame(trial.portrait.image)
    kept = shown_steps(count, setting.shown)
    for step in trial.steps():
        times.append(step.time)
        drivers.add(look(step.frame, _places(step.place), setting.networks, certain=True))
        driving = on_device(step.driving, setting.device)
        driver = step.frame if step.window is None else step.window
        made: dict[str, Made] = {}
        for name, animator in setting.animators.items():
            animation = animator.animate(caches[name], driving)
            image = animation.image.cpu()
            known: dict[str, float] = {}
            if trial.truth:
                known |= _picture_scores(image, to_image(step.frame), setting.networks)
            if step.motion is not None:
                known |= motion_scores(animation, animator.explain(caches[name], driving), step.motion)
            pictures[name].append(known)
            picture = to_frame(image)
            sight = look(picture, step.expected, setting.networks)
            sights[name].add(sight)
            face = None if step.place is None else sight.found
            made[name] = Made(picture, step.frame if trial.truth else None, known.get("l1"), face)
        if len(times) - 1 in kept:
            seen = (shown, driver, *(each.picture for each in made.values()))
            rows.append([made_small(picture, SIDE) for picture in seen])
        if watch is not None:
            watch(Moment(step.time, shown, driver, made))
    own = look(shown, _places(trial.place), setting.networks, certain=True)
    size = (shown.shape[0], shown.shape[1])
    compare = _Comparison(trial.truth, times, drivers, own, size, trial.driver_size, setting.model, faces)
    scores = {name: compare.scores(pictures[name], sights[name]) for name in caches}
    reference = drivers.features if trial.truth else Sights.of([own]).features
    return Outcome(scores, reference, rows, tuple(times))


def _places(place: Place | None) -> list[Place]:
    return [] if place is None else [place]


def _begun(animator: Animator, source: Source, start: Driving | None) -> Any:
    """The animator's cache; of one that looks at pictures alone, relative to a driving frame if given."""
    cache = animator.encode([source])
    if start is None or not refers(animator):
        return cache
    return animator.refer(cache, start)


def shown_steps(count: int, rows: int) -> set[int]:
    """Which of some steps are shown: spread from the first to the last; one alone is the middle one.

    Example:
        >>> sorted(shown_steps(9, 3)), shown_steps(9, 1), shown_steps(9, 0)
        ([0, 4, 8], {4}, set())
    """
    places = np.linspace(0, count - 1, rows) if rows > 1 else [count // 2] * rows
    return {int(place) for place in places}


def _picture_scores(image: Tensor, target: Tensor, networks: Networks) -> dict[str, float]:
    found = {"l1": float(l1(image, target)), "psnr": float(psnr(image, target))}
    found["ssim"] = float(ssim(image, target))
    if min(image.shape[2:]) >= smallest_side():
        found["ms_ssim"] = float(ms_ssim(image, target))
    if networks.lpips is not None:
        found["lpips"] = float(networks.lpips(image, target))
    return found


@dataclass(frozen=True)
class _Comparison:
    """What generated frames of one trial are compared with."""

    truth: bool
    times: Sequence[int]
    drivers: Sights
    source: Sight
    size: tuple[int, int]
    driver_size: tuple[float, float]
    model: HeadModel
    faces: bool = True

    def scores(self, pictures: Sequence[Mapping[str, float]], sights: Sights) -> Scores:
        names = dict.fromkeys(name for values in pictures for name in values)
        frames = {name: np.array([values.get(name, np.nan) for values in pictures]) for name in names}
        means = {name: _mean(values) for name, values in frames.items()}
        parts = [self._keypoints(sights)] if self.truth and self.faces else []
        if self.faces:
            parts += [self._presence(sights), self._identity(sights), self._heads(sights)]
        for more, own in parts:
            frames |= more
            means |= {name: _mean(values) for name, values in more.items()} | own
        return Scores(frames, means, sights.seen, sights.features)

    def _keypoints(self, sights: Sights) -> _Part:
        made, true, still = (
            to_256(np.nan_to_num(points[..., list(MEDIAPIPE_68), :2]), self.size)
            for points in (sights.meshes, self.drivers.meshes, self.source.points)
        )
        found = sights.found
        euclidean = akd(made, true, found, copied=still)
        manhattan = akd_l1(made, true, found, copied=still)
        own = {"akd": euclidean.mean, "akd_detected": euclidean.detected_only, "akd_l1": manhattan.mean}
        return {"akd": euclidean.per_frame, "akd_l1": manhattan.per_frame}, own

    def _presence(self, sights: Sights) -> _Part:
        found = sights.found
        own = {
            "missing_face_rate": missing_face_rate(found),
            "jitter": _jitter(self.times, sights.meshes, self.size),
            "jitter_driver": _jitter(self.times, self.drivers.meshes, self.driver_size),
        }
        return {"missing_face_rate": (~found).astype(np.float64)}, own

    def _identity(self, sights: Sights) -> _Part:
        known = sights.embedded & (self.drivers.embedded if self.truth else self.source.embedding is not None)
        rows = np.flatnonzero(known)
        if not len(rows):
            return {}, {}
        made = sights.embeddings(rows)
        true = self.drivers.embeddings(rows) if self.truth else self._own().expand_as(made)
        values = {"csim": csim(made, true), "aed_id": aed_id(made, true), "aed_id_sq": aed_id_sq(made, true)}
        return {name: _spread(value, rows, sights.seen) for name, value in values.items()}, {}

    def _own(self) -> Float[Tensor, " D"]:
        assert self.source.embedding is not None
        return self.source.embedding

    def _heads(self, sights: Sights) -> _Part:
        rows = np.flatnonzero(sights.found)
        if not len(rows):
            return {name: np.full(sights.seen, np.nan) for name in OF_HEADS}, {}
        made = fitted_heads(self.model, sights.meshes[rows], self.size)
        height, width = self.driver_size
        true = fitted_heads(self.model, self.drivers.meshes[rows], (round(height), round(width)))
        poses = head_pose(made), head_pose(true)
        units = unit_activations(self.model, made), unit_activations(self.model, true)
        values = {
            "apd": apd(*poses),
            "prmse": prmse(*poses),
            "aed_exp_l1": aed_exp_l1(made.expression, true.expression),
            "aucon": aucon(*units),
            "aucon_active": aucon_active(*units),
        }
        return {name: _spread(value, rows, sights.seen) for name, value in values.items()}, {}


_Part = tuple[dict[str, Float[ndarray, " T"]], dict[str, float]]  # values a frame; numbers without such


def fitted_heads(model: HeadModel, points: Float[ndarray, "T 478 3"], size: tuple[int, int]) -> HeadParams:
    """Heads of a sequence as metrics compare them: see `HEADS`.

    Args:
        model: the head that is fitted.
        points: of the face mesh, in pixels.
        size: (H, W) of the frames.
    """
    return fit_landmarks(model, points[..., :2], size, config=HEADS).params


def _jitter(times: Sequence[int], points: Float[ndarray, "T 478 3"], size: tuple[float, float]) -> float:
    """`temporal_jitter` of the 68 points over frames that are neighbours in their clip."""
    line = np.full((times[-1] - times[0] + 1, len(MEDIAPIPE_68), 2), np.nan)
    line[np.asarray(times) - times[0]] = to_256(points[:, list(MEDIAPIPE_68), :2], size)
    return temporal_jitter(line, found_in(line))


def _spread(values: Tensor, rows: Sequence[int] | ndarray, count: int) -> Float[ndarray, " T"]:
    line = np.full(count, np.nan)
    line[np.asarray(rows)] = values.numpy()
    return line


def _mean(values: Float[ndarray, " T"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
