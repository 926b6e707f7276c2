"""The guidance at every resolution of a network, free of aliasing: two small matrix products a level.

A level of stride s is the picture blurred by a Gaussian of sigma (s - 1) / 2 pixels, cut off at
``2 round(4 sigma) + 1`` taps, beyond the frame zero, and then every s-th pixel of it, the first included:
the down-sampling that first-order motion models and [PWM]'s public code share. Blur and stride together are
linear and separable, so one level is ``D_rows X D_columns^T`` with ``D`` of n / s x n: the same values as a
dense convolution of up to 125 x 125 taps for a fiftieth of its time.

The matrices are made anew in every call. For a frame of 256 px that is a tenth of a millisecond, less than
the products, and leaves nothing to keep, to move between devices or to trip a compiler.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError


def blur_radius(stride: int) -> int:
    """Taps on either side of the Gaussian's centre: 0, 2, 6, 14, 30, 62 for strides 1, 2, 4, 8, 16, 32.

    Example:
        >>> [2 * blur_radius(stride) + 1 for stride in (1, 2, 4, 8, 16, 32)]
        [1, 5, 13, 29, 61, 125]
    """
    return round(4 * (stride - 1) / 2)


def blur_kernel(
    stride: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "taps"]:
    """The Gaussian of one axis, its sum 1; a single 1 for stride 1.

    Args:
        stride: of the reduction that it is meant for; sigma is (stride - 1) / 2 px.
        device, dtype: of the result.
    """
    radius, sigma = blur_radius(stride), max((stride - 1) / 2, 1e-3)
    offset = torch.arange(-radius, radius + 1, device=device, dtype=dtype)
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    return weight / weight.sum()


def downsampling_matrix(
    size: int,
    stride: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "small size"]:
    """Blur and stride of one axis as a banded matrix ``(size / stride, size)``.

    Rows near the ends sum to less than 1: beyond the frame all is zero.

    Args:
        size: of the axis in pixels.
        stride: pixels a step.
        device, dtype: of the result.

    Raises:
        ShapeError: the size is not a multiple of the stride.

    Example:
        >>> (1000 * downsampling_matrix(4, 2)).round().int().tolist()
        [[787, 106, 0, 0], [0, 106, 787, 106]]
    """
    if stride < 1 or size < 1 or size % stride:
        raise ShapeError(
            f"size: expected a multiple of the stride {stride}, got {size}; pad or resize the guidance"
        )
    kernel, radius = blur_kernel(stride, device=device, dtype=dtype), blur_radius(stride)
    column = torch.arange(size, device=device)
    centre = torch.arange(0, size, stride, device=device)
    tap = column - centre[:, None] + radius  # (size / stride, size)
    inside = (tap >= 0) & (tap <= 2 * radius)
    return kernel[tap.clamp(0, 2 * radius)] * inside


def guidance_pyramid(
    guidance: Float[Tensor, "B G H W"], strides: Sequence[int]
) -> tuple[Float[Tensor, "B G _ _"], ...]:
    """The guidance at every stride, in the order of ``strides``; values are averaged, not rescaled.

    Args:
        guidance: any channels, for instance a displacement and posed codes; computed in float32 at least
            and returned in its own type.
        strides: whole numbers, 1 for the guidance itself.

    Returns:
        One map ``(B, G, H / s, W / s)`` a stride; differentiable in ``guidance``.

    Raises:
        ShapeError: not (B, G, H, W), or a side is not a multiple of a stride.

    Example:
        >>> [tuple(level.shape) for level in guidance_pyramid(torch.ones(1, 2, 64, 96), (1, 8, 32))]
        [(1, 2, 64, 96), (1, 2, 8, 12), (1, 2, 2, 3)]
    """
    height, width = _sides(guidance, strides)
    work = guidance.to(torch.promote_types(guidance.dtype, torch.float32))
    levels = []
    with torch.autocast(work.device.type, enabled=False):
        for stride in strides:
            if stride == 1:
                levels.append(guidance)
                continue
            rows, columns = (
                downsampling_matrix(side, stride, device=work.device, dtype=work.dtype)
                for side in (height, width)
            )
            level = rows @ (work @ columns.T)  # (B, G, H / s, W / s)
            levels.append(level.to(guidance.dtype))
    return tuple(levels)


def guidance_pyramid_ref(
    guidance: Float[Tensor, "B G H W"], strides: Sequence[int]
) -> tuple[Float[Tensor, "B G _ _"], ...]:
    """Plain twin of :func:`guidance_pyramid`: a dense two-dimensional convolution, then every s-th pixel."""
    _sides(guidance, strides)
    levels = []
    for stride in strides:
        kernel, radius = (
            blur_kernel(stride, device=guidance.device, dtype=guidance.dtype),
            blur_radius(stride),
        )
        square = kernel[:, None] * kernel  # (taps, taps)
        weight = square.expand(guidance.shape[1], 1, -1, -1)
        blurred = F.conv2d(guidance, weight, padding=radius, groups=guidance.shape[1])
        levels.append(blurred[..., ::stride, ::stride])
    return tuple(levels)


def _sides(guidance: Tensor, strides: Sequence[int]) -> tuple[int, int]:
    """Height and width of a guidance that every stride divides."""
    if guidance.ndim != 4 or not guidance.is_floating_point() or 0 in guidance.shape[1:]:
        hint = "; add a batch axis with guidance[None]" if guidance.ndim == 3 else ""
        raise ShapeError(
            f"guidance: expected floats (B, G, H, W), got {guidance.dtype} {tuple(guidance.shape)}{hint}"
        )
    height, width = int(guidance.shape[2]), int(guidance.shape[3])
    for stride in strides:
        if stride < 1 or height % stride or width % stride:
            raise ShapeError(
                f"guidance: expected sides that are multiples of the stride {stride}, "
                f"got {height} x {width}; pad or resize it"
            )
    return height, width
