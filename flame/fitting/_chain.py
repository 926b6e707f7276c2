"""Solving the normal equations of a clip: a chain of frame blocks, each tied to the next, and a shape block.

    [ H_1  -D              C_1 ]        H_t (n x n) with damping, D diagonal,
    [ -D   H_2  -D         C_2 ]        C_t (n x s) the coupling of frame t to the shape,
    [      ..   ..   ..     .. ]        H_s (s x s) the shape's own block.
    [ C_1' C_2' ..         H_s ]

Frames are eliminated one after the other by Cholesky, with [D | C_t | g_t] as right-hand sides, then the
shape; every step is a product of matrices. A frame costs 2/3 n^3 + 2 n^2 (n + 2 s) + n s^2 flops: 4 MFLOP for
n = 80, s = 87.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtri

from ._problem import Array

FLOOR = 1e-6  # added to every diagonal element


@dataclass(frozen=True)
class Eliminated:
    """A chain after the forward pass.

    Attributes:
        factor: (T, n, n) inverses of the lower Cholesky factors of the frames' pivots.
        reduced: (T, n, s + 1) couplings and gradients, multiplied with them.
        tie: (n,) the diagonal D; zeros if frames are independent.
    """

    factor: Array
    reduced: Array
    tie: Array


def eliminate(
    chunks: Iterable[tuple[slice, Array]],
    sizes: tuple[int, int, int],
    *,
    tie: Array,
    damping: float,
    reuse: Eliminated | None = None,
) -> Eliminated | None:
    """The forward pass over rows [block | coupling | gradient] (c, n, n + s + 1), which are overwritten.

    Args:
        sizes: T, n, s.
        tie: (n,) what couples a frame to the next.
        damping: share of every block's diagonal that is added to it.
        reuse: a chain of these sizes that is not needed any more: its arrays are overwritten.

    Returns:
        None if a pivot is not positive definite.
    """
    frames, count, shape_count = sizes
    if reuse is None:
        factor, reduced = np.empty((frames, count, count)), np.empty((frames, count, shape_count + 1))
    else:
        factor, reduced = reuse.factor, reuse.reduced
    carried, update = np.empty((2, count, count + shape_count + 1))
    diagonal = np.arange(count)
    tied = bool(tie.any())
    for part, rows in chunks:
        rows[:, diagonal, diagonal] *= 1 + damping
        rows[:, diagonal, diagonal] += FLOOR
        for frame, row in zip(range(part.start, part.stop), rows, strict=True):
            if tied and frame > 0:
                row -= np.matmul(carried[:, :count].T, carried, out=update)
            factor[frame] = row[:, :count]
            # in C order LAPACK's upper triangle is the lower one
            upper, failed = dpotrf(factor[frame].T, lower=0, clean=1, overwrite_a=1)
            if failed:
                return None
            factor[frame] = dtrtri(upper, lower=0, overwrite_c=1)[0].T
            np.matmul(factor[frame], row[:, count:], out=reduced[frame])
            if tied:
                np.multiply(factor[frame], -tie, out=carried[:, :count])
                carried[:, count:] = reduced[frame]
    return Eliminated(factor, reduced, tie)


def back_substitute(chain: Eliminated, shape_block: Array, shape_gradient: Array) -> tuple[Array, Array]:
    """The solution: frames (T, n) and shape (s,)."""
    frames, count, columns = chain.reduced.shape
    flat = chain.reduced.reshape(frames * count, columns)
    products = flat.T @ flat
    schur = shape_block + FLOOR * np.eye(columns - 1) - products[:-1, :-1]
    shape = np.linalg.solve(schur, shape_gradient - products[:-1, -1])
    right = (flat @ np.append(-shape, 1.0)).reshape(frames, count)
    if not chain.tie.any():
        return (np.swapaxes(chain.factor, 1, 2) @ right[..., None])[..., 0], shape
    solution = np.empty((frames, count))
    following = np.zeros(count)
    for frame in reversed(range(frames)):
        factor = chain.factor[frame]
        following = factor.T @ (right[frame] + factor @ (chain.tie * following))
        solution[frame] = following
    return solution, shape


def marginal_covariance(chain: Eliminated, columns: list[int]) -> tuple[Array, Array]:
    """Covariance (T, k, k) of some unknowns of every frame and variance (T, n) of each, all other frames free
    and the shape given.
    """
    frames, count = chain.factor.shape[:2]
    chosen = np.ix_(columns, columns)
    if not chain.tie.any():
        picked = chain.factor[:, :, columns]
        return np.swapaxes(picked, 1, 2) @ picked, np.square(chain.factor).sum(1)
    result, variance = np.empty((frames, len(columns), len(columns))), np.empty((frames, count))
    covariance = np.zeros((count, count))
    for frame in reversed(range(frames)):
        factor = chain.factor[frame]
        inverse = factor.T @ factor
        gain = inverse * chain.tie
        covariance = inverse + gain @ covariance @ gain.T
        result[frame], variance[frame] = covariance[chosen], covariance.diagonal()
    return result, variance
