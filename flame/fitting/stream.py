"""Streams: identity from the first frames, then every frame by itself, nothing of the future looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...geom.cameras import WeakPerspective
from ...geom.errors import ShapeError
from ..model import HeadModel
from ..params import DETECTED, INTERPOLATED, MISSING, HeadFit, HeadParams
from ._frame import FrameState, projected
from ._live import Frontend, live_fit
from ._observed import Observed, normalised
from ._outliers import TRUST
from ._person import Person
from ._prepared import PreparedHead, prepared_head
from ._problem import LandmarkProblem, Sliding, State
from ._record import Solved, head_fit, status_of
from ._rotations import Array
from ._stream import Memory, Stepped, advance, faces_ratio
from .config import FitConfig
from .contour import contour_of
from .solver import POSE_ORDER, Solution, one_thread, solve


@dataclass(frozen=True)
class Stream:
    """A stream up to a frame.

    Attributes:
        prepared, config, size: what it was begun with.
        history: landmarks (L, 2) px and confidences (L,) of the frames so far, until identity is fixed.
        faces: how many of them have a face.
        person, memory: None before the first face.
        first: the first frames solved together, when last they were.
    """

    prepared: PreparedHead
    config: FitConfig
    size: tuple[int, int]
    history: tuple[tuple[Array, Array | None], ...] = ()
    faces: int = 0
    person: Person | None = None
    memory: Memory | None = None
    first: Solution | None = None

    @property
    def settled(self) -> bool:
        """Whether identity is fixed."""
        return self.faces >= self.config.warm_up

    def follow(self, points: Array, confidence: Array | None) -> tuple[Stream, Stepped | None]:
        """The next frame's landmarks of the prepared head, px, NaN where missing. None before a face."""
        stream = self
        if not self.settled:
            stream = dataclasses.replace(self, history=(*self.history, (points, confidence)))
            seen = _observed(stream)
            if seen.present[-1]:
                stream = dataclasses.replace(stream, faces=self.faces + 1)
                if stream.settled or stream.faces & (stream.faces - 1) == 0:
                    stream = _acquainted(stream, seen)
        if stream.person is None or stream.memory is None:
            return stream, None
        stepped = advance(stream.person, stream.memory, points, confidence, config=self.config.solver)
        return dataclasses.replace(stream, memory=stepped.memory), stepped


def _observed(stream: Stream) -> Observed:
    points = np.stack([points for points, _ in stream.history])
    given = [confidence for _, confidence in stream.history]
    ones = np.ones(points.shape[1])
    confidences = (
        None if all(c is None for c in given) else np.stack([ones if c is None else c for c in given])
    )
    sizes = np.tile(np.array(stream.size, dtype=np.int64), (len(points), 1))
    return Observed.of_prepared(stream.prepared, points, sizes, confidences)


def _acquainted(stream: Stream, seen: Observed) -> Stream:
    """Identity, units and place from the frames so far."""
    config, prepared = stream.config, stream.prepared
    free = config.focal == "estimate"
    problem, units = normalised(prepared, seen, focal=0.0 if config.focal == "estimate" else config.focal)
    solution = solve(problem, config.solver, products=prepared.products, free_lens=free)
    state = solution.state
    person = Person.of(
        prepared,
        state.shape,
        config=config.solver,
        units=units.at(0),
        lens=state.lens,
        strength=0.0 if problem.unit is None else state.lens * float(problem.unit[0]),
    )
    person = dataclasses.replace(person, usual_ratio=faces_ratio(person, seen))
    memory = _remembered(person, solution, seen.frames - 1)
    return dataclasses.replace(stream, person=person, memory=memory, first=solution)


def _remembered(person: Person, solution: Solution, frame: int) -> Memory:
    state = solution.state
    here = FrameState(state.camera[frame], state.rotation[frame], state.jaw[frame], state.linear[frame])
    tables, _ = person.tables_at(person.rows(here))
    channels = tables.channels(here)
    covariance = np.zeros((len(person.hold), len(person.hold)))
    image = projected(here, channels, person.strength)
    return Memory(here, covariance, channels, image, np.zeros((2, 3)))


