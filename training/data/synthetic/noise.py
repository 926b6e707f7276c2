"""Smooth random fields in space: what skin, cloth and backgrounds are made uneven with."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SIDE = 32  # cells after which a field repeats


def lattice(rng: np.random.Generator, channels: int = 1) -> Float[Tensor, "1 C N N N"]:
    """Random heights of unit variance on a periodic grid; one more plane on every side closes it."""
    heights = rng.standard_normal((channels, SIDE, SIDE, SIDE)).astype(np.float32)
    return torch.from_numpy(np.pad(heights, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap"))[None]


def solid_noise(
    points: Float[Tensor, "N 3"], field: Float[Tensor, "1 C M M M"], *, wavelength: float
) -> Float[Tensor, "N C"]:
    """Heights at points in space, trilinear between grid points that are ``wavelength`` metres apart.

    Args:
        points: metres.
        field: from `lattice`; it repeats.
        wavelength: metres.

    Example:
        >>> field = lattice(np.random.default_rng(0))
        >>> there = torch.tensor([[0.01, 0.02, 0.03]])
        >>> torch.allclose(
        ...     solid_noise(there, field, wavelength=0.01),
        ...     solid_noise(there + 0.32, field, wavelength=0.01),
        ...     atol=1e-4,
        ... )
        True
    """
    side = field.shape[-1] - 1
    cell = torch.remainder(points / wavelength, side)
    grid = (2 / side * cell - 1).reshape(1, 1, 1, -1, 3)
    found = F.grid_sample(field, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return found.reshape(field.shape[1], -1).T


def unit(vectors: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """Vectors of length 1, zero where they are zero; several times as fast as torch's for three columns."""
    x, y, z = vectors.unbind(1)
    return vectors * (x * x + y * y + z * z).clamp(min=1e-24).rsqrt()[:, None]


def dot(first: Float[Tensor, "P 3"], second: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
    """Row by row."""
    return first[:, 0] * second[:, 0] + first[:, 1] * second[:, 1] + first[:, 2] * second[:, 2]


def smoothstep(value: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth between; falling where ``high < low``.

    Args:
        value: any.
        low: where it leaves 0.
        high: where it reaches 1.

    Example:
        >>> smoothstep(torch.tensor([0.0, 2.0, 3.0, 9.0]), 2.0, 4.0).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
