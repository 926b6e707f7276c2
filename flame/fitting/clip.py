"""From landmark arrays and a head to a `HeadFit`: normalise, solve, gaze, residual, status, report."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ...geom.errors import NoFaceError, ShapeError
from ..model import HeadModel
from ..params import DETECTED, INTERPOLATED, MISSING, Camera, HeadFit, HeadParams
from ._prepared import EYELID_DEVIATION, PreparedHead, as_numpy, prepared_head
from ._problem import Array, LandmarkProblem, rotation_log
from .gaze import eye_rotations
from .proportions import proportions_deviation
from .solver import Solution, SolverConfig, one_thread, solve


@dataclass(frozen=True)
class FitConfig:
    """How a clip is fitted.

    Attributes:
        solver: noise, smoothness, iterations.
        shape_count, expression_count: leading coefficients used; None for all (at most 100 each for large
            models).
        focal: focal length in pixels for a perspective camera; None for weak perspective (face-mesh points
            are weak-perspective by nature).
        max_gap: longest run of frames without a face, inside a track, that is reported as interpolated.
    """

    solver: SolverConfig = field(default_factory=SolverConfig)
    shape_count: int | None = None
    expression_count: int | None = None
    focal: float | None = None
    max_gap: int = 25


@dataclass(frozen=True)
class _Seen:
    """The detected points (T, L, 2) that the head has, which frames have them, and the frames' (H, W)."""

    points: Array
    present: NDArray[np.bool_]
    size: tuple[int, int]

    @property
    def middle(self) -> Array:
        return np.array([self.size[1] / 2, self.size[0] / 2])


@dataclass(frozen=True)
class _Units:
    """Normalisation of one problem: image point = (u - origin) * image, model point = X * model."""

    origin: Array
    image: float
    model: float


def fit_landmarks(
    head: HeadModel,
    landmarks: NDArray[np.floating] | Tensor,
    size: tuple[int, int],
    *,
    scores: NDArray[np.floating] | None = None,
    family: str = "mediapipe",
    config: FitConfig | None = None,
) -> HeadFit:
    """Fit one head to the landmarks of T frames of one person.

    Args:
        head: any head with an embedding of the family.
        landmarks: ``(T, L, 2 or 3)`` pixels in the family's numbering (478, 468 or 68 points); NaN rows are
            absent.
        size: (H, W) of the frames.
        scores: detector confidence per frame in [0, 1].
        family: ``"mediapipe"`` or ``"ibug68"``.
        config: see `FitConfig`.

    Returns:
        One record for every frame.

    Raises:
        NoFaceError: no frame has landmarks.
        ShapeError: the array has not the documented shape.
        HeadwarpError: the head carries no embedding of the family.
    """
    config = config or FitConfig()
    points = _points(landmarks)
    counts = {"shape_count": config.shape_count, "expression_count": config.expression_count}
    prepared = prepared_head(head, family, points.shape[1], **counts)
    points = points[:, prepared.reduced.indices.cpu().numpy()]
    seen = _Seen(points, np.isfinite(points).all((1, 2)), (int(size[0]), int(size[1])))
    if not seen.present.any():
        raise NoFaceError(
            "fit: expected landmarks in at least one frame, got none; no face was found in the input"
        )
    problem, units = _problem(prepared, seen, config.focal)
    solution = solve(problem, config.solver, products=prepared.products)
    params, camera = _parameters(head, solution, problem=problem, units=units, middle=seen.middle)
    with one_thread().limit(limits=1), torch.no_grad():
        eyes = eye_rotations(prepared.reduced, params, camera, seen.points, seen.present)
        params = dataclasses.replace(params, eyes=eyes)
        residual = _residual(prepared, params, camera, seen)
    share = _share(solution, seen.present)
    status = _status(seen.present, config.max_gap)
    report = _report(status, share, solution)
    if family == "mediapipe":
        frames = int(seen.present.sum())
        deviation = proportions_deviation(prepared.reduced, params.shape, frames=frames)
        report |= {} if deviation is None else {"proportions_deviation": deviation}
    pixels = np.array([1, 1, 1, 1, 1 / units.image, 1 / units.image])  # the scale entry is logarithmic
    return HeadFit(
        params=params,
        camera=camera,
        size=seen.size,
        model_id=head.model_id,
        landmark_indices=prepared.reduced.indices.clone(),
        landmarks=_as_float(seen.points),
        residual=_as_float(residual),
        status=torch.as_tensor(status),
        confidence=_as_float(_confidence(seen.present, scores, share)),
        covariance=_as_float(solution.covariance * pixels[:, None] * pixels[None, :]),
        report=report,
        deviation=_as_float(_deviation(head, solution)),
    )


def _deviation(head: HeadModel, solution: Solution) -> Array:
    """In the order and units of `HeadFit.deviation`; 1, as the prior has it, for coefficients not fitted."""
    found = solution.deviation
    deviation = np.ones((len(found), 5 + head.expression_basis.shape[2]))
    fitted = found.shape[1] - 5
    deviation[:, :3] = found[:, :3]
    deviation[:, 3:5] = found[:, -2:] * EYELID_DEVIATION
    deviation[:, 5 : 5 + fitted] = found[:, 3:-2]
    return deviation


def _points(landmarks: NDArray[np.floating] | Tensor) -> Array:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise ShapeError(
            f"landmarks: expected (T, L, 2) or (T, L, 3) pixels, got {points.shape}; add a frame axis"
        )
    return points[..., :2]