class StreamFitter:
    """Fits a head to frames as they come, in under a millisecond each (built-in head, after the warm-up).

    The first ``warm_up`` frames with a face are solved together, whenever their number has doubled; so
    identity, camera and units settle, and stay from then on. Every result depends on the frames so far alone.
    A frame in which the landmarks jump away is not believed until they have stayed there for 5 frames; the
    head stays where it was and its covariance grows, as it does without a face.

    Args:
        head: any head with an embedding of the family.
        size: (H, W) of the frames.
        family: ``"mediapipe"`` or ``"ibug68"``.
        config: see `FitConfig`; its ``mode`` is not looked at.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> stream = StreamFitter(load_head("builtin"), (256, 256))
        >>> stream.step(None).status.tolist()
        [0]
    """

    def __init__(
        self,
        head: HeadModel,
        size: tuple[int, int],
        *,
        family: str = "mediapipe",
        config: FitConfig | None = None,
    ) -> None:
        self.head, self.size, self.family = head, (int(size[0]), int(size[1])), family
        self.config = config or FitConfig()
        self._stream: Stream | None = None
        self._front: Frontend | None = None

    @property
    def settled(self) -> bool:
        """Whether identity is fixed."""
        return self._stream is not None and self._stream.settled

    def step(
        self,
        points: NDArray[np.floating] | Tensor | None,
        score: float = 1.0,
        *,
        confidences: NDArray[np.floating] | Tensor | None = None,
    ) -> HeadFit:
        """The next frame.

        Args:
            points: ``(L, 2 or 3)`` pixels in the family's numbering, NaN where one is missing; None without a
                face.
            score: of the detector, in [0, 1].
            confidences: ``(L,)``, as in `fit_landmarks`.

        Returns:
            A fit of one frame. Its shape may still change in the first frames. Without a face in any frame
            so far: the head at rest in the middle of the picture, missing.

        Raises:
            ShapeError: the points have not the documented shape.
            HeadwarpError: the head carries no embedding of the family.
        """
        if points is None:
            points = np.full((1, 2), np.nan)
        array = np.asarray(points, dtype=np.float32).astype(np.float64)  # as a clip keeps them
        if array.ndim != 2 or array.shape[1] not in (2, 3):
            raise ShapeError(f"points: expected (L, 2) or (L, 3) pixels of one frame, got {array.shape}")
        with one_thread().limit(limits=1):
            return self._step(array[:, :2], float(score), confidences)

    def _step(
        self, points: Array, score: float, confidences: NDArray[np.floating] | Tensor | None
    ) -> HeadFit:
        if self._stream is None:
            if len(points) == 1:
                return _at_rest(self.head, self.size)
            self._stream = Stream(self._prepared(len(points)), self.config, self.size)
        prepared = self._stream.prepared
        nothing = np.full((len(prepared.indices), 2), np.nan)
        picked = nothing if len(points) == 1 else points[prepared.indices]
        confidence = None
        if confidences is not None:
            confidence = np.asarray(confidences, dtype=np.float64)[prepared.indices]
        before = self._stream.person
        self._stream, stepped = self._stream.follow(picked, confidence)
        person = self._stream.person
        if person is None or stepped is None:
            return _at_rest(self.head, self.size)
        if self._front is None or person is not before:
            self._front = Frontend.of(self.head, prepared, person, self.size, self.family)
        return live_fit(self._front, stepped, picked, score=score, max_gap=self.config.max_gap)

    def _prepared(self, count: int) -> PreparedHead:
        return prepared_head(
            self.head,
            self.family,
            count,
            shape_count=self.config.shape_count,
            expression_count=self.config.expression_count,
            moving=contour_of(self.head, self.family, count, self.config),
        ).known(self.config.shape)


def _at_rest(head: HeadModel, size: tuple[int, int]) -> HeadFit:
    """Before any face."""
    params = HeadParams.neutral(head.shape_basis.shape[2], head.expression_basis.shape[2])
    middle = torch.tensor([[size[1] / 2, size[0] / 2]], dtype=torch.float32)
    unknown = torch.full((1, 6, 6), torch.nan)
    return HeadFit(
        params=params,
        camera=WeakPerspective(torch.tensor([2.0 * min(size)]), middle),
        size=size,
        model_id=head.model_id,
        landmark_indices=torch.zeros(0, dtype=torch.int64),
        landmarks=torch.zeros(1, 0, 2),
        residual=torch.zeros(1, 0, 2),
        status=torch.tensor([MISSING], dtype=torch.int8),
        confidence=torch.zeros(1),
        covariance=unknown,
        report={"frames": 1, "detected": 0, "interpolated": 0, "missing": 1, "outlier_frames": []},
    )


