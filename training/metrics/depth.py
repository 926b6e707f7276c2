"""How good depth, focal length and relative rotation are where the truth is known: synthetic heads.

Depth from single pictures is known up to a factor, so nothing here changes with one. Two things are set
beside a network: a plane, which says that everything is equally far, and the mean depth map of a training
set, which says where heads usually are in the frame and nothing about this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ...geom.transforms import rotation_angle

__all__ = [
    "best_constant",
    "log_ratio",
    "mean_depth_map",
    "rank_correlation",
    "rotation_error_deg",
    "scale_invariant_error",
]


def scale_invariant_error(
    depth: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], counted: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """Standard deviation of ``log depth - log truth`` over the counted pixels ([Eigen 2014] Eq. 1).

    0.01 is about one per cent of the distance. A plane has the deviation of the true logarithm.

    Args:
        depth: positive; a factor on it changes nothing.
        truth: the true one, positive where it is counted.
        counted: pixels of the head.

    Returns:
        (B,) float64; NaN where nothing counts.

    Raises:
        ShapeError: shapes do not agree.
        HeadwarpError: a counted depth is not positive.

    Example:
        >>> truth = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 1, 3)
        >>> everywhere = torch.ones(1, 1, 1, 3, dtype=torch.bool)
        >>> scale_invariant_error(3 * truth, truth, everywhere).item() < 1e-7
        True
        >>> round(scale_invariant_error(torch.ones_like(truth), truth, everywhere).item(), 3)
        0.566
    """
    difference = _log(depth, counted, "depth") - _log(truth, counted, "truth")
    count = counted.sum((1, 2, 3)).double()
    mean = difference.sum((1, 2, 3)) / count
    off = (difference - mean[:, None, None, None]).masked_fill(~counted, 0.0)
    return (off.square().sum((1, 2, 3)) / count).sqrt()


def rank_correlation(
    depth: Float[Tensor, "B 1 H W"], truth: Float[Tensor, "B 1 H W"], counted: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """Spearman's correlation over the counted pixels: whether what is nearer is said to be.

    Args:
        depth: to score.
        truth: the true depth.
        counted: which pixels count.

    Returns:
        (B,) float64 in [-1, 1], ties sharing their mean rank; NaN where either is constant or fewer than
        two pixels count.

    Raises:
        ShapeError: shapes do not agree.

    Example:
        >>> truth = torch.arange(1.0, 7.0).view(1, 1, 2, 3)
        >>> all_of_them = torch.ones(1, 1, 2, 3, dtype=torch.bool)
        >>> [round(float(rank_correlation(depth, truth, all_of_them)), 4) for depth in (truth.exp(), -truth)]
        [1.0, -1.0]
    """
    _check(depth, truth, counted)
    found = []
    for one, true, mask in zip(depth, truth, counted, strict=True):
        ranks = torch.stack([_ranks(one[mask]), _ranks(true[mask])])
        ranks = ranks - ranks.mean(1, keepdim=True)
        lengths = ranks.square().sum(1).sqrt()
        known = ranks.shape[1] > 1 and bool((lengths > 0).all())
        found.append((ranks[0] @ ranks[1]) / lengths.prod() if known else ranks.new_full((), math.nan))
    return torch.stack(found)


def mean_depth_map(
    frames: Iterable[tuple[Float[Tensor, "_ 1 H W"], Bool[Tensor, "_ 1 H W"]]], *, least: int = 20
) -> Float[Tensor, "1 1 H W"]:
    """The depth map that fits a training set best without looking at the picture.

    The mean over frames of each head's log depth less its own mean, pixel by pixel; 1 (a plane's) where
    fewer than ``least`` heads were. Its own mean over a head does not matter.

    Args:
        frames: true depth and the head's pixels, in batches.
        least: heads that a pixel needs.

    Raises:
        HeadwarpError: no frames.
    """
    total: Tensor | None = None
    count: Tensor | None = None
    for truth, counted in frames:
        logs = _log(truth, counted, "truth")
        mean = logs.sum((2, 3), keepdim=True) / counted.sum((2, 3), keepdim=True).clamp_min(1)
        off = (logs - mean).masked_fill(~counted, 0.0).sum(0, keepdim=True)
        number = counted.sum(0, keepdim=True)
        total = off if total is None else total + off
        count = number if count is None else count + number
    if total is None or count is None:
        raise HeadwarpError("mean_depth_map: expected frames of a training set, got none")
    return torch.where(count >= least, total / count.clamp_min(1), torch.zeros_like(total)).exp()


def log_ratio(value: Float[Tensor, " N"], truth: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """``|log(value / truth)|``: 0.405 for half as much again, and for a third less.

    Args:
        value: above 0.
        truth: above 0.

    Example:
        >>> round(log_ratio(torch.tensor([1.5]), torch.tensor([1.0])).item(), 3)
        0.405
    """
    return (value.double() / truth.double()).log().abs()


def best_constant(truth: Float[Tensor, " N"]) -> float:
    """The one value with the least mean `log_ratio`: the median.

    Example:
        >>> best_constant(torch.tensor([0.5, 0.75, 8.0]))
        0.75
    """
    return float(truth.double().log().quantile(0.5).exp())


def rotation_error_deg(
    rotation: Float[Tensor, "B 3 3"], truth: Float[Tensor, "B 3 3"]
) -> Float[Tensor, " B"]:
    """Angle of the turn that is left between two rotations, in degrees.

    Args:
        rotation: to score.
        truth: the true ones.

    Example:
        >>> quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> rotation_error_deg(quarter, torch.eye(3)[None]).round().tolist()
        [90.0]
    """
    return torch.rad2deg(rotation_angle(rotation.double(), truth.double()))


def _ranks(values: Tensor) -> Float[Tensor, " N"]:
    """From 0, equal values sharing the mean of theirs."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count.double() + 1) / 2)[place]


def _log(depth: Tensor, counted: Tensor, name: str) -> Float[Tensor, "B 1 H W"]:
    """Logarithm, 0 where it is not counted."""
    _check(depth, depth, counted)
    inner = torch.where(counted, depth.double(), torch.ones_like(depth, dtype=torch.float64))
    if not bool((inner > 0).all()):
        raise HeadwarpError(
            f"{name}: expected depths above 0 where they are counted, got {float(inner.min())}"
        )
    return inner.log()


def _check(depth: Tensor, truth: Tensor, counted: Tensor) -> None:
    if depth.ndim != 4 or depth.shape[1] != 1 or depth.shape != truth.shape or depth.shape != counted.shape:
        got = f"{tuple(depth.shape)}, {tuple(truth.shape)} and {tuple(counted.shape)}"
        raise ShapeError(f"depth, truth, counted: expected three (B, 1, H, W) of one shape, got {got}")
