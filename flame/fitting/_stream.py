"""A stream's next frame: from what it remembers and the points that were seen, to what it knows now."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._frame import FrameFit, FrameState, fit_frame
from ._observed import FEWEST, Observed
from ._outliers import AGAINST_USUAL, JUMP, LONGEST
from ._person import Person, spread_of
from ._problem import Rows
from ._rotations import Array
from ._start import affine_map, orthographic_pose
from .gaze import eye_turns
from .solver import SolverConfig

FORGET = 1e6  # how much less than a neighbour a frame counts that lies before a jump
KEPT_USUAL = 0.9  # of the usual motion that is remembered from frame to frame


@dataclass(frozen=True)
class Memory:
    """What a stream keeps of the frames so far.

    Attributes:
        state: of the last frame; covariance (n, n) of it; channels (7, L) and image (2, L) of its landmarks.
        eyes: (2, 3) turns.
        waited: frames since the last that was seen and believed.
        usual: motion from frame to frame, % of the eye distance.
    """

    state: FrameState
    covariance: Array
    channels: Array
    image: Array
    eyes: Array
    waited: int = 0
    usual: float = 1.0


@dataclass(frozen=True)
class Stepped:
    """A frame of a stream.

    Attributes:
        memory: for the next frame.
        seen: a face was detected; used: and believed.
        weight: (L,) of the landmarks, 0 where missing; trust (L,) robust weights on top.
        length: (L,) of the residuals, normalised units.
        rows: which points sliding landmarks are (`Person.rows`), or None.
    """

    memory: Memory
    seen: bool
    used: bool
    weight: Array
    trust: Array
    length: Array
    rows: Rows | None = None


def advance(
    person: Person, memory: Memory, points: Array, confidence: Array | None, *, config: SolverConfig
) -> Stepped:
    """One frame on.

    Args:
        points: (L, 2) px, NaN where missing; of the prepared landmarks.
        confidence: (L,) or None.
    """
    known, rows = np.isfinite(points[:, 0]), person.rows(memory.state)
    tables, used = person.tables_at(rows)
    if used is not None:
        known = known & used
    seen = ((points - person.units.origin[0]) * person.units.image[0]).T
    if not known.all():
        seen = np.where(known, seen, 0.0)
    frame, weight = _weights(person, seen, known, confidence)
    if np.count_nonzero(weight) < min(FEWEST, len(weight)):
        return _waited(person, memory, weight, rows, seen=False)
    far = _distance(memory, seen, weight)
    fresh = far > max(JUMP, AGAINST_USUAL * memory.usual)
    if fresh and memory.waited < LONGEST:
        return _waited(person, memory, weight, rows, seen=True)
    variance = memory.covariance.diagonal() + (FORGET if fresh else 1.0) / person.hold
    fit = fit_frame(
        tables,
        _placed(memory, seen, weight) if fresh else memory.state,
        seen,
        weight=weight / config.sigma**2,
        before=(np.zeros(len(variance)), 1 / variance),
        scale=config.robust / math.sqrt(frame),
        strength=person.strength,
        channels=memory.channels if rows is None and not fresh else None,
    )
    usual = memory.usual if fresh else KEPT_USUAL * memory.usual + (1 - KEPT_USUAL) * far
    eyes = memory.eyes if person.eyes is None else _eyes(person, fit, seen, known, memory.eyes)
    remembered = Memory(fit.state, fit.covariance, fit.channels, fit.image, eyes, 0, usual)
    length = np.sqrt(np.square(fit.image - seen).sum(0))
    return Stepped(remembered, True, True, weight, fit.trust, length, rows)


def _weights(
    person: Person, seen: Array, known: NDArray[np.bool_], confidence: Array | None
) -> tuple[float, Array]:
    """Weight of the frame, and of its landmarks (M,)."""
    taken = known & person.fitted
    if confidence is not None:
        taken &= confidence > 0
    if not taken.any():
        return 1.0, np.zeros(len(taken))
    inside = taken[: person.fixed]
    relative = person.resting_spread(inside) / max(spread_of(seen[:, : person.fixed][:, inside]), 1e-6)
    frame = float(np.clip((relative / person.usual_ratio) ** 2, 0.25, 4.0))
    weight = frame * taken.astype(np.float64)
    return frame, weight if confidence is None else weight * np.nan_to_num(confidence)


def _distance(memory: Memory, seen: Array, weight: Array) -> float:
    """Root mean square motion of the landmarks since the last frame, % of the eye distance."""
    moved = float(np.square(seen - memory.image).sum(0) @ (weight > 0)) / np.count_nonzero(weight)
    return math.sqrt(moved) / math.exp(memory.state.camera[0])


def _waited(person: Person, memory: Memory, weight: Array, rows: Rows | None, *, seen: bool) -> Stepped:
    """A frame that stays where the last one was, less certainly."""
    covariance = memory.covariance.copy()
    diagonal = np.arange(len(covariance))
    grown = covariance[diagonal, diagonal] + 1 / person.hold
    least = np.maximum(covariance[diagonal, diagonal], 1 / np.maximum(person.tables.precision, 1e-12))
    covariance[diagonal, diagonal] = np.minimum(grown, least)
    waiting = replace(memory, covariance=covariance, waited=memory.waited + 1)
    nothing = np.zeros(len(weight))
    return Stepped(waiting, seen, False, nothing, nothing, nothing, rows)


def _placed(memory: Memory, seen: Array, weight: Array) -> FrameState:
    """The face of the last frame, put where the landmarks are."""
    rest = np.concatenate([memory.channels[:3], memory.channels[6:]])
    camera, rotation = orthographic_pose(affine_map(rest[None], seen[None], weight[None]))
    return replace(memory.state, camera=camera[0], rotation=rotation[0])


def _eyes(person: Person, fit: FrameFit, seen: Array, known: NDArray[np.bool_], before: Array) -> Array:
    eyes = person.eyes
    assert eyes is not None
    if not known[eyes.places.iris].all():
        return before
    arm = fit.channels[:3, eyes.places.iris].T - eyes.centres(fit.state.linear)
    turns = eye_turns(
        eyes.places,
        seen.T[None],
        fit.image.T[None],
        arm=arm[None],
        rotation=fit.state.rotation[None],
        scale=np.exp(fit.state.camera[:1]),
    )
    return turns[0]


def faces_ratio(person: Person, seen: Observed) -> float:
    """The person's spread over that of the face, median of frames, normalised units."""
    points = np.swapaxes(seen.points - person.units.origin[0], 1, 2) * person.units.image[0]
    ratios = []
    for number, frame in enumerate(points[:, :, : person.fixed]):
        taken = np.isfinite(frame[0]) & person.fitted[: person.fixed]
        if seen.confidence is not None:
            taken &= seen.confidence[number, : person.fixed] > 0
        if np.count_nonzero(taken) >= FEWEST:
            ratios.append(person.resting_spread(taken) / max(spread_of(frame[:, taken]), 1e-6))
    return float(np.median(ratios)) if ratios else 1.0
