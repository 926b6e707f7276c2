"""Meshes that the rasteriser is tested on, and how two renderings are compared."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import Delaunay

from headwarp.geom.rasterizer import Fragments

QUAD_FACES = torch.tensor([[0, 1, 2], [2, 1, 3]])  # counter-clockwise in the picture, shared edge 1-2


def quad(x0: float, y0: float, x1: float, y1: float, depth: float = 0.0) -> torch.Tensor:
    """Upper left, lower left, upper right, lower right corner (1, 4, 3)."""
    return torch.tensor([[[x0, y0, depth], [x0, y1, depth], [x1, y0, depth], [x1, y1, depth]]])


def sphere(
    rings: int = 12, *, center: tuple[float, float] = (20.0, 16.0), radius: float = 13.0, seed: int = 0
):
    """A closed, randomly turned sphere: vertices (1, V, 3) and faces (F, 3), counter-clockwise outside."""
    polar, around = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    points = [
        np.outer(np.sin(polar), np.cos(around)),
        np.outer(np.sin(polar), np.sin(around)),
        np.outer(np.cos(polar), np.ones_like(around)),
    ]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    verts = np.stack(points, -1).reshape(-1, 3) @ turn.T * radius + [*center, 0]
    ring, step = np.arange(rings)[:, None] * len(around), np.arange(len(around))
    a, b = ring + step, ring + (step + 1) % len(around)
    c, d = a + len(around), b + len(around)
    faces = np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, c, b), (b, c, d))])
    return torch.from_numpy(verts.astype(np.float32))[None], torch.from_numpy(faces)


def triangulated_plane(seed: int, size: tuple[int, int]) -> torch.Tensor:
    """Triangles (F, 3, 3) that tile more than the frame; many corners and edges lie on pixel centres."""
    random = np.random.default_rng(seed)
    points = random.uniform(-4, max(size) + 4, (60, 2))
    points[:25] = np.floor(points[:25]) + 0.5
    points[25:40] = np.round(points[25:40])
    outer = max(size) + 9.0
    points = np.concatenate([points, [[-9, -9], [outer, -9], [-9, outer], [outer, outer]]]).astype(np.float32)
    faces = Delaunay(points.astype(np.float64)).simplices
    flip = random.random(len(faces)) < 0.5  # both windings
    faces[flip] = faces[flip][:, ::-1]
    triangles = np.concatenate([points[faces], random.normal(size=(len(faces), 3, 1))], -1)
    return torch.from_numpy(triangles.astype(np.float32))


def assert_same(one: Fragments, other: Fragments, *, tolerance: float = 0.0) -> None:
    assert one.face.dtype == other.face.dtype == torch.int32
    assert torch.equal(one.face, other.face)
    torch.testing.assert_close(one.bary, other.bary, atol=tolerance, rtol=0, check_dtype=False)
    torch.testing.assert_close(one.depth, other.depth, atol=100 * tolerance, rtol=0, check_dtype=False)
