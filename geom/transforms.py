"""Rotations and rigid maps: axis-angle, quaternions, head angles, 6D, rigid and similarity transforms.

Every conversion takes any number of leading axes, is finite at angle 0 and pi, and has the exact derivative
at 0 (to second order, so that Gauss-Newton and gradient checks may start from rest). They are our own
because kornia's are exact only in its newest releases: 0.7.3 gives NaN gradients at angle 0 and is 6e-4 off
at 1e-3 rad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError

_SERIES_BELOW = 1e-4  # squared angle under which four terms of a series are exact to float64


class EulerAngles(NamedTuple):
    """Head angles in radians, each ``(...)``, in the sense of the package's conventions."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor


@dataclass(frozen=True)
class Similarity:
    """The map ``x -> scale R x + t`` in D = 2 or 3 dimensions.

    Attributes:
        scale: () factor.
        rotation: (D, D), determinant +1.
        translation: (D,).
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor

    def apply(self, points: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Map points (..., D)."""
        return self.scale * (points @ self.rotation.transpose(-1, -2)) + self.translation

    def inverse(self) -> Similarity:
        """The map back; the scale must not be zero.

        Example:
            >>> double = Similarity(torch.tensor(2.0), torch.eye(2), torch.tensor([4.0, 6.0]))
            >>> double.inverse().apply(torch.tensor([[6.0, 8.0]])).tolist()
            [[1.0, 1.0]]
        """
        rotation = self.rotation.transpose(-1, -2)
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation) / self.scale)


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix K of the cross product, ``K x = vector x x``.

    Raises:
        ShapeError: the last axis is not 3.
    """
    _check_last(vector, (3,), "vector")
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return rows.unflatten(-1, (3, 3))  # (..., 3, 3)


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of an axis times an angle in radians (Rodrigues).

    Exact in value, first and second derivative at every angle, zero included.

    Raises:
        ShapeError: the last axis is not 3.

    Example:
        >>> axis_angle_to_matrix(torch.tensor([0.0, 0.0, torch.pi / 2])).round().abs().tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _check_last(axis_angle, (3,), "axis_angle")
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < _SERIES_BELOW
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, _series(squared, (1, -1 / 6, 1 / 120, -1 / 5040)), angle.sin() / angle)
    half = (angle / 2).sin() / angle  # 1 - cos = 2 sin^2(angle / 2) loses no digits
    cosine = torch.where(small, _series(squared, (1 / 2, -1 / 24, 1 / 720, -1 / 40320)), 2 * half * half)
    cross = skew(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine[..., None, None] * cross + cosine[..., None, None] * (cross @ cross)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis times angle in radians, length 0 .. pi; at pi one of the two axes.

    The derivative of ``matrix_to_axis_angle(axis_angle_to_matrix(w))`` is exactly the identity at w = 0.

    Raises:
        ShapeError: the last axes are not (3, 3).

    Example:
        >>> turn = torch.tensor([0.25, -0.5, 0.0])
        >>> bool(torch.allclose(matrix_to_axis_angle(axis_angle_to_matrix(turn)), turn))
        True
    """
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a ``wxyz`` quaternion of any non-zero length; a zero quaternion gives the identity.

    Raises:
        ShapeError: the last axis is not 4.

    Example:
        >>> quaternion_to_matrix(torch.tensor([0.0, 0.0, 0.0, 2.0])).tolist()  # half a turn about z
        [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    w, x, y, z = _unit_quaternion(quaternion).unbind(-1)
    rows = torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    )
    return rows.unflatten(-1, (3, 3))  # (..., 3, 3)


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit ``wxyz`` quaternion with w >= 0, by the largest of Shepperd's four pivots: no loss near angle pi.

    Raises:
        ShapeError: the last axes are not (3, 3).
    """
    _check_last(matrix, (3, 3), "matrix")
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    squares = torch.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], dim=-1
    )
    # row p is the quaternion times four times its p-th entry
    products = torch.stack(
        [
            *(squares[..., 0], m21 - m12, m02 - m20, m10 - m01),
            *(m21 - m12, squares[..., 1], m10 + m01, m02 + m20),
            *(m02 - m20, m10 + m01, squares[..., 2], m12 + m21),
            *(m10 - m01, m02 + m20, m12 + m21, squares[..., 3]),
        ],
        dim=-1,
    ).unflatten(-1, (4, 4))  # (..., 4, 4)
    pivot = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = _unit_quaternion(products.gather(-2, pivot).squeeze(-2))
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_axis_angle(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Axis times angle in radians, length 0 .. pi, of a ``wxyz`` quaternion of any non-zero length.

    Raises:
        ShapeError: the last axis is not 4.
    """
    unit = _unit_quaternion(quaternion)
    unit = torch.where(unit[..., :1] < 0, -unit, unit)
    real, imaginary = unit[..., 0], unit[..., 1:]
    squared = (imaginary * imaginary).sum(-1)
    small = squared < _SERIES_BELOW
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    cosine = torch.where(small, real, torch.ones_like(real))  # never zero
    series = _series(squared / (cosine * cosine), (1, -1 / 3, 1 / 5, -1 / 7)) / cosine
    factor = 2 * torch.where(small, series, torch.atan2(sine, real) / sine)
    return factor[..., None] * imaginary


