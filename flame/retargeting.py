"""How much of a driver's motion the source takes over, by part: pose, place, mouth, eyes, gaze, brows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ..geom.errors import HeadwarpError
from ..geom.transforms import (
    axis_angle_to_matrix,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
)
from .expression_regions import REGIONS, ExpressionRegions, expression_regions
from .model import HeadModel
from .params import Camera, HeadFit, HeadParams, check_model, select_camera
from .posing import camera_rotation, neck_pixels, neck_point, pixels_per_metre

STRONGEST = 2.0
LIDS = (-0.5, 1.1)  # as far as eyelid coefficients go


@dataclass(frozen=True)
class Retargeting:
    """Strength of each part of the motion: 0 keeps the source's own, 1 as driven, up to 2 exaggerates.

    Attributes:
        yaw, pitch, roll: the head's angles.
        position: place and size in the picture.
        mouth: jaw and the mouth's expression.
        eyes: lids and the expression around the eyes.
        gaze: where the eyes look.
        brows: brows and forehead.
        rest: cheeks, nose and what else of the face an expression moves.

    Raises:
        HeadwarpError: a strength beyond 0 to 2.

    Example:
        >>> Retargeting(mouth=1.3, gaze=0.0).yaw
        1.0
        >>> Retargeting(brows=3.0)
        Traceback (most recent call last):
        headwarp.geom.errors.HeadwarpError: strength of brows: expected 0 to 2, got 3.0
    """

    yaw: float = 1.0
    pitch: float = 1.0
    roll: float = 1.0
    position: float = 1.0
    mouth: float = 1.0
    eyes: float = 1.0
    gaze: float = 1.0
    brows: float = 1.0
    rest: float = 1.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not (math.isfinite(value) and 0 <= value <= STRONGEST):
                raise HeadwarpError(f"strength of {name}: expected 0 to {STRONGEST:g}, got {value!r}")


def retargeted(
    model: HeadModel,
    source: HeadFit,
    driven: HeadFit,
    retargeting: Retargeting,
    *,
    regions: ExpressionRegions | None = None,
) -> HeadFit:
    """The source's head moved by as much of a driven one as the strengths say.

    Angles of the head (`flame.posing.head_pose`) and the neck joint's place are scaled as differences to the
    source's, sizes as ratios, joints along the shortest turn. Expression is scaled by region
    (`flame.expression_regions`); what the basis cannot keep apart is put right at the landmarks, by the
    residual, whose own change is scaled by region too. Differentiable in both fits where angles are unique.

    Args:
        model: the head of both.
        source: one frame.
        driven: the source's shape in T frames, in the same picture (`flame.driving.transfer_motion`,
            `flame.posing.apply_pose`).
        retargeting: the strengths; all 1 give ``driven`` back as it is.
        regions: of this head, from `expression_regions`; None: made here, which takes a quarter of a second.

    Raises:
        ModelFileError: the fits or regions belong to another head model.
        HeadwarpError: a source of several frames, fits of other landmarks, or cameras of two kinds.
    """
    if retargeting == Retargeting():
        return driven
    _check(model, source, driven)
    own, other = source.params.select([0] * driven.frames), driven.params
    strengths = torch.tensor([getattr(retargeting, name) for name in REGIONS]).to(other.expression)
    blended = dataclasses.replace(
        other,
        jaw=_between(own.jaw, other.jaw, retargeting.mouth),
        eyes=_both_eyes(own.eyes, other.eyes, retargeting.gaze),
        eyelids=_lids(own.eyelids, other.eyelids, retargeting.eyes),
    )
    blended = _with_pose(own, blended, retargeting)
    if bool((strengths == 1).all()):
        regions = None  # nothing to divide
    else:
        regions = regions or expression_regions(model)
        scaled = regions.scaled(other.expression - own.expression, strengths)
        blended = dataclasses.replace(blended, expression=own.expression + scaled)
    camera, blended = _placed(model, source, driven, blended, retargeting.position)
    moved = dataclasses.replace(driven, params=blended, camera=camera)
    return dataclasses.replace(moved, residual=_residual(model, source, driven, moved, strengths, regions))


def _check(model: HeadModel, source: HeadFit, driven: HeadFit) -> None:
    check_model(source, model.model_id)
    check_model(driven, model.model_id)
    if source.frames != 1:
        raise HeadwarpError(
            f"source: expected a fit of one frame, got {source.frames}; take source.select([t])"
        )
    if not torch.equal(source.landmark_indices, driven.landmark_indices):
        raise HeadwarpError(
            "strength: expected fits of the same landmarks; fit source and driver with one detector"
        )
    if type(source.camera) is not type(driven.camera):
        raise HeadwarpError(
            "strength: expected one kind of camera, got a weak-perspective and a perspective fit; "
            "fit both with --focal, or both without"
        )


def _between(own: Float[Tensor, "T 3"], other: Float[Tensor, "T 3"], strength: float) -> Float[Tensor, "T 3"]:
    """The own rotation turned towards the other, or beyond, along the shortest way."""
    if strength == 1:
        return other
    start = axis_angle_to_matrix(own)
    turn = matrix_to_axis_angle(start.mT @ axis_angle_to_matrix(other))
    return matrix_to_axis_angle(start @ axis_angle_to_matrix(strength * turn))


def _both_eyes(own: Tensor, other: Tensor, strength: float) -> Float[Tensor, "T 6"]:
    pairs = zip(own.split(3, dim=1), other.split(3, dim=1), strict=True)
    return torch.cat([_between(mine, theirs, strength) for mine, theirs in pairs], dim=1)


def _lids(own: Tensor, other: Tensor, strength: float) -> Float[Tensor, "T 2"]:
    if strength == 1:
        return other
    # no farther than lids go, unless the source or the driver is there already
    lowest = torch.minimum(torch.minimum(own, other), torch.full_like(own, LIDS[0]))
    highest = torch.maximum(torch.maximum(own, other), torch.full_like(own, LIDS[1]))
    return (own + strength * (other - own)).clamp(lowest, highest)


def _with_pose(own: HeadParams, blended: HeadParams, retargeting: Retargeting) -> HeadParams:
    """Root and neck such that each of the head's angles is so far between the source's and the driven."""
    angles = (retargeting.yaw, retargeting.pitch, retargeting.roll)
    if angles == (1, 1, 1):
        return blended
    flip = MODEL_TO_CAMERA.to(own.rotation)
    heads = [axis_angle_to_matrix(each.rotation) @ axis_angle_to_matrix(each.neck) for each in (own, blended)]
    mine, theirs = (torch.stack(matrix_to_euler(flip @ head @ flip), dim=-1) for head in heads)
    way = torch.remainder(theirs - mine + math.pi, 2 * math.pi) - math.pi  # the shorter one
    yaw, pitch, roll = (mine + torch.tensor(angles).to(way) * way).unbind(-1)
    head = flip @ euler_to_matrix(yaw, pitch, roll) @ flip
    neck = _between(own.neck, blended.neck, sum(angles) / 3)
    return dataclasses.replace(
        blended, rotation=matrix_to_axis_angle(head @ axis_angle_to_matrix(neck).mT), neck=neck
    )


def _residual(
    model: HeadModel,
    source: HeadFit,
    driven: HeadFit,
    moved: HeadFit,
    strengths: Float[Tensor, "4"],
    regions: ExpressionRegions | None,
) -> Float[Tensor, "T L 2"]:
    """In sizes of the head, between the source's and the driven one; and what the basis left undone."""
    scale = pixels_per_metre(moved.params, moved.camera)[:, None, None]
    mine, theirs = (
        fit.residual / pixels_per_metre(fit.params, fit.camera)[:, None, None] for fit in (source, driven)
    )
    if regions is None:
        return theirs * scale
    points = regions.of_landmarks(
        model, str(driven.report.get("family", "mediapipe")), driven.landmark_indices
    )
    own = source.params.expression
    left = points.leftover(driven.params.expression - own, moved.params.expression - own, strengths)
    turn = camera_rotation(moved.params) @ axis_angle_to_matrix(moved.params.neck)
    change = (strengths @ points.weights.to(strengths))[:, None] * (theirs - mine)
    return scale * (mine + change + (left @ turn.mT)[..., :2])


