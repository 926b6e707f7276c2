"""The adapter for PyTorch3D, against a small stand-in: axes, scale, order, contract."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from raster_meshes import QUAD_FACES, assert_same, quad

from headwarp.geom.errors import MissingDependencyError
from headwarp.geom.rasterizer import rasterize

# PyTorch3D: a stand-in with its conventions, written after its documentation


class Meshes:
    def __init__(self, verts, faces):
        assert verts.dtype == torch.float32
        assert faces.shape[0] == verts.shape[0]
        self.verts, self.faces = verts, faces


def rasterize_meshes(meshes, image_size, blur_radius, faces_per_pixel, bin_size, **options):
    """Pixel by pixel: +x left, +y up, the short side is [-1, 1], depth > 0, inside or within the blur."""
    assert options == {
        "perspective_correct": False,
        "clip_barycentric_coords": False,
        "cull_backfaces": False,
    }
    (height, width), (batch, count) = image_size, meshes.faces.shape[:2]
    found = torch.full((batch, height, width, faces_per_pixel), -1)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                y = (height - (2 * i + 1)) / min(height, width)
                x = (width - (2 * j + 1)) / min(height, width)
                seen = []
                for f in range(count):
                    z, distance = _hit(meshes.verts[b, meshes.faces[b, f]].double().numpy(), np.array([x, y]))
                    if z > 0 and distance <= blur_radius**0.5:
                        seen.append((z, b * count + f))
                if seen:
                    found[b, i, j, 0] = min(seen)[1]
    return found, None, None, None


def _hit(corners, point):
    """Depth at a point of a triangle and how far outside it the point is (inf if degenerate)."""

    def cross(a, b):
        return a[0] * b[1] - a[1] * b[0]

    area = cross(corners[1, :2] - corners[0, :2], corners[2, :2] - corners[0, :2])
    if abs(area) < 1e-8:
        return 0.0, np.inf
    ends = [(corners[k - 2, :2], corners[k - 1, :2]) for k in range(3)]
    weights = np.array([cross(b - a, point - a) / area for a, b in ends])
    beyond = max(-w * abs(area) / np.linalg.norm(b - a) for w, (a, b) in zip(weights, ends, strict=True))
    return float(weights @ corners[:, 2]), max(beyond, 0.0)


@pytest.fixture
def stand_in(monkeypatch):
    package, structures = ModuleType("pytorch3d"), ModuleType("pytorch3d.structures")
    renderer, mesh = ModuleType("pytorch3d.renderer"), ModuleType("pytorch3d.renderer.mesh")
    structures.Meshes, mesh.rasterize_meshes = Meshes, rasterize_meshes
    for module in (package, structures, renderer, mesh):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("size", [(7, 11), (11, 7), (8, 8)])
@pytest.mark.parametrize("cull", [False, True])
def test_pytorch3d_has_the_same_contract(size, cull):
    generator = torch.Generator().manual_seed(0)
    verts = torch.randn(2, 12, 3, generator=generator) * torch.tensor([4.0, 4.0, 9.0])
    verts = verts + torch.tensor([size[1] / 2 + 0.7, size[0] / 2 - 0.4, -3.0])  # some depths negative
    faces = torch.randint(0, 12, (9, 3), generator=generator)  # some degenerate
    verts[1, faces[4, 1]] = torch.nan
    expected = rasterize(verts, faces, size, backend="reference", cull=cull)
    assert (expected.face.flatten(1).amax(1) >= 0).all()
    assert_same(rasterize(verts, faces, size, backend="pytorch3d", cull=cull), expected, tolerance=1e-5)


@pytest.mark.usefixtures("stand_in")
def test_pytorch3d_leaves_no_crack_and_takes_empty_meshes():
    found = rasterize(quad(0, 0, 6, 6), QUAD_FACES, (6, 6), backend="pytorch3d")
    assert (found.face >= 0).all()
    assert found.bary.min() >= 0
    none = rasterize(quad(0, 0, 6, 6), QUAD_FACES[:0], (6, 6), backend="pytorch3d")
    assert (none.face == -1).all()
    assert rasterize(torch.zeros(0, 4, 3), QUAD_FACES, (6, 6), backend="pytorch3d").face.shape == (0, 6, 6)


def test_pytorch3d_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.delitem(sys.modules, "pytorch3d.structures", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pytorch3d is not installed; .* pip install"):
        rasterize(quad(0, 0, 4, 4), QUAD_FACES, (4, 4), backend="pytorch3d")
