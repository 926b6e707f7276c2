"""A fit without its jitter: a One Euro filter of pose, place, expression, lids and gaze, frame by frame."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import Perspective, WeakPerspective
from ..geom.errors import HeadwarpError
from ..geom.one_euro import Filtered, filter_rotation, filter_value, first_rotation, first_value
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .model import HeadModel
from .params import DETECTED, Camera, HeadFit, HeadParams, check_model
from .posing import camera_rotation, pixels_per_metre

_JOINTS = ("rotation", "neck", "jaw", "left_eye", "right_eye")


@dataclass(frozen=True)
class Cutoff:
    """Of one part of the motion.

    Attributes:
        rest: cut-off in Hz where it rests; lower is steadier.
        beta: by how much it rises with speed: Hz for every radian, metre, coefficient.. a second.
    """

    rest: float
    beta: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rest) and self.rest > 0 and math.isfinite(self.beta) and self.beta >= 0):
            raise HeadwarpError(f"cutoff: expected rest above 0 and beta of at least 0, got {self}")


@dataclass(frozen=True)
class FitSmoothing:
    """How a fit is filtered.

    Attributes:
        fps: frames a second of the fit.
        pose: root and neck.
        place: where the head is, in metres, and how large, as a logarithm.
        jaw: the joint.
        gaze: both eyes.
        expression: coefficients.
        eyelids: coefficients; a blink lasts a tenth of a second and must keep its depth.
        residual: of landmarks, in metres on the head.
    """

    fps: float = 25.0
    pose: Cutoff = Cutoff(1.5, 12.0)
    place: Cutoff = Cutoff(1.5, 80.0)
    jaw: Cutoff = Cutoff(2.0, 40.0)
    gaze: Cutoff = Cutoff(2.0, 6.0)
    expression: Cutoff = Cutoff(2.0, 5.0)
    eyelids: Cutoff = Cutoff(6.0, 150.0)
    residual: Cutoff = Cutoff(3.0, 3000.0)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise HeadwarpError(f"smoothing: expected fps above 0, got {self.fps}")


@dataclass(frozen=True)
class SmoothingState:
    """What is known after a frame, to go on from; None: not seen yet."""

    joints: Filtered | None = None
    numbers: Filtered | None = None
    residual: Filtered | None = None


@dataclass(frozen=True)
class Smoothed:
    """A filtered stretch of a fit, and the state to filter the next stretch from."""

    fit: HeadFit
    state: SmoothingState


def smoothed_fit(
    model: HeadModel, fit: HeadFit, config: FitSmoothing | None = None, state: SmoothingState | None = None
) -> Smoothed:
    """Filter a fit, or the next stretch of one: stretches in a row give what the whole gives.

    Joints are filtered as rotations along the shortest turn. Place is that of the face's middle, so that a
    filtered turn does not shift the face. Landmarks, status and confidence stay; frames without a face stay
    so, their residual is not looked at; frames with a parameter that is no number stay as they are.

    Args:
        model: the head of the fit.
        fit: T frames.
        config: None: the defaults at 25 frames a second.
        state: of the stretch before; None: the first frame is taken as it is.

    Raises:
        ModelFileError: the fit belongs to another head model.
    """
    check_model(fit, model.model_id)
    config, state = config or FitSmoothing(), state or SmoothingState()
    joints, numbers = _joints(fit.params), _numbers(model, fit)
    residual = fit.residual / pixels_per_metre(fit.params, fit.camera)[:, None, None]
    limits = _limits(config, numbers, expressions=fit.params.expression.shape[1])
    finite = torch.isfinite(numbers).all(1) & torch.isfinite(joints).flatten(1).all(1)
    seen = (fit.status == DETECTED) & torch.isfinite(residual).flatten(1).all(1)
    kept_joints, kept_numbers, kept_residual = [], [], []
    for frame in range(fit.frames):
        good, here = bool(finite[frame]), bool(finite[frame]) and bool(seen[frame])
        if good:
            state = _step(state, joints[frame], numbers[frame], config, limits)
        if here:
            state = dataclasses.replace(state, residual=_step_residual(state, residual[frame], config))
        kept_joints.append(_value(state.joints) if good else joints[frame])
        kept_numbers.append(_value(state.numbers) if good else numbers[frame])
        kept_residual.append(_value(state.residual) if here else residual[frame])
    made = _where(finite, _rebuilt(model, fit, torch.stack(kept_joints), torch.stack(kept_numbers)), fit)
    scale = pixels_per_metre(made.params, made.camera)[:, None, None]
    return Smoothed(dataclasses.replace(made, residual=torch.stack(kept_residual) * scale), state)


def _where(finite: Tensor, made: HeadFit, fit: HeadFit) -> HeadFit:
    """What was made, but for frames with a parameter that is no number."""
    if bool(finite.all()):
        return made

    def chosen(new: Any, old: Any) -> dict[str, Tensor]:
        pairs = ((f.name, getattr(new, f.name), getattr(old, f.name)) for f in dataclasses.fields(new))
        return {
            name: torch.where(finite.reshape(-1, *[1] * (theirs.ndim - 1)), ours, theirs)
            for name, ours, theirs in pairs
            if name != "shape"
        }

    params = dataclasses.replace(made.params, **chosen(made.params, fit.params))
    camera = type(made.camera)(**chosen(made.camera, fit.camera))
    return dataclasses.replace(made, params=params, camera=camera)


def _value(filtered: Filtered | None) -> Tensor:
    assert filtered is not None
    return filtered.value


@dataclass(frozen=True)
class _Limits:
    """Cut-offs and their slopes, of each joint ``(5,)`` and each number ``(N,)``."""

    joints: tuple[Tensor, Tensor]
    numbers: tuple[Tensor, Tensor]


def _limits(config: FitSmoothing, numbers: Tensor, *, expressions: int) -> _Limits:
    turning = (config.pose, config.pose, config.jaw, config.gaze, config.gaze)
    places = numbers.shape[1] - 2 - expressions
    along = (*[config.place] * places, *[config.eyelids] * 2, *[config.expression] * expressions)
    pairs = [
        (numbers.new_tensor([c.rest for c in each]), numbers.new_tensor([c.beta for c in each]))
        for each in (turning, along)
    ]
    return _Limits(*pairs)


def _step(
    state: SmoothingState, joints: Tensor, numbers: Tensor, config: FitSmoothing, limits: _Limits
) -> SmoothingState:
    if state.joints is None or state.numbers is None:
        return dataclasses.replace(state, joints=first_rotation(joints), numbers=first_value(numbers))
    (rest, beta), (rests, betas) = limits.joints, limits.numbers
    return dataclasses.replace(
        state,
        joints=filter_rotation(state.joints, joints, fps=config.fps, min_cutoff=rest, beta=beta),
        numbers=filter_value(state.numbers, numbers, fps=config.fps, min_cutoff=rests, beta=betas),
    )


def _step_residual(state: SmoothingState, residual: Tensor, config: FitSmoothing) -> Filtered:
    if state.residual is None:
        return first_value(residual)
    limit = config.residual
    return filter_value(state.residual, residual, fps=config.fps, min_cutoff=limit.rest, beta=limit.beta)


def _joints(params: HeadParams) -> Float[Tensor, "T 5 3 3"]:
    eyes = params.eyes.split(3, dim=1)
    return axis_angle_to_matrix(torch.stack([params.rotation, params.neck, params.jaw, *eyes], dim=1))


def _numbers(model: HeadModel, fit: HeadFit) -> Float[Tensor, "T N"]:
    """Place, logarithm of the size, lids and expression."""
    params, camera = fit.params, fit.camera
    middle = _middle(model, params)
    if isinstance(camera, WeakPerspective):
        place = middle[:, :2] + camera.center / camera.scale[:, None]
        place = torch.cat([place, camera.scale.log()[:, None]], dim=1)
    else:
        place = middle
    return torch.cat([place, params.eyelids, params.expression], dim=1)


def _middle(model: HeadModel, params: HeadParams) -> Float[Tensor, "T 3"]:
    """The middle of the face between nose and ears, camera axes, metres, without a camera's own shift."""
    joints = model.joint_template + model.joint_shape_basis @ params.shape
    eyes = [model.joint_names.index(f"{side}_eye") for side in ("left", "right")]
    arm = joints[eyes].mean(0) - joints[0]
    flip = camera_rotation(HeadParams.neutral(0, 0))[0].to(params.rotation)
    return (axis_angle_to_matrix(params.rotation) @ arm + joints[0] + params.translation) @ flip.T


def _rebuilt(model: HeadModel, fit: HeadFit, joints: Tensor, numbers: Tensor) -> HeadFit:
    turns = matrix_to_axis_angle(joints)
    expressions = fit.params.expression.shape[1]
    place, eyelids, expression = numbers.split([numbers.shape[1] - 2 - expressions, 2, expressions], dim=1)
    params = dataclasses.replace(
        fit.params,
        rotation=turns[:, 0],
        neck=turns[:, 1],
        jaw=turns[:, 2],
        eyes=turns[:, 3:].flatten(1),
        eyelids=eyelids,
        expression=expression,
    )
    camera: Camera = fit.camera
    middle = _middle(model, params)
    if isinstance(camera, WeakPerspective):
        scale = place[:, 2].exp()
        camera = WeakPerspective(scale, (place[:, :2] - middle[:, :2]) * scale[:, None])
    else:
        assert isinstance(camera, Perspective)
        flip = camera_rotation(HeadParams.neutral(0, 0))[0].to(place)
        params = dataclasses.replace(params, translation=params.translation + (place - middle) @ flip)
    return dataclasses.replace(fit, params=params, camera=camera)