def axis_angle_to_quaternion(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit ``wxyz`` quaternion of an axis-angle vector in radians.

    Raises:
        ShapeError: the last axis is not 3.
    """
    _check_last(axis_angle, (3,), "axis_angle")
    squared = (axis_angle * axis_angle).sum(-1) / 4
    small = squared < _SERIES_BELOW
    half = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, _series(squared, (1, -1 / 6, 1 / 120, -1 / 5040)), half.sin() / half)
    cosine = torch.where(small, _series(squared, (1, -1 / 2, 1 / 24, -1 / 720)), half.cos())
    return torch.cat([cosine[..., None], sine[..., None] * axis_angle / 2], dim=-1)


def euler_to_matrix(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """``R = Ry(yaw) Rx(pitch) Rz(roll)`` in camera axes, radians.

    Args:
        yaw: above 0 the nose moves to the image's left.
        pitch: above 0 the head looks down.
        roll: above 0 it tilts clockwise in the image. The three broadcast.

    Returns:
        Rotations with determinant 1; differentiable.

    Example:
        >>> turned = euler_to_matrix(torch.tensor(0.5), torch.tensor(0.0), torch.tensor(0.0))
        >>> nose = turned @ torch.tensor([0.0, 0.0, -1.0])  # it pointed at the camera
        >>> bool(nose[0] < 0)  # and now to the image's left
        True
    """
    yaw, pitch, roll = torch.broadcast_tensors(yaw, pitch, roll)
    (cy, sy), (cp, sp), (cr, sr) = ((angle.cos(), angle.sin()) for angle in (yaw, pitch, roll))
    rows = torch.stack(
        [
            *(cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp),
            *(cp * sr, cp * cr, -sp),
            *(cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp),
        ],
        dim=-1,
    )
    return rows.unflatten(-1, (3, 3))  # (..., 3, 3)


def matrix_to_euler(matrix: Float[Tensor, "*batch 3 3"]) -> EulerAngles:
    """Yaw and roll in (-pi, pi], pitch in [-pi/2, pi/2], radians, of ``R = Ry(yaw) Rx(pitch) Rz(roll)``.

    At pitch = +-pi/2 yaw and roll turn about one axis: roll is then 0 and yaw carries the whole turn.
    Differentiable where the angles are unique.

    Raises:
        ShapeError: the last axes are not (3, 3).

    Example:
        >>> tilted = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.25]))  # about the viewing axis
        >>> round(float(matrix_to_euler(tilted).roll), 4)
        0.25
    """
    _check_last(matrix, (3, 3), "matrix")
    (r00, _, r02), (r10, r11, r12), (r20, _, r22) = (row.unbind(-1) for row in matrix.unbind(-2))
    squared = r10 * r10 + r11 * r11
    locked = squared < (16 * torch.finfo(matrix.dtype).eps) ** 2
    cosine = torch.where(locked, torch.ones_like(squared), squared).sqrt()
    cosine = torch.where(locked, torch.zeros_like(cosine), cosine)
    zero, one = torch.zeros_like(r00), torch.ones_like(r00)
    yaw = torch.atan2(torch.where(locked, -r20, r02), torch.where(locked, r00, r22))
    roll = torch.atan2(torch.where(locked, zero, r10), torch.where(locked, one, r11))
    return EulerAngles(yaw, torch.atan2(-r12, cosine), roll)


def rotation_6d_to_matrix(rotation_6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation whose first two columns are the Gram-Schmidt frame of two 3-vectors [Zhou 2019, Eq. 15].

    A zero or parallel pair still gives a rotation: the missing direction is taken from the coordinate axes.

    Raises:
        ShapeError: the last axis is not 6.

    Example:
        >>> rotation_6d_to_matrix(torch.tensor([0.0, 2.0, 0.0, -1.0, 5.0, 0.0])).round().int().tolist()
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    _check_last(rotation_6d, (6,), "rotation_6d")
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    axes = torch.eye(3, dtype=rotation_6d.dtype, device=rotation_6d.device)
    x = _unit_or(first, axes[0].expand_as(first))
    spare = axes[x.detach().abs().argmin(-1)]  # (..., 3), the axis least along x
    spare = spare - (x * spare).sum(-1, keepdim=True) * x
    y = _unit_or(
        second - (x * second).sum(-1, keepdim=True) * x,
        spare / spare.square().sum(-1, keepdim=True).sqrt(),
        relative_to=second,
    )
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def matrix_to_rotation_6d(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns, one after the other.

    Raises:
        ShapeError: the last axes are not (3, 3).
    """
    _check_last(matrix, (3, 3), "matrix")
    return matrix[..., :2].transpose(-1, -2).flatten(-2)  # (..., 6)


