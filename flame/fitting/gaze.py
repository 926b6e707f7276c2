"""Eye-joint rotations that put the iris of the model on the detected iris centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model import LandmarkModel
from ..params import Camera, HeadParams, select_camera

# Face-mesh ids: iris centre, and the eyelid rim whose residual tells how far the eye region as a whole is
# off.
LEFT_EYE = (473, (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466))
RIGHT_EYE = (468, (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246))
MAX_ANGLE = np.radians(35.0)
AT_ONCE = 256  # frames posed together

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EyePlaces:
    """Rows of both eyes, left then right, among the landmarks: iris centres (2,), lid rims (2, 16)."""

    iris: NDArray[np.intp]
    rim: NDArray[np.intp]

    @staticmethod
    def among(indices: list[int]) -> EyePlaces | None:
        """None if the landmarks lack one of them."""
        eyes = (LEFT_EYE, RIGHT_EYE)
        place = {number: row for row, number in enumerate(indices)}
        if not all(n in place for iris, rim in eyes for n in (iris, *rim)):
            return None
        rims = np.array([[place[n] for n in rim] for _, rim in eyes])
        return EyePlaces(np.array([place[iris] for iris, _ in eyes]), rims)


def eye_rotations(
    reduced: LandmarkModel,
    params: HeadParams,
    camera: Camera,
    observed: NDArray[np.floating],
    present: NDArray[np.bool_],
) -> Tensor:
    """Axis-angle (T, 6), left then right eye, in the head's frame; zeros without iris landmarks or a face.

    The rest iris direction (from the eye joint to the iris centre) is turned by the smallest rotation that
    projects it onto the detected iris, measured against the mean residual of the eyelid rim and limited to 35
    degrees. Frames without a face, and eyes without a detected iris, take what lies between their neighbours.

    Args:
        reduced: the head reduced to the detected landmarks.
        params: T frames, solved but for the eyes.
        camera: T frames.
        observed: landmarks in pixels, ``(T, L, 2)``.
        present: frames in which they were detected, ``(T,)``.
    """
    from ..posing import camera_rotation, pixels_per_metre, project_head

    places = EyePlaces.among(reduced.indices.tolist())
    if places is None:
        return torch.zeros(params.frames, 6)
    eyes = np.zeros((params.frames, 2, 3))
    for start in range(0, params.frames, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        some, lens = params.select(part), select_camera(camera, part)
        eyes[part] = eye_turns(
            places,
            observed[part],
            project_head(reduced, some, lens)[..., :2].double().numpy(),
            arm=_rest_arms(reduced, some, places),
            rotation=camera_rotation(some).double().numpy(),
            scale=pixels_per_metre(some, lens).double().numpy(),
        )
    seen = present[:, None] & np.isfinite(eyes).all(2)
    for eye in range(2):
        eyes[:, eye] = _filled(eyes[:, eye], seen[:, eye])
    return torch.as_tensor(eyes.reshape(-1, 6), dtype=torch.float32)


def eye_turns(
    places: EyePlaces,
    observed: NDArray[np.floating],
    projected: Array,
    *,
    arm: Array,
    rotation: Array,
    scale: Array,
) -> Array:
    """The smallest turns of both eyes (T, 2, 3); NaN where an iris was not detected.

    Args:
        places: which landmarks are irises and rims.
        observed: (T, L, 2) px.
        projected: (T, L, 2) px of the head with its eyes at rest.
        arm: (T, 2, 3) from the eye joint to the iris centre, head frame, any unit.
        rotation: (T, 3, 3) head to camera.
        scale: (T,) px a unit.
    """
    shift = (observed[:, places.rim] - projected[:, places.rim]).mean(2)  # (T, 2 eyes, 2)
    moved = observed[:, places.iris] - np.nan_to_num(shift) - projected[:, places.iris]
    ahead = arm @ np.swapaxes(rotation, 1, 2)
    radius = np.sqrt(np.square(arm).sum(-1))
    target = ahead[..., :2] + moved / scale[:, None, None]
    reach = np.sqrt(np.square(target).sum(-1))
    target = target * np.minimum(1.0, 0.95 * radius / np.maximum(reach, 1e-12))[..., None]
    forward = -np.sqrt(np.maximum(np.square(radius) - np.square(target).sum(-1), 0.0))  # to the camera
    direction = np.concatenate([target, forward[..., None]], axis=-1) @ rotation
    axis = np.cross(arm, direction)
    sine, cosine = np.sqrt(np.square(axis).sum(-1)), (arm * direction).sum(-1)
    angle = np.minimum(np.arctan2(sine, cosine), MAX_ANGLE)
    return axis * (angle / np.maximum(sine, 1e-12))[..., None]


def _rest_arms(reduced: LandmarkModel, params: HeadParams, places: EyePlaces) -> Array:
    """(T, 2, 3) metres."""
    shape, expression = params.shape.double().numpy(), params.expression.double().numpy()
    arms = np.empty((len(expression), 2, 3))
    for eye, joint in enumerate(("left_eye", "right_eye")):
        number, place = reduced.joint_names.index(joint), places.iris[eye]
        rest = reduced.mean[place] - reduced.joint_template[number]
        by_shape = reduced.shape_basis[place] - reduced.joint_shape_basis[number]
        by_expression = reduced.expression_basis[place] - reduced.joint_expression_basis[number]
        still = rest.double().numpy() + by_shape.double().numpy() @ shape
        arms[:, eye] = still + expression @ by_expression.double().numpy().T
    return arms


def _filled(turns: Array, seen: NDArray[np.bool_]) -> Array:
    """Frames that were not seen take the linear interpolation of their neighbours; zeros if none was."""
    index = np.flatnonzero(seen)
    if not len(index):
        return np.zeros_like(turns)
    frames = np.arange(len(turns))
    return np.stack([np.interp(frames, index, turns[index, k]) for k in range(turns.shape[1])], axis=1)
