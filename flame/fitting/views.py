"""Several pictures of one person: one identity, everything else each picture's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import NoFaceError, ShapeError
from ..model import HeadModel
from ..params import HeadFit
from ._observed import Observed, checked_confidences, checked_points, normalised
from ._prepared import PreparedHead, prepared_head
from ._record import Solved, head_fit, status_of
from .config import FitConfig
from .contour import contour_of
from .solver import solve

Points = NDArray[np.floating] | Tensor


def fit_views(
    head: HeadModel,
    landmarks: Sequence[Points],
    sizes: Sequence[tuple[int, int]],
    *,
    scores: Sequence[float] | None = None,
    confidences: Sequence[Points] | None = None,
    family: str = "mediapipe",
    config: FitConfig | None = None,
) -> list[HeadFit]:
    """Fit one head to N pictures of one person, of any sizes, in any order: they share the shape alone.

    Args:
        head: any head with an embedding of the family.
        landmarks: of every picture ``(L, 2 or 3)``, pixels, NaN where one is missing.
        sizes: (H, W) of every picture.
        scores: detector confidence of every picture in [0, 1].
        confidences: of every picture ``(L,)``, as in `fit_landmarks`.
        family: ``"mediapipe"`` or ``"ibug68"``.
        config: see `FitConfig`; ``mode`` and ``solver.smooth`` are not looked at. A focal length is in pixels
            of each picture; an estimated one is the same share of the longer side of all, as one camera's
            whole pictures have.

    Returns:
        A fit of one frame for every picture, in their order; their shapes are equal.

    Raises:
        NoFaceError: a picture has no landmarks.
        ShapeError: an array has not the documented shape, or the sequences differ in length.
        HeadwarpError: the head carries no embedding of the family.
    """
    config = config or FitConfig()
    points = checked_points(_stacked(landmarks, "landmarks"))
    for name, values in (("sizes", sizes), ("scores", scores), ("confidences", confidences)):
        if values is not None and len(values) != len(points):
            raise ShapeError(f"{name}: expected one for each of {len(points)} pictures, got {len(values)}")
    sure = None if confidences is None else checked_confidences(_stacked(confidences, "confidences"), points)
    prepared = prepared_head(
        head,
        family,
        points.shape[1],
        shape_count=config.shape_count,
        expression_count=config.expression_count,
        moving=contour_of(head, family, points.shape[1], config),
    ).known(config.shape)
    seen = Observed.of(prepared, points, np.array(sizes, dtype=np.int64), sure)
    missing = np.flatnonzero(~seen.present).tolist()
    if missing:
        raise NoFaceError(
            f"views: expected landmarks in every picture, number {missing} have none; leave out"
        )
    return _fitted(head, prepared, seen, scores=scores, family=family, config=config)


def _stacked(arrays: Sequence[Points], name: str) -> NDArray[np.float64]:
    plain = [np.asarray(array, dtype=np.float64) for array in arrays]
    if not plain or any(array.shape != plain[0].shape for array in plain):
        got = sorted({array.shape for array in plain})
        raise ShapeError(f"{name}: expected arrays of one shape, one for each picture, got {got}")
    return np.stack(plain)


def _fitted(
    head: HeadModel,
    prepared: PreparedHead,
    seen: Observed,
    *,
    scores: Sequence[float] | None,
    family: str,
    config: FitConfig,
) -> list[HeadFit]:
    free = config.focal == "estimate"
    focal = 0.0 if config.focal == "estimate" else config.focal
    problem, units = normalised(prepared, seen, focal=focal, each=True)
    alone = dataclasses.replace(config.solver, smooth=0.0)
    solution = solve(problem, alone, products=prepared.products, free_lens=free)
    fits = []
    for number in range(seen.frames):
        solved = Solved(
            solution.at(number), units.at(number), status_of(seen.present[:1], 0), np.zeros((0, 6))
        )
        score = None if scores is None else np.array([scores[number]], dtype=np.float64)
        fits.append(head_fit(head, prepared, seen.at(number), solved, scores=score, family=family))
    return fits
