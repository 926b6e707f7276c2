"""A swapped head as its picture shows it: made, fitted anew, and held otherwise by what is missing.

A detector follows what is drawn by 5 to 70 percent, by the motion. So the motions that move landmarks most
are tried one by one and their pictures fitted, and the head is held by the combination that should then be
seen as the target's pose and expression and the source's shape: Gauss-Newton with measured slopes, which
every further picture mends (Broyden's rank-one update).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from ..flame.model import HeadModel, restrict
from ..flame.params import HeadFit
from ..flame.posing import project_head
from ..flame.replacement import Amendment, replaced_head
from .swap_looks import Look, Sample, family_of, looked, target_samples, targets_of
from .swap_measures import GOALS, Deviation, SwapErrors, apart_mm, expression_mm

if TYPE_CHECKING:
    from .swap_scene import Scene

ROUNDS = 5
FRAMES = 5  # of a clip that are looked at
MOTIONS = 37  # of the face; the turns come on top
COEFFICIENTS = 40  # the leading ones of shape and expression each

TRIED = 0.4  # percent of the face's height by which a motion is tried
MOST = 1.5  # percent by which landmarks are moved at most, root mean square: above it faces look drawn
STEP_TURN = math.radians(1.0)
MOST_TURN = math.radians(8.0)
JAW_RADIANS = 0.1  # as likely as one coefficient

SAME_MM = 1.2  # shapes nearer to each other than this: which of them a picture shows is chance
SLIGHT_MM = 0.5  # a target's expression below this: amending it would follow the error of a reading
EASE = 0.01  # of a coefficient, and of a percent moved, in the square sum that is made least
WEIGHTS = SwapErrors(shape_ratio=5.0, pose_deg=2.0, expression_percent=1.0)  # of errors in their goals
SLACK = 1.1  # of the bound of a shape, which a reading tells no better
WELL = SwapErrors(shape_ratio=0.9, pose_deg=0.5, expression_percent=0.8)  # of a goal: as good as none

Steps = Float[np.ndarray, "K"]


@torch.no_grad()
def seen_amendment(scene: Scene, *, landmarks: str, rounds: int = ROUNDS) -> Amendment | None:
    """How the head is held so that the fit of its picture has the target's pose and expression.

    Of a clip, frames spread over it are looked at; the motions are tried on the one with most expression, and
    one amendment is found for all.

    Args:
        scene: a mesh-driven engine's.
        landmarks: the detector's name.
        rounds: how often it is mended after the motions were tried; 0: not at all.

    Returns:
        The best by `best_steps`; None where no face is found in the target's windows or in what is made of
        them.
    """
    samples = target_samples(scene, landmarks, FRAMES)
    if not samples:
        return None
    model, source = scene.sources.heads[0].stencil.model, scene.sources.heads[0].seen.fit
    sizes = Sizes.of(model, samples, source)
    loudest = max(samples, key=lambda sample: expression_mm(model, sample.seen.params))
    motions = face_motions(model, source, loudest)
    if not sizes.expression:
        motions = motions.turns_only()
    if rounds < 1:
        return motions.amendment(np.zeros(motions.count))

    def look(steps: Steps) -> Look | None:
        return looked(scene, samples, motions.amendment(steps), landmarks)

    tries = [
        looked(scene, [loudest], motions.amendment(steps), landmarks, passes=1)
        for steps in [np.zeros(motions.count), *np.diag(motions.tried)]
    ]
    first = look(np.zeros(motions.count))
    seen = [each for each in tries if each is not None]
    if first is None or len(seen) < len(tries):
        return None
    slopes = _slopes([each.lacking for each in seen], motions.tried, sizes, len(samples))
    return motions.amendment(best_steps(look, first, slopes, motions, sizes, rounds))


@dataclass(frozen=True)
class Sizes:
    """What errors are counted in; 0 where one does not count.

    Attributes:
        shape: millimetres between the persons' shapes, 0 below `SAME_MM`.
        expression: millimetres of the target's, 0 below `SLIGHT_MM`.
    """

    shape: float
    expression: float

    @staticmethod
    def of(model: HeadModel, samples: Sequence[Sample], source: HeadFit) -> Sizes:
        """Of a target's samples and a source."""
        target = targets_of(samples)
        apart, size = apart_mm(model, source.params.shape, target.shape), expression_mm(model, target)
        return Sizes(apart if apart >= SAME_MM else 0.0, size if size >= SLIGHT_MM else 0.0)

    def counted(self, errors: SwapErrors) -> SwapErrors:
        """Errors without those that do not count."""
        return SwapErrors(
            shape_ratio=errors.shape_ratio if self.shape else 0.0,
            pose_deg=errors.pose_deg,
            expression_percent=errors.expression_percent if self.expression else 0.0,
        )

    def numbers(self, lacking: Deviation, frames: int) -> Float[np.ndarray, "N"]:
        """A deviation in its goals, weighted, so that its square sum is what should be small.

        Args:
            lacking: of as many frames, or of one that stands for them all.
            frames: T.
        """
        shape = lacking.shape * _over(WEIGHTS.shape_ratio, GOALS.shape_ratio * self.shape)
        of_size = GOALS.expression_percent / 100 * self.expression
        expression = lacking.expression * _over(WEIGHTS.expression_percent, of_size)
        turn = lacking.turn * _over(WEIGHTS.pose_deg, GOALS.pose_deg)
        moved = np.concatenate([expression, turn], axis=1)
        moved = np.broadcast_to(moved, (frames, moved.shape[1])) / frames**0.5
        return np.concatenate([shape, moved.ravel()])


