"""From landmark arrays and a head to a `HeadFit`: photos, whole clips, streams."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import HeadwarpError, NoFaceError
from ..model import HeadModel
from ..params import HeadFit
from ._observed import Observed, checked_confidences, checked_points, normalised
from ._prepared import PreparedHead, prepared_head
from ._record import head_fit
from .contour import contour_of_points
from .moving import MovingLandmarks
from .solver import SolverConfig, solve


@dataclass(frozen=True)
class FitConfig:
    """How landmarks are fitted.

    Attributes:
        solver: noise, smoothness, robustness, iterations.
        mode: ``"photo"`` (one frame), ``"clip"`` (all frames at once: shared identity, smooth in time) or
            ``"stream"`` (identity from the first frames, then frame by frame without looking ahead);
            ``"auto"``: a photo for one frame, else a clip.
        shape_count, expression_count: leading coefficients used; None for all (at most 100 each for large
            models).
        focal: focal length in pixels for a perspective camera, or ``"estimate"`` to find one that all frames
            share; None for weak perspective (face-mesh points are weak-perspective by nature).
        max_gap: longest run of frames without a face, inside a track, that is reported as interpolated.
        warm_up: frames with a face that a stream takes its identity from.
        contour: whether the jaw contour of 68 points follows the outline that is ``"visible"``, as detectors
            mark it, or stays at ``"rest"`` on the mesh, as points of a 3D detector do.

    A focal length is found only so far as the pictures tell: nearer faces bulge, which a weak perspective
    seen under turns of the head cannot mimic but a deeper or flatter face partly can (the bas-relief
    ambiguity). `report` gives its standard deviation; where that is large, the prior (field of view 28
    degrees, give or take as much) decides. Distance and focal length are tied: their ratio is certain.

    Raises:
        HeadwarpError: a setting that makes no sense.
    """

    solver: SolverConfig = field(default_factory=SolverConfig)
    mode: Literal["auto", "photo", "clip", "stream"] = "auto"
    shape_count: int | None = None
    expression_count: int | None = None
    focal: float | Literal["estimate"] | None = None
    max_gap: int = 25
    warm_up: int = 32
    contour: Literal["visible", "rest"] = "visible"

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "photo", "clip", "stream"):
            raise HeadwarpError(f"mode: expected auto, photo, clip or stream, got {self.mode!r}")
        if isinstance(self.focal, str) and self.focal != "estimate":
            raise HeadwarpError(f"focal: expected a number, 'estimate' or None, got {self.focal!r}")
        if isinstance(self.focal, (int, float)) and not 0 < self.focal < math.inf:
            raise HeadwarpError(f"focal: expected a number above 0, got {self.focal}")
        if self.contour not in ("visible", "rest"):
            raise HeadwarpError(f"contour: expected visible or rest, got {self.contour!r}")
        if self.warm_up < 1:
            raise HeadwarpError(f"warm_up: expected at least 1, got {self.warm_up}")


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
    if moving is None and config.contour == "visible":
        moving = contour_of_points(head, family, points.shape[1])
    prepared = prepared_head(
        head,
        family,
        points.shape[1],
        shape_count=config.shape_count,
        expression_count=config.expression_count,
        moving=moving,
    )
    sizes = np.tile(np.array(size, dtype=np.int64), (len(points), 1))
    seen = Observed.of(prepared, points, sizes, checked_confidences(confidences, points))
    return fit_observed(head, prepared, seen, scores=scores, family=family, config=config)


def fit_observed(
    head: HeadModel,
    prepared: PreparedHead,
    seen: Observed,
    *,
    scores: NDArray[np.floating] | None,
    family: str,
    config: FitConfig,
) -> HeadFit:
    """A clip (or photo) solved whole."""
    if not seen.present.any():
        raise NoFaceError(
            "fit: expected landmarks in at least one frame, got none; no face was found in the input"
        )
    free = config.focal == "estimate"
    focal = 0.0 if free else config.focal
    assert not isinstance(focal, str)
    problem, units = normalised(prepared, seen, focal=focal)
    solution = solve(problem, config.solver, products=prepared.products, free_lens=free)
    return head_fit(
        head,
        prepared,
        seen,
        solution=solution,
        units=units,
        scores=scores,
        max_gap=config.max_gap,
        family=family,
    )
