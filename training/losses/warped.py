"""The source picture moved by the predicted displacement: pictures for the other losses, [PWM] sec. 1.4.

The paper warps by the last displacement alone and applies every loss to it. The public code warps at every
level, pictures reduced by area, for the perceptual loss, and has the discriminator judge full size alone.
Both are `warped_levels`, of the last displacement or of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError
from ...geom.flow import Padding, warp


@dataclass(frozen=True)
class WarpedLevel:
    """The moved source at one size, and what it should look like.

    Attributes:
        image: the source moved, ``(B, 3, h, w)``; differentiable in the displacement.
        target: the driving picture at that size.
    """

    image: Float[Tensor, "B 3 h w"]
    target: Float[Tensor, "B 3 h w"]


def warped_levels(
    source: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    flows: Sequence[Float[Tensor, "B 2 _ _"]],
    *,
    padding_mode: Padding = "border",
) -> tuple[WarpedLevel, ...]:
    """The source moved by each displacement at the displacement's own size, beside the target at that size.

    Args:
        source: RGB in [0, 1].
        target: the driving picture, of the same shape.
        flows: backward displacements in pixels of their own sizes, none larger than the picture.
        padding_mode: beyond the source ``border`` repeats its edge, ``zeros`` blends into black (public
            code).

    Returns:
        A level a displacement, in their order. Pictures are reduced by the mean over the area of a pixel.

    Raises:
        ShapeError: the pictures differ in shape, or a displacement does not fit.

    Example:
        >>> import torch
        >>> picture = torch.rand(1, 3, 8, 8)
        >>> still = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8)]
        >>> [bool((level.image == level.target).all()) for level in warped_levels(picture, picture, still)]
        [True, True]
    """
    if source.shape != target.shape:
        got = f"{tuple(source.shape)} and {tuple(target.shape)}"
        raise ShapeError(f"warped_levels: source, target: expected one shape, got {got}")
    levels = []
    for flow in flows:
        size = tuple(flow.shape[2:])
        if flow.ndim != 4 or any(small > large for small, large in zip(size, source.shape[2:], strict=True)):
            got = f"{tuple(flow.shape)} for {tuple(source.shape)}"
            raise ShapeError(
                f"warped_levels: flow: expected (B, 2, h, w) within the picture's size, got {got}"
            )
        moved = warp(_reduced(source, size), flow, padding_mode=padding_mode)
        levels.append(WarpedLevel(moved, _reduced(target, size)))
    return tuple(levels)


def _reduced(image: Tensor, size: tuple[int, ...]) -> Tensor:
    return image if image.shape[2:] == size else F.interpolate(image, size=size, mode="area")
