"""First-order motion about keypoints ([FOMM] Eq. 4), in pixels: where each point says a pixel comes from."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .flow import pixel_grid


def relative_jacobians(
    source: Float[Tensor, "#B K 2 2"], driving: Float[Tensor, "B K 2 2"], *, condition_guard: float = 50.0
) -> Float[Tensor, "B K 2 2"]:
    """``J_S J_D^-1``: the affine part of the map from the driving frame to the source about each keypoint.

    Args:
        source, driving: Jacobians of the two frames.
        condition_guard: largest condition number of ``J_D``; a worse one, or one that is not finite, gives
            the identity, as if the keypoint had no Jacobian. Infinity guards only against singular ones.

    Example:
        >>> half = 0.5 * torch.eye(2).expand(1, 1, 2, 2)
        >>> relative_jacobians(torch.eye(2).expand(1, 1, 2, 2), half)[0, 0].tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    identity = torch.eye(2).to(driving)
    squared = driving.square().sum((-2, -1))
    area = torch.linalg.det(driving).abs()
    root = (squared.square() - 4 * area.square()).clamp(min=0).sqrt()
    condition = (squared + root) / (2 * area)
    sound = (condition <= condition_guard) & torch.isfinite(condition)
    sound = sound & torch.isfinite(source).all((-2, -1))
    safe = torch.where(sound[..., None, None], driving, identity)
    product = source.expand_as(driving) @ torch.linalg.inv(safe)
    return torch.where(sound[..., None, None], product, identity)


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
        jacobians: of `relative_jacobians`; None: the identity.
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
