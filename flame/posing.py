"""A fit as posed vertices in pixels: projecting, editing by a `Pose`, retargeting, the resting body."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective, project
from ..geom.crops import Crop
from ..geom.errors import HeadwarpError
from ..geom.transforms import axis_angle_to_matrix, euler_to_matrix, matrix_to_axis_angle, matrix_to_euler
from .model import HeadModel, LandmarkModel, pose_vertices
from .params import Camera, HeadFit, HeadParams, Pose, check_model, select_camera

JAW_OPEN_RADIANS = 0.35  # Pose.jaw = 1: 20 degrees
BODY_FOLLOW = 0.6


def _flip(like: Tensor) -> Tensor:
    return MODEL_TO_CAMERA.to(like)


def camera_rotation(params: HeadParams) -> Float[Tensor, "T 3 3"]:
    """Model axes to camera axes with the head's root rotation: ``C R``."""
    return _flip(params.rotation) @ axis_angle_to_matrix(params.rotation)


def head_pose(params: HeadParams) -> Float[Tensor, "T 3"]:
    """Yaw, pitch, roll of the head (root and neck) in degrees, signs as in `Pose`.

    Example:
        >>> turned = HeadParams.neutral(0, 0, frames=1)
        >>> turned = dataclasses.replace(turned, neck=torch.tensor([[0.0, -0.5, 0.0]]))
        >>> [round(value, 2) + 0.0 for value in head_pose(turned)[0].tolist()]
        [28.65, 0.0, 0.0]
    """
    flip = _flip(params.rotation)
    turn = axis_angle_to_matrix(params.rotation) @ axis_angle_to_matrix(params.neck)
    return torch.rad2deg(torch.stack(matrix_to_euler(flip @ turn @ flip), dim=-1))


def pixels_per_metre(params: HeadParams, camera: Camera) -> Float[Tensor, "T"]:
    """Image scale at the head.

    Args:
        params: T frames.
        camera: T frames.
    """
    if isinstance(camera, WeakPerspective):
        return camera.scale
    return camera.focal[:, 0] / (params.translation @ _flip(params.translation).T)[:, 2]


def posed_points(
    model: HeadModel | LandmarkModel, params: HeadParams, *, vertices: Int[Tensor, "N"] | None = None
) -> Float[Tensor, "T N 3"]:
    """`pose_vertices` of all parameters: points in model axes, metres.

    Args:
        model: the head, or one reduced to landmarks.
        params: T frames.
        vertices: only these; None: all.
    """
    return pose_vertices(
        model,
        params.shape,
        params.expression,
        rotation=params.rotation,
        translation=params.translation,
        neck=params.neck,
        jaw=params.jaw,
        eyes=params.eyes,
        eyelids=params.eyelids,
        vertices=vertices,
    )


def project_head(
    model: HeadModel | LandmarkModel,
    params: HeadParams,
    camera: Camera,
    *,
    vertices: Int[Tensor, "N"] | None = None,
) -> Float[Tensor, "T N 3"]:
    """Posed points in pixels, depth in pixel units (smaller is nearer).

    Args:
        model: a head, or its landmarks (`restrict`).
        params, camera: T frames.
        vertices: project only these points.
    """
    points = posed_points(model, params, vertices=vertices)
    return project(points @ _flip(points).T, camera)


def skull_vertices(model: HeadModel) -> Bool[Tensor, "V"]:
    """Vertices above the jaw joint that do not follow the body: their outline carries the hair."""
    root, jaw = model.joint_names.index("root"), model.joint_names.index("jaw")
    return (model.weights[:, root] < 0.05) & (model.template[:, 1] > model.joint_template[jaw, 1])


def body_vertices(model: HeadModel) -> Bool[Tensor, "V"]:
    """Vertices that follow the torso alone."""
    return model.weights[:, model.joint_names.index("root")] > 0.95


def with_body(
    head: Float[Tensor, "T V 3"], body: Float[Tensor, "T V 3"], root_weight: Float[Tensor, "V"]
) -> Float[Tensor, "T V 3"]:
    """Vertices skinned to the root joint (shoulders, neck base) stay with the body while the head moves.

    Args:
        head: vertices as the head moves them.
        body: the same vertices as the resting body has them.
        root_weight: each vertex's share of the root joint, 0..1.
    """
    weight = root_weight[:, None]
    return head + weight * (body - head)


