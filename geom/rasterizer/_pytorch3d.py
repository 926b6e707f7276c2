"""PyTorch3D as a backend, where it is installed: for comparisons, and for machines that have nothing else.

Its conventions: x to the left, y up, the shorter side of the frame spans [-1, 1], only positive depths are
drawn, the triangles of a batch are numbered through. It decides which triangle a pixel sees; barycentric
coordinates and depth are computed here, since its own lose digits on small triangles (it adds 1e-8 to their
area). It has no fill rule and would leave out pixels exactly on edges: here those within 1e-6 of its units of
an edge count as inside.
"""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import torch
from torch import Tensor

from ..errors import MissingDependencyError
from ._ref import _affine_weights, _drawable

_BLUR_RADIUS = 1e-12  # a squared distance in its units


def rasterize(
    verts: Tensor, faces: Tensor, size: tuple[int, int], cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The PyTorch3D twin of `_ref.rasterize`: face (B, H, W) int32, bary (B, H, W, 3), depth (B, H, W)."""
    structures, renderer = _load("pytorch3d.structures"), _load("pytorch3d.renderer.mesh")
    batch, shape = verts.shape[0], (verts.shape[0], *size)
    face = torch.full(shape, -1, dtype=torch.int64, device=verts.device)
    if batch and len(faces):
        meshes = structures.Meshes(_to_ndc(verts, size), _drawn_faces(verts, faces, cull))
        packed = renderer.rasterize_meshes(
            meshes,
            image_size=size,
            blur_radius=_BLUR_RADIUS,
            faces_per_pixel=1,
            bin_size=0,  # bins drop triangles when they overflow
            perspective_correct=False,
            clip_barycentric_coords=False,
            cull_backfaces=False,
        )[0][..., 0]  # (B, H, W)
        first = torch.arange(batch, device=verts.device).view(-1, 1, 1) * len(faces)
        face = torch.where(packed >= 0, packed - first, -1)
    return face.int(), *_surface(face, verts, faces)


def _to_ndc(verts: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels to PyTorch3D's normalised device coordinates, all depths moved to 1 and beyond; float32."""
    height, width = size
    finite = verts.where(verts.isfinite(), 0)
    x = (width - 2 * finite[..., 0]) / min(size)
    y = (height - 2 * finite[..., 1]) / min(size)
    z = finite[..., 2] - finite[..., 2].min() + 1
    return torch.stack([x, y, z], -1).float()


def _drawn_faces(verts: Tensor, faces: Tensor, cull: bool) -> Tensor:
    """The faces (B, F, 3), those that are not to be drawn shrunk to a point, which it skips."""
    drawn = torch.zeros_like(faces).repeat(verts.shape[0], 1, 1)  # (B, F, 3)
    for b, points in enumerate(verts):
        keep = _drawable(points[faces], cull)
        drawn[b, keep] = faces[keep]
    return drawn


def _surface(face: Tensor, verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates and depth where triangles are seen."""
    bary, depth = verts.new_zeros(*face.shape, 3), verts.new_full(face.shape, math.inf)
    b, y, x = (face >= 0).nonzero(as_tuple=True)
    corners = verts[b[:, None], faces[face[b, y, x]]]  # (N, 3, 3)
    weights = _affine_weights(corners[..., :2], x + 0.5, y + 0.5).clamp(min=0)
    weights = weights / weights.sum(-1, keepdim=True)
    bary[b, y, x] = weights
    depth[b, y, x] = (weights * corners[..., 2]).sum(-1)
    return bary, depth


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            "backend pytorch3d: the package pytorch3d is not installed; take backend='auto', or "
            "pip install --no-build-isolation 'git+https://github.com/facebookresearch/pytorch3d.git@stable'"
        ) from error
