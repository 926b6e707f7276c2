"""How much of the sky each vertex of a mesh sees: depth pictures from directions spread over a sphere."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....geom.rasterizer import rasterize

DIRECTIONS = 40
PICTURE = 192
TOLERANCE = 0.004  # metres: what is nearer above a vertex is the vertex's own neighbourhood


def sphere_directions(count: int) -> Float[Tensor, "D 3"]:
    """Unit vectors spread evenly (golden spiral)."""
    place = torch.arange(count, dtype=torch.float64) + 0.5
    height, turn = 1 - 2 * place / count, math.pi * (1 + math.sqrt(5)) * place
    ring = (1 - height.square()).sqrt()
    return torch.stack([ring * turn.cos(), height, ring * turn.sin()], 1).float()


def view_from(
    points: Float[Tensor, "N 3"], direction: Float[Tensor, " 3"], *, size: int, low: Tensor, high: Tensor
) -> Float[Tensor, "N 3"]:
    """Points as seen from afar: pixels of a picture that holds the ball around low .. high, and depth.

    Depth is in pixels, smaller is nearer to where ``direction`` points.

    Args:
        points: metres.
        direction: a unit vector towards the viewer.
        size: side of the picture in pixels.
        low, high: corners of a box, metres.
    """
    helper = torch.eye(3)[int(direction.abs().argmin())]
    right = torch.linalg.cross(helper, direction)
    right = right / right.norm()
    down = torch.linalg.cross(direction, right)
    centre, radius = (low + high) / 2, (high - low).norm() / 2
    axes = torch.stack([right, down, -direction], 1).to(points)
    return (points - centre) @ axes * (size / 2 / radius) + points.new_tensor([size / 2, size / 2, 0.0])


def ambient_occlusion(
    points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, " N"]:
    """Share of the light from everywhere that reaches each vertex, weighted by the cosine; 0 .. 1.

    Triangles hide with both sides; a vertex is lit on the side that its normal shows. One without a normal
    counts as open.

    Args:
        points: of the mesh, metres.
        normals: of its vertices.
        faces: its triangles.
    """
    low, high = points.amin(0), points.amax(0)
    low = torch.maximum(low, high.new_tensor([-0.5, -0.35, -0.5]))
    unit = PICTURE / float((high - low).norm())
    total, lit = points.new_zeros(len(points)), points.new_zeros(len(points))
    for direction in sphere_directions(DIRECTIONS):
        seen = view_from(points, direction, size=PICTURE, low=low, high=high)
        depth = rasterize(seen[None], faces, (PICTURE, PICTURE)).depth[0]
        column, row = seen[:, 0].long().clamp(0, PICTURE - 1), seen[:, 1].long().clamp(0, PICTURE - 1)
        free = (seen[:, 2] <= depth[row, column] + unit * TOLERANCE).float()
        cosine = (normals @ direction).clamp(min=0)
        total, lit = total + cosine, lit + cosine * free
    return torch.where(total > 0, lit / total.clamp(min=1e-6), torch.ones_like(lit))
