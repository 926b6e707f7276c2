"""From landmark arrays and a head to a `HeadFit`: normalise, solve, gaze, residual, status, report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ...geom.errors import HeadwarpError, NoFaceError, ShapeError
from ..model import HeadModel, LandmarkModel, restrict
from ..params import DETECTED, INTERPOLATED, MISSING, HeadFit, HeadParams
from ._problem import LandmarkProblem, rotation_log
from .gaze import eye_rotations
from .solver import Solution, SolverConfig, solve

Array = NDArray[np.float64]
OUTER_CANTHI = (33, 263)  # face-mesh ids
FACE_POINTS = 468  # the irises beyond follow the gaze, not the face
EYELID_DEVIATION = 0.5
UNIT = 100.0  # normalised outer-canthal distance


@dataclass(frozen=True)
class FitConfig:
    """How a clip is fitted.

    Attributes:
        solver: noise, smoothness, iterations.
        shape_count, expression_count: leading coefficients used; None for all (at most 100 each for large models).
        focal: focal length in pixels for a perspective camera; None for weak perspective (face-mesh points are
            weak-perspective by nature).
        max_gap: longest run of frames without a face, inside a track, that is reported as interpolated.
    """

    solver: SolverConfig = field(default_factory=SolverConfig)
    shape_count: int | None = None
    expression_count: int | None = None
    focal: float | None = None
    max_gap: int = 25


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
        landmarks: ``(T, L, 2 or 3)`` pixels in the family's numbering (478, 468 or 68 points); NaN rows are absent.
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
    reduced = _landmark_model(head, family, points.shape[1])
    indices = reduced.indices.numpy()
    observed = points[:, indices]
    present = np.isfinite(observed).all((1, 2))
    if not present.any():
        raise NoFaceError("fit: expected landmarks in at least one frame, got none; no face was found in the input")
    fitted = indices < FACE_POINTS if family == "mediapipe" else np.ones(len(indices), bool)
    problem, units = _problem(reduced, observed, present, fitted, config, size)
    solution = solve(problem, config.solver)
    return _head_fit(head, reduced, observed, present, scores, size, problem, units, solution, config)


def _points(landmarks: NDArray[np.floating] | Tensor) -> Array:
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[2] not in (2, 3):
        raise ShapeError(f"landmarks: expected (T, L, 2) or (T, L, 3) pixels, got {points.shape}; add a frame axis")
    return points[..., :2]


def _landmark_model(head: HeadModel, family: str, count: int) -> LandmarkModel:
    if family not in head.landmarks:
        raise HeadwarpError(
            f"fit: head {head.name!r} has no {family!r} landmark embedding, it has {sorted(head.landmarks) or 'none'}; "
            "pass an embedding file (`headwarp convert head FILE --landmarks EMBEDDING`) or use --head builtin"
        )
    reduced = restrict(head, family)
    keep = reduced.indices < count
    if not bool(keep.all()):
        names = ("mean", "shape_basis", "expression_basis", "eyelid_basis", "pose_basis", "weights", "indices")
        reduced = dataclasses.replace(reduced, **{n: getattr(reduced, n)[keep] for n in names})
    return reduced


def _count(wanted: int | None, available: int) -> int:
    return min(available, 100 if wanted is None else wanted)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def _spread(points: Array) -> Array:
    """Root mean square distance of the landmarks from their centre, per frame."""
    centred = points - points.mean(1, keepdims=True)
    return np.sqrt(np.square(centred).sum(2).mean(1))


def _problem(
    reduced: LandmarkModel,
    observed: Array,
    present: NDArray[np.bool_],
    fitted: NDArray[np.bool_],
    config: FitConfig,
    size: tuple[int, int],
) -> tuple[LandmarkProblem, _Units]:
    mean = _numpy(reduced.mean)[fitted]
    ids = reduced.indices.numpy()[fitted].tolist()
    model_unit = _canthal_length(mean, ids)
    spread = _spread(observed[present][:, fitted])
    typical = float(np.percentile(spread, 90))
    model_spread = float(np.sqrt(np.square(mean[:, :2] - mean[:, :2].mean(0)).sum(1).mean()))
    image_unit = max(typical, 1e-3) / model_spread * model_unit  # px per outer-canthal distance, frontal
    origin = np.array([size[1] / 2, size[0] / 2])
    if config.focal is None:
        origin = observed[present][:, fitted].mean((0, 1))
    units = _Units(origin=origin, image=UNIT / image_unit, model=UNIT / model_unit)
    target = np.where(present[:, None, None], (observed[:, fitted] - origin) * units.image, 0.0)
    weight = np.zeros(len(present))
    weight[present] = np.clip((np.median(spread) / np.maximum(spread, 1e-6)) ** 2, 0.25, 4.0)
    shapes = _count(config.shape_count, reduced.shape_basis.shape[2])
    expressions = _count(config.expression_count, reduced.expression_basis.shape[2])
    jaw = reduced.joint_names.index("jaw")
    lids = _numpy(reduced.eyelid_basis) * EYELID_DEVIATION
    lid_pivot = np.zeros((3, 2))
    frame_basis = np.concatenate([_numpy(reduced.expression_basis)[..., :expressions], lids], axis=2)
    pivot_frame = np.concatenate([_numpy(reduced.joint_expression_basis)[jaw, :, :expressions], lid_pivot], axis=1)
    correctives = _numpy(reduced.pose_basis)[..., 9 * (jaw - 1) : 9 * jaw][fitted]
    problem = LandmarkProblem(
        target=target,
        weight=weight,
        mean=mean * units.model,
        pivot=_numpy(reduced.joint_template)[jaw] * units.model,
        jaw_weight=_numpy(reduced.weights)[fitted, jaw],
        frame_basis=frame_basis[fitted] * units.model,
        shape_basis=_numpy(reduced.shape_basis)[fitted][..., :shapes] * units.model,
        pivot_frame=pivot_frame * units.model,
        pivot_shape=_numpy(reduced.joint_shape_basis)[jaw, :, :shapes] * units.model,
        correctives=correctives * units.model if np.abs(correctives).max(initial=0.0) > 0 else None,
        focal=None if config.focal is None else config.focal * units.image,
    )
    return problem, units


def _canthal_length(points: Array, ids: list[int]) -> float:
    """3D outer-canthal distance; for a set without those points, its spread scaled as on the built-in head."""
    if all(i in ids for i in OUTER_CANTHI):
        return float(np.linalg.norm(points[ids.index(OUTER_CANTHI[0])] - points[ids.index(OUTER_CANTHI[1])]))
    if len(ids) == 68:
        return float(np.linalg.norm(points[36] - points[45]))
    return float(2.0 * np.sqrt(np.square(points - points.mean(0)).sum(1).mean()))


def _head_fit(
    head: HeadModel,
    reduced: LandmarkModel,
    observed: Array,
    present: NDArray[np.bool_],
    scores: NDArray[np.floating] | None,
    size: tuple[int, int],
    problem: LandmarkProblem,
    units: _Units,
    solution: Solution,
    config: FitConfig,
) -> HeadFit:
    params, camera = _parameters(head, problem, units, solution, config, size)
    with threadpool_limits(limits=1), torch.no_grad():
        eyes = eye_rotations(reduced, params, camera, observed, present)
        params = HeadParams(**{**params.__dict__, "eyes": eyes})
        projected = _projected(reduced, params, camera)
    residual = np.where(present[:, None, None], observed - projected, 0.0)
    share, reprojection = _reprojection(problem, solution, present)
    status = _status(present, config.max_gap)
    confidence = _confidence(present, scores, share)
    scale = np.array([1, 1, 1, 1, 1 / units.image, 1 / units.image])  # the scale entry is logarithmic
    as_float = lambda a: torch.as_tensor(np.asarray(a), dtype=torch.float32)  # noqa: E731
    return HeadFit(
        params=params,
        camera=camera,
        size=(int(size[0]), int(size[1])),
        model_id=head.model_id,
        landmark_indices=reduced.indices.clone(),
        landmarks=as_float(observed),
        residual=as_float(residual),
        status=torch.as_tensor(status),
        confidence=as_float(confidence),
        covariance=as_float(solution.covariance * scale[:, None] * scale[None, :]),
        report=_report(status, reprojection, share, solution),
    )


def _parameters(
    head: HeadModel,
    problem: LandmarkProblem,
    units: _Units,
    solution: Solution,
    config: FitConfig,
    size: tuple[int, int],
) -> tuple[HeadParams, WeakPerspective | Perspective]:
    """Back from normalised units to FLAME's parameters and a camera in pixels."""
    state, frames = solution.state, problem.frames
    flip = _numpy(MODEL_TO_CAMERA)
    rotation = flip.T @ state.rotation  # root rotation in model axes
    shape = np.zeros(head.shape_basis.shape[2])
    shape[: problem.shape_count] = state.shape
    expressions = problem.frame_basis_count - 2
    expression = np.zeros((frames, head.expression_basis.shape[2]))
    expression[:, :expressions] = state.linear[:, :expressions]
    root = _numpy(head.joint_template)[0] + _numpy(head.joint_shape_basis)[0] @ shape
    root = root + expression @ _numpy(head.joint_expression_basis)[0].T  # (T, 3)
    offset = (root - np.einsum("tij,tj->ti", rotation, root)) @ flip.T  # the root joint's pivot, camera axes
    scale = np.exp(state.camera[:, 0]) * units.model / units.image  # px per metre
    centre = state.camera[:, 1:] / units.image + units.origin - scale[:, None] * offset[:, :2]
    as_float = lambda a: torch.as_tensor(np.asarray(a), dtype=torch.float32)  # noqa: E731
    translation = np.zeros((frames, 3))
    camera: WeakPerspective | Perspective = WeakPerspective(as_float(scale), as_float(centre))
    if config.focal is not None:
        depth = config.focal / scale
        principal = np.array([size[1] / 2, size[0] / 2])
        place = np.concatenate([(centre - principal) / scale[:, None], (depth - offset[:, 2])[:, None]], axis=1)
        translation = place @ flip  # flip is its own inverse transpose
        focal = np.full((frames, 2), config.focal)
        camera = Perspective(as_float(focal), as_float(np.broadcast_to(principal, (frames, 2)).copy()))
    params = HeadParams(
        shape=as_float(shape),
        expression=as_float(expression),
        rotation=as_float(rotation_log(rotation)),
        translation=as_float(translation),
        neck=torch.zeros(frames, 3),
        jaw=as_float(rotation_log(state.jaw)),
        eyes=torch.zeros(frames, 6),
        eyelids=as_float(state.linear[:, expressions:] * EYELID_DEVIATION),
    )
    return params, camera


