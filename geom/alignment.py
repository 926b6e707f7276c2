"""Robust alignment of two pictures by a similarity: the camera's motion, seen in what is not the person.

Inverse-compositional Gauss-Newton on grey values over a pyramid, with Tukey weights: pixels that moved
otherwise (the person, who covers and uncovers background) drop out. A flat background does not determine the
motion, so the step is held towards the start by a weak prior, and a result that explains the picture no
better than the start is refused. On the CPU the steps are compiled (`_alignment_numba`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError


@dataclass(frozen=True)
class AlignmentConfig:
    """Settings of the alignment.

    Attributes:
        sides: longest side of each pyramid level, coarse to fine.
        iterations: Gauss-Newton steps a level.
        noise: grey-value noise; the prior's strength is measured against it.
        prior: standard deviations of a step's log scale, angle and shift (in frame widths).
        least_gain: by which share the robust error must fall against standing still.
    """

    sides: tuple[int, ...] = (32, 64, 128)
    iterations: int = 8
    noise: float = 0.02
    prior: tuple[float, float, float] = (0.3, 0.3, 0.3)
    least_gain: float = 0.05


@dataclass(frozen=True)
class Template:
    """What depends on the reference picture alone.

    Attributes:
        config: the settings it was made with.
        size: (H, W) of the reference.
        grey: grey values at every level of the N pixels that count, ``(N,)``.
        jacobian: of the grey values by the motion, ``(N, 4)``.
        points: pixel centres from the frame's centre, in frame widths, ``(N, 2)``.
    """

    config: AlignmentConfig
    size: tuple[int, int]
    grey: tuple[Tensor, ...]
    jacobian: tuple[Tensor, ...]
    points: tuple[Tensor, ...]


def prepare_alignment(
    reference: Float[Tensor, "1 3 H W"],
    weight: Float[Tensor, "1 1 H W"],
    config: AlignmentConfig | None = None,
) -> Template:
    """Pyramid, weights and Jacobians of the reference picture; once per clip.

    Args:
        reference: RGB in [0, 1].
        weight: pixels over 0.5 count; 0 where the person is.
        config: see `AlignmentConfig`.

    Raises:
        ShapeError: not one picture with its weight.
    """
    config = config or AlignmentConfig()
    if reference.ndim != 4 or reference.shape[0] != 1 or weight.shape != (1, 1, *reference.shape[2:]):
        raise ShapeError(
            f"prepare_alignment: expected reference (1, 3, H, W) and weight (1, 1, H, W), got "
            f"{tuple(reference.shape)} and {tuple(weight.shape)}"
        )
    greys, masks = _greys(reference, config.sides), _greys(weight, config.sides)
    levels = [_template_level(grey, mask) for grey, mask in zip(greys, masks, strict=True)]
    grey, jacobian, points = zip(*levels, strict=True)
    height, width = reference.shape[2:]
    return Template(config, (height, width), grey, jacobian, points)


def _greys(image: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Grey values at every level."""
    grey = image.mean(1, keepdim=True)
    return [_resized(grey, side) for side in sides]


def _resized(grey: Tensor, side: int) -> Tensor:
    height, width = grey.shape[2:]
    ratio = side / max(height, width)
    size = (max(4, round(height * ratio)), max(4, round(width * ratio)))
    if ratio < 1:
        return F.interpolate(grey, size=size, mode="area")
    return F.interpolate(grey, size=size, mode="bilinear", align_corners=False)


