"""A frame of a stream as a `HeadFit`, in arrays as small as it is: what `_record` does for clips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ..model import HeadModel
from ..params import DETECTED, INTERPOLATED, MISSING, Camera, HeadFit, HeadParams
from ._frame import FrameState, projected, turned
from ._person import Person
from ._prepared import EYELID_DEVIATION, PreparedHead, as_numpy
from ._record import landmark_report
from ._rotations import Array, cross_matrix
from ._stream import Stepped

_ORDER = [3, 4, 5, 0, 1, 2]  # rotation, log scale, centre


@dataclass(frozen=True)
class Frontend:
    """What of a head and a person does not change from frame to frame.

    Attributes:
        head, prepared, person: whose they are.
        shape: (S,) all coefficients of the model.
        root: (3,) the root joint, root_by_expression (3, E); metres.
        size: (H, W); family of the landmarks.
    """

    head: HeadModel
    prepared: PreparedHead
    person: Person
    shape: Tensor
    root: Array
    root_by_expression: Array
    size: tuple[int, int]
    family: str

    @staticmethod
    def of(
        head: HeadModel, prepared: PreparedHead, person: Person, size: tuple[int, int], family: str
    ) -> Frontend:
        shape = np.zeros(head.shape_basis.shape[2])
        shape[: len(person.shape)] = person.shape
        root = as_numpy(head.joint_template)[0] + as_numpy(head.joint_shape_basis)[0] @ shape
        by_expression = as_numpy(head.joint_expression_basis)[0]
        return Frontend(head, prepared, person, _tensor(shape), root, by_expression, size, family)


_FLIP = as_numpy(MODEL_TO_CAMERA)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def live_fit(front: Frontend, stepped: Stepped, points: Array, *, score: float, max_gap: int) -> HeadFit:
    """The record of a frame.

    Args:
        points: (L, 2) px of the prepared landmarks, NaN where missing.
    """
    memory, person = stepped.memory, front.person
    image = _with_eyes(person, stepped) / person.units.image[0] + person.units.origin[0][:, None]
    residual = points - image.T if stepped.used else np.zeros_like(points)
    params, camera = _parameters(front, memory.state, memory.eyes)
    share = _share(stepped)
    trust = float(stepped.trust[stepped.weight > 0].mean()) if stepped.used else 0.0
    waited = INTERPOLATED if memory.waited <= max_gap else MISSING
    status = DETECTED if stepped.used else waited
    doubtful = stepped.seen and (not stepped.used or trust < 0.5)
    return HeadFit(
        params=params,
        camera=camera,
        size=front.size,
        model_id=front.head.model_id,
        landmark_indices=torch.from_numpy(front.prepared.indices),
        landmarks=_tensor(points[None]),
        residual=_tensor(np.nan_to_num(residual, nan=0.0)[None]),
        status=torch.tensor([status], dtype=torch.int8),
        confidence=torch.tensor([confidence_of(score, share, trust) if stepped.used else 0.0]),
        covariance=_tensor(_covariance(person, memory.state, memory.covariance)[None]),
        report=_report(status, share, doubtful) | landmark_report(front.head, front.prepared, front.family),
        deviation=_tensor(_deviation(front, memory.covariance)[None]),
    )


def confidence_of(score: float, share: float, trust: float) -> float:
    """Detector score, discounted where the residual is far above what faces leave, or was not believed."""
    score = 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)
    return score * math.exp(-((max(share - 1.5, 0.0) / 3.0) ** 2)) * (trust if trust < 0.5 else 1.0)


def _share(stepped: Stepped) -> float:
    """Mean residual, % of the eye distance; NaN if nothing was believed."""
    if not stepped.used:
        return math.nan
    mean = float(stepped.length[stepped.weight > 0].mean())
    return mean / math.exp(stepped.memory.state.camera[0])


def _report(status: int, share: float, doubtful: bool) -> dict[str, Any]:
    counts = {"detected": status == DETECTED, "interpolated": status == INTERPOLATED, "missing": not status}
    report: dict[str, Any] = {"frames": 1, **{name: int(value) for name, value in counts.items()}}
    report["outlier_frames"] = [0] if doubtful else []
    if not math.isnan(share):
        report["reprojection_percent_iod"] = share
    return report


def _with_eyes(person: Person, stepped: Stepped) -> Array:
    """(2, L) the landmarks' image with the eyes turned, normalised units."""
    memory, eyes = stepped.memory, person.eyes
    if eyes is None or not memory.eyes.any():
        return memory.image
    rows, image, channels = eyes.rows, memory.image.copy(), memory.channels[:, eyes.rows].copy()
    for weight, centre, turn in zip(
        eyes.weight[:, rows], eyes.centres(memory.state.linear), memory.eyes, strict=True
    ):
        arm = memory.channels[:3, rows] - centre[:, None]
        channels[:3] += weight * ((turned(turn) - np.eye(3)) @ arm)
    image[:, rows] = projected(memory.state, channels, person.strength)
    return image


