"""What the loss families share: pairs checked and brought to one type, and the two ways to sum."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError

Reduction = Literal["mean", "sum"]
"""``"mean"``: over every element. ``"sum"``: over every element of a sample, then the mean over the batch."""


def checked_pair(
    image: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"], *, by: str
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
    """Both in float32, or in float64 where either is; half types lose the small differences at the end.

    Raises:
        ShapeError: shapes differ, are not (B, C, H, W), hold nothing, or the values are not floats.
    """
    if image.ndim != 4 or image.shape != target.shape:
        got = f"{tuple(image.shape)} and {tuple(target.shape)}"
        raise ShapeError(f"{by}: image, target: expected two (B, C, H, W) of one shape, got {got}")
    if not (image.is_floating_point() and target.is_floating_point()):
        got = f"{image.dtype} and {target.dtype}"
        raise ShapeError(f"{by}: image, target: expected floats, got {got}; divide bytes by 255")
    if image.numel() == 0:
        raise ShapeError(f"{by}: image, target: expected at least one pixel, got {tuple(image.shape)}")
    dtype = wide(image.dtype, target.dtype)
    return image.to(dtype), target.to(dtype)


def wide(*dtypes: torch.dtype) -> torch.dtype:
    """The type that a loss is computed in: float64 where any is, float32 otherwise."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def reduced(values: Float[Tensor, "B *rest"], reduction: Reduction) -> Float[Tensor, ""]:
    """The mean over everything, or the sum of a sample averaged over the batch.

    Raises:
        HeadwarpError: no such reduction.
    """
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum() / len(values)
    raise HeadwarpError(f'reduction: expected "mean" or "sum", got {reduction!r}')
