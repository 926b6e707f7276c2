"""How near a flow and a visibility map are to the true ones, where the truth is known: synthetic heads."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.errors import ShapeError

__all__ = ["flow_epe", "visibility_iou"]


def flow_epe(
    flow: Float[Tensor, "B 2 H W"],
    truth: Float[Tensor, "B 2 H W"],
    counted: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """End-point error: mean Euclidean distance of flow vectors, in their pixels.

    Args:
        flow: backward flow.
        truth: the true one; may hold anything where it is not counted.
        counted: pixels that count, such as those of the head that the source shows; all by default.

    Returns:
        (B,) float64, 0 or more; NaN where nothing counts. Differentiable in the flow, but where it is exact.

    Raises:
        ShapeError: shapes do not agree.

    Example:
        >>> flow_epe(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 5, 6), torch.zeros(1, 2, 5, 6))
        tensor([5.], dtype=torch.float64)
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or flow.shape != truth.shape:
        got = f"{tuple(flow.shape)} and {tuple(truth.shape)}"
        raise ShapeError(f"flow, truth: expected two (B, 2, H, W) of one shape, got {got}.")
    mask = _mask(counted, flow)
    error = (flow.double() - truth.double()).masked_fill(~mask, 0.0).norm(dim=1, keepdim=True)
    return error.sum((1, 2, 3)) / mask.sum((1, 2, 3))


def visibility_iou(
    visible: Float[Tensor, "B 1 H W"],
    truth: Float[Tensor, "B 1 H W"],
    counted: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Intersection over union of what is *hidden* in the source: less than half visible in either map.

    Hidden pixels are few and are what matters: of the visible ones nearly all agree always.

    Args:
        visible: in [0, 1], 1 where the source shows what the pixel needs.
        truth: the true map.
        counted: pixels that count; all by default.

    Returns:
        (B,) float64 in [0, 1]; 1 where neither hides anything.

    Raises:
        ShapeError: shapes do not agree.

    Example:
        >>> mine, truth = torch.tensor([1.0, 0, 0, 1]), torch.tensor([1.0, 1, 0, 1])
        >>> visibility_iou(mine.view(1, 1, 1, 4), truth.view(1, 1, 1, 4)).tolist()
        [0.5]
    """
    if visible.ndim != 4 or visible.shape[1] != 1 or visible.shape != truth.shape:
        got = f"{tuple(visible.shape)} and {tuple(truth.shape)}"
        raise ShapeError(f"visible, truth: expected two (B, 1, H, W) of one shape, got {got}.")
    mask = _mask(counted, visible)
    mine, true = (visible < 0.5) & mask, (truth < 0.5) & mask
    both, either = (mine & true).sum((1, 2, 3)).double(), (mine | true).sum((1, 2, 3)).double()
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))


def _mask(counted: Tensor | None, like: Tensor) -> Bool[Tensor, "B 1 H W"]:
    shape = (len(like), 1, *like.shape[2:])
    if counted is None:
        return torch.ones(shape, dtype=torch.bool, device=like.device)
    if counted.dtype != torch.bool or tuple(counted.shape) != shape:
        raise ShapeError(f"counted: expected {shape} of bool, got {tuple(counted.shape)} of {counted.dtype}.")
    return counted
