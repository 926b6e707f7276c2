"""How landmarks are fitted: what a caller chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ...geom.errors import HeadwarpError
from .solver import SolverConfig


@dataclass(frozen=True)
class FitConfig:
    """How landmarks are fitted.

    Attributes:
        solver: noise, smoothness, robustness, iterations.
        mode: ``"photo"`` (one frame), ``"clip"`` (all frames at once: shared identity, smooth in time) or
            ``"stream"`` (identity from the first frames, then frame by frame without looking ahead);
            ``"auto"``: a photo for one frame, else a clip.
        shape: coefficients of the identity where it is known, as another fit found it; None to find it.
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
    shape: tuple[float, ...] | None = None
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
