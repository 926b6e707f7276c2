"""Normalised coordinates of keypoint networks: where -1 and 1 lie, and how a displacement moves a picture.

Two lattices of a frame W pixels wide. *Centres* (ours): pixel i lies at ``(2 i + 1) / W - 1``, so that -1 and
1 are the frame's outer edges. *Corners* (public code): ``2 i / (W - 1) - 1``, so that they are the outermost
pixels' centres. Motion is kept as what is added to the lattice: with ours, zero motion is an exact identity
and whole pixels are exact, at every size.

The public code reads its corner grids by ``grid_sample`` with the flag at its default: True in effect under
torch 1.0, False since 1.3, which moves the picture by up to half a pixel and blends its border with zero.
Weights trained either way need the same: `GridConvention.sample_align_corners`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError, ShapeError
from .flow import Padding, grid_to_flow, pixel_grid, sample


class GridConvention(NamedTuple):
    """How normalised coordinates are meant.

    Attributes:
        align_corners: lattice of corners instead of centres.
        sample_align_corners: how a corner grid is read: True is consistent with it, False is the public code
            under torch 1.3 or later. False with centres.
        padding_mode: beyond the frame ``border`` repeats the edge, ``zeros`` blends into 0 (public code).
    """

    align_corners: bool = False
    sample_align_corners: bool = False
    padding_mode: Padding = "border"


def check_convention(convention: GridConvention) -> GridConvention:
    """The convention, if it is one.

    Raises:
        HeadwarpError: centres read as corners, or an unknown padding.
    """
    if convention.sample_align_corners and not convention.align_corners:
        raise HeadwarpError(
            "sample_align_corners: expected False with align_corners=False: centres are not read as corners"
        )
    if convention.padding_mode not in ("border", "zeros"):
        raise HeadwarpError(f"padding_mode: expected 'border' or 'zeros', got {convention.padding_mode!r}")
    return convention


def lattice(
    size: tuple[int, int],
    *,
    align_corners: bool,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "1 2 H W"]:
    """Normalised coordinates of a frame's pixels, x then y.

    Args:
        size: (H, W).
        align_corners: corners instead of centres.
        device, dtype: of the result.

    Raises:
        ShapeError: the size is not two positive whole numbers, at least 2 each with corners.

    Example:
        >>> lattice((1, 4), align_corners=False)[0, 0].tolist()
        [[-0.75, -0.25, 0.25, 0.75]]
        >>> lattice((2, 3), align_corners=True)[0, 0, 0].tolist()
        [-1.0, 0.0, 1.0]
    """
    centres = pixel_grid(size, device=device, dtype=dtype)
    shrink = 1 if align_corners else 0
    height, width = size
    if min(height, width) <= shrink:
        raise ShapeError(f"size: expected at least 2 x 2 pixels with align_corners, got {height} x {width}")
    scale = _pair(centres, 2 / (width - shrink), 2 / (height - shrink))
    return (centres - shrink / 2) * scale - 1


def resize_displacement(
    displacement: Float[Tensor, "B 2 h w"], size: tuple[int, int], convention: GridConvention
) -> Float[Tensor, "B 2 H W"]:
    """The same motion on the lattice of another size, in the same units.

    Ours: the displacement is resampled, so that zero stays zero up to the border. Public code: the grid
    itself is, by half-pixel centres, and so stands still beyond its outermost pixels.

    Args:
        displacement: in normalised units of the frame.
        size: (H, W) of the result.
        convention: of the displacement: which lattice it stands on.
    """
    old = (displacement.shape[2], displacement.shape[3])
    if old == tuple(size):
        return displacement
    if not convention.align_corners:
        smaller = size[0] < old[0] or size[1] < old[1]
        return F.interpolate(displacement, size=size, mode="bilinear", align_corners=False, antialias=smaller)
    grid = displacement + _lattice_of(displacement, old)
    grid = F.interpolate(grid, size=size, mode="bilinear", align_corners=False)
    return grid - _lattice_of(displacement, size)


def pixel_flow(
    displacement: Float[Tensor, "B 2 H W"], convention: GridConvention
) -> Float[Tensor, "B 2 H W"]:
    """Backward flow in pixels (`geom.flow`) of a displacement of the lattice, as it is really sampled.

    Example:
        >>> pixel_flow(torch.full((1, 2, 4, 8), 0.5), GridConvention())[0, :, 0, 0].tolist()
        [2.0, 1.0]
    """
    height, width = displacement.shape[2:]
    if not convention.align_corners:
        return displacement * _pair(displacement, width / 2, height / 2)
    grid = displacement + _lattice_of(displacement, (height, width))
    grid = grid.permute(0, 2, 3, 1)  # (B, H, W, 2)
    return grid_to_flow(grid, align_corners=convention.sample_align_corners)


def warp_displaced(
    image: Float[Tensor, "#B C H W"], displacement: Float[Tensor, "#B 2 h w"], convention: GridConvention
) -> Float[Tensor, "#B C H W"]:
    """The image moved: pixel z of the result shows it at ``z + displacement(z)``.

    Args:
        image: any channels; the batch of either may be 1.
        displacement: in normalised units, of any size.
        convention: of the displacement.

    Returns:
        In the image's size, type and memory layout; differentiable in both.
    """
    size = (image.shape[2], image.shape[3])
    resized = resize_displacement(displacement, size, convention)
    return warp_each(image, resized[:, None], convention)[:, 0]


def warp_each(
    image: Float[Tensor, "#B C H W"], displacements: Float[Tensor, "#B N 2 H W"], convention: GridConvention
) -> Float[Tensor, "#B N C H W"]:
    """`warp_displaced` by N displacements of the image's own size, in one pass over it.

    Args:
        image: any channels; the batch of either may be 1.
        displacements: in normalised units, at the image's size.
        convention: of the displacements.

    Returns:
        The N moved images, in the image's type; differentiable in both.

    Raises:
        ShapeError: displacements of another size.
    """
    batch, count, _, height, width = displacements.shape
    if displacements.shape[3:] != image.shape[2:]:
        raise ShapeError(
            f"displacements: expected the image's {tuple(image.shape[2:])}, got {(height, width)}; "
            "bring them over with resize_displacement"
        )
    size, work = (height, width), torch.promote_types(displacements.dtype, torch.float32)
    displacements = displacements.to(work)
    if convention.align_corners:
        grid = displacements + _lattice_of(displacements, size)
        grid = grid.permute(0, 1, 3, 4, 2).reshape(batch, count * height, width, 2)
        both = max(len(image), batch)
        moved = F.grid_sample(
            image.to(work).expand(both, -1, -1, -1),
            grid.expand(both, -1, -1, -1),
            padding_mode=convention.padding_mode,
            align_corners=convention.sample_align_corners,
        )
    else:
        centres = pixel_grid(size, device=image.device, dtype=work)
        positions = centres + displacements * _pair(displacements, width / 2, height / 2)
        positions = positions.transpose(1, 2).reshape(batch, 2, count * height, width)
        moved = sample(image.to(work), positions, padding_mode=convention.padding_mode)
    moved = moved.to(image.dtype).unflatten(2, (count, height)).transpose(1, 2)  # (B, N, C, H, W)
    if count == 1 and image.is_contiguous(memory_format=torch.channels_last):
        return moved[:, 0].contiguous(memory_format=torch.channels_last)[:, None]
    return moved


def _lattice_of(like: Tensor, size: tuple[int, int]) -> Tensor:
    return lattice(size, align_corners=True, device=like.device, dtype=like.dtype)


def _pair(like: Tensor, x: float, y: float) -> Tensor:
    """(1, 2, 1, 1), filled on the device."""
    return torch.cat([like.new_full((1, 1, 1, 1), x), like.new_full((1, 1, 1, 1), y)], dim=1)