def _placed(
    model: HeadModel, source: HeadFit, driven: HeadFit, params: HeadParams, strength: float
) -> tuple[Camera, HeadParams]:
    """The camera, and parameters seen by it, with size and place between the source's and the driven."""
    own = select_camera(source.camera, [0] * driven.frames)
    other = driven.camera
    if isinstance(other, WeakPerspective) and isinstance(own, WeakPerspective):
        scale = _ratio(own.scale, other.scale, strength)
        mine, theirs = (neck_pixels(model, fit.params, fit.camera) for fit in (source, driven))
        camera = WeakPerspective(scale, other.center)
        shift = mine + strength * (theirs - mine) - neck_pixels(model, params, camera)
        return WeakPerspective(scale, other.center + shift), params
    assert isinstance(other, Perspective)
    assert isinstance(own, Perspective)
    focal = _ratio(own.focal, other.focal, strength)
    principal = own.principal + strength * (other.principal - own.principal)
    mine, theirs = (neck_point(model, fit.params) for fit in (source, driven))
    shift = mine + strength * (theirs - mine) - neck_point(model, params)
    return Perspective(focal, principal), dataclasses.replace(params, translation=params.translation + shift)


def _ratio(own: Tensor, other: Tensor, strength: float) -> Tensor:
    return other if strength == 1 else own * (other / own) ** strength
