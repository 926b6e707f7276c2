"""One head in another's place: the source's shape, the target's pose, expression and gaze, equally large."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import WeakPerspective
from ..geom.errors import HeadwarpError
from ..geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .model import HeadModel, LandmarkModel, pose_vertices, restrict
from .params import HeadFit, HeadParams, check_model
from .posing import camera_rotation, pixels_per_metre, project_head


@dataclass(frozen=True)
class Amendment:
    """How a replaced head is held otherwise than the target's, the same in every frame.

    It makes up for a pose and an expression that are not seen in a picture as they were meant: a source's
    pixels, a smile or a shadow, say something of their own. Lids stay the target's: what a detector reads of
    dark eyes would close them.

    Attributes:
        turn: axis-angle in the head's own axes.
        expression: added to the coefficients.
        jaw: added, axis-angle.
        shape: added to the source's coefficients, so that an amended expression is not read as another shape.
    """

    turn: Float[Tensor, "3"]
    expression: Float[Tensor, "E"]
    jaw: Float[Tensor, "3"]
    shape: Float[Tensor, "S"]

    @staticmethod
    def none(params: HeadParams) -> Amendment:
        """Nothing is held otherwise, of as many coefficients as these parameters have."""
        shape, expression = torch.zeros_like(params.shape), torch.zeros_like(params.expression[0])
        return Amendment(torch.zeros(3), expression, torch.zeros(3), shape)

    def of(self, params: HeadParams) -> HeadParams:
        """Parameters of T frames, amended."""
        turned = axis_angle_to_matrix(params.rotation) @ axis_angle_to_matrix(self.turn.to(params.rotation))
        return dataclasses.replace(
            params,
            rotation=matrix_to_axis_angle(turned),
            expression=params.expression + self.expression.to(params.expression),
            jaw=params.jaw + self.jaw.to(params.jaw),
            shape=params.shape + self.shape.to(params.shape),
        )


def replaced_head(
    model: HeadModel, source: HeadFit, target: HeadFit, *, amended: Amendment | None = None
) -> HeadFit:
    """The source's head where the target's is, in every frame of the target.

    Shape is the source's; rotation, neck, jaw, expression, gaze and lids are the target's, all but for what
    is amended. The scale is the one at which the face landmarks of both shapes at rest lie nearest to each
    other, one for the whole clip; in every frame the landmarks' centre is where the target's own is. What the
    source's shape leaves of its landmarks (its residual) is taken for a part of the person: it turns with the
    head.

    Args:
        model: the head of both.
        source: one frame.
        target: T frames, in pixels of the frames into which the head is put.
        amended: how the head is held otherwise than the target's; None: not at all.

    Returns:
        T frames in the target's pixels; landmarks, status and confidence are the target's.

    Raises:
        ModelFileError: the fits belong to different head models.
        HeadwarpError: a source of several frames, or a perspective camera.
    """
    check_model(source, model.model_id)
    check_model(target, model.model_id)
    if source.frames != 1:
        raise HeadwarpError(
            f"source: expected a fit of one frame, got {source.frames}; choose one with fit.select([t])"
        )
    if not isinstance(target.camera, WeakPerspective) or not isinstance(source.camera, WeakPerspective):
        raise HeadwarpError(
            "replaced_head: expected weak-perspective fits, got a perspective one; fit without --focal"
        )
    face = restrict(model, _family(model, target))
    params = dataclasses.replace(target.params, shape=source.params.shape)
    if amended is not None:
        params = amended.of(params)
    size = size_ratio(face, source.params.shape, target.params.shape)
    camera = WeakPerspective(target.camera.scale * size, target.camera.center)
    shift = _centre(face, target.params, target.camera) - _centre(face, params, camera)
    camera = WeakPerspective(camera.scale, camera.center + shift)
    replaced = dataclasses.replace(
        target,
        params=params,
        camera=camera,
        landmark_indices=source.landmark_indices,
        landmarks=target.landmarks
        if torch.equal(source.landmark_indices, target.landmark_indices)
        else torch.full((target.frames, len(source.landmark_indices), 2), torch.nan),
    )
    return dataclasses.replace(replaced, residual=turned_residual(source, replaced))


def size_ratio(face: LandmarkModel, shape: Float[Tensor, "S"], other: Float[Tensor, "S"]) -> float:
    """By how much the first shape must grow so that its landmarks at rest lie nearest to the other's.

    Least squares about both centres.

    Args:
        face: the head reduced to landmarks.
        shape: coefficients of the shape that is to grow.
        other: those of the shape that it is compared with.
    """
    first, second = (_at_rest(face, each) for each in (shape, other))
    return float((first * second).sum() / first.square().sum().clamp(min=1e-12))


def _at_rest(face: LandmarkModel, shape: Tensor) -> Float[Tensor, "L 3"]:
    rest = HeadParams.neutral(len(shape), face.expression_basis.shape[2])
    points = pose_vertices(face, shape, rest.expression)[0]
    return points - points.mean(0)


def turned_residual(source: HeadFit, driven: HeadFit) -> Float[Tensor, "T L 2"]:
    """The source's landmark residual as displacements in the picture's plane that turn with the head.

    Args:
        source: one frame.
        driven: the same head in T frames.
    """
    scale = pixels_per_metre(source.params, source.camera)[0]
    plane = torch.nn.functional.pad(source.residual[0], (0, 1)) / scale  # (L, 3), camera axes, metres
    turn = camera_rotation(driven.params) @ camera_rotation(source.params).mT  # (T, 3, 3)
    there = plane @ turn.mT  # (T, L, 3)
    return there[..., :2] * pixels_per_metre(driven.params, driven.camera)[:, None, None]


def _family(model: HeadModel, fit: HeadFit) -> str:
    named = str(fit.report.get("family", "mediapipe"))
    if named in model.landmarks:
        return named
    if not model.landmarks:
        raise HeadwarpError(f"head {model.model_id}: expected landmarks, it has none; convert some for it")
    return next(iter(model.landmarks))


def _centre(face: LandmarkModel, params: HeadParams, camera: WeakPerspective) -> Float[Tensor, "T 2"]:
    return project_head(face, params, camera)[..., :2].mean(1)
