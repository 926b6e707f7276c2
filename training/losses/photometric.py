"""Photometric errors of self-supervised depth: L1 and SSIM, minimum reprojection, auto-masking.

[DaGAN] Eq. 5 and the form of [Monodepth2], which [DaGAN] builds on; they differ in scale, in the clamp and in
the weight. Errors are maps: which source picture explains a pixel is decided pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.errors import HeadwarpError, ShapeError
from ._terms import checked_pair

C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class PhotometricConfig:
    """How two pictures are compared; the defaults are the paper's.

    Attributes:
        form: ``"paper"``: ``alpha (1 - SSIM) + (1 - alpha) L1`` ([DaGAN] Eq. 5); ``"monodepth2"``:
            ``alpha clamp((1 - SSIM) / 2, 0, 1) + (1 - alpha) L1``.
        alpha: weight of the similarity: 0.8 in the paper, 0.85 in monodepth2.
    """

    form: Literal["paper", "monodepth2"] = "paper"
    alpha: float = 0.8


PAPER = PhotometricConfig()
MONODEPTH2 = PhotometricConfig("monodepth2", 0.85)


@dataclass(frozen=True)
class LeastError:
    """The least of several errors of every pixel.

    Attributes:
        error: ``(B, 1, H, W)``; where a picture that did not move explains the pixel best, its error, which
            has no gradient.
        moving: True where a moved picture explains the pixel best, ``(B, 1, H, W)``; everywhere without
            pictures that did not move.
    """

    error: Float[Tensor, "B 1 H W"]
    moving: Bool[Tensor, "B 1 H W"]


def photometric_error(
    image: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"], config: PhotometricConfig = PAPER
) -> Float[Tensor, "B 1 H W"]:
    """The error of every pixel, the mean over channels.

    Args:
        image: the synthesised view, RGB in [0, 1], at least 2 px on each side.
        target: the truth.
        config: form and weight.

    Returns:
        In float32 (float64 for float64), 0 where 3 x 3 pixels agree, differentiable in both.

    Raises:
        ShapeError: shapes differ, are not (B, C, H, W), a side is below 2 px, or the values are not floats.
        HeadwarpError: no such form, or a weight outside [0, 1].

    Example:
        >>> flat = torch.full((1, 3, 4, 4), 0.5)
        >>> float(photometric_error(flat, flat).max())
        0.0
        >>> round(float(photometric_error(flat, flat - 0.25, PhotometricConfig(alpha=0.0)).mean()), 3)
        0.25
    """
    if config.form not in ("paper", "monodepth2") or not 0 <= config.alpha <= 1:
        raise HeadwarpError(
            f'photometric_error: expected form "paper" or "monodepth2" and alpha in [0, 1], got {config}'
        )
    image, target = checked_pair(image, target, by="photometric_error")
    difference = (image - target).abs().mean(1, keepdim=True)
    if config.alpha == 0:
        return difference
    unlike = 1 - local_ssim(image, target)
    if config.form == "monodepth2":
        unlike = (unlike / 2).clamp(0, 1)
    return config.alpha * unlike.mean(1, keepdim=True) + (1 - config.alpha) * difference


def local_ssim(x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Structural similarity [Wang 2004] with flat 3 x 3 windows, mirrored at the border; 1 where equal.

    Args:
        x, y: in [0, 1]; the order does not matter.

    Raises:
        ShapeError: a side is below 2 px.

    Example:
        >>> import torch
        >>> picture = torch.rand(1, 3, 4, 4)
        >>> bool(torch.allclose(local_ssim(picture, picture), torch.ones(1, 3, 4, 4)))
        True
    """
    if min(x.shape[2:]) < 2:
        raise ShapeError(f"local_ssim: expected at least 2 px a side, got {x.shape[2]} x {x.shape[3]}")
    channels = x.shape[1]
    maps = torch.cat([x, y, x * x + y * y, x * y], dim=1)  # (B, 4 C, H, W)
    means = F.avg_pool2d(F.pad(maps, (1, 1, 1, 1), mode="reflect"), 3, 1)
    mean_x, mean_y, mean_square, mean_product = means.split(channels, dim=1)
    product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    numerator = (2 * product + C1) * (2 * (mean_product - product) + C2)
    return numerator / ((square + C1) * (mean_square - square + C2))


def local_ssim_ref(x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Plain twin of :func:`local_ssim`: windows unfolded, means and variances as their definitions say."""
    patches_x, patches_y = (
        F.pad(values, (1, 1, 1, 1), mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        for values in (x, y)
    )  # (B, C, H, W, 9)
    mean_x, mean_y = patches_x.mean(-1), patches_y.mean(-1)
    off_x, off_y = patches_x - mean_x[..., None], patches_y - mean_y[..., None]
    variance_x, variance_y = off_x.square().mean(-1), off_y.square().mean(-1)
    covariance = (off_x * off_y).mean(-1)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance * (2 * covariance + C2) / (variance_x + variance_y + C2)


def least_error(
    moved: Sequence[Float[Tensor, "B 1 H W"]], still: Sequence[Float[Tensor, "B 1 H W"]] = ()
) -> LeastError:
    """Minimum reprojection and auto-masking of [Monodepth2].

    A pixel that one source picture hides is explained by another; and one that is explained best by a source
    as it is (a background that does not move, a camera that does not either) teaches nothing.

    Args:
        moved: errors of the synthesised views, one a source picture.
        still: errors of the source pictures as they are; none for no auto-masking. Ties count as still, so
            monodepth2's random numbers of 1e-5, which break them, are not needed.

    Raises:
        ShapeError: no errors, or shapes differ.

    Example:
        >>> import torch
        >>> before, after, still = (torch.full((1, 1, 1, 1), error) for error in (0.5, 0.25, 0.75))
        >>> found = least_error([before, after], [still])
        >>> float(found.error), bool(found.moving)
        (0.25, True)
    """
    shapes = {tuple(error.shape) for error in (*moved, *still)}
    if not moved or len(shapes) != 1:
        got = f"{len(moved)} of shapes {sorted(shapes)}"
        raise ShapeError(f"least_error: moved: expected one or more (B, 1, H, W) of one shape, got {got}")
    best = torch.cat(list(moved), dim=1).amin(1, keepdim=True)
    if not still:
        return LeastError(best, torch.ones_like(best, dtype=torch.bool))
    rest = torch.cat(list(still), dim=1).amin(1, keepdim=True).detach()
    return LeastError(torch.minimum(best, rest), best < rest)


def weighted_mean(
    values: Float[Tensor, "B 1 H W"], weight: Float[Tensor, "#B 1 H W"] | None = None
) -> Float[Tensor, ""]:
    """The mean over the batch's pixels, weighted; 0, without a gradient, where all weights are.

    Args:
        values: any.
        weight: not negative; its batch may be 1. None: all pixels alike.

    Raises:
        ShapeError: the weight has another size.

    Example:
        >>> import torch
        >>> weight = torch.tensor([[[[1.0, 3.0]]]])
        >>> float(weighted_mean(torch.tensor([[[[2.0, 6.0]]]]), weight))
        5.0
    """
    if weight is None:
        return values.mean()
    if weight.shape[1:] != values.shape[1:] or len(weight) not in (1, len(values)):
        got = f"{tuple(weight.shape)} for {tuple(values.shape)}"
        raise ShapeError(f"weighted_mean: weight: expected (B, 1, H, W) of the values' size, got {got}")
    weight = weight.detach().to(values).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)
