"""Yaw, pitch and roll of a head from whatever is known of it, all in the package's one convention.

Every function returns degrees ``(B, 3)``: yaw, pitch, roll of ``R = Ry(yaw) Rx(pitch) Rz(roll)`` in camera
axes, which carries a head that faces the camera to the one in the picture. A fitted mesh knows them from its
parameters (`flame.posing.head_pose`); the other ways are here:

==================  =============================================  =======================================
known               function                                       tells
==================  =============================================  =======================================
posed mesh          `pose_of_mesh`                                 all three
landmarks           `pose_of_points`, 3D reference needed          all three
relative pose       `pose_of_relative`, from the source's pose     all three
keypoints, depth    `pose_of_keypoints`, from the source's pose    all three
keypoints alone     `pose_of_affine`                               roll; yaw and pitch as NaN
==================  =============================================  =======================================

Keypoints without depth cannot tell yaw and pitch: an affine motion of the picture is the same for a turn to
either side, and grows with the square of the angle; `tilt_of_affine` gives its size for what was flat and
face on.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .transforms import euler_to_matrix, matrix_to_euler, rotation_angle

_ROUNDS = 20  # of the completed depth; it converges by a tenth a round on faces
_FLAT = 1e-6  # share of the reference's spread that counts as no depth


def angles_of(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Yaw, pitch, roll in degrees of rotations in camera axes.

    Example:
        >>> angles_of(rotation_of(torch.tensor([20.0, -5.0, 3.0]))).round().tolist()
        [20.0, -5.0, 3.0]
    """
    return torch.rad2deg(torch.stack(matrix_to_euler(rotation), dim=-1))


