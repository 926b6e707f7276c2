"""Ratios of 2 x 2 Jacobians, ``A^-1 B`` and ``A B^-1``, in closed form, with a guard against singular ones.

First-order motion needs the inverse of a Jacobian that a network made: in the motion about a keypoint
``J_s J_d^-1`` and in the equivariance loss ``J_d^-1 J'`` ([FOMM] A.1 and A.2). Nothing keeps such a matrix
from being singular: the public code's inverse then gives infinities, NaN gradients, or an error in the
middle of a run.

The guard bounds the condition number without a branch. The determinant is ``s1 s2`` and the squared
Frobenius norm ``s1^2 + s2^2`` of the singular values; their quotient is ``k / (1 + k^2)`` of the condition
number k. A determinant that is smaller than that for the bound is replaced by it, with its own sign. Up to
the bound the ratio is exact; beyond it, it is finite, with finite gradients, and 0 for the zero matrix.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError, ShapeError

_LEAST = 1e-6


def left_ratio(
    divisor: Float[Tensor, "*batch 2 2"],
    matrix: Float[Tensor, "*batch 2 2"],
    *,
    condition_guard: float | None = 100.0,
) -> Float[Tensor, "*batch 2 2"]:
    """``divisor^-1 matrix``, by Cramer's rule.

    Args:
        divisor: the matrix that is inverted; computed in float32 at least.
        matrix: of the same shape.
        condition_guard: largest condition number that is inverted as it is, at least 1; None: no guard, and
            `torch.linalg.inv`, as in the public code.

    Returns:
        The ratio; differentiable in both.

    Raises:
        ShapeError: not (..., 2, 2) of one shape.
        HeadwarpError: a guard below 1.
        torch.linalg.LinAlgError: without a guard, where the divisor is singular to the bit.

    Example:
        >>> twice = 2 * torch.eye(2)
        >>> left_ratio(twice, torch.eye(2)).tolist(), left_ratio(0 * twice, twice).tolist()
        ([[0.5, 0.0], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]])
    """
    return _product(_inverse(divisor, matrix, condition_guard), matrix)


def right_ratio(
    matrix: Float[Tensor, "*batch 2 2"],
    divisor: Float[Tensor, "*batch 2 2"],
    *,
    condition_guard: float | None = 100.0,
) -> Float[Tensor, "*batch 2 2"]:
    """``matrix divisor^-1``; arguments and errors as `left_ratio`."""
    return _product(matrix, _inverse(divisor, matrix, condition_guard))


def _inverse(divisor: Tensor, matrix: Tensor, condition_guard: float | None) -> Float[Tensor, "*batch 2 2"]:
    if divisor.shape[-2:] != (2, 2) or matrix.shape != divisor.shape:
        got = f"{tuple(divisor.shape)} and {tuple(matrix.shape)}"
        raise ShapeError(f"Jacobians: expected two (..., 2, 2) of one shape, got {got}")
    divisor = divisor.to(torch.promote_types(divisor.dtype, torch.float32))
    if condition_guard is None:
        return torch.linalg.inv(divisor)
    if not condition_guard >= 1:
        raise HeadwarpError(f"condition_guard: expected at least 1, or None for none, got {condition_guard}")
    (a, b), (c, d) = (row.unbind(-1) for row in divisor.unbind(-2))  # each (...)
    adjugate = torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2))  # (..., 2, 2)
    determinant = a * d - b * c
    least = divisor.square().sum((-2, -1)) * (condition_guard / (1 + condition_guard**2))
    least = least.clamp_min(_LEAST)
    bounded = torch.where(determinant < 0, -least, least)
    kept = torch.where(determinant.abs() < least, bounded, determinant)
    return adjugate / kept[..., None, None]


def _product(left: Tensor, right: Tensor) -> Float[Tensor, "*batch 2 2"]:
    """``left @ right`` in their own type: autocast would round what ``@`` multiplies."""
    dtype = torch.promote_types(left.dtype, right.dtype)
    terms = left.to(dtype)[..., :, :, None] * right.to(dtype)[..., None, :, :]  # (..., i, k, j)
    return terms.sum(-2)