def rotation_angle(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle between two rotations in radians, 0 .. pi; its gradient is zero where they are equal.

    Args:
        first, second: rotations; the order does not matter.

    Raises:
        ShapeError: the last axes are not (3, 3).

    Example:
        >>> half = axis_angle_to_matrix(torch.tensor([0.0, 0.5, 0.0]))
        >>> round(float(rotation_angle(torch.eye(3), half)), 4)
        0.5
    """
    _check_last(first, (3, 3), "first")
    _check_last(second, (3, 3), "second")
    turn = matrix_to_axis_angle(first.transpose(-1, -2) @ second)
    squared = (turn * turn).sum(-1)
    alive = squared > 0
    length = torch.where(alive, squared, torch.ones_like(squared)).sqrt()
    return torch.where(alive, length, torch.zeros_like(length))


def rigid_apply(
    points: Float[Tensor, "*batch N 3"],
    rotation: Float[Tensor, "*batch 3 3"],
    translation: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch N 3"]:
    """``R x + t`` for every point.

    Args:
        points: x, N of them for each map.
        rotation: R.
        translation: t, in the points' unit.

    Raises:
        ShapeError: a last axis is not 3.
    """
    _check_last(points, (3,), "points")
    _check_last(rotation, (3, 3), "rotation")
    _check_last(translation, (3,), "translation")
    return points @ rotation.transpose(-1, -2) + translation[..., None, :]


def rigid_inverse(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Rotation and translation of the map back.

    Args:
        rotation, translation: the map from frame b to a.

    Returns:
        The map from a to b.

    Raises:
        ShapeError: ``rotation`` is not (..., 3, 3).

    Example:
        >>> turn, move = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.0])), torch.tensor([1.0, 2.0, 3.0])
        >>> point = torch.tensor([[4.0, 5.0, 6.0]])
        >>> there = rigid_apply(point, turn, move)
        >>> bool(torch.allclose(rigid_apply(there, *rigid_inverse(turn, move)), point))
        True
    """
    _check_last(rotation, (3, 3), "rotation")
    back = rotation.transpose(-1, -2)
    return back, -(back @ translation[..., None])[..., 0]


def rigid_compose(
    rotation_a_b: Float[Tensor, "*batch 3 3"],
    translation_a_b: Float[Tensor, "*batch 3"],
    rotation_b_c: Float[Tensor, "*batch 3 3"],
    translation_b_c: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """``T_a_c = T_a_b T_b_c``: first the map from c to b, then the one from b to a.

    Args:
        rotation_a_b, translation_a_b: the map applied last, from frame b to a.
        rotation_b_c, translation_b_c: the map applied first, from frame c to b.

    Returns:
        Rotation and translation from frame c to a.

    Example:
        >>> turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, torch.pi / 2]))
        >>> along_x, still = torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3)
        >>> rotation, translation = rigid_compose(turn, still, torch.eye(3), along_x)
        >>> bool((rotation == turn).all()), translation.round().int().tolist()
        (True, [0, 1, 0])
    """
    moved = (rotation_a_b @ translation_b_c[..., None])[..., 0]
    return rotation_a_b @ rotation_b_c, moved + translation_a_b


def umeyama(
    source: Float[Tensor, "N D"],
    target: Float[Tensor, "N D"],
    *,
    weights: Float[Tensor, " N"] | None = None,
    with_scale: bool = True,
) -> Similarity:
    """The similarity minimising ``sum w |s R x + t - y|^2`` [Umeyama 1991]; never a reflection.

    Solved in float64, returned in the type of ``source``. Points on a line leave the turn about it free:
    one of the best rotations is returned. Differentiable where the best rotation is unique.

    Args:
        source: points x, D = 2 or 3, at least one (two different ones with a scale).
        target: points y.
        weights: non-negative, not all zero; ones by default.
        with_scale: fit the scale, else it is one.

    Returns:
        The map from ``source`` to ``target``.

    Raises:
        ShapeError: shapes disagree, weights are negative or all zero, a value is not finite, or all source
            points coincide while a scale is asked for.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> found = umeyama(square, 3 * square + torch.tensor([5.0, -2.0]))
        >>> round(float(found.scale), 4), [round(value, 4) for value in found.translation.tolist()]
        (3.0, [5.0, -2.0])
    """
    _check_point_pair(source, target, weights)
    x, y = source.double(), target.double()
    weight = torch.ones_like(x[:, 0]) if weights is None else weights.to(x)
    weight = weight / weight.sum()
    mean_x, mean_y = weight @ x, weight @ y  # (D,)
    x, y = x - mean_x, y - mean_y
    u, spread, vh = torch.linalg.svd((y * weight[:, None]).T @ x)
    sign = torch.ones_like(spread)
    sign[-1] = torch.det(u.detach() @ vh.detach()).sign()
    rotation = (u * sign) @ vh
    scale = torch.ones_like(spread[0])
    if with_scale:
        variance = (weight * x.square().sum(-1)).sum()
        if float(variance.detach()) <= 1e-24 * max(1.0, float(mean_x.detach().square().sum())):
            raise ShapeError(
                "source: expected at least two different points (with weight), got one place; "
                "pass with_scale=False or more points"
            )
        scale = (spread * sign).sum() / variance
    translation = mean_y - scale * (rotation @ mean_x)
    return Similarity(scale.to(source), rotation.to(source), translation.to(source))


def _series(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def _unit_or(vector: Tensor, fallback: Tensor, *, relative_to: Tensor | None = None) -> Tensor:
    """``vector`` at length one, or ``fallback`` where it is nothing but rounding."""
    squared = vector.square().sum(-1, keepdim=True)
    info = torch.finfo(vector.dtype)
    floor = squared.new_full((), info.tiny)
    if relative_to is not None:
        floor = floor + (8 * info.eps) ** 2 * relative_to.detach().square().sum(-1, keepdim=True)
    alive = squared > floor
    length = torch.where(alive, squared, torch.ones_like(squared)).sqrt()
    return torch.where(alive, vector / length, fallback)


def _unit_quaternion(quaternion: Tensor) -> Tensor:
    _check_last(quaternion, (4,), "quaternion")
    identity = quaternion.new_tensor([1.0, 0.0, 0.0, 0.0])
    return _unit_or(quaternion, identity.expand_as(quaternion))


def _check_last(tensor: Tensor, last: tuple[int, ...], name: str) -> None:
    if tuple(tensor.shape[-len(last) :]) != last or not tensor.is_floating_point():
        expected = ", ".join(["...", *map(str, last)])
        raise ShapeError(
            f"{name}: expected floats ({expected}), got {tensor.dtype} {tuple(tensor.shape)}; "
            "put the components on the last axes and use float32 or float64"
        )


def _check_point_pair(source: Tensor, target: Tensor, weights: Tensor | None) -> None:
    if source.ndim != 2 or source.shape[1] not in (2, 3) or len(source) == 0 or source.shape != target.shape:
        raise ShapeError(
            f"source, target: expected two of (N, 2) or (N, 3), got {tuple(source.shape)} and "
            f"{tuple(target.shape)}; give matching points, one row each"
        )
    if weights is not None:
        if weights.shape != source.shape[:1]:
            raise ShapeError(f"weights: expected ({len(source)},), got {tuple(weights.shape)}; one a point")
        if bool((weights < 0).any()) or not bool(weights.sum() > 0):
            raise ShapeError(
                "weights: expected >= 0 and not all zero, got otherwise; drop points by weight 0"
            )
    if not all(bool(torch.isfinite(part).all()) for part in (source, target)):
        raise ShapeError("source, target: expected finite points, got NaN or infinity; drop those rows first")
