"""How near two pictures are, pixel by pixel: one number a frame.

Pictures are (B, 3, H, W) RGB in [0, 1]; values come back as (B,) float64. Nothing is clipped or rounded here:
to score what a viewer gets from a file, score the frames read from it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError

__all__ = ["PSNR_LIMIT_DB", "l1", "psnr", "ssim", "ssim_ref"]

PSNR_LIMIT_DB = 100.0
"""PSNR of equal pictures, and of any nearer than a mean squared error of 1e-10."""
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def l1(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """Mean absolute difference over pixels and channels, in [0, 1].

    Args:
        images: pictures to score, RGB in [0, 1].
        targets: the truth.

    Returns:
        (B,) float64; 0 is best. Differentiable in both.

    Raises:
        ShapeError: shapes differ or are not (B, 3, H, W), or the values are not floats.

    Example:
        >>> l1(torch.full((1, 3, 4, 4), 0.75), torch.full((1, 3, 4, 4), 0.5)).tolist()
        [0.25]
    """
    check_pictures(images, targets)
    return (images - targets).abs().mean((1, 2, 3), dtype=torch.float64)


def psnr(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio in dB, ``-10 log10`` of the mean squared error, peak 1.

    Departure from the formula: the error is taken as at least 1e-10, so equal pictures have 100 dB and not
    infinity, which would swallow the mean of a clip whose first frame is its own source.

    Args:
        images: pictures to score, RGB in [0, 1].
        targets: the truth.

    Returns:
        (B,) float64 in dB, at most 100; higher is better.

    Raises:
        ShapeError: shapes differ or are not (B, 3, H, W), or the values are not floats.

    Example:
        >>> psnr(torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)).round(decimals=3).tolist()
        [20.0]
    """
    check_pictures(images, targets)
    error = (images - targets).square().mean((1, 2, 3), dtype=torch.float64)
    return -10 * error.clamp_min(10 ** (-PSNR_LIMIT_DB / 10)).log10()


def ssim(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """Structural similarity on RGB: Gaussian 11 x 11 window of sigma 1.5, data range 1, mean of the interior.

    The value of ``skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1.0, channel_axis=...)`` in float64: windows that reach over the
    border are left out, channels are averaged. Source: Wang et al., Image quality assessment, 2004. On the
    CPU a compiled twin of :func:`ssim_ref` does the work, unless a gradient is asked for.

    Args:
        images: pictures to score, RGB in [0, 1], at least 11 x 11 pixels.
        targets: the truth.

    Returns:
        (B,) float64 in [-1, 1]; 1 for equal pictures. Symmetric; differentiable in both.

    Raises:
        ShapeError: shapes differ or are not (B, 3, H, W), a side is below 11 pixels, or the values are not
            floats.

    Example:
        >>> picture = torch.linspace(0, 1, 3 * 16 * 16).view(1, 3, 16, 16)
        >>> ssim(picture, picture).tolist()
        [1.0]
    """
    check_pictures(images, targets)
    wants_gradient = torch.is_grad_enabled() and (images.requires_grad or targets.requires_grad)
    if wants_gradient or images.device.type != "cpu" or targets.device.type != "cpu":
        return ssim_ref(images, targets)
    return ssim_compiled(images, targets)


def ssim_compiled(
    images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"], *, luminance_constant: float = _C1
) -> Float[Tensor, " B"]:
    """:func:`ssim` of pictures on the CPU, without gradients; a huge constant leaves contrast and structure
    alone.

    Args:
        images, targets: as for `ssim`.
        luminance_constant: C1 of [Wang 2004].

    Returns:
        (B,), in the type of the work.
    """
    from ._ssim_numba import ssim_planes

    _check_window(images)
    count, _, height, width = images.shape
    dtype = torch.float32 if images.dtype == targets.dtype == torch.float32 else torch.float64
    planes = [picture.detach().to(dtype).reshape(-1, height, width) for picture in (images, targets)]
    values = ssim_planes(
        *(plane.contiguous().numpy() for plane in planes), _kernel().numpy(), luminance_constant, _C2
    )
    return torch.from_numpy(values).view(count, 3).mean(1)  # (B,)


def ssim_ref(images: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """:func:`ssim` in plain torch, on any device: computed in float64, where E[x^2] - E[x]^2 does not cancel.

    Args:
        images: pictures to score, RGB in [0, 1], at least 11 x 11 pixels.
        targets: the truth.

    Returns:
        (B,) float64.

    Raises:
        ShapeError: as :func:`ssim`.
    """
    check_pictures(images, targets)
    _check_window(images)
    luminance, structure = ssim_terms(images.double(), targets.double())
    return (luminance * structure).mean((1, 2, 3))


def ssim_terms(
    x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"]
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
    """Luminance, and contrast times structure, of every window inside the frame; their product is the index.

    Args:
        x: float64 pictures in [0, 1].
        y: the others.

    Returns:
        Two maps with h = H - 10, w = W - 10.
    """
    means = _window_mean(torch.cat([x, y, x * x + y * y, x * y], dim=1))  # (B, 4 C, h, w)
    mean_x, mean_y, mean_square, mean_product = means.chunk(4, dim=1)
    square, product = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    luminance = (2 * product + _C1) / (square + _C1)
    structure = (2 * (mean_product - product) + _C2) / (mean_square - square + _C2)
    return luminance, structure


def _kernel() -> Float[Tensor, " 11"]:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return weights / weights.sum()


def _window_mean(maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Gaussian-weighted means over the windows that lie inside: h = H - 10, w = W - 10."""
    channels = maps.shape[1]
    row = _kernel().to(maps).expand(channels, 1, 1, -1).contiguous()  # (C, 1, 1, 11)
    maps = F.conv2d(maps, row, groups=channels)
    return F.conv2d(maps, row.transpose(2, 3).contiguous(), groups=channels)


def _check_window(images: Tensor) -> None:
    if min(images.shape[2:]) < 2 * _RADIUS + 1:
        got = tuple(images.shape[2:])
        raise ShapeError(f"images: expected at least 11 x 11 pixels for the window, got {got}.")


def check_pictures(images: Tensor, targets: Tensor) -> None:
    """Raise ShapeError unless both are float pictures (B, 3, H, W) of one shape."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape != targets.shape:
        got = f"{tuple(images.shape)} and {tuple(targets.shape)}"
        raise ShapeError(f"images, targets: expected two (B, 3, H, W) of one shape, got {got}.")
    if not (images.is_floating_point() and targets.is_floating_point()):
        got = f"{images.dtype} and {targets.dtype}"
        raise ShapeError(f"images, targets: expected floats in [0, 1], got {got}.")
