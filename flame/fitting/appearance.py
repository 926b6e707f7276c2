"""How a face looks: albedo on its vertices under distant light, solved from pixels by linear least squares.

The picture of a matte surface point is ``albedo * irradiance(normal)`` in each colour, with the irradiance of
nine spherical harmonics (`headwarp.geom.shading`, [Ramamoorthi 2001]). Given one of the two factors the other
is linear; they are solved in turn. Their common scale is fixed by light of unit mean: colour is the albedo's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...geom.errors import ShapeError
from ...geom.mesh import harmonics, uniform_laplacian
from ...geom.shading import shade
from ..model import HeadModel

UNIT_LIGHT = math.sqrt(4 * math.pi)  # the constant harmonic of light that is 1 from everywhere
COLOUR_NOISE = 0.06  # of a pixel, in [0, 1]: beyond two of these a pixel is taken for something else
LIGHT_RIDGE = 1e-4  # of a frame's pixels: dark sides that are not seen get no light of their own
_ROUNDS = 4


@dataclass(frozen=True)
class AlbedoSpace:
    """Albedos ``mean + basis @ coefficients`` with independent coefficients of the given deviations.

    Attributes:
        mean: ``(V, 3)`` RGB in [0, 1].
        basis: ``(V, 3, K)``.
        deviation: ``(K,)`` prior standard deviations of the coefficients.
    """

    mean: Float[Tensor, "V 3"]
    basis: Float[Tensor, "V 3 K"]
    deviation: Float[Tensor, "K"]

    def to(self, like: Tensor) -> AlbedoSpace:
        """The same space in another dtype, on another device."""
        return AlbedoSpace(self.mean.to(like), self.basis.to(like), self.deviation.to(like))


@dataclass(frozen=True)
class Pixels:
    """N pixels of one frame and the surface points they show.

    Attributes:
        corners: vertices of the triangle a pixel shows, ``(N, 3)``.
        bary: its point in that triangle, ``(N, 3)``.
        normals: unit normals there, camera axes, ``(N, 3)``.
        colours: observed RGB in [0, 1], ``(N, 3)``.
    """

    corners: Int[Tensor, "N 3"]
    bary: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    colours: Float[Tensor, "N 3"]

    def at(self, values: Float[Tensor, "V *C"]) -> Float[Tensor, "N *C"]:
        """Vertex values carried to the pixels."""
        flat = values.flatten(1)
        mixed = sum(flat[self.corners[:, k]] * self.bary[:, k, None] for k in range(3))
        return mixed.unflatten(1, values.shape[1:])  # type: ignore[union-attr]


@dataclass(frozen=True)
class Appearance:
    """Light of every frame ``(T, 9, 3)`` (harmonics of RGB radiance, camera axes) and albedo ``(V, 3)``."""

    light: Float[Tensor, "T 9 3"]
    albedo: Float[Tensor, "V 3"]

    def colours(self, pixels: Pixels, frame: int) -> Float[Tensor, "N 3"]:
        """What the model says the pixels show, RGB."""
        return pixels.at(self.albedo) * irradiance(pixels.normals, self.light[frame])


def irradiance(normals: Float[Tensor, "N 3"], light: Float[Tensor, "9 3"]) -> Float[Tensor, "N 3"]:
    """Shading of single normals."""
    return shade(normals.T[None, :, None], light[None])[0, :, 0].T


def smooth_albedo(head: HeadModel, vertices: Int[Tensor, "N"], *, count: int = 24) -> AlbedoSpace:
    """Albedos that vary smoothly over a region: the low-rank space of a head that brings no texture of its
    own.

    The basis is the ``count`` smoothest harmonics of the region's mesh in each colour, their deviations
    falling with frequency, about a mid grey that the constant harmonic turns into any skin. Outside the
    region the albedo is the mean.

    Args:
        head: the head, on the CPU.
        vertices: the region.
        count: harmonics a colour.

    Raises:
        ShapeError: the region has fewer vertices than ``count``.
    """
    total = len(head.template)
    number = torch.full((total,), -1, dtype=torch.long)
    number[vertices.cpu()] = torch.arange(len(vertices))
    faces = number[head.faces.cpu()]
    faces = faces[(faces >= 0).all(1)]
    if len(vertices) <= count:
        raise ShapeError(f"vertices: expected more than {count}, one a harmonic, got {len(vertices)}")
    values, vectors = harmonics(uniform_laplacian(faces.numpy(), len(vertices)), count)
    patterns = torch.from_numpy(vectors * math.sqrt(len(vertices))).float()  # unit mean square
    spread = 0.3 / (1 + torch.from_numpy(values).float() / max(float(values[count // 2]), 1e-9))
    basis = torch.zeros(total, 3, 3 * count)
    for colour in range(3):
        basis[vertices.cpu(), colour, colour * count : (colour + 1) * count] = patterns
    return AlbedoSpace(torch.full((total, 3), 0.5), basis, spread.repeat(3))


def solve_appearance(frames: Sequence[Pixels], space: AlbedoSpace) -> Appearance:
    """Light of every frame and the albedo they share, robust to pixels that show something else.

    Raises:
        ShapeError: no frame, or a frame without pixels.
    """
    if not frames or any(len(pixels.bary) == 0 for pixels in frames):
        raise ShapeError("solve_appearance: expected pixels in every frame, got none; is the face visible?")
    first = frames[0].colours
    space = space.to(first)
    light = first.new_zeros(len(frames), 9, 3)
    light[:, 0] = UNIT_LIGHT
    coefficients = torch.zeros_like(space.deviation)
    appearance = Appearance(light, space.mean)
    weights = [torch.ones_like(pixels.colours[:, 0]) for pixels in frames]
    rows = [pixels.at(space.basis) for pixels in frames]  # (N, 3, K) each
    for turn in range(_ROUNDS):
        coefficients = _albedo_coefficients(frames, appearance, space, rows=rows, weights=weights)
        albedo = (space.mean + space.basis @ coefficients).clamp(0.02, 1.0)
        light = torch.stack([_light(p, p.at(albedo), w) for p, w in zip(frames, weights, strict=True)])
        appearance = Appearance(light, albedo)
        if turn + 1 < _ROUNDS:
            weights = [robust_weights(residual(appearance, p, t)) for t, p in enumerate(frames)]
    return appearance


def free_albedo(frames: Sequence[Pixels], appearance: Appearance) -> Appearance:
    """Each vertex' albedo free, the light following: starts from an appearance of a low-rank space.

    An albedo is the robust mean of what the frames show of its vertex; one that few pixels show keeps to what
    it was. Means something with several frames only: from one picture a free albedo explains everything.
    """
    for _ in range(_ROUNDS):
        albedo = _mean_albedo(frames, appearance)
        weights = [robust_weights(residual(appearance, p, t)) for t, p in enumerate(frames)]
        light = [_light(p, p.at(albedo), w) for p, w in zip(frames, weights, strict=True)]
        appearance = Appearance(torch.stack(light), albedo)
    return appearance


def _mean_albedo(frames: Sequence[Pixels], appearance: Appearance) -> Tensor:
    total = 2.0 * appearance.albedo  # as much as two pixels
    count = torch.full_like(total, 2.0)
    for number, pixels in enumerate(frames):
        shading = irradiance(pixels.normals, appearance.light[number]).clamp(min=0.05)
        missing = residual(appearance, pixels, number)
        weight = robust_weights(missing)[:, None] * shading.square()
        for corner in range(3):  # a step of lumped least squares
            share = weight * pixels.bary[:, corner, None]
            own = appearance.albedo[pixels.corners[:, corner]] + missing / shading
            total = total.index_add(0, pixels.corners[:, corner], share * own)
            count = count.index_add(0, pixels.corners[:, corner], share)
    return (total / count).clamp(0.0, 1.0)


def residual(appearance: Appearance, pixels: Pixels, frame: int) -> Float[Tensor, "N 3"]:
    """Observed minus modelled RGB.

    Args:
        appearance: the model of light and albedo.
        pixels: the pixels that are looked at.
        frame: of the appearance.
    """
    return pixels.colours - appearance.colours(pixels, frame)


def robust_weights(difference: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Geman-McClure weights of pixels by their colour difference, 1 at none."""
    squared = difference.square().mean(1) / (2 * COLOUR_NOISE) ** 2
    return (1 + squared) ** -2


