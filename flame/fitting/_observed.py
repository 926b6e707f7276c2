"""What was seen, checked, and brought to the solver's units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ._prepared import PreparedHead
from ._priors import LENS
from ._problem import LandmarkProblem, Rows, Sliding
from ._rotations import Array

AT_ONCE = 512  # frames handled together
FEWEST = 6  # landmarks that a frame must have: an affine map has eight numbers, a landmark two


@dataclass(frozen=True)
class Observed:
    """Detected points that the head has.

    Attributes:
        points: (T, L, 2) px in single precision, NaN where a landmark is missing.
        confidence: (T, L) of every landmark, 0 where missing; None for 1 everywhere in frames with a face.
        present: (T,) frames with enough landmarks.
        sizes: (T, 2) H, W of the frames.
    """

    points: NDArray[np.float32]
    confidence: Array | None
    present: NDArray[np.bool_]
    sizes: NDArray[np.int64]

    @property
    def frames(self) -> int:
        return len(self.points)

    def at(self, frame: int) -> Observed:
        """Of one frame."""
        one = slice(frame, frame + 1)
        confidence = None if self.confidence is None else self.confidence[one]
        return Observed(self.points[one], confidence, self.present[one], self.sizes[one])

    @property
    def middle(self) -> Array:
        """(T, 2) principal point."""
        return self.sizes[:, ::-1] / 2

    @property
    def side(self) -> Array:
        """(T,) longer side."""
        return self.sizes.max(1).astype(np.float64)

    @staticmethod
    def of(
        prepared: PreparedHead,
        points: NDArray[np.floating],
        sizes: NDArray[np.int64],
        confidences: Array | None = None,
    ) -> Observed:
        """Of all landmarks of the family (T, N, 2), and their confidences (T, N)."""
        if confidences is not None:
            confidences = confidences[:, prepared.indices]
        return Observed.of_prepared(prepared, points[:, prepared.indices], sizes, confidences)

    @staticmethod
    def of_prepared(
        prepared: PreparedHead,
        points: NDArray[np.floating],
        sizes: NDArray[np.int64],
        confidences: Array | None,
    ) -> Observed:
        """Of the landmarks that the head has (T, L, 2), and their confidences (T, L)."""
        known = np.isfinite(points).all(2)
        fitted = known[:, prepared.fitted]
        if confidences is not None:
            known = np.where(known, np.nan_to_num(confidences), 0.0)
        elif (fitted.all(1) | ~fitted.any(1)).all():
            known = None
        usable = fitted if known is None else known[:, prepared.fitted] > 0
        confidence = None if known is None else known.astype(np.float64)
        points = points.astype(np.float32, copy=False)
        return Observed(points, confidence, usable.sum(1) >= min(FEWEST, usable.shape[1]), sizes)


def checked_points(landmarks: NDArray[np.floating] | Tensor) -> NDArray[np.floating]:
    """(T, N, 2).

    Raises:
        ShapeError: the array has not the documented shape.
    """
    points = np.asarray(landmarks)
    if points.dtype.kind != "f":
        points = points.astype(np.float64)
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise ShapeError(
            f"landmarks: expected (T, L, 2) or (T, L, 3) pixels, got {points.shape}; add a frame axis"
        )
    return points[..., :2]


def checked_confidences(
    confidences: NDArray[np.floating] | Tensor | None, points: NDArray[np.floating]
) -> Array | None:
    """(T, N) in float64, or None.

    Raises:
        ShapeError: not one for every landmark.
        HeadwarpError: one is negative or infinite.
    """
    if confidences is None:
        return None
    values = np.asarray(confidences, dtype=np.float64)
    if values.shape != points.shape[:2]:
        raise ShapeError(
            f"confidences: expected {points.shape[:2]} (T, L), one a landmark, got {values.shape}"
        )
    if (values < 0).any() or np.isinf(values).any():
        raise HeadwarpError("confidences: expected finite numbers of 0 or more, or NaN for 0")
    return values


@dataclass(frozen=True)
class Units:
    """Normalisation of a problem: image point = (u - origin) * image, model point = X * model - centre.

    Attributes:
        origin: (T, 2) px; image (T,) normalised units a pixel.
        model: normalised units a metre; centre (3,).
    """

    origin: Array
    image: Array
    model: float
    centre: Array

    def at(self, frame: int) -> Units:
        """Of one frame."""
        return Units(self.origin[frame : frame + 1], self.image[frame : frame + 1], self.model, self.centre)

    def repeated(self, frames: int) -> Units:
        """Those of the first frame for so many."""
        origin, image = np.tile(self.origin[:1], (frames, 1)), np.tile(self.image[:1], frames)
        return Units(origin, image, self.model, self.centre)


def normalised(
    prepared: PreparedHead, seen: Observed, *, focal: Array | float | None, each: bool = False
) -> tuple[LandmarkProblem, Units]:
    """The problem in units in which the eye distance is about 100.

    Args:
        focal: px, of every frame or of all; 0 where it is an unknown; None for weak perspective.
        each: every frame in units of its own, for pictures that no camera links.
    """
    known = _known(prepared, seen)
    ratio = np.full(seen.frames, np.nan)  # units a pixel
    centre, count = np.zeros((seen.frames, 2)), known.sum(1)
    for part in _parts(seen.frames):
        points = _fitted_points(prepared, seen, part)
        ratio[part] = _ratio(prepared, points, known[part], seen.present[part])
        centre[part] = np.where(known[part, :, None], points, 0.0).sum(1)
    shared = float(np.nanpercentile(ratio, 10))  # of the larger faces
    image = np.where(np.isfinite(ratio), ratio, shared) if each else np.full(seen.frames, shared)
    if focal is not None:
        origin = seen.middle
    elif each:
        origin = centre / np.maximum(count, 1)[:, None]
    else:
        origin = np.tile(centre.sum(0) / count.sum(), (seen.frames, 1))
    target = np.empty((seen.frames, 2, known.shape[1]), np.float32)
    for part in _parts(seen.frames):
        points = _fitted_points(prepared, seen, part)
        moved = (points - origin[part, None]) * image[part, None, None]
        target[part] = np.swapaxes(np.where(known[part, :, None], moved, 0.0), 1, 2)
    weight = np.zeros(seen.frames)
    relative = ratio[seen.present] / (ratio[seen.present] if each else np.median(ratio[seen.present]))
    weight[seen.present] = np.clip(np.square(relative), 0.25, 4.0)
    confidence = None
    if seen.confidence is not None:
        confidence = np.where(known, seen.confidence[:, prepared.fitted], 0.0)
    unit, lens = None, 0.0
    if focal is not None:
        unit = 1 / (seen.side * image)
        of_side = seen.side / np.where(np.asarray(focal) > 0, focal, seen.side / LENS[0])
        lens = float(of_side[0])
        unit = unit * of_side / lens  # where focal lengths differ, in proportion
    problem = LandmarkProblem(
        prepared.head,
        target,
        weight,
        confidence=confidence,
        unit=unit,
        lens=lens,
        sliding=_sliding(prepared, known, confidence),
    )
    return problem, Units(origin, image, prepared.unit, prepared.centre)


def _parts(frames: int) -> list[slice]:
    return [slice(start, min(start + AT_ONCE, frames)) for start in range(0, frames, AT_ONCE)]


def _fitted_points(prepared: PreparedHead, seen: Observed, part: slice) -> Array:
    """(t, L', 2) of the landmarks that take part."""
    return seen.points[part][:, prepared.fitted].astype(np.float64)


def _known(prepared: PreparedHead, seen: Observed) -> NDArray[np.bool_]:
    """(T, L') whether a landmark that takes part was seen, in a frame that has enough of them."""
    known = np.isfinite(seen.points[:, prepared.fitted, 0]) & seen.present[:, None]
    if seen.confidence is not None:
        known &= seen.confidence[:, prepared.fitted] > 0
    return known


def _ratio(
    prepared: PreparedHead, points: Array, known: NDArray[np.bool_], present: NDArray[np.bool_]
) -> Array:
    """(t,): spread of the head's landmarks over that of the points, known landmarks of a frame only."""
    own = prepared.head.mean[: prepared.first_candidate, :2]
    points, known = points[:, : len(own)], known[:, : len(own)]
    ratio = np.full(len(points), np.nan)
    if known[present].all():
        ratio[present] = _spread(own[None]) / np.maximum(_spread(points[present]), 1e-3)
        return ratio
    for frame in np.flatnonzero(present):
        taken = known[frame]
        ratio[frame] = _spread(own[None, taken])[0] / max(_spread(points[None, frame, taken])[0], 1e-3)
    return ratio


def _spread(points: Array) -> Array:
    """Root mean square distance of the landmarks from their centre, per frame."""
    centred = points - points.mean(1, keepdims=True)
    return np.sqrt(np.square(centred).sum(2).mean(1))


def _sliding(prepared: PreparedHead, known: NDArray[np.bool_], confidence: Array | None) -> Sliding | None:
    """Fixed landmarks stand for themselves; the moving ones are chosen among the points behind them."""
    choose = choice_of(prepared)
    if choose is None:
        return None
    certain = known.astype(np.float64) if confidence is None else confidence
    return Sliding(np.full(known.shape, -1), certain, choose)


def choice_of(prepared: PreparedHead) -> Callable[[Array], Rows] | None:
    """Tells which of the points that take part (T, M, 3) the landmarks are (T, L); None if none slides."""
    if prepared.moving is None:
        return None
    moving, first = prepared.moving, prepared.first_candidate
    count = len(moving.numbers)

    def choose(points: Array) -> Rows:
        chosen = np.asarray(moving.choose(points[:, first:]))
        if chosen.shape != (len(points), count) or chosen.max(initial=0) >= points.shape[1] - first:
            raise ShapeError(
                f"MovingLandmarks.choose: expected rows {(len(points), count)} (T, K) among "
                f"{points.shape[1] - first} candidates, got {chosen.shape}, largest {chosen.max(initial=0)}"
            )
        fixed = np.broadcast_to(np.arange(first), (len(points), first))
        return np.concatenate([fixed, np.where(chosen < 0, -1, chosen + first)], axis=1)

    return choose