def rotation_of(angles_deg: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation in camera axes of yaw, pitch, roll in degrees."""
    return euler_to_matrix(*torch.deg2rad(angles_deg).unbind(-1))


def pose_error(
    first_deg: Float[Tensor, "*batch 3"], second_deg: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch"]:
    """Angle of the turn between two poses, degrees, 0 .. 180; NaN where an angle is.

    Args:
        first_deg, second_deg: yaw, pitch, roll in degrees.

    Example:
        >>> float(pose_error(torch.tensor([20.0, 0.0, 0.0]), torch.tensor([-10.0, 0.0, 0.0])).round())
        30.0
    """
    known = torch.isfinite(first_deg + second_deg).all(-1)
    one, two = (torch.nan_to_num(angles) for angles in (first_deg, second_deg))
    turn = torch.rad2deg(rotation_angle(rotation_of(one), rotation_of(two)))
    return torch.where(known, turn, torch.full_like(turn, torch.nan))


def turn_about(
    rotation: Float[Tensor, "B 3 3"], pivot: Float[Tensor, "#B 3"], shift: Float[Tensor, "#B 3"] | None = None
) -> Float[Tensor, "B 3 4"]:
    """The relative pose ``[R | t]`` of a head that turns about a point: what `Driving.relative_pose` holds.

    Args:
        rotation: in camera axes, such as `rotation_of` gives.
        pivot: the point that stays, camera axes, in the unit of the depth.
        shift: added to it.

    Example:
        >>> pose = turn_about(rotation_of(torch.tensor([[90.0, 0.0, 0.0]])), torch.tensor([[0.0, 0.0, 1.0]]))
        >>> (pose[0, :, :3] @ torch.tensor([0.0, 0.0, 1.0]) + pose[0, :, 3]).round().tolist()
        [0.0, 0.0, 1.0]
    """
    moved = pivot - (rotation @ pivot[..., None])[..., 0]
    return torch.cat([rotation, (moved if shift is None else moved + shift)[..., None]], -1)


def pose_of_relative(
    relative_pose: Float[Tensor, "B 3 4"], source_deg: Float[Tensor, "#B 3"] | None = None
) -> Float[Tensor, "B 3"]:
    """The pose of a driving frame whose motion against the source is known.

    Args:
        relative_pose: of `Driving`.
        source_deg: the source's pose; None: it faces the camera, and what is returned is the change.
    """
    turn = relative_pose[:, :, :3]
    return angles_of(turn if source_deg is None else turn @ rotation_of(source_deg))


def pose_of_mesh(verts: Float[Tensor, "B V 3"], reference: Float[Tensor, "V 3"]) -> Float[Tensor, "B 3"]:
    """Pose of a posed mesh by the similarity that carries the resting mesh to it best.

    Args:
        verts: in pixels, depth in pixel units.
        reference: the same mesh facing the camera, camera axes (y down, z forward), any unit.

    Raises:
        ShapeError: other vertices.
    """
    _check_reference(verts, reference, 3)
    return angles_of(_rotations(reference.expand(len(verts), -1, -1), verts))


def pose_of_points(points: Float[Tensor, "B N 2"], reference: Float[Tensor, "N 3"]) -> Float[Tensor, "B 3"]:
    """Pose of points of known shape from where a picture shows them, by a scaled orthographic camera.

    The missing depth is completed from the turn found so far and the similarity solved again, from the affine
    solution on: each round lowers the squared distance in the picture. Of a flat reference two poses look the
    same; one of them is returned.

    Args:
        points: in pixels, such as 68 landmarks.
        reference: the same points facing the camera, camera axes, any unit.

    Raises:
        ShapeError: other points, or fewer than four.
    """
    _check_reference(points, reference, 2)
    if len(reference) < 4:
        raise ShapeError(f"points: expected at least 4 to tell a pose, got {len(reference)}")
    shape = (reference - reference.mean(0)).expand(len(points), -1, -1).double()
    seen = (points - points.mean(1, keepdim=True)).double()
    linear = (torch.linalg.pinv(shape, rtol=_FLAT) @ seen).mT  # (B, 2, 3)
    rotation = _completed(linear)
    for _ in range(_ROUNDS):
        rows = rotation[:, :2]
        scale = (rows * linear).sum((1, 2)) / 2
        depth = scale[:, None] * (shape @ rotation[:, 2, :, None])[..., 0]
        rotation = _rotations(shape, torch.cat([seen, depth[..., None]], -1))
        along = shape @ rotation[:, :2].mT
        linear = rotation[:, :2] * ((along * seen).sum((1, 2)) / along.square().sum((1, 2)))[:, None, None]
    return angles_of(rotation).to(points)


def pose_of_keypoints(
    source: Float[Tensor, "1 K 2"],
    driving: Float[Tensor, "B K 2"],
    depth: Float[Tensor, "K"],
    source_deg: Float[Tensor, "1 3"] | None = None,
) -> Float[Tensor, "B 3"]:
    """Pose of a driving frame from keypoints whose depth in the source is known (RGB-D keypoints).

    Args:
        source, driving: keypoints in pixels.
        depth: of the source's keypoints in pixel units: distance times focal length over mean distance.
        source_deg: the source's pose; None: it faces the camera.

    Raises:
        ShapeError: other keypoints, or fewer than four.
    """
    reference = torch.cat([source[0], depth[:, None].to(source)], -1)
    turn = rotation_of(pose_of_points(driving, reference))
    return angles_of(turn if source_deg is None else turn @ rotation_of(source_deg))


def affine_of_keypoints(
    source: Float[Tensor, "#B K 2"], driving: Float[Tensor, "B K 2"]
) -> Float[Tensor, "B 2 2"]:
    """The linear part of the picture's motion from the source to the driving frame, by least squares over all
    keypoints; in pixels.

    Args:
        source, driving: the same keypoints, in pixels; the batch of the source may be 1.
    """
    one, two = (points - points.mean(1, keepdim=True) for points in (source, driving))
    return (torch.linalg.pinv(one, rtol=_FLAT) @ two).mT  # (B, 2, 2)


def affine_of_jacobians(jacobians: Float[Tensor, "B K 2 2"]) -> Float[Tensor, "B 2 2"]:
    """The same from the keypoints' Jacobians alone: the median of each entry, as some lie on surfaces that
    turn away.

    Args:
        jacobians: ``J_D J_S^-1``, see `geom.keypoints.jacobian_quotient`.
    """
    return jacobians.median(1).values


def pose_of_affine(
    affine: Float[Tensor, "B 2 2"], source_deg: Float[Tensor, "#B 3"] | None = None
) -> Float[Tensor, "B 3"]:
    """What an affine motion tells of the driving pose: the roll; yaw and pitch are NaN.

    Exact for a source that faces the camera with any roll: the lower row of ``R`` is ``cos(pitch)
    (sin(roll), cos(roll))``.

    Args:
        affine: linear part, source to driving.
        source_deg: the source's pose; only its roll is used.
    """
    roll = torch.rad2deg(torch.atan2(affine[:, 1, 0], affine[:, 1, 1]))
    roll = roll if source_deg is None else roll + source_deg[..., 2]
    unknown = torch.full_like(roll, torch.nan)
    return torch.stack([unknown, unknown, (roll + 180) % 360 - 180], -1)


def tilt_of_affine(affine: Float[Tensor, "B 2 2"]) -> Float[Tensor, "B"]:
    """How far a flat, face-on thing turned out of the picture's plane, degrees 0 .. 90, to either side."""
    sizes = torch.linalg.svdvals(affine)
    return torch.rad2deg(torch.acos((sizes[:, 1] / sizes[:, 0].clamp(min=1e-12)).clamp(0, 1)))


def _completed(linear: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 3 3"]:
    """The rotation whose upper rows are nearest to a linear map's, up to a scale."""
    u, _, vh = torch.linalg.svd(linear, full_matrices=False)
    rows = u @ vh
    return torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)


def _rotations(points: Float[Tensor, "B N 3"], targets: Float[Tensor, "B N 3"]) -> Float[Tensor, "B 3 3"]:
    """Rotations of the similarities that carry points to targets best, as `transforms.umeyama` one by one."""
    one, two = (values - values.mean(1, keepdim=True) for values in (points, targets))
    u, _, vh = torch.linalg.svd(two.mT.double() @ one.double())
    sign = torch.ones(len(u), 1, 3, dtype=u.dtype, device=u.device)
    sign[:, 0, 2] = torch.det(u @ vh).sign()
    return ((u * sign) @ vh).to(points)


def _check_reference(points: Tensor, reference: Tensor, axes: int) -> None:
    if points.ndim != 3 or points.shape[2] != axes or reference.shape != (points.shape[1], 3):
        raise ShapeError(
            f"points, reference: expected (B, N, {axes}) and (N, 3) of the same points, got "
            f"{tuple(points.shape)} and {tuple(reference.shape)}"
        )