def _as_float(array: NDArray[Any]) -> Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


def _spread(points: Array) -> Array:
    """Root mean square distance of the landmarks from their centre, per frame."""
    centred = points - points.mean(1, keepdims=True)
    return np.sqrt(np.square(centred).sum(2).mean(1))


def _problem(prepared: PreparedHead, seen: _Seen, focal: float | None) -> tuple[LandmarkProblem, _Units]:
    points, present = seen.points[:, prepared.fitted], seen.present
    spread = _spread(points[present])
    image = prepared.spread / max(float(np.percentile(spread, 90)), 1e-3)  # normalised units per pixel
    origin = points[present].mean((0, 1)) if focal is None else seen.middle
    target = np.where(present[:, None, None], (points - origin) * image, 0.0)
    weight = np.zeros(len(present))
    weight[present] = np.clip((np.median(spread) / np.maximum(spread, 1e-6)) ** 2, 0.25, 4.0)
    problem = LandmarkProblem(prepared.head, target, weight, None if focal is None else focal * image)
    return problem, _Units(origin=origin, image=image, model=prepared.unit)


def _parameters(
    head: HeadModel, solution: Solution, *, problem: LandmarkProblem, units: _Units, middle: Array
) -> tuple[HeadParams, Camera]:
    """Back from normalised units to FLAME's parameters and a camera in pixels."""
    state, frames = solution.state, problem.frames
    flip = as_numpy(MODEL_TO_CAMERA)
    rotation = flip.T @ state.rotation  # root rotation in model axes
    shape = np.zeros(head.shape_basis.shape[2])
    shape[: len(state.shape)] = state.shape
    expressions = state.linear.shape[1] - 2
    expression = np.zeros((frames, head.expression_basis.shape[2]))
    expression[:, :expressions] = state.linear[:, :expressions]
    root = as_numpy(head.joint_template)[0] + as_numpy(head.joint_shape_basis)[0] @ shape
    root = root + expression @ as_numpy(head.joint_expression_basis)[0].T  # (T, 3)
    offset = (root - np.einsum("tij,tj->ti", rotation, root)) @ flip.T  # the root joint's pivot, camera axes
    scale = np.exp(state.camera[:, 0]) * units.model / units.image  # px per metre
    centre = state.camera[:, 1:] / units.image + units.origin - scale[:, None] * offset[:, :2]
    translation = np.zeros((frames, 3))
    camera: Camera = WeakPerspective(_as_float(scale), _as_float(centre))
    if problem.focal is not None:
        focal = problem.focal / units.image
        place = np.concatenate(
            [(centre - middle) / scale[:, None], (focal / scale - offset[:, 2])[:, None]], axis=1
        )
        translation = place @ flip  # flip is its own inverse transpose
        camera = Perspective(_as_float(np.full((frames, 2), focal)), _as_float(np.tile(middle, (frames, 1))))
    params = HeadParams(
        shape=_as_float(shape),
        expression=_as_float(expression),
        rotation=_as_float(rotation_log(rotation)),
        translation=_as_float(translation),
        neck=torch.zeros(frames, 3),
        jaw=_as_float(state.jaw),
        eyes=torch.zeros(frames, 6),
        eyelids=_as_float(state.linear[:, expressions:] * EYELID_DEVIATION),
    )
    return params, camera


def _residual(prepared: PreparedHead, params: HeadParams, camera: Camera, seen: _Seen) -> Array:
    """Detected minus projected (T, L, 2) px, irises with the eyes turned; 0 where nothing was detected."""
    from ..posing import project_head

    projected = as_numpy(project_head(prepared.reduced, params, camera))[..., :2]
    return np.where(seen.present[:, None, None], seen.points - projected, 0.0)


def _share(solution: Solution, present: NDArray[np.bool_]) -> Array:
    """Mean residual of the parametric mesh per frame (T,), % of the outer-canthal distance; NaN if absent."""
    scale = np.exp(solution.state.camera[:, 0])
    share = np.linalg.norm(solution.residual, axis=2).mean(1) / scale  # that distance is 100: already in %
    return np.where(present, share, np.nan)


def _status(present: NDArray[np.bool_], max_gap: int) -> NDArray[np.int8]:
    status = np.where(present, DETECTED, MISSING).astype(np.int8)
    index = np.flatnonzero(present)
    for before, after in itertools.pairwise(index):
        if 1 < after - before <= max_gap + 1:
            status[before + 1 : after] = INTERPOLATED
    return status


def _confidence(present: NDArray[np.bool_], scores: NDArray[np.floating] | None, share: Array) -> Array:
    """Detector score, discounted where the residual is far above what faces leave (about 1 %)."""
    score = np.ones(len(present)) if scores is None else np.nan_to_num(np.asarray(scores, dtype=np.float64))
    discount = np.exp(-np.square(np.maximum(np.nan_to_num(share, nan=0.0) - 1.5, 0.0) / 3.0))
    return np.where(present, np.clip(score, 0, 1) * discount, 0.0)


def _report(status: NDArray[np.int8], share: Array, solution: Solution) -> dict[str, Any]:
    return {
        "frames": len(status),
        "detected": int((status == DETECTED).sum()),
        "interpolated": int((status == INTERPOLATED).sum()),
        "missing": int((status == MISSING).sum()),
        "reprojection_percent_iod": float(np.nanmean(share)),
        "reprojection_percent_iod_worst": float(np.nanmax(share)),
        "iterations": solution.iterations,
    }