def _over(weight: float, goal: float) -> float:
    return weight / goal if goal > 0 else 0.0


@dataclass(frozen=True)
class Motions:
    """Directions in which a head is held otherwise.

    Attributes:
        expression, jaw, shape, turn: of `Amendment`, for a step of 1 in each direction.
        moved: percent of the face's height by which landmarks move in the picture, over the root of their
            number, so that norms are root mean squares; nothing for turns.
        tried: the step with which each is tried.
    """

    expression: Float[np.ndarray, "E K"]
    jaw: Float[np.ndarray, "3 K"]
    shape: Float[np.ndarray, "S K"]
    turn: Float[np.ndarray, "3 K"]
    moved: Float[np.ndarray, "N K"]
    tried: Float[np.ndarray, "K"]

    @property
    def count(self) -> int:
        """K."""
        return len(self.tried)

    def amendment(self, steps: Steps) -> Amendment:
        """The sum of the motions, turned by at most 8 degrees."""
        turn = self.turn @ steps
        turn *= min(1.0, MOST_TURN / max(float(np.linalg.norm(turn)), 1e-9))
        parts = {
            "turn": turn,
            **{name: getattr(self, name) @ steps for name in ("expression", "jaw", "shape")},
        }
        return Amendment(**{name: torch.from_numpy(part).float() for name, part in parts.items()})

    def turns_only(self) -> Motions:
        """Those that turn the head and leave the face."""
        kept = np.linalg.norm(self.turn, axis=0) > 0
        parts = {field.name: getattr(self, field.name)[..., kept] for field in dataclasses.fields(self)}
        return Motions(**parts)

    def step(self, slopes: Float[np.ndarray, "M K"], missing: Float[np.ndarray, "M"], at: Steps) -> Steps:
        """Where the missing should be least by the slopes, the face moved by at most `MOST`.

        Args:
            slopes: of what is missing by the steps.
            missing: at the steps ``at``.
            at: where it was seen.
        """
        whole = np.concatenate([self.expression, self.jaw / JAW_RADIANS, self.shape, self.turn / JAW_RADIANS])
        stiff = EASE * (whole.T @ whole + self.moved.T @ self.moved)
        ease, steps = 1.0, at
        for _ in range(40):
            pull = slopes.T @ missing + ease * (stiff @ at)
            steps = at - np.linalg.solve(slopes.T @ slopes + ease * stiff, pull)
            if np.linalg.norm(self.moved @ steps) <= MOST:
                break
            ease *= 1.5
        return steps


