"""A depth map as a surface: a vertex a pixel, triangles between neighbours, torn where depth jumps.

Posed by another camera and rasterised with its own pixels as attributes, it says where every pixel of that
camera's picture comes from, and its z-buffer says what hides what: `geom.sources.depth`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .errors import ShapeError

_NEAR = 1e-6  # of the surface's own distance: nearer points lie behind the camera


@dataclass(frozen=True)
class DepthSurface:
    """The surface that one depth map shows.

    Attributes:
        points: camera axes, in the unit of the depth, ``(V, 3)``.
        pixels: where the picture shows them, ``(V, 2)``.
        faces: triangles, counter-clockwise as the picture shows them, ``(F, 3)``.
        facing: cosine between the normal of each vertex and the ray to the camera, ``(V,)``; 0 where no
            triangle is.
    """

    points: Float[Tensor, "V 3"]
    pixels: Float[Tensor, "V 2"]
    faces: Int[Tensor, "F 3"]
    facing: Float[Tensor, "V"]


def depth_surface(
    depth: Float[Tensor, "1 1 H W"],
    intrinsics: Float[Tensor, "1 3 3"],
    *,
    mask: Float[Tensor, "1 1 H W"] | None = None,
    mask_threshold: float = 0.5,
    tear: float = 0.08,
) -> DepthSurface:
    """The surface of a depth map, continued by half a pixel to the edges of the frame.

    Args:
        depth: along the camera's axis, of pixel centres; what is not above 0 or not finite is a hole.
        intrinsics: in pixels of the map.
        mask: what belongs to the surface; None for everything.
        mask_threshold: least value of the mask.
        tear: least cosine between a triangle's normal and the ray to the camera: a steeper one spans a jump
            from one surface to another and is left out.

    Raises:
        ShapeError: not one map, one matrix and a mask of the same size.

    Example:
        >>> surface = depth_surface(torch.ones(1, 1, 2, 2), torch.eye(3)[None])
        >>> surface.points.shape, surface.faces.shape
        (torch.Size([16, 3]), torch.Size([18, 3]))
    """
    _check(depth, intrinsics, mask)
    height, width = depth.shape[2:]
    padded = F.pad(depth, (1, 1, 1, 1), mode="replicate")[0, 0]  # (H + 2, W + 2)
    x, y = (_places(side, depth) for side in (width, height))
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H + 2, W + 2, 2)
    points = back_projected(pixels, padded, intrinsics[0])
    valid = torch.isfinite(padded) & (padded > 0)
    if mask is not None:
        valid = valid & (F.pad(mask, (1, 1, 1, 1), mode="replicate")[0, 0] > mask_threshold)
    flat = points.flatten(0, 1)  # (V, 3)
    faces = _grid_faces(height + 2, width + 2, depth.device)
    faces = faces[valid.flatten()[faces].all(1)]
    normals, cosine = _facing(flat, faces)
    kept = cosine > tear
    return DepthSurface(
        flat, pixels.flatten(0, 1), faces[kept], _vertex_facing(flat, faces[kept], normals[kept])
    )


def back_projected(
    pixels: Float[Tensor, "*batch 2"], depth: Float[Tensor, "*batch"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "*batch 3"]:
    """Points in camera axes: ``z K^-1 (x, y, 1)``.

    Args:
        pixels: x, y; pixel centres lie at +0.5.
        depth: along the camera's axis; the points have its unit.
        intrinsics: K, in pixels.

    Returns:
        Differentiable in ``pixels`` and ``depth``.
    """
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
    rays = homogeneous @ torch.linalg.inv(intrinsics).T.to(pixels)
    return rays * depth[..., None]


def seen_from(
    points: Float[Tensor, "V 3"],
    relative_pose: Float[Tensor, "B 3 4"],
    intrinsics: Float[Tensor, "#B 3 3"],
) -> Float[Tensor, "B V 3"]:
    """Pixels and depth of points in other cameras; NaN for those behind them.

    Args:
        points: camera axes of the source.
        relative_pose: ``[R | t]``, source camera to each other one.
        intrinsics: of the other cameras.
    """
    posed = points @ relative_pose[:, :, :3].mT + relative_pose[:, None, :, 3]  # (B, V, 3)
    depth = posed[..., 2:]
    near = _NEAR * points[:, 2].nan_to_num(0, 0, 0).abs().mean()
    projected = posed @ intrinsics.to(posed).mT
    pixels = torch.cat([projected[..., :2] / depth, depth], -1)
    return torch.where(depth > near, pixels, torch.full_like(pixels, torch.nan))


def turned_away(
    verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], face: Int[Tensor, "B H W"]
) -> Tensor:
    """True for the pixels ``(B, 1, H, W)`` whose visible triangle shows its back.

    Args:
        verts: the mesh in pixels.
        faces: its triangles, counter-clockwise as the picture shows their front.
        face: index of the visible triangle of each pixel, -1 where there is none.
    """
    corners = verts[:, faces, :2]  # (B, F, 3, 2)
    one, two = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    back = one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0] > 0  # clockwise in the picture, y down
    if not back.shape[1]:
        return torch.zeros_like(face, dtype=torch.bool)[:, None]
    index = face.clamp(min=0).long().flatten(1)
    return (back.gather(1, index).view_as(face) & (face >= 0))[:, None]


def _places(count: int, like: Tensor) -> Tensor:
    """Both edges of a row of pixels, and their centres between them."""
    centres = torch.arange(count, dtype=like.dtype, device=like.device) + 0.5
    edge = centres.new_tensor([0.0])
    return torch.cat([edge, centres, edge + count])


def _grid_faces(rows: int, columns: int, device: torch.device) -> Int[Tensor, "F 3"]:
    index = torch.arange(rows * columns, device=device).view(rows, columns)
    a, b = index[:-1, :-1].flatten(), index[:-1, 1:].flatten()
    c, d = index[1:, :-1].flatten(), index[1:, 1:].flatten()
    return torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])


def _facing(points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Normals towards the camera, as long as the triangles are large, and their cosine with its rays."""
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    normals = torch.linalg.cross(b - a, c - a)
    rays = -(a + b + c)
    return normals, F.cosine_similarity(normals, rays, dim=1, eps=1e-20)


def _vertex_facing(points: Tensor, faces: Tensor, normals: Tensor) -> Float[Tensor, "V"]:
    total = torch.zeros_like(points)
    for corner in range(3):
        total = total.index_add(0, faces[:, corner], normals)
    return F.cosine_similarity(total, -points.nan_to_num(0, 0, 0), dim=1, eps=1e-20)


def _check(depth: Tensor, intrinsics: Tensor, mask: Tensor | None) -> None:
    if depth.ndim != 4 or depth.shape[:2] != (1, 1):
        raise ShapeError(f"depth: expected one map (1, 1, H, W), got {tuple(depth.shape)}")
    if intrinsics.shape != (1, 3, 3):
        raise ShapeError(f"intrinsics: expected one matrix (1, 3, 3), got {tuple(intrinsics.shape)}")
    if mask is not None and mask.shape != depth.shape:
        raise ShapeError(
            f"mask: expected {tuple(depth.shape)} as the depth, got {tuple(mask.shape)}; resize it"
        )