def posed_vertices(
    model: HeadModel, fit: HeadFit, *, body: HeadFit | None = None, follow: float = BODY_FOLLOW
) -> Float[Tensor, "T V 3"]:
    """Posed mesh of every frame of a fit, in pixels of its frame.

    Args:
        model: the head of the fit.
        fit: T frames.
        body: a one-frame fit (the source's) whose root pose the root-skinned vertices keep, moved along with
            the neck joint (`body_motion`); None poses the whole mesh as the head.
        follow: see `body_motion`.

    Raises:
        ModelFileError: a fit belongs to another head model.
    """
    check_model(fit, model.model_id)
    if body is None:
        return project_head(model, fit.params, fit.camera)
    check_model(body, model.model_id)
    points = posed_points(model, _also_at_rest(fit.params, body.params))  # one pass over the head's bases
    turned = points @ _flip(points).T
    head = project(turned[: fit.frames], fit.camera)
    resting = project(turned[fit.frames :], select_camera(body.camera, [0] * fit.frames))
    motion = _inverse_affine(body_motion(model, body, fit, follow=follow))
    scale = motion[:, 0, 0][:, None, None]
    moved = torch.cat(
        [resting[..., :2] @ motion[:, :, :2].mT + motion[:, None, :, 2], resting[..., 2:] * scale], -1
    )
    return with_body(head, moved, model.weights[:, model.joint_names.index("root")])


def _also_at_rest(params: HeadParams, body: HeadParams) -> HeadParams:
    """The frames, and after them the same with the root pose of the body's first frame."""
    twice = params.select([*range(params.frames), *range(params.frames)])
    held = {
        name: torch.cat([getattr(params, name), getattr(body, name)[:1].expand(params.frames, -1)])
        for name in ("rotation", "translation", "neck")
    }
    return dataclasses.replace(twice, **held)


def body_motion(
    model: HeadModel, source: HeadFit, fit: HeadFit, *, follow: float = BODY_FOLLOW
) -> Float[Tensor, "T 2 3"]:
    """Map of the torso's pixels in every frame back to the source's: a scale and a shift, ``(T, 2, 3)``.

    The neck joint rides on the torso: where it moved and how the head's scale changed, the torso did too, by
    the share ``follow``. A pose edit holds the neck joint, so there the torso rests.

    Args:
        model: the head of both fits.
        source: one frame.
        fit: T frames.
        follow: share of the motion that the torso takes part in, 0..1.
    """
    ratio = (
        pixels_per_metre(fit.params, fit.camera) / pixels_per_metre(source.params, source.camera)
    ) ** follow
    here, there = neck_pixels(model, fit.params, fit.camera), neck_pixels(model, source.params, source.camera)
    place = there + follow * (here - there)
    linear = torch.eye(2).expand(fit.frames, 2, 2) / ratio[:, None, None]
    shift = there - (linear @ place[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], dim=-1)


def _inverse_affine(matrix: Float[Tensor, "T 2 3"]) -> Float[Tensor, "T 2 3"]:
    linear = torch.linalg.inv(matrix[:, :, :2])
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], dim=-1)


def neck_point(model: HeadModel, params: HeadParams) -> Float[Tensor, "T 3"]:
    """Where the neck joint is, model axes, metres.

    Args:
        model: the head of the parameters.
        params: T frames.
    """
    joints = model.joint_template + model.joint_shape_basis @ params.shape
    arm = joints[model.joint_names.index("neck")] - joints[0]
    return axis_angle_to_matrix(params.rotation) @ arm + joints[0] + params.translation


def neck_pixels(model: HeadModel, params: HeadParams, camera: Camera) -> Float[Tensor, "T 2"]:
    """Where the neck joint projects, in pixels of the camera's frame.

    Args:
        model: the head of the parameters.
        params: T frames.
        camera: T frames, or one.
    """
    turned = neck_point(model, params)
    return project((turned @ _flip(turned).T)[:, None], camera)[:, 0, :2]


def apply_pose(model: HeadModel, fit: HeadFit, pose: Pose | Sequence[Pose]) -> HeadFit:
    """The head of a one-frame fit moved as a person says; one output frame per pose.

    A relative rotation acts in the camera frame before the fit's own, ``R' = R(pose) R``; the neck joint
    stays where it is in the image. Landmarks and residual are carried along unchanged in count (they are the
    source's own correction).

    Args:
        model: the head of the fit.
        fit: one frame.
        pose: a pose or several.

    Raises:
        HeadwarpError: an unknown named expression, no pose, or a fit of more than one frame.
    """
    check_model(fit, model.model_id)
    if fit.frames != 1:
        raise HeadwarpError(
            f"apply_pose: expected a fit of one frame, got {fit.frames}; choose one with fit.select([t])"
        )
    poses = [pose] if isinstance(pose, Pose) else list(pose)
    if not poses:
        raise HeadwarpError("apply_pose: expected at least one pose, got none")
    return _moved(model, fit.select([0] * len(poses)), poses)


