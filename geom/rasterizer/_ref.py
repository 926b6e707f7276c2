"""The reference: plain torch, triangle after triangle, any device. Slow; other backends are tested on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rasterize(
    verts: Tensor, faces: Tensor, size: tuple[int, int], cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw triangle after triangle into face (B, H, W) int32, bary (B, H, W, 3) and depth (B, H, W)."""
    batch, (height, width) = verts.shape[0], size
    face = torch.full((batch, height, width), -1, dtype=torch.int32, device=verts.device)
    bary = verts.new_zeros(batch, height, width, 3)
    depth = verts.new_full((batch, height, width), math.inf)
    for b in range(batch):
        corners = verts[b][faces]  # (F, 3, 3): corner, coordinate
        for f in _drawable(corners, cull).tolist():
            rows, columns = (_pixels_within(corners[f, :, axis], size[1 - axis]) for axis in (1, 0))
            y = torch.arange(height, dtype=verts.dtype, device=verts.device)[rows, None] + 0.5
            x = torch.arange(width, dtype=verts.dtype, device=verts.device)[columns] + 0.5
            weights, inside = _weights(corners[f, :, :2], x, y)
            z = weights[0] * corners[f, 0, 2] + weights[1] * corners[f, 1, 2] + weights[2] * corners[f, 2, 2]
            z = z.clamp(*corners[f, :, 2].aminmax())  # rounding must not make a level triangle uneven
            seen = inside & (z < depth[b, rows, columns])
            face[b, rows, columns][seen] = f
            depth[b, rows, columns][seen] = z[seen]
            bary[b, rows, columns][seen] = weights.movedim(0, -1)[seen]
    return face, bary, depth


def _drawable(corners: Tensor, cull: bool) -> Tensor:
    """Indices of the triangles that are finite, have an area and, on demand, face the camera."""
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, k, :2].unbind(-1) for k in range(3))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    keep = corners.isfinite().all(-1).all(-1) & area.isfinite() & (area != 0)
    if cull:
        keep &= area < 0
    return keep.nonzero()[:, 0]


def _pixels_within(values: Tensor, extent: int) -> slice:
    """The pixels of a row or column whose centres lie between the least and the greatest value."""
    low, high = (values - 0.5).aminmax()
    start = min(max(math.ceil(low), 0), extent)
    return slice(start, max(min(math.floor(high) + 1, extent), start))


def _weights(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates (3, h, w) of the points and whether the triangle owns them (h, w)."""
    turns = (corners[1, 0] - corners[0, 0]) * (corners[2, 1] - corners[0, 1])
    turns = turns - (corners[2, 0] - corners[0, 0]) * (corners[1, 1] - corners[0, 1])
    areas, inside = [], torch.ones(1, dtype=torch.bool, device=x.device)
    for start, end in ((1, 2), (2, 0), (0, 1)):  # the edge opposite corners 0, 1, 2
        value, downwards = _edge_function(corners[start], corners[end], x, y)
        is_top_or_left = downwards == bool(turns < 0)
        value = value if turns > 0 else -value  # positive on the inner side
        inside = inside & ((value >= 0) if is_top_or_left else (value > 0))
        areas.append(value)
    scale = 1 / (areas[0] + areas[1] + areas[2])
    return torch.stack([area * scale for area in areas]), inside


def _edge_function(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, bool]:
    """Twice the signed area of (a, b, point), and whether the edge runs downwards (or left, if horizontal).

    Measured from the upper end in either direction: the two triangles of an edge see values that differ in
    the sign alone, to the last bit, so no rounding can open a crack.
    """
    downwards = bool(a[1] < b[1] or (a[1] == b[1] and a[0] > b[0]))
    upper, lower = (a, b) if downwards else (b, a)
    value = (lower[0] - upper[0]) * (y - upper[1]) - (lower[1] - upper[1]) * (x - upper[0])
    return (value if downwards else -value), downwards


def interpolate(
    face: Tensor, bary: Tensor, attributes: Tensor, faces: Tensor, verts: Tensor | None
) -> Tensor:
    """Barycentric mean of the attributes in each pixel's visible triangle, (B, C, H, W), 0 where empty."""
    batch, height, width = face.shape
    b, y, x = (face >= 0).nonzero(as_tuple=True)  # N covered pixels
    corners = faces[face[b, y, x].long()]  # (N, 3)
    weights = bary[b, y, x]  # (N, 3)
    if verts is not None:
        again = _affine_weights(verts[b[:, None], corners, :2], x + 0.5, y + 0.5)
        weights = weights + (again - again.detach())  # the value of the one, the gradient of the other
    values = (weights[..., None] * attributes[b[:, None], corners]).sum(1)  # (N, C)
    out = attributes.new_zeros(batch, height, width, attributes.shape[2])
    return out.index_put((b, y, x), values).permute(0, 3, 1, 2).contiguous()  # (B, C, H, W)


def _affine_weights(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Differentiable barycentric coordinates (N, 3) of the points in triangles (N, 3, 2)."""
    point = torch.stack([x, y], -1).to(corners.dtype)
    to_0, to_1, to_point = (end - corners[:, 2] for end in (corners[:, 0], corners[:, 1], point))
    area = _cross(to_0, to_1)
    first, second = _cross(to_point, to_1) / area, _cross(to_0, to_point) / area
    return torch.stack([first, second, 1 - first - second], -1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
