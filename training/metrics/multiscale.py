"""Structural similarity over several scales."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from .image import check_pictures, ssim_compiled, ssim_terms

__all__ = ["MS_SSIM_WEIGHTS", "ms_ssim", "ms_ssim_ref", "smallest_side"]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse, as measured by [Wang 2003]."""
_WINDOW = 11
_NO_LUMINANCE = 1e12  # so large a constant makes the luminance term 1, to the last digits of float64


def smallest_side() -> int:
    """The smallest side in pixels that has a window at every scale: 176.

    Example:
        >>> smallest_side()
        176
    """
    return _WINDOW * 2 ** (len(MS_SSIM_WEIGHTS) - 1)


def ms_ssim(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """Multi-scale structural similarity on RGB [Wang 2003, Eq. 7]: five scales, each half the one before.

    Contrast and structure of the four finer scales and the whole index of the coarsest, each the mean over
    channels and windows inside the frame, not below 0, are raised to `MS_SSIM_WEIGHTS` and multiplied. The
    window is that of `ssim`; a scale is the mean of 2 x 2 pixels of the one before (an odd last row or column
    is left out). Means before powers are the order of the authors' code; a power of each window's value, as
    Eq. 7 could be read, is not defined where contrast is negative. On the CPU a compiled twin of
    :func:`ms_ssim_ref` does the work, unless a gradient is asked for.

    Args:
        images: pictures to score, RGB in [0, 1], at least 176 x 176 pixels.
        targets: the truth.

    Returns:
        (B,) float64 in [0, 1]; 1 for equal pictures. Symmetric; differentiable where no scale's mean is 0.

    Raises:
        ShapeError: shapes differ or are not (B, 3, H, W), a side is below 176 pixels, or the values are not
            floats.

    Example:
        >>> picture = torch.linspace(0, 1, 3 * 176 * 176).view(1, 3, 176, 176)
        >>> ms_ssim(picture, picture).tolist()
        [1.0]
    """
    _check(images, targets)
    wants_gradient = torch.is_grad_enabled() and (images.requires_grad or targets.requires_grad)
    if wants_gradient or images.device.type != "cpu" or targets.device.type != "cpu":
        return ms_ssim_ref(images, targets)
    x, y = images.detach().double(), targets.detach().double()
    product = torch.ones(len(x), dtype=torch.float64)
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        value = ssim_compiled(x, y) if last else ssim_compiled(x, y, luminance_constant=_NO_LUMINANCE)
        product = product * value.clamp_min(0) ** weight
        if not last:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product


def ms_ssim_ref(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """:func:`ms_ssim` in plain torch, on any device.

    Args:
        images: pictures to score, RGB in [0, 1], at least 176 x 176 pixels.
        targets: the truth.

    Raises:
        ShapeError: as :func:`ms_ssim`.
    """
    _check(images, targets)
    x, y = images.double(), targets.double()
    product = torch.ones_like(x[:, 0, 0, 0])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance, structure = ssim_terms(x, y)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        value = (luminance * structure if last else structure).mean((1, 2, 3))
        product = product * value.clamp_min(0) ** weight
        if not last:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product


def _check(images: Tensor, targets: Tensor) -> None:
    check_pictures(images, targets)
    if min(images.shape[2:]) < smallest_side():
        side, got = smallest_side(), tuple(images.shape[2:])
        raise ShapeError(f"images: expected at least {side} x {side} pixels for five scales, got {got}.")
