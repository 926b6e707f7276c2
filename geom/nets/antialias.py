"""A smaller picture without aliasing: a Gaussian and every s-th pixel, as keypoint networks begin.

Two lattices. *Centred* (ours): pixel j of the result lies in the middle of the s x s pixels that it stands
for, at ``s (j + 0.5)`` in pixels with centres at +0.5, and beyond the frame its edge goes on. *First pixel*
(public code): result j is the blurred pixel ``s j``, 1.5 px up and left of that middle for s = 4, and beyond
the frame all is zero. Networks trained so need the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadwarpError, ShapeError


def reduction_kernel(stride: int, *, centred: bool) -> Float[Tensor, "taps"]:
    """The Gaussian of one axis, sigma = (s - 1) / 2, its sum 1.

    Args:
        stride: pixels for one.
        centred: an even number of taps around the middle of the block; otherwise ``2 round(4 sigma) + 1``
            taps around a pixel (public code: 13 for 4).

    Example:
        >>> [len(reduction_kernel(4, centred=centred)) for centred in (True, False)]
        [12, 13]
    """
    sigma = (stride - 1) / 2
    radius = round(4 * sigma)
    taps = 2 * radius + 1 if not centred or stride % 2 else 2 * radius
    offset = torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2
    weight = torch.exp(-0.5 * (offset / max(sigma, 1e-3)) ** 2)
    return weight / weight.sum()


class AntiAliasedReduction(nn.Module):
    """See the module; its kernel is a buffer ``weight``, as in the public checkpoints.

    Args:
        channels: of the picture.
        scale: 1 / s of a whole number s, such as 0.25.
        centred: which lattice.

    Raises:
        HeadwarpError: another scale.
    """

    weight: Float[Tensor, "C 1 taps taps"]

    def __init__(self, channels: int, scale: float, *, centred: bool = True) -> None:
        super().__init__()
        self.stride, self.centred = whole_stride(scale), centred
        kernel = reduction_kernel(self.stride, centred=centred)
        square = kernel[:, None] * kernel  # (taps, taps)
        self.register_buffer("weight", square.repeat(channels, 1, 1, 1))  # (C, 1, taps, taps)

    def forward(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """``(B, C, H, W)`` to ``(B, C, H / s, W / s)``.

        Raises:
            ShapeError: other channels, or sides that are no multiples of s.
        """
        channels, stride = len(self.weight), self.stride
        if image.ndim != 4 or image.shape[1] != channels:
            raise ShapeError(f"image: expected (B, {channels}, H, W), got {tuple(image.shape)}")
        height, width = image.shape[2:]
        if height % stride or width % stride:
            raise ShapeError(
                f"image: expected sides that are multiples of {stride}, got {height} x {width}; "
                "pad or resize it"
            )
        weight = self.weight.to(image.dtype)
        if not self.centred:
            return F.conv2d(image, weight, stride=stride, padding=weight.shape[2] // 2, groups=channels)
        margin = (weight.shape[2] - stride) // 2
        extended = F.pad(image, [margin] * 4, mode="replicate")
        return F.conv2d(extended, weight, stride=stride, groups=channels)


def whole_stride(scale: float) -> int:
    """s of a scale 1 / s.

    Raises:
        HeadwarpError: no such whole number.

    Example:
        >>> whole_stride(0.25)
        4
    """
    stride = round(1 / scale) if 0 < scale <= 1 else 0
    if not stride or abs(stride * scale - 1) > 1e-6:
        raise HeadwarpError(f"scale: expected 1 / s of a whole number s, such as 0.25, got {scale}")
    return stride
