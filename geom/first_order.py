"""First-order motion about keypoints ([FOMM] Eq. 4), in pixels: where each point says a pixel comes from."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .flow import pixel_grid


def first_order_flows(
    source: Float[Tensor, "#B K 2"],
    driving: Float[Tensor, "B K 2"],
    jacobians: Float[Tensor, "B K 2 2"] | None,
    size: tuple[int, int],
) -> Float[Tensor, "B K 2 H W"]:
    """``p_S + J (z - p_D) - z`` for every pixel z of the driving frame: a backward flow for each keypoint.

    Exactly 0 where nothing moved.

    Args:
        source, driving: keypoints in pixels.
        jacobians: ``J_S J_D^-1``, see `geom.keypoints.jacobian_quotient`; None: the identity.
        size: (H, W) of both frames.

    Raises:
        ShapeError: not as many keypoints in both frames.
    """
    if source.shape[1:] != driving.shape[1:]:
        raise ShapeError(
            f"keypoints: expected {tuple(source.shape[1:])} in the driving frame as in the source, got "
            f"{tuple(driving.shape[1:])}; take both from one detector"
        )
    shift = (source - driving)[..., None, None]  # (B, K, 2, 1, 1)
    if jacobians is None:
        return shift.expand(*shift.shape[:3], *size)
    grid = pixel_grid(size, device=driving.device, dtype=driving.dtype)[:, None]  # (1, 1, 2, H, W)
    change = jacobians - torch.eye(2).to(jacobians)
    return shift + torch.einsum("bkij,bkjhw->bkihw", change, grid - driving[..., None, None])


def keypoint_spacing(points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B"]:
    """How far apart as many points lie that fill a disc of these points' spread evenly, in pixels."""
    seen = torch.isfinite(points).all(-1, keepdim=True)
    count = seen.sum(1).clamp(min=1)  # (B, 1)
    kept = torch.where(seen, points, torch.zeros_like(points))
    centred = torch.where(seen, points - kept.sum(1, keepdim=True) / count[:, None], 0.0)
    squared = centred.square().sum((1, 2)) / count[:, 0]
    return (squared * 2 * math.pi / count[:, 0]).sqrt()
