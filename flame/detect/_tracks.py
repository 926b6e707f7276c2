"""What a detector answers: a face in a picture, and a face through a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

FAMILIES = {478: "mediapipe", 68: "ibug68"}


@dataclass(frozen=True)
class Detection:
    """One face in one picture.

    Attributes:
        landmarks: (L, 3) float32 px; L = 478 (mediapipe face mesh with irises) or 68 (iBUG).
        score: presence in [0, 1].
        box: (4,) float32, the landmarks' bounding box x0, y0, x1, y1 in px.
        confirmed: whether a face detector, and not the landmark network alone, found a face here.
        track: number of the clip's track this face belongs to; None for a single picture.
    """

    landmarks: Float[np.ndarray, "L 3"]
    score: float
    box: Float[np.ndarray, " 4"]
    confirmed: bool
    track: int | None = None

    @property
    def size(self) -> float:
        """Longer side of the box in px."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True)
class Track:
    """One face through one clip of T frames; the N frames that have it are kept, so that a short track in a
    long clip is small.

    Attributes:
        frames: (N,) which frames have the face, increasing.
        points: (N, L, 3) float32 px.
        scores: (N,) float32 presence in [0, 1].
        length: T, the frames of the clip.
        confirmed: whether a face detector agreed at least once.
        size: (H, W) of the clip's frames; (0, 0) if not known.
        has_depth: False if z was never measured and is 0 by convention.
        number: the face's number in its clip, by order of appearance: the same clip gives the same numbers.
    """

    frames: Int[np.ndarray, " N"]
    points: Float[np.ndarray, "N L 3"]
    scores: Float[np.ndarray, " N"]
    length: int
    confirmed: bool
    size: tuple[int, int]
    has_depth: bool = True
    number: int = 0

    @property
    def present(self) -> Bool[np.ndarray, " T"]:
        """Which frames of the clip have the face."""
        mask = np.zeros(self.length, bool)
        mask[self.frames] = True
        return mask

    @property
    def landmarks(self) -> Float[np.ndarray, "T L 3"]:
        """A row for every frame of the clip, NaN where the face is absent; made at every access, unless every
        frame has the face: then these are the points themselves.
        """
        return self._spread(self.points, np.nan)

    @property
    def score(self) -> Float[np.ndarray, " T"]:
        """Presence for every frame of the clip, 0 where the face is absent."""
        return self._spread(self.scores, 0.0)

    @property
    def boxes(self) -> Float[np.ndarray, "T 4"]:
        """Bounding boxes x0, y0, x1, y1 of the landmarks (irises left out) in px, NaN where absent."""
        return self._spread(self._boxes, np.nan)

    @property
    def family(self) -> str:
        """Name of the landmark layout: `mediapipe` or `ibug68`."""
        return FAMILIES[self.points.shape[1]]

    @property
    def span(self) -> tuple[int, int]:
        """First frame with the face and one past the last; (0, 0) if there is none."""
        return (int(self.frames[0]), int(self.frames[-1]) + 1) if len(self.frames) else (0, 0)

    @property
    def extent(self) -> float:
        """Longer box side summed over the frames with the face: size times length, the rank of a track."""
        boxes = self._boxes
        return float(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).sum())

    def cut(self, start: int, stop: int) -> Track:
        """The same face in frames ``start`` to ``stop`` - 1 as a clip of its own; nothing is copied."""
        kept = slice(*np.searchsorted(self.frames, (start, stop)).tolist())
        return replace(
            self,
            frames=self.frames[kept] - start,
            points=self.points[kept],
            scores=self.scores[kept],
            length=stop - start,
        )

    @property
    def _boxes(self) -> Float[np.ndarray, "N 4"]:
        xy = self.points[:, :468, :2]
        return np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)

    def _spread(self, rows: np.ndarray, absent: float) -> np.ndarray:
        if len(rows) == self.length:
            return rows
        full = np.full((self.length, *rows.shape[1:]), absent, np.float32)
        full[self.frames] = rows
        return full
