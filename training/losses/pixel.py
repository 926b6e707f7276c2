"""Differences of pixels: mean absolute, over the picture or under a mask."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ._terms import Reduction, checked_pair, reduced


def pixel_l1(
    image: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"], *, reduction: Reduction = "mean"
) -> Float[Tensor, ""]:
    """Absolute difference of pixels.

    [PWM] has no such term; its public code adds it with weight 10.

    Args:
        image: the picture made, RGB in [0, 1].
        target: the truth.
        reduction: ``"mean"`` over everything, or ``"sum"`` over a sample and mean over the batch.

    Returns:
        A scalar in float32 (float64 for float64), 0 at the truth, differentiable in both.

    Raises:
        ShapeError: shapes differ, are not (B, C, H, W), or the values are not floats.

    Example:
        >>> float(pixel_l1(torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.25)))
        0.25
    """
    image, target = checked_pair(image, target, by="pixel_l1")
    return reduced((image - target).abs(), reduction)


def masked_l1(
    image: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"], mask: Float[Tensor, "#B 1 H W"]
) -> Float[Tensor, ""]:
    """Mean absolute difference where a mask says; a weighted mean for soft masks.

    The weights of the whole batch are summed, so a sample with a small mask counts little. Scaling the mask
    changes nothing. Where it is zero everywhere, loss and gradient are 0: there is nothing to compare.

    Args:
        image: the picture made, RGB in [0, 1].
        target: the truth.
        mask: weight of each pixel, not negative; its batch may be 1. Not differentiated.

    Raises:
        ShapeError: as `pixel_l1`, or a mask that does not fit.

    Example:
        >>> image, target = torch.tensor([[[[1.0, 0.0]]]]), torch.zeros(1, 1, 1, 2)
        >>> float(masked_l1(image, target, torch.tensor([[[[0.5, 0.0]]]])))
        1.0
    """
    image, target = checked_pair(image, target, by="masked_l1")
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[2:] != image.shape[2:]:
        got = f"{tuple(mask.shape)} for {tuple(image.shape)}"
        raise ShapeError(f"masked_l1: mask: expected (B, 1, H, W) of the picture's size, got {got}")
    if len(mask) not in (1, len(image)):
        raise ShapeError(f"masked_l1: mask: expected a batch of 1 or {len(image)}, got {len(mask)}")
    weight = mask.detach().to(image.dtype).expand(len(image), image.shape[1], -1, -1)  # (B, C, H, W)
    total = weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
    return ((image - target).abs() * weight).sum() / total