def _light(pixels: Pixels, albedo: Tensor, weight: Tensor) -> Tensor:
    """Nine harmonics a colour ``(9, 3)``, pulled towards light of unit mean from everywhere."""
    eye = torch.eye(9, dtype=albedo.dtype, device=albedo.device)
    parts = [irradiance(pixels.normals, eye[k, :, None].expand(9, 3)) for k in range(9)]
    design = torch.stack([part[:, 0] for part in parts], 1)  # (N, 9)
    rest = albedo.new_zeros(9)
    rest[0] = UNIT_LIGHT
    columns = []
    for colour in range(3):
        rows = design * albedo[:, colour, None]
        normal = rows.T @ (weight[:, None] * rows) + LIGHT_RIDGE * len(rows) * eye
        right = rows.T @ (weight * pixels.colours[:, colour]) + LIGHT_RIDGE * len(rows) * rest
        columns.append(torch.linalg.solve(normal, right))
    return torch.stack(columns, 1)


def _albedo_coefficients(
    frames: Sequence[Pixels],
    appearance: Appearance,
    space: AlbedoSpace,
    *,
    rows: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> Tensor:
    """Coefficients ``(K,)`` of the space, given the light; ``rows``: the basis at the pixels."""
    normal = torch.diag(space.deviation**-2)
    right = torch.zeros_like(space.deviation)
    effective = 300.0 / sum(len(pixels.bary) for pixels in frames)  # neighbouring pixels say the same
    for number, (pixels, weight) in enumerate(zip(frames, weights, strict=True)):
        shading = irradiance(pixels.normals, appearance.light[number])
        shaded = (rows[number] * shading[..., None]).flatten(0, 1)  # (3 N, K)
        missing = (pixels.colours - pixels.at(space.mean) * shading).flatten()
        load = (weight * effective / COLOUR_NOISE**2).repeat_interleave(3)
        normal = normal + shaded.T @ (load[:, None] * shaded)
        right = right + shaded.T @ (load * missing)
    return torch.linalg.solve(normal, right)
