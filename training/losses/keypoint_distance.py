"""Losses about keypoints among themselves: that they keep a distance ([DaGAN] Eq. 13), and one scale.

[DaGAN] Eq. 13 is ``1 - sign(d - alpha)``, in the paper and in its public code. Its gradient is 0 everywhere:
it changes the number that is printed and trains nothing. The hinge ``max(0, alpha - d)`` says the same with a
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ._terms import Reduction, reduced, wide


@dataclass(frozen=True)
class KeypointDistanceConfig:
    """How near keypoints may come; the defaults are ours.

    Attributes:
        kind: ``"hinge"``, or ``"sign"``: as published, without a gradient.
        distance: ``"euclidean"`` (public code) or ``"city_block"`` ([DaGAN] Eq. 13: the norm with index 1).
        threshold: alpha, in the frame of [-1, 1]; 0.2 in [DaGAN]. The public code's unused ``kp_prior`` is
            a hinge of 0.1.
        reduction: over the K x K pairs, a keypoint with itself counting 0: ``"mean"`` (public code), or
            ``"sum"`` ([DaGAN] Eq. 13).
        weight: lambda_D; 10 in [DaGAN].
    """

    kind: Literal["hinge", "sign"] = "hinge"
    distance: Literal["euclidean", "city_block"] = "euclidean"
    threshold: float = 0.2
    reduction: Reduction = "mean"
    weight: float = 10.0


PAPER = KeypointDistanceConfig(kind="sign", distance="city_block", reduction="sum")
OFFICIAL = KeypointDistanceConfig(kind="sign")


def keypoint_distance(
    keypoints: Float[Tensor, "B K 2"], config: KeypointDistanceConfig | None = None
) -> Float[Tensor, ""]:
    """What keypoints of one picture that are nearer than the threshold cost, times the weight.

    [DaGAN] Eq. 10 adds it for the source's and for the driving picture's keypoints. Two keypoints in the very
    same place have no direction to part in: there the hinge costs most and its gradient is 0.

    Args:
        keypoints: normalised xy.
        config: kind and weight; `KeypointDistanceConfig()` if None.

    Returns:
        A scalar in float32 at least, 0 where all are apart (``sign``: 1 a pair exactly at the threshold). The
        gradient of ``hinge`` parts every pair that is too near; that of ``sign`` is 0 everywhere.

    Raises:
        ShapeError: not (B, K, 2).
        HeadwarpError: no such kind or distance.

    Example:
        >>> near = torch.tensor([[[0.0, 0.0], [0.1, 0.0]]])
        >>> round(float(keypoint_distance(near)), 6), float(keypoint_distance(near, OFFICIAL))
        (0.5, 10.0)
    """
    config = config or KeypointDistanceConfig()
    apart = config.threshold - _distances(keypoints, config.distance)  # (B, K, K)
    if config.kind == "hinge":
        costs = apart.relu()
    elif config.kind == "sign":
        costs = 1 + apart.sign()
    else:
        raise HeadwarpError(f"kind: expected hinge or sign, got {config.kind!r}")
    others = 1 - torch.eye(keypoints.shape[1], dtype=costs.dtype, device=costs.device)
    return config.weight * reduced(costs * others, config.reduction)


def mean_pairwise_distance(keypoints: Float[Tensor, "B K 2"]) -> Float[Tensor, ""]:
    """Mean Euclidean distance of two different keypoints: the measure of whether they collapse; 0 for one.

    Raises:
        ShapeError: not (B, K, 2).

    Example:
        >>> float(mean_pairwise_distance(torch.tensor([[[0.0, 0.0], [0.3, 0.4]]])))
        0.5
    """
    count = keypoints.shape[1] if keypoints.ndim == 3 else 0
    return _distances(keypoints, "euclidean").mean() * (count / max(count - 1, 1))


def keypoint_scale(
    made: Float[Tensor, "B K 2"], driving: Float[Tensor, "B K 2"], *, epsilon: float = 1e-4
) -> Float[Tensor, ""]:
    """Whether keypoints found in the made picture are those of the driving one up to a single scale.

    The quotients of the distances to the keypoints' own mean, driving by made, and how much those of
    neighbours in the list differ, as in the public code of [DaGAN], where it has weight 0 (``kp_scale``).
    There, by a slip, the source's keypoints less the made ones' mean stand in the divisor.

    Args:
        made: keypoints of the made picture, which must depend on it for this to teach anything.
        driving: keypoints of the driving picture.
        epsilon: added to the distances' squares, as there (1e-8).

    Returns:
        A scalar in float32 at least, 0 where the scale is one; differentiable in both.

    Raises:
        ShapeError: not two (B, K, 2) of one shape, or a single keypoint.

    Example:
        >>> import torch
        >>> square = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]])
        >>> round(float(keypoint_scale(2 * square, square)), 4)
        0.0
    """
    if made.shape != driving.shape or made.ndim != 3 or made.shape[1] < 2:
        got = f"{tuple(made.shape)} and {tuple(driving.shape)}"
        raise ShapeError(f"keypoints: expected two (B, K, 2) of one shape with K >= 2, got {got}")
    dtype = wide(made.dtype, driving.dtype)
    radii = [
        (points - points.mean(1, keepdim=True)).square().sum(-1).add(epsilon**2).sqrt()  # (B, K)
        for points in (made.to(dtype), driving.to(dtype))
    ]
    return (radii[1] / radii[0]).diff(dim=1).abs().mean()


def _distances(keypoints: Tensor, distance: str) -> Float[Tensor, "B K K"]:
    """Between every two; the gradient at distance 0 is 0."""
    if keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        hint = "; add a batch axis with keypoints[None]" if keypoints.ndim == 2 else ""
        raise ShapeError(f"keypoints: expected (B, K, 2), got {tuple(keypoints.shape)}{hint}")
    points = keypoints.to(wide(keypoints.dtype))
    offsets = points[:, :, None] - points[:, None]  # (B, K, K, 2)
    if distance == "euclidean":
        return offsets.norm(dim=-1)
    if distance == "city_block":
        return offsets.abs().sum(-1)
    raise HeadwarpError(f"distance: expected euclidean or city_block, got {distance!r}")