def fit_stream(
    head: HeadModel,
    prepared: PreparedHead,
    seen: Observed,
    *,
    scores: NDArray[np.floating] | None,
    family: str,
    config: FitConfig,
) -> HeadFit:
    """A clip as a stream: the first frames as they were solved together, the others each by itself.

    Args:
        head: the head.
        prepared: what of the head does not change.
        seen: the detected points of the clip.
        scores: the detector's confidence in every frame, or None.
        family: of the points.
        config: of the fitter.
    """
    height, width = seen.sizes[0].tolist()
    stream, steps = Stream(prepared, config, (int(height), int(width))), []
    with one_thread().limit(limits=1):
        for frame in range(seen.frames):
            confidence = None if seen.confidence is None else seen.confidence[frame]
            settled = stream.settled
            stream, stepped = stream.follow(seen.points[frame], confidence)
            if settled and stepped is not None:
                steps.append(stepped)
        if not stream.settled:  # all of it was the beginning
            stream = _acquainted(stream, seen)
    person, first = stream.person, stream.first
    assert person is not None
    assert first is not None
    together = first.state.frames
    waited = np.array(
        [INTERPOLATED if s.memory.waited <= config.max_gap else MISSING for s in steps], np.int8
    )
    used = np.array([s.used for s in steps], bool)
    status = status_of(first.problem.present, config.max_gap)
    status = np.append(status, np.where(used, np.int8(DETECTED), waited))
    eyes = np.array([s.memory.eyes.ravel() for s in steps]).reshape(-1, 6)
    solution = _joined(prepared, person, first, steps) if steps else first
    units = person.units.repeated(seen.frames)
    fit = head_fit(head, prepared, seen, Solved(solution, units, status, eyes), scores=scores, family=family)
    return dataclasses.replace(fit, report={**fit.report, "together": together})


def _joined(prepared: PreparedHead, person: Person, first: Solution, steps: Sequence[Stepped]) -> Solution:
    """The solution of the first frames, and every frame since."""
    states = [s.memory.state for s in steps]
    fitted = prepared.fitted
    weight = np.stack([s.weight[fitted] for s in steps])
    known = weight > 0
    believed = np.array([_mean(s.trust[fitted], k) for s, k in zip(steps, known, strict=True)])
    length = np.array([_mean(s.length[fitted], k) for s, k in zip(steps, known, strict=True)])
    used = np.array([s.used for s in steps])
    pose = np.stack([s.memory.covariance[:6, :6][POSE_ORDER][:, POSE_ORDER] for s in steps])
    variance = np.stack([((person.combined @ s.memory.covariance) * person.combined).sum(1) for s in steps])
    before = first.problem.confidence  # of sliding landmarks: 0 where they are not used
    sure = np.ones((first.state.frames, known.shape[1])) if before is None else before
    state = State(
        camera=np.concatenate([first.state.camera, [s.camera for s in states]]),
        rotation=np.concatenate([first.state.rotation, [s.rotation for s in states]]),
        jaw=np.concatenate([first.state.jaw, [s.jaw for s in states]]),
        linear=np.concatenate([first.state.linear, [s.linear for s in states]]),
        shape=first.state.shape,
        lens=first.state.lens,
    )
    unit = first.problem.unit
    problem = LandmarkProblem(
        prepared.head,
        target=np.zeros((state.frames, 2, 0)),
        weight=np.append(first.problem.weight, used),
        confidence=np.concatenate([sure, known]),
        unit=None if unit is None else np.full(state.frames, unit[0]),
        lens=first.state.lens,
        sliding=_sliding(first, steps, np.concatenate([sure, known])),
    )
    return dataclasses.replace(
        first,
        state=state,
        problem=problem,
        outliers=np.append(first.outliers, [s.seen for s in steps] & ~used | used & (believed < TRUST)),
        length=np.append(first.length, length),
        trust=np.append(first.trust, believed),
        covariance=np.concatenate([first.covariance, pose]),
        deviation=np.concatenate([first.deviation, np.sqrt(variance)]),
    )


def _mean(values: Array, known: NDArray[np.bool_]) -> float:
    return float((values * known).sum()) / max(int(known.sum()), 1)


def _sliding(first: Solution, steps: Sequence[Stepped], certain: Array) -> Sliding | None:
    """Which points the landmarks are in every frame, where some slide."""
    before = first.problem.sliding
    if before is None:
        return None
    since = [s.rows for s in steps if s.rows is not None]
    return Sliding(np.concatenate([before.rows, since]), certain, before.choose)
