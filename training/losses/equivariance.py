"""Equivariance of keypoints under a known map of the frame: of places and of Jacobians, [FOMM] A.2.

A picture X shows at p what the driving picture D shows at ``T(p)``. A keypoint found in X at p' must lie in
D at ``T(p')`` ([FOMM] Eq. 11), and its Jacobian J' with the map's own must be D's: ``J_d = T'(p') J'``
(Eq. 12), which is asked for as ``J_d^-1 T'(p') J' = 1``. Maps come from `geom.thin_plate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ...geom.keypoints import jacobian_quotient
from ...geom.thin_plate import ThinPlate
from ._terms import Reduction, reduced, wide


@dataclass(frozen=True)
class EquivarianceConfig:
    """How much is asked; the defaults are ours.

    Attributes:
        value_weight: of `equivariance_value`; 10 in the public code and as lambda_E in [DaGAN].
        jacobian_weight: of `equivariance_jacobian`; 10 in the public code, none in [DaGAN].
        reduction: ``"mean"`` (public code) or ``"sum"`` of a sample ([DaGAN] Eq. 12).
        condition_guard: see `equivariance_jacobian`; None in the public code.
    """

    value_weight: float = 10.0
    jacobian_weight: float = 10.0
    reduction: Reduction = "mean"
    condition_guard: float | None = 100.0


OFFICIAL = EquivarianceConfig(condition_guard=None)
DAGAN = EquivarianceConfig(jacobian_weight=0.0, reduction="sum")


def equivariance_value(
    driving: Float[Tensor, "B K 2"],
    moved: Float[Tensor, "B K 2"],
    spline: ThinPlate,
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """``|p_d - T(p')|``, L1: [FOMM] Eq. 11, whose norm is the public code's.

    [DaGAN] Eq. 12 writes ``p - T^-1(p_T)``: its T moves the picture, ours says where to look, so that its
    inverse is our T.

    Args:
        driving: keypoints of the driving picture, normalised xy.
        moved: keypoints of the moved picture (`geom.thin_plate.warp_thin_plate`).
        spline: the maps.
        reduction: ``"mean"`` over everything (public code), or ``"sum"`` of a sample ([DaGAN] Eq. 12).

    Returns:
        A scalar in float32 at least; 0 where keypoints follow, and where all of them are one point that
        the map leaves in place: see `keypoint_distance`. Differentiable in both.

    Raises:
        ShapeError: not two (B, K, 2) of one shape and of the maps' batch.

    Example:
        >>> from headwarp.geom.thin_plate import random_thin_plate
        >>> spline, moved = random_thin_plate(1), torch.rand(1, 3, 2)
        >>> float(equivariance_value(spline.apply(moved), moved, spline))
        0.0
    """
    _check(driving, moved, len(spline.linear), "keypoints")
    dtype = wide(driving.dtype, moved.dtype)
    return reduced((driving.to(dtype) - spline.apply(moved.to(dtype))).abs(), reduction)


def equivariance_jacobian(
    driving: Float[Tensor, "B K 2 2"],
    moved: Float[Tensor, "B K 2 2"],
    spline: ThinPlate,
    moved_points: Float[Tensor, "B K 2"],
    *,
    condition_guard: float | None = 100.0,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """``|1 - J_d^-1 T'(p') J'|``, mean or sum of its four numbers: [FOMM] Eq. 12, in the public code's form.

    Args:
        driving: Jacobians of the driving picture's keypoints.
        moved: Jacobians of the moved picture's.
        spline: the maps.
        moved_points: keypoints of the moved picture, where the map's Jacobian is taken; differentiable.
        condition_guard: largest condition number of ``driving`` that is inverted as it is
            (`geom.keypoints.jacobian_quotient`); None: all, as in the public code.
        reduction: ``"mean"`` over everything (public code), or ``"sum"`` of a sample.

    Returns:
        A scalar in float32 at least, 0 where Jacobians follow; differentiable in all three.

    Raises:
        ShapeError: not two (B, K, 2, 2) of one shape with (B, K, 2).
    """
    _check(driving, moved, len(spline.linear), "Jacobians")
    dtype = wide(driving.dtype, moved.dtype)
    followed = spline.jacobian(moved_points.to(dtype)) @ moved.to(dtype)  # (B, K, 2, 2)
    # A^-1 B is the transpose of B^T (A^T)^-1
    ratio = jacobian_quotient(followed.mT, driving.to(dtype).mT, condition_guard=condition_guard).mT
    return reduced((torch.eye(2, dtype=dtype, device=ratio.device) - ratio).abs(), reduction)


def _check(driving: Tensor, moved: Tensor, batch: int, name: str) -> None:
    axes = 2 if name == "keypoints" else 3
    fits = driving.ndim == axes + 1 and driving.shape == moved.shape and set(driving.shape[2:]) == {2}
    if not fits or len(driving) != batch:
        got = f"{tuple(driving.shape)} and {tuple(moved.shape)}"
        wanted = f"({batch}, K, 2)" if axes == 2 else f"({batch}, K, 2, 2)"
        raise ShapeError(f"{name}: expected two {wanted} of one shape, as many as maps, got {got}")
