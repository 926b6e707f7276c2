"""Edge-aware smoothness of disparity ([Monodepth2] Eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError


def smoothness_loss(
    disparity: Float[Tensor, "B 1 H W"], image: Float[Tensor, "B C H W"], *, normalise: bool = True
) -> Float[Tensor, ""]:
    """``|d_x D| exp(-|d_x I|) + |d_y D| exp(-|d_y I|)``, means over pixels.

    [DaGAN]'s text has no such term; its public code takes monodepth2's, weighted 1e-3 / 2^s at scale s.

    Args:
        disparity: any positive field, of the picture's size.
        image: RGB in [0, 1]; not differentiated.
        normalise: divide each map by its mean first, so that shrinking it does not help.

    Returns:
        A scalar, 0 for a constant map.

    Raises:
        ShapeError: sizes differ, or a side is below 2 px.

    Example:
        >>> ramp = torch.linspace(1, 2, 5).expand(1, 1, 4, 5)
        >>> round(float(smoothness_loss(ramp, torch.zeros(1, 3, 4, 5))), 4)  # 0.25 a pixel, mean 1.5
        0.1667
    """
    if disparity.ndim != 4 or disparity.shape[1] != 1 or disparity.shape[2:] != image.shape[2:]:
        got = f"{tuple(disparity.shape)} for {tuple(image.shape)}"
        raise ShapeError(f"smoothness_loss: disparity: expected (B, 1, H, W), the picture's size, got {got}")
    if min(image.shape[2:]) < 2:
        got = f"{image.shape[2]} x {image.shape[3]}"
        raise ShapeError(f"smoothness_loss: expected at least 2 px a side, got {got}")
    if normalise:
        least = torch.finfo(disparity.dtype).eps
        disparity = disparity / (disparity.mean((2, 3), keepdim=True) + least)
    picture = image.detach()
    total = disparity.new_zeros(())
    for axis in (2, 3):
        edges = picture.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (disparity.diff(dim=axis).abs() * torch.exp(-edges)).mean()
    return total
