"""Whole-tensor backend for any device: no loop over triangles, no build step; meant for CUDA tensors.

Every triangle is expanded to the pixels of its box; the inside test runs on that flat list of candidates, and
``scatter_reduce`` (amin) finds what each pixel sees: the least depth first, then the first triangle of that
depth. Long lists are cut into chunks, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ._ref import interpolate

__all__ = ["interpolate", "rasterize"]

_CHUNK = 1 << 22  # candidates at a time: several hundred MB of temporaries in float32
_NOBODY = torch.iinfo(torch.int64).max


def rasterize(
    verts: Tensor, faces: Tensor, size: tuple[int, int], cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The whole-tensor twin of `_ref.rasterize`: face (B, H, W) int32, bary (B, H, W, 3), depth (B, H, W)."""
    batch, (height, width) = verts.shape[0], size
    corners = verts[:, faces].flatten(0, 1)  # (B F, 3, 3): triangle, corner, coordinate
    start, extent = _boxes(corners, size, cull)
    kept = extent.prod(-1).nonzero()[:, 0]  # P triangles touch the frame, in the order of picture and face
    start, extent, corners = start[kept], extent[kept], corners[kept]
    picture = torch.div(kept, max(len(faces), 1), rounding_mode="floor")
    edges, corner_depths = _edges(corners[..., :2]), corners[..., 2].T.contiguous()  # (3, P)

    depth = verts.new_full((batch * height * width,), math.inf)
    owner = torch.full(depth.shape, _NOBODY, device=verts.device)
    for part in _chunks(extent.prod(-1)):
        triangle, x, y = _candidates(start, extent, part)
        weights, inside = _weights(edges, triangle, x, y)
        inside = inside.nonzero()[:, 0]
        triangle = triangle[inside]
        pixel = (picture[triangle] * height + y[inside]) * width + x[inside]
        z = _depths([weight[inside] for weight in weights], corner_depths.index_select(1, triangle))
        before = depth[pixel]
        depth.scatter_reduce_(0, pixel, z, "amin")
        nearest = (z == depth[pixel]) & (z < before)  # at equal depth earlier chunks, the lower faces, stay
        owner[pixel[nearest]] = _NOBODY
        owner.scatter_reduce_(0, pixel[nearest], triangle[nearest], "amin")

    hit = (owner != _NOBODY).nonzero()[:, 0]
    row = torch.div(hit, width, rounding_mode="floor")
    face = torch.full(depth.shape, -1, dtype=torch.int32, device=verts.device)
    face[hit] = (kept % max(len(faces), 1))[owner[hit]].int()
    bary = verts.new_zeros(*depth.shape, 3)
    bary[hit] = torch.stack(_weights(edges, owner[hit], hit - row * width, row % height)[0], -1)
    shape = (batch, height, width)
    return face.view(shape), bary.view(*shape, 3), depth.view(shape)


def _boxes(corners: Tensor, size: tuple[int, int], cull: bool) -> tuple[Tensor, Tensor]:
    """First pixel (column, row) and extent of each triangle's box, (N, 2) both; extent 0 if not drawn."""
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, k, :2].unbind(-1) for k in range(3))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    drawn = corners.isfinite().all(-1).all(-1) & area.isfinite() & (area != 0)
    if cull:
        drawn &= area < 0
    points = torch.where(drawn[:, None, None], corners[..., :2], 0) - 0.5
    frame = torch.tensor([size[1], size[0]], dtype=corners.dtype, device=corners.device)
    start = points.amin(1).ceil().clamp(min=0).minimum(frame)
    stop = (points.amax(1).floor() + 1).clamp(min=0).minimum(frame)
    return start.long(), ((stop - start).clamp(min=0) * drawn[:, None]).long()


def _chunks(counts: Tensor) -> Iterator[slice]:
    """Cut the triangles into runs of about `_CHUNK` candidates."""
    chunk = torch.div(counts.cumsum(0) - 1, _CHUNK, rounding_mode="floor")
    start = 0
    for length in torch.unique_consecutive(chunk, return_counts=True)[1].tolist():
        yield slice(start, start + length)
        start += length


def _candidates(start: Tensor, extent: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Triangle, column and row of every pixel in the boxes of the triangles of `part`, (N,) each."""
    counts = extent[part].prod(-1)
    triangle = torch.repeat_interleave(torch.arange(part.start, part.stop, device=start.device), counts)
    first = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    place = torch.arange(len(triangle), device=start.device) - first
    columns = extent[:, 0][triangle]
    row = torch.div(place, columns, rounding_mode="floor")
    return triangle, start[:, 0][triangle] + place - row * columns, start[:, 1][triangle] + row


def _edges(corners: Tensor) -> list[Tensor]:
    """For the edge opposite each corner (5, P): anchor x and y, direction x and y, least value inside.

    See `_ref._edge_function` for the choice of the anchor; the direction has the inner side on its right as
    seen in the picture; top and left edges own the pixels on them.
    """
    (x0, y0), (x1, y1), (x2, y2) = ends = [corners[:, k].unbind(-1) for k in range(3)]
    clockwise = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) > 0
    zero = torch.zeros_like(x0)
    edges = []
    for start, end in ((1, 2), (2, 0), (0, 1)):
        (x_a, y_a), (x_b, y_b) = ends[start], ends[end]
        downwards = (y_a < y_b) | ((y_a == y_b) & (x_a > x_b))
        anchor = torch.where(downwards, x_a, x_b), torch.where(downwards, y_a, y_b)
        direction = torch.where(clockwise, x_b - x_a, x_a - x_b), torch.where(clockwise, y_b - y_a, y_a - y_b)
        least = torch.where(downwards != clockwise, zero, torch.nextafter(zero, zero + 1))
        edges.append(torch.stack([*anchor, *direction, least]))
    return edges


def _weights(edges: list[Tensor], triangle: Tensor, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
    """The three barycentric coordinates of pixel centres and whether the triangle owns them, (N,) each."""
    px, py = x.to(edges[0].dtype) + 0.5, y.to(edges[0].dtype) + 0.5
    areas, inside = [], torch.ones_like(x, dtype=torch.bool)
    for edge in edges:
        x_a, y_a, dx, dy, least = edge.index_select(1, triangle)
        areas.append(dx * (py - y_a) - dy * (px - x_a))
        inside &= areas[-1] >= least
    scale = 1 / (areas[0] + areas[1] + areas[2])
    return [area * scale for area in areas], inside


def _depths(weights: list[Tensor], corners: Tensor) -> Tensor:
    """Depth at these barycentric coordinates of triangles whose corners have depths (3, N)."""
    depth = weights[0] * corners[0] + weights[1] * corners[1] + weights[2] * corners[2]
    return depth.maximum(corners.amin(0)).minimum(corners.amax(0))
