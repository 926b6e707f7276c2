"""Between a `HeadFit` and what other trackers can say: columns, the root's pivot, the neck, the camera.

Each function returns what it did not keep as a measured number or a sentence; nothing is dropped silently.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.cameras import MODEL_TO_CAMERA, Perspective, WeakPerspective
from ...geom.errors import ModelFileError
from ...geom.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from .._head_data import FLAME_PARENTS, JOINT_NAMES
from ..model import HeadModel, posed_joints
from ..params import MISSING, STATUS_NAMES, Camera, HeadFit, HeadParams, check_model, select_camera
from ..posing import posed_points, project_head
from ._extras import Extras
from ._types import Reading

UNSAID = (
    "the file does not say which FLAME (2019, 2020, 2023) its parameters are of, and they are not "
    "interchangeable: they are taken for those of {model_id}"
)
_FRAMES_AT_ONCE = 16
_PER_FRAME = ("rotation", "translation", "neck", "jaw", "eyes", "eyelids")


@dataclass(frozen=True)
class Decoded:
    """What a reader found, in our conventions, float64; B records for the frames ``present`` of T.

    Attributes:
        shape: ``(B, S')`` or ``(1, S')``; ``expression``: ``(B, E')``; any number of columns.
        rotation, translation, neck, jaw, eyes, eyelids: as `HeadParams`, ``(B, .)`` or ``(1, .)``; None:
            zero.
        camera: B frames or one, in pixels of frames of ``size`` (H, W).
        present: (B,) indices.
        extras: of T frames.
        notes: what was found out on the way.
    """

    shape: np.ndarray
    expression: np.ndarray
    camera: Camera
    size: tuple[int, int]
    present: np.ndarray
    extras: Extras
    rotation: np.ndarray | None = None
    translation: np.ndarray | None = None
    neck: np.ndarray | None = None
    jaw: np.ndarray | None = None
    eyes: np.ndarray | None = None
    eyelids: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def require_flame(head: HeadModel) -> None:
    """These formats hold FLAME's parameters and nothing else.

    Raises:
        ModelFileError: the head is no FLAME.
    """
    flame = head.name.lower().startswith("flame")
    if not flame or head.joint_names != JOINT_NAMES or head.parents != FLAME_PARENTS:
        raise ModelFileError(
            f"head: expected a FLAME model, whose parameters this format holds, got {head.model_id}; "
            "read it with --head FLAME.pkl; a fit of another head is moved over with --to-head FLAME.pkl"
        )


def ready_to_write(fit: HeadFit, head: HeadModel) -> None:
    """Raise `ModelFileError` unless the fit is of this head, and the head a FLAME."""
    check_model(fit, head.model_id)
    require_flame(head)


def columns(values: np.ndarray, count: int, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """``count`` columns of (B, N) coefficients: zeros added, or the last cut off and said so."""
    width = values.shape[1]
    if width <= count:
        return np.pad(values, ((0, 0), (0, count - width))), ()
    lost = values[:, count:]
    size = float(np.sqrt(np.square(lost).mean())) if lost.size else 0.0
    if size == 0:
        return values[:, :count], ()
    note = (
        f"{name}: {width} coefficients cut to {count}; the rest had a root mean square of {size:.3g} "
        "(1 is usual)"
    )
    return values[:, :count], (note,)


def root_joint(head: HeadModel, shape: Tensor, expression: Tensor) -> Float[Tensor, "T 3"]:
    """The pivot of the root's rotation, J0, metres, float64; it follows shape and expression."""
    return rest_joints(head, shape, expression)[:, 0]


def rest_joints(head: HeadModel, shape: Tensor, expression: Tensor) -> Float[Tensor, "T J 3"]:
    """The joints before any of them turns, metres, float64."""
    return posed_joints(head, shape, expression).double()


def to_reading(found: Decoded, head: HeadModel, *, source: str) -> Reading:
    """A fit of T frames, float32, and the shape of every frame.

    Frames that are not there repeat the nearest earlier one (the first: the next) with status `MISSING`. A
    file that does not say whose parameters it holds gets a note on it.

    Raises:
        ModelFileError: no frame is there, or the file names another head.
    """
    _check_said(found.extras, head, source)
    records = len(found.present)
    if records == 0:
        raise ModelFileError("expected at least one frame, got none")
    shape, cut = columns(found.shape, head.shape_basis.shape[2], "shape")
    expression, cut_too = columns(found.expression, head.expression_basis.shape[2], "expression")
    values = {name: _filled(getattr(found, name), records, name) for name in _PER_FRAME}
    values["expression"] = np.broadcast_to(expression, (records, expression.shape[1]))
    rows = torch.from_numpy(_row_of_frame(found.extras.frames, found.present))
    placed = {name: torch.from_numpy(value.copy()).float()[rows] for name, value in values.items()}
    shapes = torch.from_numpy(np.broadcast_to(shape, (records, shape.shape[1])).copy()).float()
    camera = type(found.camera)(
        *(_expanded(getattr(found.camera, f.name), records)[rows] for f in dataclasses.fields(found.camera))
    )
    seen = found.extras.status[found.present] != MISSING
    mean = shapes[torch.from_numpy(seen)].double().mean(0).float() if seen.any() else shapes[0]
    unsaid = () if found.extras.model_id else (UNSAID.format(model_id=head.model_id),)
    notes = (*unsaid, *found.notes, *cut, *cut_too, *_shape_note(shapes[torch.from_numpy(seen)]))
    fit = _bare_fit(HeadParams(shape=mean, **placed), camera, found, head.model_id)
    report = {"source": source, "notes": list(notes), **_counts(found.extras.status)}
    return Reading(dataclasses.replace(fit, report=report), shapes[rows], notes)


def _check_said(extras: Extras, head: HeadModel, source: str) -> None:
    require_flame(head)
    if extras.model_id and extras.model_id != head.model_id:
        raise ModelFileError(
            f"{source}: expected coefficients of head {head.model_id}, got those of {extras.model_id}; "
            "pass --head with the model of the file"
        )


def _bare_fit(params: HeadParams, camera: Camera, found: Decoded, model_id: str) -> HeadFit:
    frames = params.frames
    return HeadFit(
        params=params,
        camera=camera,
        size=found.size,
        model_id=model_id,
        landmark_indices=torch.zeros(0, dtype=torch.int64),
        landmarks=torch.zeros(frames, 0, 2),
        residual=torch.zeros(frames, 0, 2),
        status=torch.from_numpy(found.extras.status.copy()),
        confidence=torch.from_numpy(found.extras.confidence.copy()),
        covariance=torch.full((frames, 6, 6), float("nan")),
    )


def _filled(value: np.ndarray | None, records: int, name: str) -> np.ndarray:
    width = {"eyes": 6, "eyelids": 2}.get(name, 3)
    return np.broadcast_to(np.zeros((1, width)) if value is None else value, (records, width))


def _expanded(value: Tensor, records: int) -> Tensor:
    return value.float().expand(records, *value.shape[1:])


def _row_of_frame(frames: int, present: np.ndarray) -> np.ndarray:
    """For each frame its own record, or that of the nearest earlier frame that has one."""
    return np.clip(np.searchsorted(present, np.arange(frames), side="right") - 1, 0, len(present) - 1)


def _shape_note(shapes: Tensor) -> tuple[str, ...]:
    if len(shapes) < 2:
        return ()
    spread = float((shapes - shapes.mean(0)).square().mean().sqrt())
    if spread < 1e-6:
        return ()
    return (
        f"the shape differs from frame to frame (root mean square {spread:.3g}, 1 is usual); "
        "the fit has their mean",
    )


def _counts(status: np.ndarray) -> dict[str, int]:
    return {"frames": len(status)} | {n: int((status == i).sum()) for i, n in enumerate(STATUS_NAMES)}


def double_params(params: HeadParams) -> HeadParams:
    """The same in float64."""
    return HeadParams(**{f.name: getattr(params, f.name).double() for f in dataclasses.fields(params)})


def without_neck(head: HeadModel, params: HeadParams) -> HeadParams:
    """The same head without the neck joint: its turn goes into the root's.

    What turns rigidly with the neck stays where it was; the torso turns along with it, and the neck's pose
    correctives are lost. Float64.
    """
    wide = double_params(params)
    if not params.neck.any():
        return wide
    joints = rest_joints(head, params.shape, params.expression)
    turn, bend = axis_angle_to_matrix(wide.rotation), axis_angle_to_matrix(wide.neck)
    arm = (joints[:, 1] - joints[:, 0])[..., None]
    return dataclasses.replace(
        wide,
        translation=wide.translation + (turn @ (arm - bend @ arm))[..., 0],
        rotation=matrix_to_axis_angle(turn @ bend),
        neck=torch.zeros_like(wide.neck),
    )


def largest_difference(head: HeadModel, first: HeadFit, second: HeadFit, *, frames: int = 24) -> float:
    """Pixels by which the vertices of two fits lie apart at most, over evenly spaced frames not missing."""
    there = ((first.status != MISSING) & (second.status != MISSING)).nonzero()[:, 0]
    if len(there) == 0:
        return 0.0
    chosen = there[torch.linspace(0, len(there) - 1, min(frames, len(there))).round().long()]
    worst = 0.0
    with torch.no_grad():
        for part in chosen.split(_FRAMES_AT_ONCE):
            pixels = [
                project_head(head, fit.params.select(part), select_camera(fit.camera, part))[..., :2]
                for fit in (first, second)
            ]
            worst = max(worst, float((pixels[0] - pixels[1]).norm(dim=-1).max()))
    return worst


def camera_points(head: HeadModel, params: HeadParams) -> Float[Tensor, "T V 3"]:
    """Posed vertices in camera axes, metres, float64."""
    points = posed_points(head, params).double()
    return points @ MODEL_TO_CAMERA.to(points)


def as_weak(head: HeadModel, params: HeadParams, camera: Camera) -> tuple[HeadParams, WeakPerspective, float]:
    """The head under the weak-perspective camera that shows it as the given one does; translation zero.

    Exact for a weak one. For a perspective one it minimises the mean squared distance of the vertices.

    Returns:
        The head, the camera, and the largest distance in pixels.
    """
    across = (params.translation.double() @ MODEL_TO_CAMERA.double())[:, :2]
    still = dataclasses.replace(params, translation=torch.zeros_like(params.translation))
    if isinstance(camera, WeakPerspective):
        scale = camera.scale.double()
        return still, WeakPerspective(scale, camera.center.double() + scale[:, None] * across), 0.0
    scales, centres, worst = [], [], 0.0
    for part in torch.arange(params.frames).split(_FRAMES_AT_ONCE):
        points, pixels = _points_and_pixels(head, params.select(part), select_camera(camera, part))
        flat = points[..., :2] - across[part][:, None]
        middle, aim = flat.mean(1, keepdim=True), pixels.mean(1, keepdim=True)
        scale = ((flat - middle) * (pixels - aim)).sum((1, 2)) / (flat - middle).square().sum((1, 2))
        centre = (aim - scale[:, None, None] * middle)[:, 0]
        missed = scale[:, None, None] * flat + centre[:, None] - pixels
        worst = max(worst, float(missed.norm(dim=-1).max()))
        scales.append(scale)
        centres.append(centre)
    return still, WeakPerspective(torch.cat(scales), torch.cat(centres)), worst


def _points_and_pixels(head: HeadModel, params: HeadParams, camera: Camera) -> tuple[Tensor, Tensor]:
    points = camera_points(head, params)
    if isinstance(camera, WeakPerspective):
        scaled = points[..., :2] * camera.scale.double()[:, None, None]
        return points, scaled + camera.center.double()[:, None]
    if not bool((points[..., 2] > 0).all()):
        raise ModelFileError("fit: a vertex lies behind the camera; fit the input again")
    shown = points[..., :2] / points[..., 2:] * camera.focal.double()[:, None]
    return points, shown + camera.principal.double()[:, None]


def as_perspective(
    head: HeadModel, fit: HeadFit, *, focal: float | None, tolerance_px: float
) -> tuple[HeadParams, Perspective, float]:
    """The head of a fit under a perspective camera; exact and unchanged for a fit that has one.

    A weak-perspective camera is a pinhole infinitely far away. Here it moves to where the head's middle depth
    is shown at the same scale, ``focal / scale`` metres away, its axis through the middle of the frame. A
    vertex ``z`` nearer than that is then ``z scale / focal`` of its distance from the axis too far out.

    Args:
        head, fit: a matching pair.
        focal: pixels; None: as short as keeps every vertex within ``tolerance_px``.
        tolerance_px: of that.

    Returns:
        The head (its translation holds the place), the camera, the largest distance in pixels.

    Raises:
        ModelFileError: the focal length is not positive, or so short that the camera is inside the head.
    """
    params, camera = fit.params, fit.camera
    if isinstance(camera, Perspective):
        return params, camera, 0.0
    if focal is not None and not focal > 0:
        raise ModelFileError(f"focal: expected pixels > 0, got {focal}; 1 to 4 times the width is usual")
    axis = torch.tensor([fit.size[1] / 2, fit.size[0] / 2], dtype=torch.float64)
    there = (fit.status != MISSING).nonzero()[:, 0]
    parts = (there if len(there) else torch.arange(fit.frames)).split(_FRAMES_AT_ONCE)
    bounds = [_depths(head, params, camera, axis=axis, part=part) for part in parts]
    if focal is None:
        needed = max(float(b.lever.max()) for b in bounds) / tolerance_px
        focal = max(needed * 1.02, 2.0 * max(fit.size))
    if min(float(((focal / b.scale) - b.half).min()) for b in bounds) <= 0:
        raise ModelFileError(
            f"focal: {focal:.0f} px puts the camera inside the head; a longer one is needed, 1 to 4 times "
            "the width is usual"
        )
    worst = max(float((b.lever / (focal - b.scale * b.half)).max()) for b in bounds)
    return _placed(head, params, camera, axis=axis, focal=focal), _pinhole(fit, focal, axis), worst


@dataclass(frozen=True)
class _Depths:
    """Per frame: the scale, half the depth of the head, and the largest ``distance from axis * depth *
    scale`` (px times metres times px a metre: what a focal length divides to give pixels).
    """

    scale: Tensor
    half: Tensor
    lever: Tensor


def _depths(
    head: HeadModel, params: HeadParams, camera: WeakPerspective, *, axis: Tensor, part: Tensor
) -> _Depths:
    points, pixels = _points_and_pixels(head, params.select(part), select_camera(camera, part))
    scale = camera.scale.double()[part]
    depth = points[..., 2] - _middle_depth(points)[:, None]
    lever = (pixels - axis).norm(dim=-1) * depth.abs() * scale[:, None]
    return _Depths(scale, depth.abs().amax(1), lever.amax(1))


def _middle_depth(points: Tensor) -> Tensor:
    return (points[..., 2].amax(1) + points[..., 2].amin(1)) / 2


def _placed(
    head: HeadModel, params: HeadParams, camera: WeakPerspective, *, axis: Tensor, focal: float
) -> HeadParams:
    """The translation (model axes) that puts every frame's head at its distance."""
    scale = camera.scale.double()
    middles = [
        _middle_depth(camera_points(head, params.select(part)))
        for part in torch.arange(params.frames).split(_FRAMES_AT_ONCE)
    ]
    across = (camera.center.double() - axis) / scale[:, None]
    moved = torch.cat([across, (focal / scale - torch.cat(middles))[:, None]], dim=1)
    return dataclasses.replace(
        params, translation=params.translation.double() + moved @ MODEL_TO_CAMERA.double()
    )


def _pinhole(fit: HeadFit, focal: float, axis: Tensor) -> Perspective:
    focals = torch.full((fit.frames, 2), focal, dtype=torch.float64)
    return Perspective(focals, axis.expand(fit.frames, 2))


def perspective_note(fit: HeadFit, camera: Perspective, worst: float) -> tuple[str, ...]:
    """What became of a weak-perspective camera, and the way to a true one."""
    if isinstance(fit.camera, Perspective):
        return ()
    return (
        f"the weak-perspective camera became one of {float(camera.focal[0, 0]):.0f} px focal length, "
        f"{worst:.2g} px off at most; for true perspective fit with `headwarp fit --focal PX`",
    )


def neck_note(fit: HeadFit, name: str) -> tuple[str, ...]:
    """That a format has no neck, where the fit turned it."""
    if not fit.params.neck.any():
        return ()
    return (f"{name} has no neck: its turn went into the head's, the torso turns along",)


def zeroed_note(fit: HeadFit, name: str, *parts: str) -> tuple[str, ...]:
    """That a format lacks parameters (``eyes``, ``eyelids``), where the fit used them."""
    used = [part for part in parts if getattr(fit.params, part).any()]
    return (f"{name} has no {' and no '.join(used)}: left out",) if used else ()