def _projected(reduced: LandmarkModel, params: HeadParams, camera: WeakPerspective | Perspective) -> Array:
    from ..posing import project_head

    return _numpy(project_head(reduced, params, camera))[..., :2]


def _reprojection(problem: LandmarkProblem, solution: Solution, present: NDArray[np.bool_]) -> tuple[Array, float]:
    """Residual of the parametric mesh in % of the 3D outer-canthal distance, per frame (NaN if absent) and mean."""
    scale = np.exp(solution.state.camera[:, 0])
    share = np.linalg.norm(solution.residual, axis=2).mean(1) / scale  # UNIT is 100: already in %
    share = np.where(present, share, np.nan)
    return share, float(np.nanmean(share))


def _status(present: NDArray[np.bool_], max_gap: int) -> NDArray[np.int8]:
    status = np.where(present, DETECTED, MISSING).astype(np.int8)
    index = np.flatnonzero(present)
    for before, after in zip(index[:-1], index[1:], strict=True):
        if 1 < after - before <= max_gap + 1:
            status[before + 1 : after] = INTERPOLATED
    return status


def _confidence(present: NDArray[np.bool_], scores: NDArray[np.floating] | None, share: Array) -> Array:
    """Detector score, discounted where the residual is far above what faces leave (about 1 %)."""
    score = np.ones(len(present)) if scores is None else np.nan_to_num(np.asarray(scores, dtype=np.float64))
    discount = np.exp(-np.square(np.maximum(np.nan_to_num(share, nan=0.0) - 1.5, 0.0) / 3.0))
    return np.where(present, np.clip(score, 0, 1) * discount, 0.0)


def _report(status: NDArray[np.int8], reprojection: float, share: Array, solution: Solution) -> dict[str, Any]:
    worst = float(np.nanmax(share))
    return {
        "frames": len(status),
        "detected": int((status == DETECTED).sum()),
        "interpolated": int((status == INTERPOLATED).sum()),
        "missing": int((status == MISSING).sum()),
        "reprojection_percent_iod": reprojection,
        "reprojection_percent_iod_worst": worst,
        "iterations": solution.iterations,
    }
