"""From landmark arrays and a head to a `HeadFit`: photos, whole clips, streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import HeadwarpError, NoFaceError
from ..model import HeadModel
from ..params import HeadFit
from ._observed import Observed, checked_confidences, checked_points, normalised
from ._prepared import PreparedHead, prepared_head
from ._record import Solved, head_fit, status_of
from .config import FitConfig
from .contour import contour_of
from .moving import MovingLandmarks
from .solver import solve
from .stream import fit_stream


def fit_landmarks(
    head: HeadModel,
    landmarks: NDArray[np.floating] | Tensor,
    size: tuple[int, int],
    *,
    scores: NDArray[np.floating] | None = None,
    confidences: NDArray[np.floating] | Tensor | None = None,
    family: str = "mediapipe",
    moving: MovingLandmarks | None = None,
    config: FitConfig | None = None,
) -> HeadFit:
    """Fit one head to the landmarks of T frames of one person.

    Args:
        head: any head with an embedding of the family.
        landmarks: ``(T, L, 2 or 3)`` pixels in the family's numbering (478, 468 or 68 points); NaN where one
            is missing. A frame with fewer than six is taken as one without a face.
        size: (H, W) of the frames.
        scores: detector confidence per frame in [0, 1].
        confidences: ``(T, L)``, weight of every landmark; 1 is ordinary, 0 or NaN leaves it out.
        family: ``"mediapipe"`` or ``"ibug68"``.
        moving: landmarks that are other points of the mesh in every frame; None for the jaw contour of 68
            points, where the head knows one and ``config.contour`` lets it move.
        config: see `FitConfig`.

    Returns:
        One record for every frame. Frames without a face are filled from their neighbours by the same
        equations, and so are those in which the detector jumped away and back; their covariance is larger.
        ``report["outlier_frames"]`` lists the latter, and those whose landmarks a head cannot explain.

    Raises:
        NoFaceError: no frame has landmarks.
        ShapeError: an array has not the documented shape.
        HeadwarpError: the head carries no embedding of the family; a photo of several frames.
    """
    config = config or FitConfig()
    points = checked_points(landmarks)
    if config.mode == "photo" and len(points) != 1:
        raise HeadwarpError(f"mode photo: expected one frame, got {len(points)}; use clip")
    if moving is None:
        moving = contour_of(head, family, points.shape[1], config)
    prepared = prepared_head(
        head,
        family,
        points.shape[1],
        shape_count=config.shape_count,
        expression_count=config.expression_count,
        moving=moving,
    ).known(config.shape)
    sizes = np.tile(np.array(size, dtype=np.int64), (len(points), 1))
    seen = Observed.of(prepared, points, sizes, checked_confidences(confidences, points))
    if not seen.present.any():
        raise NoFaceError(
            "fit: expected landmarks in at least one frame, got none; no face was found in the input"
        )
    if config.mode == "stream":
        return fit_stream(head, prepared, seen, scores=scores, family=family, config=config)
    return _fit_clip(head, prepared, seen, scores=scores, family=family, config=config)


def _fit_clip(
    head: HeadModel,
    prepared: PreparedHead,
    seen: Observed,
    *,
    scores: NDArray[np.floating] | None,
    family: str,
    config: FitConfig,
) -> HeadFit:
    """A clip (or photo) solved whole."""
    free = config.focal == "estimate"
    focal = 0.0 if config.focal == "estimate" else config.focal
    problem, units = normalised(prepared, seen, focal=focal)
    solution = solve(problem, config.solver, products=prepared.products, free_lens=free)
    status = status_of(solution.problem.present, config.max_gap)
    return head_fit(
        head, prepared, seen, Solved(solution, units, status, np.zeros((0, 6))), scores=scores, family=family
    )