def face_motions(model: HeadModel, source: HeadFit, sample: Sample) -> Motions:
    """The combinations of expression, jaw and shape that move landmarks most, and the turns.

    Principal directions of the landmarks in the picture, where a coefficient of 1 and a jaw of 0.1 radian
    are equally likely.

    Args:
        model: the head.
        source: whose head is put in, one frame.
        sample: in whose pose.
    """
    start = Amendment.none(source.params)
    counts = [min(COEFFICIENTS, len(start.expression)), 3, min(COEFFICIENTS, len(start.shape))]
    rows = np.eye(sum(counts))
    unit = Motions(
        expression=_padded(rows[: counts[0]], len(start.expression)),
        jaw=JAW_RADIANS * rows[counts[0] : counts[0] + 3],
        shape=_padded(rows[counts[0] + 3 :], len(start.shape)),
        turn=np.zeros((3, len(rows))),
        moved=np.zeros((1, len(rows))),
        tried=np.ones(len(rows)),
    )
    face = restrict(model, family_of(model, sample.seen))

    def drawn(amended: Amendment) -> Float[np.ndarray, "L 2"]:
        fit = replaced_head(model, source, sample.seen, amended=amended)
        return project_head(face, fit.params, fit.camera)[0, :, :2].double().numpy()

    rest, small = drawn(start), 0.1
    shown = [drawn(unit.amendment(small * row)) - rest for row in rows]  # (L, 2) each
    share = 100 / np.ptp(rest[:, 1]) / len(rest) ** 0.5
    moved = share / small * np.stack(shown, axis=-1).reshape(-1, len(rows))
    _, _, directions = np.linalg.svd(moved, full_matrices=False)
    chosen = directions[:MOTIONS].T
    tried = TRIED / np.maximum(np.linalg.norm(moved @ chosen, axis=0), 1e-3 * TRIED)

    def beside_turns(part: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N M"]:
        return np.pad(part @ chosen, ((0, 0), (0, 3)))

    return Motions(
        expression=beside_turns(unit.expression),
        jaw=beside_turns(unit.jaw),
        shape=beside_turns(unit.shape),
        turn=np.pad(np.eye(3), ((0, 0), (chosen.shape[1], 0))),
        moved=beside_turns(moved),
        tried=np.append(tried, [STEP_TURN] * 3),
    )


def _padded(rows: Float[np.ndarray, "N K"], count: int) -> Float[np.ndarray, "C K"]:
    return np.pad(rows, ((0, count - len(rows)), (0, 0)))


def _slopes(tries: Sequence[Deviation], steps: Steps, sizes: Sizes, frames: int) -> Float[np.ndarray, "M K"]:
    """What one more step of each motion adds to what is missing in every frame; the first try is none."""
    rest, *others = (sizes.numbers(each, frames) for each in tries)
    return np.stack([(other - rest) / step for other, step in zip(others, steps, strict=True)], axis=1)


def best_steps(
    look: Callable[[Steps], Look | None],
    first: Look,
    slopes: Float[np.ndarray, "M K"],
    motions: Motions,
    sizes: Sizes,
    rounds: int,
) -> Steps:
    """The best of the steps that are tried in turn.

    Each starts from the best one before it. How many goals are met decides, then the square sum of the
    errors, each in its goal. Those that miss the goal of pose by more than the first one did are out, and
    those that miss that of shape by a tenth more, unless the first one missed the pose.

    Args:
        look: what steps do; None: nothing is seen of them, and they end it.
        first: what no step does.
        slopes: `Motions.step`.
        motions: what the steps are of.
        sizes: what errors are counted in.
        rounds: how many follow.
    """
    frames = len(first.lacking.turn)
    tried, seen = [np.zeros(motions.count)], [sizes.numbers(first.lacking, frames)]
    bounds = sizes.counted(first.errors)
    best, least = 0, _cost(bounds, bounds)
    for number in range(1, rounds + 1):
        steps = motions.step(slopes, seen[best], tried[best])
        found = look(steps)
        if found is None:
            break
        tried.append(steps)
        seen.append(sizes.numbers(found.lacking, frames))
        slopes = _rank_one(slopes, tried[-1] - tried[-2], seen[-1] - seen[-2])
        cost = _cost(sizes.counted(found.errors), bounds)
        if cost < least:
            best, least = number, cost
    return tried[best]


def _rank_one(slopes: np.ndarray, moved: Steps, gained: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M K"]:
    """Broyden's: the slopes that say of the last motion what was seen, otherwise as before."""
    return slopes + np.outer(gained - slopes @ moved, moved) / max(float(moved @ moved), 1e-12)


def _cost(errors: SwapErrors, first: SwapErrors) -> tuple[int, float]:
    """How many goals are missed, and the square sum of the errors in their goals; infinite out of bounds."""
    turned = first.pose_deg > GOALS.pose_deg  # a pose that was missed is worth some shape
    if not turned and errors.shape_ratio > SLACK * max(GOALS.shape_ratio, first.shape_ratio):
        return 3, math.inf
    if errors.pose_deg > max(GOALS.pose_deg, first.pose_deg):
        return 3, math.inf
    each = zip(*(dataclasses.astuple(part) for part in (errors, GOALS, WELL)), strict=True)
    shares = [(error / goal, well) for error, goal, well in each]
    return sum(share > 1 for share, _ in shares), sum(max(share, well) ** 2 for share, well in shares)