def add_pose(model: HeadModel, fit: HeadFit, pose: Pose) -> HeadFit:
    """A pose on top of every frame of a fit: frame t is `apply_pose` of it.

    Args:
        model: the head of the fit.
        fit: T frames.
        pose: the same for all; see `apply_pose`.

    Raises:
        HeadwarpError: an unknown named expression.
    """
    check_model(fit, model.model_id)
    return _moved(model, fit, [pose] * fit.frames)


def _moved(model: HeadModel, fit: HeadFit, poses: Sequence[Pose]) -> HeadFit:
    """Frame t moved by pose t."""
    params = _moved_params(model, fit.params, poses)
    return dataclasses.replace(fit, params=params, camera=neck_held(model, fit, params, fit.camera))


def _moved_params(model: HeadModel, params: HeadParams, poses: Sequence[Pose]) -> HeadParams:
    like = params.rotation
    number = lambda values: torch.as_tensor(values, dtype=like.dtype)  # noqa: E731
    keep = number([1.0 if p.relative else 0.0 for p in poses])[:, None]
    flip = _flip(like)
    angles = torch.deg2rad(number([[p.yaw, p.pitch, p.roll] for p in poses]))
    edit = flip @ euler_to_matrix(angles[:, 0], angles[:, 1], angles[:, 2]) @ flip  # model axes
    own = axis_angle_to_matrix(params.rotation * keep)
    jaw = number([[JAW_OPEN_RADIANS * p.jaw, 0.0, 0.0] for p in poses])
    gaze = torch.deg2rad(number([[p.gaze[1], -p.gaze[0], 0.0] for p in poses]))  # about model x and y
    blink = number([[p.blink, p.blink] for p in poses])
    named = torch.stack([_named_expression(model, p.expressions, like) for p in poses])
    lids = params.eyelids * keep
    return dataclasses.replace(
        params,
        expression=params.expression * keep + named,
        rotation=matrix_to_axis_angle(edit @ own),
        neck=params.neck * keep,
        jaw=params.jaw * keep + jaw,
        eyes=params.eyes * keep + torch.cat([gaze, gaze], dim=1),
        eyelids=lids + blink * (1 - lids).clamp(min=0),
    )


def expression_names(model: HeadModel) -> tuple[str, ...]:
    """Names that `Pose.expressions` may hold: the head's named expressions, and after them ``"0"``, ``"1"``,
    ...: its own expression coefficients, in standard deviations.
    """
    return (*sorted(model.named_expressions), *map(str, range(model.expression_basis.shape[2])))


def reshaped(fit: HeadFit, amounts: Mapping[int, float]) -> HeadFit:
    """A fit with amounts added to shape coefficients: another face on the same pose.

    Args:
        fit: T frames.
        amounts: by the coefficient's number, in standard deviations.

    Raises:
        HeadwarpError: a number that the head does not have, or an amount that is not finite.
    """
    if not amounts:
        return fit
    shape = fit.params.shape.clone()
    for number, amount in amounts.items():
        if not 0 <= number < len(shape) or not math.isfinite(amount):
            raise HeadwarpError(
                f"shape: expected coefficients 0 to {len(shape) - 1}, finite amounts, got {number}={amount}"
            )
        shape[number] += amount
    return dataclasses.replace(fit, params=dataclasses.replace(fit.params, shape=shape))


def _named_expression(model: HeadModel, amounts: Mapping[str, float], like: Tensor) -> Tensor:
    total = torch.zeros(model.expression_basis.shape[2], dtype=like.dtype)
    if not amounts:
        return total
    known = model.named_expressions
    for name, amount in amounts.items():
        if name in known:
            total = total + amount * known[name].to(total)
        elif name in expression_names(model):
            total[int(name)] += amount
        else:
            raise HeadwarpError(f"expression: expected one of {', '.join(sorted(known))}, got {name!r}")
    return total


def neck_held(model: HeadModel, fit: HeadFit, params: HeadParams, camera: Camera) -> Camera:
    """The camera shifted so that the neck joint projects where it did before the head turned.

    Args:
        model: the head of both.
        fit: T frames before the turn.
        params: the same after it.
        camera: to be shifted.
    """
    shift = neck_pixels(model, fit.params, fit.camera) - neck_pixels(model, params, camera)
    if isinstance(camera, WeakPerspective):
        return WeakPerspective(camera.scale, camera.center + shift)
    return Perspective(camera.focal, camera.principal + shift)


