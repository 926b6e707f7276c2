"""Eye-joint rotations that put the iris of the model on the detected iris centre."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model import LandmarkModel
from ..params import Camera, HeadParams

# Face-mesh ids: iris centre, and the eyelid rim whose residual tells how far the eye region as a whole is
# off.
LEFT_EYE = (473, (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))
RIGHT_EYE = (468, (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246))
MAX_ANGLE = np.radians(35.0)


def eye_rotations(
    reduced: LandmarkModel,
    params: HeadParams,
    camera: Camera,
    observed: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> Tensor:
    """Axis-angle (T, 6), left then right eye, in the head's frame; zeros without iris landmarks or a face.

    The rest iris direction (from the eye joint to the iris centre) is turned by the smallest rotation that
    projects it onto the detected iris, measured against the mean residual of the eyelid rim and limited to 35
    degrees.
    """
    eyes = np.zeros((params.frames, 6))
    ids = reduced.indices.tolist()
    if not all(iris in ids and all(r in ids for r in rim) for iris, rim in (LEFT_EYE, RIGHT_EYE)):
        return torch.zeros(params.frames, 6)
    from ..posing import project_head

    projected = project_head(reduced, params, camera).double().numpy()
    for column, (iris, rim), joint in ((0, LEFT_EYE, "left_eye"), (3, RIGHT_EYE, "right_eye")):
        place, rows = ids.index(iris), [ids.index(r) for r in rim]
        shift = (observed[:, rows] - projected[:, rows, :2]).mean(1)  # (T, 2)
        moved = observed[:, place] - shift - projected[:, place, :2]  # (T, 2) px
        arm = _rest_arm(reduced, params, place, joint)  # (T, 3) metres, head frame
        eyes[:, column : column + 3] = _smallest_rotation(arm, moved, params, camera, projected[:, place, 2])
    eyes[~present] = 0.0
    eyes = _filled(eyes, present)
    return torch.as_tensor(eyes, dtype=torch.float32)


def _rest_arm(reduced: LandmarkModel, params: HeadParams, place: int, joint: str) -> NDArray[np.float64]:
    number = reduced.joint_names.index(joint)
    shape = params.shape.double().numpy()
    expression = params.expression.double().numpy()
    point = reduced.mean[place].double().numpy() + reduced.shape_basis[place].double().numpy() @ shape
    point = point + expression @ reduced.expression_basis[place].double().numpy().T
    centre = (
        reduced.joint_template[number].double().numpy()
        + reduced.joint_shape_basis[number].double().numpy() @ shape
    )
    centre = centre + expression @ reduced.joint_expression_basis[number].double().numpy().T
    return point - centre


def _smallest_rotation(
    arm: NDArray[np.float64],
    moved: NDArray[np.float64],
    params: HeadParams,
    camera: Camera,
    depth: NDArray[np.float64],
) -> NDArray[np.float64]:
    from ..posing import camera_rotation, pixels_per_metre

    rotation = camera_rotation(params).double().numpy()  # (T, 3, 3) model -> camera
    scale = pixels_per_metre(params, camera).double().numpy()
    ahead = np.einsum("tij,tj->ti", rotation, arm)
    radius = np.linalg.norm(arm, axis=1)
    target = ahead[:, :2] + np.nan_to_num(moved) / scale[:, None]
    reach = np.linalg.norm(target, axis=1)
    target = target * np.minimum(1.0, 0.95 * radius / np.maximum(reach, 1e-9))[:, None]
    forward = -np.sqrt(np.maximum(radius**2 - np.square(target).sum(1), 0.0))  # towards the camera
    direction = np.einsum("tji,tj->ti", rotation, np.concatenate([target, forward[:, None]], axis=1))
    axis = np.cross(arm, direction)
    sine, cosine = np.linalg.norm(axis, axis=1), (arm * direction).sum(1)
    angle = np.minimum(np.arctan2(sine, cosine), MAX_ANGLE)
    return axis / np.maximum(sine, 1e-12)[:, None] * angle[:, None]


def _filled(eyes: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Frames without a face take the linear interpolation of their neighbours."""
    index = np.flatnonzero(present)
    frames = np.arange(len(eyes))
    return np.stack([np.interp(frames, index, eyes[index, k]) for k in range(eyes.shape[1])], axis=1)
