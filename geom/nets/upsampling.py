"""Doubling by nearest neighbours and a 3 x 3 convolution as one transposed convolution of stride 2.

Of the 3 x 3 pixels of the doubled picture that one output pixel sees, several are copies of one input pixel;
their weights can be summed beforehand. What is left is a transposed convolution with 4 x 4 taps: 16
multiplications an input pixel and channel pair instead of 36, and no doubled picture in memory. Values are
those of the two steps, to rounding, at the zero border too.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def doubling_kernel(weight: Float[Tensor, "D C 3 3"]) -> Float[Tensor, "C D 4 4"]:
    """The taps of the transposed convolution, in torch's order (inputs, outputs, rows, columns).

    Along one axis of a kernel a, b, c they are c, b + c, a + b, a: every weight counts for both copies of
    the pixel that it meets.

    Example:
        >>> import torch
        >>> doubling_kernel(torch.tensor([[[[1.0, 2, 3], [0, 0, 0], [0, 0, 0]]]]))[0, 0].tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 5.0, 3.0, 1.0], [3.0, 5.0, 3.0, 1.0]]
    """
    return _spread(_spread(weight, 2), 3).transpose(0, 1)


def _spread(weight: Tensor, axis: int) -> Tensor:
    """Each weight on two neighbouring taps, and the order turned round along one axis."""
    turned = weight.flip(axis)
    after, before = ((0, 0, 0, 1), (0, 0, 1, 0)) if axis == 2 else ((0, 1), (1, 0))
    return F.pad(turned, after) + F.pad(turned, before)


def double_and_convolve(
    features: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, "D"] | None
) -> Float[Tensor, "B D h w"]:
    """Every pixel made 2 x 2, then a 3 x 3 convolution with a border of one zero: ``(B, D, 2 H, 2 W)``.

    Differentiable in all three.

    Args:
        features: to be enlarged.
        weight: of the convolution.
        bias: of the convolution, or None.
    """
    return F.conv_transpose2d(features, doubling_kernel(weight), bias, stride=2, padding=1)


def one_step_pays(features: Float[Tensor, "B C H W"], layer: nn.Conv2d) -> bool:
    """Whether `double_and_convolve` is the faster way through a layer on a CPU.

    It sums weights in every pass: more work than it saves where pixels are fewer than channels. It takes
    3 x 3 taps with a border of one zero.
    """
    batch, channels, height, width = features.shape
    plain = layer.kernel_size == (3, 3) and layer.padding == (1, 1)
    return plain and batch * height * width >= 2 * channels


def double_and_convolve_ref(
    features: Float[Tensor, "B C H W"], weight: Float[Tensor, "D C 3 3"], bias: Float[Tensor, "D"] | None
) -> Float[Tensor, "B D h w"]:
    """Plain twin of :func:`double_and_convolve`: the two steps."""
    return F.conv2d(F.interpolate(features, scale_factor=2, mode="nearest"), weight, bias, padding=1)