def retarget(
    model: HeadModel,
    source: HeadFit,
    driving: HeadFit,
    *,
    relative: bool = False,
    adapt_scale: bool = True,
    reference: int = 0,
) -> HeadFit:
    """The source's head driven by another fit; one frame per driving frame.

    Absolute: the source's shape with the driver's rotation, jaw, expression, eyes and eyelids; scale, place
    and residual are the driver's too, in the driver's frame.

    Relative: the change against the driver's ``reference`` frame is added to the source's own, and place and
    scale change in proportion (``adapt_scale`` measures the driver's shift in units of head size), so that
    different framings and faces do not matter ([FOMM] sec. 3.4). A driver without landmarks (`flame.formats`)
    has no residual to follow.

    Args:
        model: the head of both fits.
        source: one frame.
        driving: T frames.
        relative: see above.
        adapt_scale: for relative motion.
        reference: number of the driving frame that relative motion is counted from.

    Raises:
        ModelFileError: the fits belong to different head models.
        HeadwarpError: no such reference frame, or relative motion of a perspective fit or of other landmarks.
    """
    check_model(source, model.model_id)
    check_model(driving, model.model_id)
    frames = driving.frames
    if not 0 <= reference < frames:
        raise HeadwarpError(f"reference: expected a frame from 0 to {frames - 1}, got {reference}")
    if len(driving.landmark_indices) == 0:
        driving = _without_residual(driving, source.landmark_indices)
    base, own = driving.params, source.params.select([0] * frames)
    if not relative:
        return dataclasses.replace(driving, params=dataclasses.replace(base, shape=source.params.shape))
    if not torch.equal(source.landmark_indices, driving.landmark_indices):
        raise HeadwarpError(
            "retarget: relative motion expects fits of the same landmarks; fit both with one detector"
        )
    own_residual = source.residual.expand(frames, -1, -1)
    first = base.select([reference] * frames)
    turn = axis_angle_to_matrix(base.rotation) @ axis_angle_to_matrix(first.rotation).mT
    added = ("expression", "neck", "jaw", "eyes", "eyelids")
    moved = {name: getattr(own, name) + getattr(base, name) - getattr(first, name) for name in added}
    moved["eyelids"] = moved["eyelids"].clamp(-0.5, 1.1)
    rotation = matrix_to_axis_angle(turn @ axis_angle_to_matrix(own.rotation))
    params = dataclasses.replace(own, rotation=rotation, **moved)
    camera = _relative_camera(model, source, driving, params, adapt_scale=adapt_scale, reference=reference)
    ratio = pixels_per_metre(params, camera) / pixels_per_metre(base, driving.camera)
    change = (driving.residual - driving.residual[reference]) * ratio[:, None, None]
    return dataclasses.replace(
        driving, params=params, camera=camera, size=source.size, residual=own_residual + change
    )


def _without_residual(fit: HeadFit, landmark_indices: Int[Tensor, "L"]) -> HeadFit:
    """A fit that has no landmarks, as of another tracker, with none detected of these."""
    shape = (fit.frames, len(landmark_indices), 2)
    return dataclasses.replace(
        fit,
        landmark_indices=landmark_indices,
        landmarks=torch.full(shape, torch.nan),
        residual=torch.zeros(shape),
    )


def _relative_camera(
    model: HeadModel,
    source: HeadFit,
    driving: HeadFit,
    params: HeadParams,
    *,
    adapt_scale: bool,
    reference: int,
) -> Camera:
    if not isinstance(source.camera, WeakPerspective) or not isinstance(driving.camera, WeakPerspective):
        raise HeadwarpError(
            "retarget: relative motion expects weak-perspective fits, got a perspective one; "
            "fit without --focal"
        )
    scale, first = driving.camera.scale, driving.camera.scale[reference]
    ratio = source.camera.scale[0] / first if adapt_scale else torch.ones(())
    neck = neck_pixels(model, driving.params, driving.camera)
    shift = (neck - neck[reference]) * ratio
    camera = WeakPerspective(
        source.camera.scale[0] * scale / first, source.camera.center.expand(len(scale), -1)
    )
    own = neck_pixels(model, source.params, source.camera)
    place = neck_pixels(model, params, camera)
    return WeakPerspective(camera.scale, camera.center + own + shift - place)


def window_fit(fit: HeadFit, crop: Crop, size: int) -> HeadFit:
    """The same fit in the pixels of a square window drawn at ``size`` x ``size``.

    Args:
        fit: T frames, in pixels of the frame that the window lies in.
        crop: the window in that frame.
        size: its side in the new pixels.
    """
    scale = crop.scale(size)
    corner = torch.tensor([crop.x, crop.y])
    camera: Camera
    if isinstance(fit.camera, WeakPerspective):
        camera = WeakPerspective(fit.camera.scale * scale, (fit.camera.center - corner) * scale)
    else:
        camera = Perspective(fit.camera.focal * scale, (fit.camera.principal - corner) * scale)
    pixels = torch.tensor([1.0, 1, 1, 1, scale, scale])
    return dataclasses.replace(
        fit,
        camera=camera,
        size=(size, size),
        landmarks=(fit.landmarks - corner) * scale,
        residual=fit.residual * scale,
        covariance=fit.covariance * pixels[:, None] * pixels[None, :],
    )