def _template_level(grey: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    height, width = grey.shape[2:]
    counts = (mask.flatten() > 0.5).nonzero()[:, 0]
    unit = float(width)
    points = _centres(height, width).to(grey)[counts]
    px, py = points[:, 0], points[:, 1]
    gx, gy = dx.flatten()[counts] * unit, dy.flatten()[counts] * unit
    # by log scale, angle, shift x, shift y
    jacobian = torch.stack([gx * px + gy * py, gy * px - gx * py, gx, gy], dim=1)  # (N, 4)
    return grey.flatten()[counts], jacobian, points


@lru_cache(maxsize=16)
def _centres(height: int, width: int) -> Float[Tensor, "N 2"]:
    """Pixel centres from the frame's centre, in frame widths."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([(x - width / 2) / width, (y - height / 2) / width], -1).reshape(-1, 2)


def align_similarity(
    template: Template,
    image: Float[Tensor, "1 3 H W"],
    start: Float[Tensor, "4"] | None = None,
) -> Float[Tensor, "4"]:
    """Motion of the reference's background into a picture: log scale, angle, shift x, y in frame widths.

    A point p of the reference, in frame widths from the frame's centre, is seen at
    ``exp(log scale) R(angle) p + shift``.

    Args:
        template: from `prepare_alignment`.
        image: the other picture, RGB in [0, 1], same size.
        start: where to begin (the previous frame's motion); zeros by default. Standing still is tried too.

    Returns:
        The motion, or zeros if nothing explains the picture clearly better than standing still.

    Raises:
        ShapeError: the picture has not the reference's size.
    """
    config = template.config
    if image.ndim != 4 or len(image) != 1 or tuple(image.shape[2:]) != template.size:
        raise ShapeError(
            f"image: expected {(1, 3, *template.size)} as the reference, got {tuple(image.shape)}"
        )
    still = torch.zeros(4, dtype=image.dtype, device=image.device)
    pyramid = _greys(image, config.sides)
    starts = [still] if start is None or bool((start == 0).all()) else [start, still]
    found = [_descend(template, pyramid, first) for first in starts]
    finest = len(pyramid) - 1
    errors = [_robust_error(template, pyramid[finest], motion, finest) for motion in found]
    best = min(range(len(found)), key=errors.__getitem__)
    at_rest = _robust_error(template, pyramid[finest], still, finest)
    if not errors[best] < (1 - config.least_gain) * at_rest:
        return still
    return found[best]


def _descend(template: Template, pyramid: list[Tensor], motion: Tensor) -> Tensor:
    """Gauss-Newton from a motion, coarse to fine."""
    config = template.config
    if _compiled(motion):
        return _descend_compiled(template, pyramid, motion)
    deviation = motion.new_tensor([config.prior[0], config.prior[1], config.prior[2], config.prior[2]])
    for level, grey in enumerate(pyramid):
        jacobian = template.jacobian[level]
        precision = torch.diag((config.noise / deviation) ** 2)
        for _ in range(config.iterations):
            residual, weight = _residual(template, grey, motion, level)
            weighted = jacobian * weight[:, None]
            step = torch.linalg.solve(weighted.T @ jacobian + precision, weighted.T @ residual)
            motion = _compose_inverse(motion, step)
            if float(step.abs().max()) < 1e-4:
                break
    return motion


def _compiled(like: Tensor) -> bool:
    """Whether the kernels of `_alignment_numba` do the work."""
    return like.device.type == "cpu" and like.dtype == torch.float32


def _descend_compiled(template: Template, pyramid: list[Tensor], start: Tensor) -> Tensor:
    """`_descend` by compiled kernels."""
    from ._alignment_numba import descend

    config, motion = template.config, start.double().numpy()
    scale, angle, shift = config.prior
    prior = (config.noise / np.array([scale, angle, shift, shift])) ** 2
    for level, grey in enumerate(pyramid):
        arrays = [
            part[level].contiguous().numpy() for part in (template.grey, template.jacobian, template.points)
        ]
        motion = descend(
            grey[0, 0].contiguous().numpy(), *arrays, motion, prior, config.noise, config.iterations
        )
    return torch.from_numpy(motion).to(start)


def _residual(template: Template, grey: Tensor, motion: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Difference image(W(x)) - reference(x) and Tukey weights, 0 outside the frame; (N,) each."""
    points = template.points[level] @ similarity_matrix(motion).T + motion[2:]
    height, width = grey.shape[2:]
    grid = (points * points.new_tensor([2.0, 2.0 * width / height]))[None, :, None]  # (1, N, 1, 2)
    sampled = F.grid_sample(grey, grid, mode="bilinear", padding_mode="border", align_corners=False)
    residual = sampled.flatten() - template.grey[level]
    inside = (grid[0, :, 0].abs() <= 1).all(1)
    chosen = residual[inside]
    if chosen.numel() < 16:
        return residual, torch.zeros_like(residual)
    scale = (1.4826 * chosen.abs().median()).clamp(min=template.config.noise)
    ratio = residual / (4.685 * scale)
    return residual, inside * (1 - ratio.square()).clamp(min=0).square()


def _robust_error(template: Template, grey: Tensor, motion: Tensor, level: int) -> float:
    """Mean Geman-McClure error over the background, with a fixed scale so that motions compare."""
    noise = template.config.noise
    if _compiled(motion):
        from ._alignment_numba import robust_error

        arrays = (
            part.contiguous().numpy() for part in (grey[0, 0], template.grey[level], template.points[level])
        )
        return float(robust_error(*arrays, motion.double().numpy(), noise))
    residual, _ = _residual(template, grey, motion, level)
    points = template.points[level] @ similarity_matrix(motion).T + motion[2:]
    height, width = grey.shape[2:]
    inside = (points.abs() <= points.new_tensor([0.5, 0.5 * height / width])).all(1)
    square = residual.square() / (3 * noise) ** 2
    mean = (inside * square / (1 + square)).sum() / inside.sum().clamp(min=1)
    beyond = inside.sum() < 0.3 * max(len(inside), 1)
    return float(mean + beyond.to(mean))  # a motion that leaves the frame explains nothing


def similarity_matrix(motion: Float[Tensor, "4"]) -> Float[Tensor, "2 2"]:
    """``exp(log scale) R(angle)``."""
    cosine, sine = torch.cos(motion[1]), torch.sin(motion[1])
    turn = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    return torch.exp(motion[0]) * turn


def _compose_inverse(motion: Tensor, step: Tensor) -> Tensor:
    """W(motion) after the inverse of W(step): the inverse-compositional update."""
    log_scale, angle = motion[0] - step[0], motion[1] - step[1]
    partial = torch.stack([log_scale, angle, log_scale.new_zeros(()), log_scale.new_zeros(())])
    shift = motion[2:] - similarity_matrix(partial) @ step[2:]
    return torch.cat([partial[:2], shift])


def motion_matrix(motion: Float[Tensor, "4"], size: tuple[int, int]) -> Float[Tensor, "2 3"]:
    """Pixel map from the *image* back to the reference, ``(2, 3)``: what `Driving.camera_motion` holds.

    Args:
        motion: as `align_similarity` returns it.
        size: (H, W) of the frame.
    """
    height, width = size
    forward = similarity_matrix(motion)
    backward = torch.linalg.inv(forward)
    centre = motion.new_tensor([width / 2, height / 2])
    shift = centre - backward @ (centre + motion[2:] * width)
    return torch.cat([backward, shift[:, None]], dim=1)


def affine_flow(matrix: Float[Tensor, "B 2 3"], size: tuple[int, int]) -> Float[Tensor, "B 2 H W"]:
    """Backward flow of affine pixel maps ``[A b]``: ``A p + b - p`` at pixel centres; 0 for the identity.

    Args:
        matrix: in pixels, output to source.
        size: (H, W) of the frame.

    Example:
        >>> affine_flow(torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, -3.0]]]), (4, 4))[0, :, 0, 0].tolist()
        [2.0, -3.0]
    """
    height, width = size
    x, y = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5 for side in (width, height))
    step = matrix[:, :, :2] - torch.eye(2, device=matrix.device, dtype=matrix.dtype)  # (B, 2, 2)
    along = step[:, :, :1] * x + matrix[:, :, 2:]  # (B, 2, W): the grid is a sum of a row and a column
    return along[:, :, None] + (step[:, :, 1:] * y)[..., None]  # (B, 2, H, W)
