"""Faces followed from frame to frame, with the detector asked only when it is needed.

A face is looked for in the region of its last landmarks, moved on by its last motion. It is kept while the
mesh sees a face and its motion is possible; when it is not, or at times to see who came in, the face
detector is asked. No frame is kept; two trackers share nothing but the networks, which remember nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from ...geom.errors import HeadwarpError, ShapeError
from . import Detection, Track, check_image
from ._graphs import Roi
from ._picture import LazyPicture, Picture, sampled
from .mediapipe import (
    PRESENCE,
    as_detection,
    find_boxes,
    find_short_range,
    find_turned,
    find_without_detector,
    iou,
    is_confirmed,
    judged,
    landmark_box,
    mesh_at_box,
    mesh_following,
    roi_from_landmarks,
    same_face,
)

_THUMBNAIL = 16
_NOISE_POWER = 8.0  # levels squared
_BLOCK = 64  # frames


@dataclass(frozen=True)
class TrackerConfig:
    """How a clip is followed. Lengths are in face sizes (longer side of the landmarks' box), times in frames.

    Attributes:
        max_faces: faces at a time.
        presence: least presence score of a kept face.
        max_jump: furthest move of the centre in a frame.
        max_scale: largest ratio of sizes in a frame.
        patience: how long a lost face may stay away and still continue its track.
        search_interval: how often the detector looks for more faces, or for a first one by the slow means.
        confirm_interval: how often the detector is asked about a face it has not confirmed.
        cut_difference: `difference` of two frames from which a camera cut is suspected. Measured: cuts 0.7
            to 1.0,
            the fastest motion of a face that fills the frame 0.36.
        cut_motion: motion of the landmarks over which a suspected cut is one.
    """

    max_faces: int = 8
    presence: float = PRESENCE
    max_jump: float = 0.6
    max_scale: float = 1.4
    patience: int = 50
    search_interval: int = 15
    confirm_interval: int = 5
    cut_difference: float = 0.5
    cut_motion: float = 0.1


@dataclass(frozen=True)
class _Followed:
    """What is remembered of a face; `lost` counts the frames since it was seen (0: seen last frame)."""

    number: int
    landmarks: np.ndarray
    velocity: np.ndarray
    confirmed: bool
    seen: int = 1
    lost: int = 0

    @cached_property
    def box(self) -> np.ndarray:
        return landmark_box(self.landmarks)

    @property
    def size(self) -> float:
        box = self.box
        return float(max(box[2] - box[0], box[3] - box[1]))


@dataclass(frozen=True)
class _Answer:
    """The mesh's answer for a face in this frame; `confirmed` if the detector agreed in this very frame."""

    landmarks: np.ndarray
    score: float
    confirmed: bool = False

    @cached_property
    def box(self) -> np.ndarray:
        return landmark_box(self.landmarks)


class Steps(Protocol):
    """What `collect_tracks` runs: something that numbers the faces of one frame after another."""

    def step(self, frame: Any) -> list[Detection]:
        """Return the faces of the next frame, each with its `track` number."""


class FaceTracker:
    """Follow the faces of one clip, frame by frame.

    Example:
        >>> with FaceTracker() as tracker:  # doctest: +SKIP
        ...     for frame in frames:
        ...         faces = tracker.step(frame)
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        self._faces: list[_Followed] = []
        self._next_number = 0
        self._frame = -1
        self._empty = 0
        self._size: tuple[int, int] | None = None
        self._thumbnail: np.ndarray | None = None
        self._closed = False

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the clip; no frame can follow."""
        self._closed = True
        self._faces, self._thumbnail = [], None

    def step(self, frame: UInt8[np.ndarray, "H W 3"] | LazyPicture) -> list[Detection]:
        """Return the faces of the next frame, confirmed and larger ones first, with their `track` numbers.

        Raises:
            ShapeError: not (H, W, 3) uint8, or not of the first frame's size.
            HeadwarpError: the tracker is closed.
        """
        self._admit(frame)
        suspected_cut = self._cut_suspected(frame)
        answers = self._follow_all(frame, suspected_cut)
        if suspected_cut:
            self._faces = [face for face in self._faces if face.number in answers]
        if self._must_search(answers):
            self._search(frame, answers)
        self._remember(answers)
        return self._report(answers)

    def _admit(self, frame: Picture) -> None:
        if self._closed:
            raise HeadwarpError("the tracker is closed; start a new FaceTracker for another clip")
        height, width = (check_image(frame) if isinstance(frame, np.ndarray) else frame).shape[:2]
        size = (height, width)
        if self._size not in (None, size):
            raise ShapeError(f"frame: expected (H, W) {self._size} as the clip's first frame, got {size}")
        self._size = size
        self._frame += 1

    def _cut_suspected(self, frame: Picture) -> bool:
        before, self._thumbnail = self._thumbnail, _thumbnail(frame)
        return before is not None and difference(before, self._thumbnail) > self.config.cut_difference

    def _follow_all(self, frame: Picture, suspected_cut: bool) -> dict[int, _Answer]:
        answers: dict[int, _Answer] = {}
        for face in sorted(self._faces, key=lambda face: (not face.confirmed, -face.seen)):
            if face.lost > self.config.confirm_interval:
                continue
            answer = _follow(frame, face, self.config, still=suspected_cut)
            if answer and not any(same_face(answer.box, other.box) for other in answers.values()):
                answers[face.number] = answer
        return answers

    def _must_search(self, answers: dict[int, _Answer]) -> bool:
        just_lost = any(face.lost == 0 and face.number not in answers for face in self._faces)
        doubtful = any(face.number in answers and not face.confirmed for face in self._faces)
        room = len(answers) < self.config.max_faces
        return (
            not answers
            or just_lost
            or (doubtful and self._frame % self.config.confirm_interval == 0)
            or (room and self._frame % self.config.search_interval == 0)
        )

    def _search(self, frame: Picture, answers: dict[int, _Answer]) -> None:
        """Ask the detector, and where no face is at all, now and then the slow means; adds to `answers`."""
        slow = not answers and self._empty % self.config.search_interval == 0
        fresh: list[_Answer] = []
        for box in find_boxes(frame, search_tiles=slow):
            known = [number for number, answer in answers.items() if iou(box.box, answer.box) > 0.3]
            if known:
                answers[known[0]] = replace(answers[known[0]], confirmed=True)
                continue
            landmarks, score = mesh_at_box(frame, box)
            sure = judged(frame, landmarks) if score >= self.config.presence else None
            if sure is not None:
                fresh.append(_Answer(landmarks, score, confirmed=sure))
        if not answers and not fresh:
            others = find_short_range(frame) or (_find_slowly(frame) if slow else [])
            fresh = [_Answer(face.landmarks, face.score, face.confirmed) for face in others]
        self._admit_fresh(fresh, answers)
        self._confirm_doubtful(frame, answers)

    def _confirm_doubtful(self, frame: Picture, answers: dict[int, _Answer]) -> None:
        for face in self._faces:
            answer = answers.get(face.number)
            if answer and not face.confirmed and not answer.confirmed:
                confirmed = is_confirmed(frame, answer.landmarks)
                answers[face.number] = replace(answer, confirmed=confirmed)

    def _admit_fresh(self, fresh: list[_Answer], answers: dict[int, _Answer]) -> None:
        """Continue lost faces or number new ones, as far as there is room; none is taken twice."""
        away = {face.number: face for face in self._faces if face.number not in answers}
        for answer in fresh:
            if len(answers) >= self.config.max_faces:
                return
            if any(same_face(answer.box, other.box) for other in answers.values()):
                continue
            back = _who_is_back(list(away.values()), answer, self.config)
            if back is not None:
                del away[back]
                answers[back] = answer
            else:
                answers[self._next_number] = answer
                self._next_number += 1

    def _remember(self, answers: dict[int, _Answer]) -> None:
        kept = []
        known = {face.number: face for face in self._faces}
        for number, answer in answers.items():
            before = known.pop(number, None)
            kept.append(_updated(number, before, answer))
        for face in known.values():
            if face.lost < self.config.patience:
                kept.append(replace(face, lost=face.lost + 1))
        self._faces = kept
        self._empty = 0 if answers else self._empty + 1

    def _report(self, answers: dict[int, _Answer]) -> list[Detection]:
        confirmed = {face.number: face.confirmed for face in self._faces}
        found = [
            as_detection(answer.landmarks, answer.score, confirmed=confirmed[number], track=number)
            for number, answer in answers.items()
        ]
        return sorted(found, key=lambda face: (not face.confirmed, -face.size, face.track))


def _follow(frame: Picture, face: _Followed, config: TrackerConfig, *, still: bool) -> _Answer | None:
    """Look for a face where it must be by now; None if it is not there or its motion is impossible."""
    regions = _regions(face, every=not still and face.lost == 0)
    for region in regions:
        landmarks, score = mesh_following(frame, region)
        if score < config.presence:
            continue
        if still:
            if float(np.abs(landmarks - face.landmarks)[:, :2].mean()) <= config.cut_motion * face.size:
                return _Answer(landmarks, score)
        elif _possible(face, landmarks, config):
            return _Answer(landmarks, score)
    return None


def _find_slowly(frame: Picture) -> list[Detection]:
    return find_turned(frame) or find_without_detector(frame)


def _regions(face: _Followed, *, every: bool) -> Iterator[Roi]:
    """Yield where to look: the last place; then, with `every`, moved on by the last motion, turned, tighter.

    The moved region comes second: taken first it costs a quarter more jitter and gains nothing (measured).
    The others rescue profiles, where the eyes' line is a poor upright.
    """
    rest = roi_from_landmarks(face.landmarks)
    yield rest
    if every:
        yield Roi(rest.x + face.velocity[0], rest.y + face.velocity[1], rest.side, rest.angle)
        for turn in (0.2, -0.2):
            yield Roi(rest.x, rest.y, rest.side, rest.angle + turn)
        yield Roi(rest.x, rest.y, 0.87 * rest.side, rest.angle)


def _possible(face: _Followed, landmarks: np.ndarray, config: TrackerConfig) -> bool:
    """Whether the face's centre and size can have changed so much since it was last seen."""
    jump, ratio = _change(face, landmark_box(landmarks))
    return jump <= config.max_jump and ratio <= config.max_scale


def _who_is_back(away: list[_Followed], answer: _Answer, config: TrackerConfig) -> int | None:
    """Return the number of the nearest lost face that can be the one the search found, if there is one."""
    reachable = []
    for face in away:
        jump, ratio = _change(face, answer.box)
        if jump <= config.max_jump + min(0.05 * face.lost, 0.6) and ratio <= config.max_scale:
            reachable.append((jump, face.number))
    return min(reachable)[1] if reachable else None


def _change(face: _Followed, box: np.ndarray) -> tuple[float, float]:
    """Return how far the centre moved, in sizes of the smaller face, and the ratio of sizes (at least 1)."""
    sizes = sorted([face.size, float(max(box[2:] - box[:2])), 1e-6])[1:]
    return float(np.linalg.norm(_centre(box) - _centre(face.box))) / sizes[0], sizes[1] / sizes[0]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return how little two small grey pictures have in common: 0 the same, about 1 unrelated.

    Brightness is left out, so that a flash is not a cut; flat pictures are equal.
    """
    first, second = first - first.mean(), second - second.mean()
    power = float((first**2).mean() + (second**2).mean())
    return float(((first - second) ** 2).mean()) / (power + _NOISE_POWER)


def _thumbnail(frame: Picture) -> np.ndarray:
    """Return a grey (16, 16) float32 picture of block means, from about every k-th pixel of the frame."""
    step = max(1, min(frame.shape[:2]) // (4 * _THUMBNAIL))
    grey = sampled(frame, step).sum(axis=2, dtype=np.float32) / 3
    starts = [np.arange(_THUMBNAIL) * length // _THUMBNAIL for length in grey.shape]
    total = np.add.reduceat(np.add.reduceat(grey, starts[0], axis=0), starts[1], axis=1)
    counts = [
        np.maximum(np.diff([*start, length]), 1) for start, length in zip(starts, grey.shape, strict=True)
    ]
    return total / np.outer(*counts)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _updated(number: int, before: _Followed | None, answer: _Answer) -> _Followed:
    """Return what to remember of a face after it was seen."""
    if before is None:
        return _Followed(number, answer.landmarks, np.zeros(2), answer.confirmed)
    moved = _centre(answer.box) - _centre(before.box) if before.lost == 0 else np.zeros(2)
    return _Followed(number, answer.landmarks, moved, before.confirmed or answer.confirmed, before.seen + 1)


class _Gathered:
    """The frames of one track so far; landmarks in blocks, as small arrays by the thousand strew memory."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._frames: list[int] = []
        self._scores: list[float] = []
        self._blocks: list[np.ndarray] = []
        self._confirmed = False

    def add(self, index: int, face: Detection) -> None:
        row = len(self._frames) % _BLOCK
        if row == 0:
            self._blocks.append(np.empty((_BLOCK, *face.landmarks.shape), np.float32))
        self._blocks[-1][row] = face.landmarks
        self._frames.append(index)
        self._scores.append(face.score)
        self._confirmed |= face.confirmed

    def track(self, length: int, size: tuple[int, int]) -> Track:
        """The track in a clip of that length; the blocks are given up one by one."""
        points = np.empty((len(self._frames), *self._blocks[0].shape[1:]), np.float32)
        for start in range(0, len(points), _BLOCK):
            part = points[start : start + _BLOCK]
            part[:] = self._blocks.pop(0)[: len(part)]
        return Track(
            frames=np.array(self._frames),
            points=points,
            scores=np.array(self._scores, np.float32),
            length=length,
            confirmed=self._confirmed,
            size=size,
            number=self.number,
        )


def collect_tracks(tracker: Steps, frames: Iterable[Any]) -> list[Track]:
    """Run a tracker over the frames and return its tracks, sorted by (confirmed, size times length)."""
    gathered: dict[int, _Gathered] = {}
    length, size = 0, (0, 0)
    for index, frame in enumerate(frames):
        for face in tracker.step(frame):
            if face.track is not None:
                gathered.setdefault(face.track, _Gathered(face.track)).add(index, face)
        length, size = index + 1, (frame.shape[0], frame.shape[1])
    tracks = [seen.track(length, size) for seen in gathered.values()]
    return sorted(tracks, key=lambda track: (not track.confirmed, -track.extent, track.number))
