"""Meshes in pixels whose displacement is known: flat, bulged, a sphere; and a picture to move."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sheet(
    box: tuple[float, float, float, float], *, rows: int = 5, columns: int = 5, depth: float = 0.0
) -> Tensor:
    """A flat sheet that fills the box x0, y0, x1, y1 at one depth, ``(1, rows columns, 3)``."""
    x0, y0, x1, y1 = box
    y, x = torch.meshgrid(torch.linspace(y0, y1, rows), torch.linspace(x0, x1, columns), indexing="ij")
    return torch.stack([x, y, torch.full_like(x, depth)], -1).reshape(1, -1, 3)


def sheet_faces(rows: int = 5, columns: int = 5) -> Tensor:
    """Its triangles, counter-clockwise as seen by the camera, ``(F, 3)``."""
    index = torch.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].flatten(), index[:-1, 1:].flatten()
    c, d = index[1:, 1:].flatten(), index[1:, :-1].flatten()
    return torch.cat([torch.stack([a, d, c], 1), torch.stack([a, c, b], 1)])


def bulge(verts: Tensor, amount: float) -> Tensor:
    """The sheet bent towards the camera by ``amount`` pixels at its centre, a paraboloid."""
    centre, half = verts[..., :2].mean(1, keepdim=True), verts[..., :2].amax(1) - verts[..., :2].mean(1)
    square = ((verts[..., :2] - centre) / half[:, None]).square().sum(-1)
    return torch.cat([verts[..., :2], (verts[..., 2] - amount * (1 - square / 2))[..., None]], -1)


def sphere(
    centre: tuple[float, float], radius: float, *, rows: int = 13, columns: int = 24
) -> tuple[Tensor, Tensor]:
    """Vertices ``(1, V, 3)`` and outward triangles ``(F, 3)`` of a sphere in pixels."""
    v, u = torch.meshgrid(
        torch.linspace(0.02, math.pi - 0.02, rows),
        torch.arange(columns) * (2 * math.pi / columns),
        indexing="ij",
    )
    unit = torch.stack([v.sin() * u.cos(), -v.cos(), v.sin() * u.sin()], -1).reshape(1, -1, 3)
    verts = unit * radius + torch.tensor([*centre, 0.0])
    index = torch.arange(rows * columns).reshape(rows, columns)
    right = index.roll(-1, 1)
    a, b, c, d = index[:-1].flatten(), right[:-1].flatten(), right[1:].flatten(), index[1:].flatten()
    return verts, torch.cat([torch.stack([a, d, c], 1), torch.stack([a, c, b], 1)])


def texture(size: tuple[int, int], *, cell: int = 6, seed: int = 0) -> Tensor:
    """A smooth colourful picture, ``(1, 3, H, W)`` in [0, 1]."""
    small = (max(2, size[0] // cell), max(2, size[1] // cell))
    noise = torch.rand(1, 3, *small, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
