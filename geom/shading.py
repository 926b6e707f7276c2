"""Shading of normal maps: second-order spherical harmonics, and a head light for previews.

Normals are unit vectors in whatever frame the light is given in; the head light's is the camera frame (y
down, z forward, so a surface that faces the camera has z = -1). A zero normal marks an empty pixel: it
stays zero.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError

HARMONIC_NAMES = ("1", "y", "z", "x", "xy", "yz", "3z^2-1", "xz", "x^2-y^2")
"""The nine polynomials in the order of the coefficients: l = 0; l = 1, m = -1 .. 1; l = 2, m = -2 .. 2."""

# Real orthonormal harmonics: Y_lm = factor * polynomial.
_FACTORS = (
    math.sqrt(1 / (4 * math.pi)),
    *(math.sqrt(3 / (4 * math.pi)),) * 3,
    *(math.sqrt(15 / (4 * math.pi)),) * 2,
    math.sqrt(5 / (16 * math.pi)),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(15 / (16 * math.pi)),
)
# A_l / pi of the clamped cosine [Ramamoorthi 2001, Eq. 8]: pi, 2 pi / 3, pi / 4.
_COSINE = (1.0, *(2 / 3,) * 3, *(1 / 4,) * 5)


def spherical_harmonics(normals: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 9 H W"]:
    """The nine real orthonormal harmonics of order up to 2 at unit vectors, in the order of HARMONIC_NAMES.

    Zero vectors give zero in every channel, the constant one included. Differentiable in ``normals``.

    Raises:
        ShapeError: ``normals`` is not (B, 3, H, W).
    """
    _check_normals(normals)
    x, y, z = normals.unbind(1)
    inside = (normals.detach() != 0).any(1).to(normals.dtype)  # (B, H, W)
    polynomials = (inside, y, z, x, x * y, y * z, 3 * z * z - inside, x * z, x * x - y * y)
    return torch.stack([factor * part for factor, part in zip(_FACTORS, polynomials, strict=True)], dim=1)


def shade(
    normals: Float[Tensor, "B 3 H W"], coefficients: Float[Tensor, "#B 9 3"]
) -> Float[Tensor, "B 3 H W"]:
    """Irradiance over pi at each normal under distant light given by its harmonics [Ramamoorthi 2001].

    Multiply by the albedo for the picture. Light of the same radiance r from everywhere, that is
    ``coefficients[:, 0] = r sqrt(4 pi)``, gives r. Not clamped: strong second-order light may give values
    below 0.

    Args:
        normals: unit vectors in the light's frame, zero where empty.
        coefficients: radiance harmonics of red, green, blue in the order of HARMONIC_NAMES; a batch of 1
            serves all.

    Returns:
        RGB shading, zero where the normal is zero; differentiable in both arguments.

    Raises:
        ShapeError: a shape or batch size does not fit.

    Example:
        >>> normals = torch.zeros(1, 3, 1, 1)
        >>> normals[:, 2] = -1
        >>> light = torch.zeros(1, 9, 3)
        >>> light[:, 0] = (4 * torch.pi) ** 0.5
        >>> shade(normals, light).flatten().round(decimals=4).tolist()
        [1.0, 1.0, 1.0]
    """
    _check_normals(normals)
    batch = len(normals)
    if coefficients.ndim != 3 or coefficients.shape[1:] != (9, 3) or len(coefficients) not in (1, batch):
        raise ShapeError(
            f"coefficients: expected ({batch}, 9, 3), got {tuple(coefficients.shape)}; "
            "nine harmonics first, colours last"
        )
    weighted = coefficients * coefficients.new_tensor(_COSINE)[:, None]
    basis = spherical_harmonics(normals).flatten(2)  # (B, 9, H W)
    return (weighted.transpose(1, 2) @ basis).unflatten(2, normals.shape[2:])  # (B, 3, H, W)


def head_light(
    normals: Float[Tensor, "B 3 H W"],
    *,
    colour: tuple[float, float, float] = (0.82, 0.82, 0.82),
    ambient: float = 0.25,
    direction: tuple[float, float, float] = (0.0, 0.0, -1.0),
) -> Float[Tensor, "B 3 H W"]:
    """A matte surface under a lamp at the camera: ``colour (ambient + (1 - ambient) max(0, n . direction))``.

    Args:
        normals: unit vectors in camera axes, zero where empty.
        colour: RGB in [0, 1] of the surface.
        ambient: share of light that comes from everywhere, 0 .. 1.
        direction: towards the lamp, camera axes, any length.

    Returns:
        RGB in [0, 1], zero (black) where the normal is zero.

    Raises:
        ShapeError: ``normals`` is not (B, 3, H, W), ``ambient`` is outside 0 .. 1 or ``direction`` is zero.
    """
    _check_normals(normals)
    if not 0 <= ambient <= 1:
        raise ShapeError(f"ambient: expected 0 .. 1, got {ambient}")
    length = math.hypot(*direction)
    if length == 0:
        raise ShapeError("direction: expected a vector towards the lamp, got zero; (0, 0, -1) is the camera")
    lamp = normals.new_tensor(direction)[:, None, None] / length  # (3, 1, 1)
    facing = (normals * lamp).sum(1, keepdim=True).clamp(0, 1)  # (B, 1, H, W)
    inside = (normals.detach() != 0).any(1, keepdim=True)
    light = torch.where(inside, ambient + (1 - ambient) * facing, torch.zeros_like(facing))
    return normals.new_tensor(colour)[:, None, None] * light


def _check_normals(normals: Tensor) -> None:
    if normals.ndim != 4 or normals.shape[1] != 3 or not normals.is_floating_point():
        remedy = (
            "permute(0, 3, 1, 2)" if normals.ndim == 4 and normals.shape[-1] == 3 else "use planes x, y, z"
        )
        raise ShapeError(
            f"normals: expected floats (B, 3, H, W), got {normals.dtype} {tuple(normals.shape)}; {remedy}"
        )