def _parameters(front: Frontend, state: FrameState, eyes: Array) -> tuple[HeadParams, Camera]:
    """As in `_record`, for one frame."""
    person, head = front.person, front.prepared.everything
    units = person.units
    rotation = _FLIP @ state.rotation
    linear = state.linear if head.turn is None else head.turn @ state.linear
    expression = np.zeros(front.head.expression_basis.shape[2])
    expression[: len(linear) - 2] = linear[:-2]
    root = front.root + front.root_by_expression @ expression
    offset = _FLIP @ (root - rotation @ root)
    scale = math.exp(state.camera[0]) * units.model / units.image[0]
    away = state.rotation @ units.centre
    centre = (state.camera[1:] - math.exp(state.camera[0]) * away[:2]) / units.image[0] + units.origin[0]
    translation = np.zeros(3)
    camera: Camera
    if person.lens:
        middle = np.array([front.size[1] / 2, front.size[0] / 2])
        focal = max(front.size) / person.lens
        depth = focal / scale - away[2] / units.model
        translation = _FLIP @ (np.append((centre - middle) / scale, depth) - offset)
        camera = Perspective(_tensor([[focal, focal]]), _tensor(middle[None]))
    else:
        camera = WeakPerspective(_tensor([scale]), _tensor((centre - scale * offset[:2])[None]))
    params = HeadParams(
        shape=front.shape,
        expression=_tensor(expression[None]),
        rotation=_tensor(rotation_vector(rotation)[None]),
        translation=_tensor(translation[None]),
        neck=torch.zeros(1, 3),
        jaw=_tensor(state.jaw[None]),
        eyes=_tensor(eyes.reshape(1, 6)),
        eyelids=_tensor(linear[None, -2:] * EYELID_DEVIATION),
    )
    return params, camera


def _covariance(person: Person, state: FrameState, covariance: Array) -> Array:
    pose = covariance[:6, :6][_ORDER][:, _ORDER]
    arm = math.exp(state.camera[0]) * (state.rotation @ person.units.centre)
    change = np.eye(6)
    change[4:, :3] = cross_matrix(arm)[:2]
    change[4:, 3] = -arm[:2]
    change[4:] /= person.units.image[0]
    return change @ pose @ change.T


def _deviation(front: Frontend, covariance: Array) -> Array:
    """In the order and units of `HeadFit.deviation`."""
    combined = front.person.combined
    found = np.sqrt(np.einsum("mn,mn->m", combined @ covariance, combined))
    deviation = np.ones(5 + front.head.expression_basis.shape[2])
    deviation[:3], deviation[3:5] = found[:3], found[-2:] * EYELID_DEVIATION
    deviation[5 : len(found)] = found[3:-2]
    return deviation


def rotation_vector(matrix: Array) -> Array:
    """A rotation matrix (3, 3) to axis-angle (3,), by the largest component of its quaternion."""
    m = matrix.tolist()
    squares = [
        1 + m[0][0] + m[1][1] + m[2][2],
        1 + m[0][0] - m[1][1] - m[2][2],
        1 - m[0][0] + m[1][1] - m[2][2],
        1 - m[0][0] - m[1][1] + m[2][2],
    ]
    spin = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]]
    sums = [m[2][1] + m[1][2], m[0][2] + m[2][0], m[1][0] + m[0][1]]
    most = max(range(4), key=squares.__getitem__)
    if most == 0:
        quaternion = [squares[0], *spin]
    elif most == 1:
        quaternion = [spin[0], squares[1], sums[2], sums[1]]
    elif most == 2:
        quaternion = [spin[1], sums[2], squares[2], sums[0]]
    else:
        quaternion = [spin[2], sums[1], sums[0], squares[3]]
    sign = -1.0 if quaternion[0] < 0 else 1.0
    axis = sign * np.array(quaternion[1:])
    length = float(np.sqrt(axis @ axis))
    angle = 2 * math.atan2(length, sign * quaternion[0])
    return axis * (angle / length if length > 1e-12 * abs(quaternion[0]) else 2 / (sign * quaternion[0]))
