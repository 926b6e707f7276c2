"""From a solution to a `HeadFit`: parameters and camera in pixels, gaze, residual, status, report."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ..model import HeadModel
from ..params import DETECTED, INTERPOLATED, MISSING, Camera, HeadFit, HeadParams, select_camera
from ._observed import Observed, Units
from ._prepared import EYELID_DEVIATION, PreparedHead, as_numpy
from ._problem import LandmarkProblem, State
from ._rotations import Array, cross_matrix, rotation_log
from .gaze import eye_rotations
from .proportions import proportions_deviation
from .solver import Solution, one_thread

AT_ONCE = 256  # frames posed together


@dataclass(frozen=True)
class Solved:
    """A solution with its units, and what is known besides.

    Attributes:
        status: (T,) of the frames.
        eyes: (T', 6) turns of the eyes in the last frames; those of the others are found.
    """

    solution: Solution
    units: Units
    status: NDArray[np.int8]
    eyes: Array


def head_fit(
    head: HeadModel,
    prepared: PreparedHead,
    seen: Observed,
    solved: Solved,
    *,
    scores: NDArray[np.floating] | None,
    family: str,
) -> HeadFit:
    """One record for every frame."""
    solution, units, status = solved.solution, solved.units, solved.status
    used = solution.problem.present
    state = _about_the_model(solution.state, units)
    params, camera = _parameters(prepared, head, solution, state, units=units, seen=seen)
    with one_thread().limit(limits=1), torch.no_grad():
        part = slice(0, seen.frames - len(solved.eyes))
        eyes = eye_rotations(
            prepared.points, params.select(part), select_camera(camera, part), seen.points[part], used[part]
        )
        params = dataclasses.replace(params, eyes=torch.cat([eyes, _as_float(solved.eyes)]))
        residual = _residual(prepared, params, camera, seen, _rows(prepared, solution.problem), used)
    share = _share(solution, used)
    report = _report(status, share, solution) | landmark_report(head, prepared, family)
    if family == "mediapipe":
        deviation = proportions_deviation(prepared.points, params.shape, frames=int(used.sum()))
        report |= {} if deviation is None else {"proportions_deviation": deviation}
    if isinstance(camera, Perspective):
        report |= _lens_report(solution, camera)
    height, width = seen.sizes[0].tolist()
    trust = np.where(solution.outliers, solution.trust, 1.0)
    return HeadFit(
        params=params,
        camera=camera,
        size=(int(height), int(width)),
        model_id=head.model_id,
        landmark_indices=torch.as_tensor(prepared.indices),
        landmarks=_as_float(seen.points),
        residual=residual,
        status=torch.as_tensor(status),
        confidence=_as_float(_confidence(used, scores, share) * trust),
        covariance=_as_float(_covariance(solution, units)),
        report=report,
        deviation=_as_float(_deviation(head, solution)),
    )


def landmark_report(head: HeadModel, prepared: PreparedHead, family: str) -> dict[str, Any]:
    """Which landmarks these are, whose choice of points on the mesh, and which of them slide over it."""
    moving = [] if prepared.moving is None else prepared.moving.numbers.tolist()
    origin = head.landmarks[family].origin
    named = {"landmark_origin": origin} if origin else {}
    return {"family": family, **named, **({"moving_landmarks": moving} if moving else {})}


def _as_float(array: NDArray[Any]) -> Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)


def _about_the_model(state: State, units: Units) -> State:
    """The camera's centre as the image of the model's origin, not of the landmarks' centre."""
    arm = np.exp(state.camera[:, :1]) * (state.rotation @ units.centre)[:, :2]
    return dataclasses.replace(
        state, camera=np.concatenate([state.camera[:, :1], state.camera[:, 1:] - arm], axis=1)
    )


def _covariance(solution: Solution, units: Units) -> Array:
    """Of rotation, log scale and image of the model's origin in px."""
    state, frames = solution.state, len(units.image)
    change = np.tile(np.eye(6), (frames, 1, 1))
    arm = np.exp(state.camera[:, :1]) * (state.rotation @ units.centre)
    change[:, 4:, :3] = cross_matrix(arm)[:, :2]  # turned by d, minus the arm moves by arm x d
    change[:, 4:, 3] = -arm[:, :2]
    change[:, 4:] /= units.image[:, None, None]
    return change @ solution.covariance @ np.swapaxes(change, 1, 2)


def _deviation(head: HeadModel, solution: Solution) -> Array:
    """In the order and units of `HeadFit.deviation`; 1, as the prior has it, for coefficients not fitted."""
    found = solution.deviation
    deviation = np.ones((len(found), 5 + head.expression_basis.shape[2]))
    fitted = found.shape[1] - 5
    deviation[:, :3] = found[:, :3]
    deviation[:, 3:5] = found[:, -2:] * EYELID_DEVIATION
    deviation[:, 5 : 5 + fitted] = found[:, 3:-2]
    return deviation


def _parameters(
    prepared: PreparedHead,
    head: HeadModel,
    solution: Solution,
    state: State,
    *,
    units: Units,
    seen: Observed,
) -> tuple[HeadParams, Camera]:
    """Back from normalised units to FLAME's parameters and a camera in pixels."""
    problem, frames = solution.problem, state.frames
    flip = as_numpy(MODEL_TO_CAMERA)
    rotation = flip.T @ state.rotation  # root rotation in model axes
    shape = np.zeros(head.shape_basis.shape[2])
    found = prepared.identity_of(state.shape)
    shape[: len(found)] = found
    linear = problem.head.own_basis(state.linear)
    expressions = linear.shape[1] - 2
    expression = np.zeros((frames, head.expression_basis.shape[2]))
    expression[:, :expressions] = linear[:, :expressions]
    root = as_numpy(head.joint_template)[0] + as_numpy(head.joint_shape_basis)[0] @ shape
    root = root + expression @ as_numpy(head.joint_expression_basis)[0].T  # (T, 3)
    offset = (root - np.einsum("tij,tj->ti", rotation, root)) @ flip.T  # the root joint's pivot, camera axes
    scale = np.exp(state.camera[:, 0]) * units.model / units.image  # px per metre
    centre = state.camera[:, 1:] / units.image[:, None] + units.origin
    translation = np.zeros((frames, 3))
    camera: Camera = WeakPerspective(_as_float(scale), _as_float(centre - scale[:, None] * offset[:, :2]))
    if problem.unit is not None:
        focal = 1 / (problem.unit * state.lens * units.image)
        depth = focal / scale - (state.rotation @ units.centre)[:, 2] / units.model
        place = np.concatenate([(centre - seen.middle) / scale[:, None], depth[:, None]], axis=1) - offset
        translation = place @ flip  # flip is its own inverse transpose
        camera = Perspective(_as_float(np.tile(focal[:, None], (1, 2))), _as_float(seen.middle))
    params = HeadParams(
        shape=_as_float(shape),
        expression=_as_float(expression),
        rotation=_as_float(rotation_log(rotation)),
        translation=_as_float(translation),
        neck=torch.zeros(frames, 3),
        jaw=_as_float(state.jaw),
        eyes=torch.zeros(frames, 6),
        eyelids=_as_float(linear[:, expressions:] * EYELID_DEVIATION),
    )
    return params, camera


def _rows(prepared: PreparedHead, problem: LandmarkProblem) -> NDArray[np.int64] | None:
    """Which of the prepared points a landmark is in every frame, (T, L); None where that never changes."""
    if problem.sliding is None:
        return None
    shift = prepared.fixed - prepared.first_candidate  # points that do not take part lie before candidates
    moving = problem.sliding.rows[:, prepared.first_candidate :]
    moving = np.where(moving < 0, -1, moving + shift)
    fixed = np.broadcast_to(np.arange(prepared.fixed), (len(moving), prepared.fixed))
    return np.concatenate([fixed, moving], axis=1)


def _residual(
    prepared: PreparedHead,
    params: HeadParams,
    camera: Camera,
    seen: Observed,
    rows: NDArray[np.int64] | None,
    used: NDArray[np.bool_],
) -> Tensor:
    """Detected minus projected (T, L, 2) px, 0 where nothing was detected or believed."""
    residual = torch.zeros(seen.points.shape, dtype=torch.float32)
    for start in range(0, seen.frames, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        residual[part] = _residual_part(
            prepared,
            params.select(part),
            select_camera(camera, part),
            np.where(used[part, None, None], seen.points[part], np.nan),
            None if rows is None else rows[part],
        )
    return residual


def _residual_part(
    prepared: PreparedHead,
    params: HeadParams,
    camera: Camera,
    points: Array,
    rows: NDArray[np.int64] | None,
) -> Tensor:
    from ..posing import project_head

    projected = as_numpy(project_head(prepared.points, params, camera))[..., :2]
    if rows is not None:
        projected = np.take_along_axis(projected, np.maximum(rows, 0)[..., None], axis=1)
        points = np.where(rows[..., None] < 0, np.nan, points)
    return _as_float(np.nan_to_num(points - projected, nan=0.0))


def _share(solution: Solution, used: NDArray[np.bool_]) -> Array:
    """Mean residual of the parametric mesh per frame (T,), % of the outer-canthal distance; NaN if absent."""
    share = solution.length / np.exp(solution.state.camera[:, 0])  # that distance is 100: already in %
    return np.where(used, share, np.nan)


def status_of(used: NDArray[np.bool_], max_gap: int) -> NDArray[np.int8]:
    """Frames between two with a face, at most ``max_gap`` of them, are interpolated."""
    status = np.where(used, DETECTED, MISSING).astype(np.int8)
    index = np.flatnonzero(used)
    for before, after in itertools.pairwise(index):
        if 1 < after - before <= max_gap + 1:
            status[before + 1 : after] = INTERPOLATED
    return status


def _confidence(used: NDArray[np.bool_], scores: NDArray[np.floating] | None, share: Array) -> Array:
    """Detector score, discounted where the residual is far above what faces leave (about 1 %)."""
    score = np.ones(len(used)) if scores is None else np.nan_to_num(np.asarray(scores, dtype=np.float64))
    discount = np.exp(-np.square(np.maximum(np.nan_to_num(share, nan=0.0) - 1.5, 0.0) / 3.0))
    return np.where(used, np.clip(score, 0, 1) * discount, 0.0)


def _report(status: NDArray[np.int8], share: Array, solution: Solution) -> dict[str, Any]:
    return {
        "frames": len(status),
        "detected": int((status == DETECTED).sum()),
        "interpolated": int((status == INTERPOLATED).sum()),
        "missing": int((status == MISSING).sum()),
        "outlier_frames": np.flatnonzero(solution.outliers).tolist(),
        "reprojection_percent_iod": float(np.nanmean(share)),
        "reprojection_percent_iod_worst": float(np.nanmax(share)),
        "iterations": solution.iterations,
    }


def _lens_report(solution: Solution, camera: Perspective) -> dict[str, Any]:
    """The focal length in pixels and, where it was an unknown, its standard deviation."""
    focal = float(camera.focal[0, 0])
    if len(solution.shared_deviation) == len(solution.state.shape):
        return {"focal": focal}
    return {
        "focal": focal,
        "focal_deviation": focal / solution.state.lens * float(solution.shared_deviation[-1]),
    }
