"""Frechet distance of two sets of feature vectors, exact and stable for any number of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import ShapeError

__all__ = ["FeatureStatistics", "feature_statistics", "frechet_distance"]


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and covariance of feature vectors.

    Attributes:
        mean: float64 (D,).
        covariance: float64 (D, D), divided by the count less one.
        count: of vectors, at least 2.
    """

    mean: Float[Tensor, " D"]
    covariance: Float[Tensor, "D D"]
    count: int


def feature_statistics(batches: Iterable[Float[Tensor, "N D"]]) -> FeatureStatistics:
    """Mean and covariance of vectors that come in batches; none is kept.

    Batches are joined by their deviations from their own means, so that features far from 0 lose no digits.

    Args:
        batches: of any size, on any device; an empty one counts for nothing.

    Raises:
        ShapeError: fewer than two vectors in all, widths that differ, or a value that is not finite.

    Example:
        >>> feature_statistics([torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0]])]).covariance
        tensor([[4.]], dtype=torch.float64)
    """
    count, mean, scatter = 0, torch.zeros(0).double(), torch.zeros(0, 0).double()
    for batch in batches:
        vectors = _checked(batch)
        if not len(vectors):
            continue
        if count == 0:
            mean, scatter = vectors.new_zeros(vectors.shape[1]), vectors.new_zeros([vectors.shape[1]] * 2)
        elif vectors.shape[1] != len(mean):
            raise ShapeError(f"features: expected (N, {len(mean)}) as before, got {tuple(vectors.shape)}.")
        own = vectors.mean(0)
        loose, step, joined = vectors - own, own - mean, count + len(vectors)
        scatter = scatter + loose.T @ loose + torch.outer(step, step) * (count * len(vectors) / joined)
        mean = mean + step * (len(vectors) / joined)
        count = joined
    if count < 2:
        raise ShapeError(f"features: expected at least two vectors for a covariance, got {count}.")
    return FeatureStatistics(mean, scatter / (count - 1), count)


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Squared Frechet distance of the normal distributions with these means and covariances [Heusel 2017].

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. The trace of the root is taken as the sum of singular
    values of ``S1^(1/2) S2^(1/2)`` with the roots of the symmetric matrices, which is the same number. No
    root of the unsymmetric product is formed: that needs an offset on the diagonal where a covariance is
    singular, as it is with fewer vectors than features, and loses half of the digits.

    The distance of samples is larger than that of what they are drawn from, the more so the fewer they are:
    compare only distances of equal counts.

    Args:
        first: statistics of one set.
        second: of the other, of the same width.

    Returns:
        The distance, 0 or more; 0 for equal statistics. Symmetric.

    Raises:
        ShapeError: widths differ.

    Example:
        >>> a = feature_statistics([torch.tensor([[0.0], [2.0]])])
        >>> b = feature_statistics([torch.tensor([[3.0], [5.0]])])
        >>> round(frechet_distance(a, b), 6)
        9.0
    """
    if first.mean.shape != second.mean.shape:
        widths = f"{len(first.mean)} and {len(second.mean)}"
        raise ShapeError(f"features: expected two sets of one width, got {widths}.")
    shift = (first.mean - second.mean).square().sum()
    root = torch.linalg.svdvals(_root(first.covariance) @ _root(second.covariance)).sum()
    spread = first.covariance.trace() + second.covariance.trace() - 2 * root
    return max(float(shift + spread), 0.0)


def _root(covariance: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """The symmetric root of a symmetric matrix without negative eigenvalues (rounding apart)."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _checked(batch: Tensor) -> Float[Tensor, "N D"]:
    if batch.ndim != 2 or not batch.is_floating_point():
        raise ShapeError(f"features: expected floats (N, D), got {batch.dtype} {tuple(batch.shape)}.")
    vectors = batch.detach().cpu().double()
    if not bool(torch.isfinite(vectors).all()):
        raise ShapeError("features: expected finite numbers, got NaN or infinity.")
    return vectors
