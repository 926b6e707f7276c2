"""CPU backend: a z-buffer over the boxes of the triangles, compiled by numba, bands of rows in parallel; see
`geom._kernels`.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from .._kernels import band_count, band_rows, compiled, compiled_parallel, run

_HALF, _SLACK = np.float32(0.5), np.float32(4e-6)  # float32, so that they widen neither precision


@compiled
def _edge(x_a, y_a, x_b, y_b, sign, width):
    """The edge from a to b of a triangle turning by `sign`: x, y, dx, dy, least value inside, slope, slack.

    (x, y) is its upper end (the right one if level) whichever triangle asks, see `_ref._edge_function`. The
    least value is 0 where the edge owns the pixels on it (top and left edges), else the first number above.
    Columns further outside than the slack cannot belong to the triangle, all rounding included.
    """
    downwards = y_a < y_b or (y_a == y_b and x_a > x_b)
    x, y = (x_a, y_a) if downwards else (x_b, y_b)
    dx, dy = sign * (x_b - x_a), sign * (y_b - y_a)
    zero = sign - sign
    least = zero if downwards == (sign < zero) else np.nextafter(zero, abs(sign))
    return x, y, dx, dy, least, dx / dy, (abs(x) + width) * _SLACK


@compiled
def _value(edge, x, y):
    """Twice the area between the edge and a point, positive on the inner side."""
    return edge[2] * (y - edge[1]) - edge[3] * (x - edge[0])


@compiled
def _narrow(first, last, edge, y):
    """Drop the columns of a row that are clearly outside an edge."""
    crossing = edge[0] + (y - edge[1]) * edge[5] - _HALF
    if edge[3] < 0 and crossing - edge[6] > first:
        first = crossing - edge[6]
    if edge[3] > 0 and crossing + edge[6] < last:
        last = crossing + edge[6]
    return first, last


@compiled
def _rasterize_rows(rows, verts, faces, cull, face, bary, depth):
    """Fill rows of one picture; see `_ref.rasterize` for the rule in plain words."""
    real = verts.dtype.type
    zero, one, infinity, width = real(0), real(1), real(np.inf), real(face.shape[1])
    for y in range(rows[0], rows[1]):
        for x in range(face.shape[1]):
            face[y, x] = -1
            depth[y, x] = infinity
            bary[y, x, 0] = bary[y, x, 1] = bary[y, x, 2] = zero
    for f in range(faces.shape[0]):
        i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
        y0, y1, y2 = verts[i0, 1], verts[i1, 1], verts[i2, 1]
        top = max(np.ceil(min(y0, y1, y2) - _HALF), real(rows[0]))
        bottom = min(np.floor(max(y0, y1, y2) - _HALF), real(rows[1] - 1))
        if not top <= bottom:
            continue
        x0, x1, x2 = verts[i0, 0], verts[i1, 0], verts[i2, 0]
        left = max(np.ceil(min(x0, x1, x2) - _HALF), zero)
        right = min(np.floor(max(x0, x1, x2) - _HALF), width - one)
        if not left <= right:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not zero < abs(area) < infinity or (cull and area > zero):
            continue
        z0, z1, z2 = verts[i0, 2], verts[i1, 2], verts[i2, 2]
        if not (abs(z0) < infinity and abs(z1) < infinity and abs(z2) < infinity):
            continue
        near, far = min(z0, z1, z2), max(z0, z1, z2)
        sign = one if area > zero else -one
        edge0 = _edge(x1, y1, x2, y2, sign, width)
        edge1 = _edge(x2, y2, x0, y0, sign, width)
        edge2 = _edge(x0, y0, x1, y1, sign, width)
        for y in range(int(top), int(bottom) + 1):
            py = real(y) + _HALF
            first, last = _narrow(left, right, edge0, py)
            first, last = _narrow(first, last, edge1, py)
            first, last = _narrow(first, last, edge2, py)
            if not first <= last:
                continue
            for x in range(int(np.ceil(first)), int(last) + 1):
                if not near < depth[y, x]:  # hidden whatever the edges say
                    continue
                px = real(x) + _HALF
                e0, e1, e2 = _value(edge0, px, py), _value(edge1, px, py), _value(edge2, px, py)
                if e0 >= edge0[4] and e1 >= edge1[4] and e2 >= edge2[4]:
                    scale = one / (e0 + e1 + e2)
                    w0, w1, w2 = e0 * scale, e1 * scale, e2 * scale
                    z = min(max(w0 * z0 + w1 * z1 + w2 * z2, near), far)
                    if z < depth[y, x]:
                        depth[y, x], face[y, x] = z, f
                        bary[y, x, 0], bary[y, x, 1], bary[y, x, 2] = w0, w1, w2


@compiled
def _list_covered(face_row, bary_row, faces, columns, corners, weights):
    """Columns of a row's covered pixels, corners of their triangles, weights of these; returns how many."""
    count = 0
    for x in range(face_row.shape[0]):
        f = face_row[x]
        if f >= 0:
            columns[count] = x
            for k in range(3):
                corners[k, count] = faces[f, k]
                weights[k, count] = bary_row[x, k]
            count += 1
    return count


@compiled
def _row_lists(bary):
    """Room for what `_list_covered` finds in one row: columns, corners, weights."""
    width = bary.shape[1]
    return np.empty(width, np.int32), np.empty((3, width), np.int32), np.empty((3, width), bary.dtype)


@compiled
def _interpolate_rows(rows, attributes, faces, face, bary, out):
    columns, corners, weights = _row_lists(bary)
    for y in range(rows[0], rows[1]):
        count = _list_covered(face[y], bary[y], faces, columns, corners, weights)
        for c in range(out.shape[0]):
            for x in range(out.shape[2]):
                out[c, y, x] = 0
            for n in range(count):
                out[c, y, columns[n]] = (
                    weights[0, n] * attributes[corners[0, n], c]
                    + weights[1, n] * attributes[corners[1, n], c]
                    + weights[2, n] * attributes[corners[2, n], c]
                )


@compiled
def _attribute_gradient_rows(rows, grad, faces, face, bary, out):
    """Add to out (V, C) what these rows of grad (C, H, W) say."""
    columns, corners, weights = _row_lists(bary)
    for y in range(rows[0], rows[1]):
        count = _list_covered(face[y], bary[y], faces, columns, corners, weights)
        for c in range(grad.shape[0]):
            for n in range(count):
                g = grad[c, y, columns[n]]
                out[corners[0, n], c] += weights[0, n] * g
                out[corners[1, n], c] += weights[1, n] * g
                out[corners[2, n], c] += weights[2, n] * g


@compiled
def _vertex_gradient_rows(rows, grad, attributes, verts, faces, face, bary, out):
    """Add to out (V, 3) the gradient in x and y: moving corner k by d moves the sample by -weights[k] * d."""
    columns, corners, weights = _row_lists(bary)
    slope = np.empty((2, bary.shape[1]), bary.dtype)
    for y in range(rows[0], rows[1]):
        count = _list_covered(face[y], bary[y], faces, columns, corners, weights)
        for n in range(count):
            slope[0, n] = slope[1, n] = 0
        for c in range(grad.shape[0]):
            for n in range(count):
                g, last = grad[c, y, columns[n]], attributes[corners[2, n], c]
                slope[0, n] += g * (attributes[corners[0, n], c] - last)
                slope[1, n] += g * (attributes[corners[1, n], c] - last)
        for n in range(count):
            i0, i1, i2 = corners[0, n], corners[1, n], corners[2, n]
            x0, y0 = verts[i0, 0] - verts[i2, 0], verts[i0, 1] - verts[i2, 1]
            x1, y1 = verts[i1, 0] - verts[i2, 0], verts[i1, 1] - verts[i2, 1]
            area = x0 * y1 - y0 * x1
            along_x = (slope[0, n] * y1 - slope[1, n] * y0) / area
            along_y = (slope[1, n] * x0 - slope[0, n] * x1) / area
            for k in range(3):
                out[corners[k, n], 0] -= weights[k, n] * along_x
                out[corners[k, n], 1] -= weights[k, n] * along_y


@compiled_parallel
def _rasterize_bands(bands, verts, faces, cull, face, bary, depth):
    for job in numba.prange(bands * face.shape[0]):
        b, _, rows = band_rows(job, bands, face.shape[1])
        _rasterize_rows(rows, verts[b], faces, cull, face[b], bary[b], depth[b])


@compiled_parallel
def _interpolate_bands(bands, attributes, faces, face, bary, out):
    for job in numba.prange(bands * face.shape[0]):
        b, _, rows = band_rows(job, bands, face.shape[1])
        _interpolate_rows(rows, attributes[b], faces, face[b], bary[b], out[b])


@compiled_parallel
def _attribute_gradient_bands(bands, grad, faces, face, bary, out):
    for job in numba.prange(bands * face.shape[0]):
        b, band, rows = band_rows(job, bands, face.shape[1])
        _attribute_gradient_rows(rows, grad[b], faces, face[b], bary[b], out[b, band])


@compiled_parallel
def _vertex_gradient_bands(bands, grad, attributes, verts, faces, face, bary, out):
    for job in numba.prange(bands * face.shape[0]):
        b, band, rows = band_rows(job, bands, face.shape[1])
        _vertex_gradient_rows(rows, grad[b], attributes[b], verts[b], faces, face[b], bary[b], out[b, band])


def rasterize(
    verts: Tensor, faces: Tensor, size: tuple[int, int], cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The numba twin of `_ref.rasterize`: face (B, H, W) int32, bary (B, H, W, 3), depth (B, H, W)."""
    batch, (height, width) = verts.shape[0], size
    face = torch.empty(batch, height, width, dtype=torch.int32)
    bary = verts.new_empty(batch, height, width, 3)
    depth = verts.new_empty(batch, height, width)
    mesh = (verts.contiguous().numpy(), faces.contiguous().numpy())
    run(_rasterize_bands, band_count(batch), *mesh, cull, face.numpy(), bary.numpy(), depth.numpy())
    return face, bary, depth


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, face, bary, attributes, faces, verts):
        ctx.save_for_backward(face, bary, attributes, faces, verts)
        batch, height, width = face.shape
        out = attributes.new_empty(batch, attributes.shape[2], height, width)
        arrays = [tensor.numpy() for tensor in (attributes, faces, face, bary, out)]
        run(_interpolate_bands, band_count(batch), *arrays)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        face, bary, attributes, faces = (tensor.detach().numpy() for tensor in ctx.saved_tensors[:4])
        grad = grad.contiguous().numpy()
        bands = band_count(face.shape[0])
        grad_attributes = grad_verts = None
        if ctx.needs_input_grad[2]:
            parts = _parts_like(attributes, bands)
            run(_attribute_gradient_bands, bands, grad, faces, face, bary, parts)
            grad_attributes = torch.from_numpy(parts).sum(1)
        if ctx.needs_input_grad[4]:
            verts = ctx.saved_tensors[4].detach().numpy()
            parts = _parts_like(verts, bands)
            run(_vertex_gradient_bands, bands, grad, attributes, verts, faces, face, bary, parts)
            grad_verts = torch.from_numpy(parts).sum(1)
        return None, None, grad_attributes, None, grad_verts


def _parts_like(rows: np.ndarray, bands: int) -> np.ndarray:
    """Zeros (B, bands, V, C): each band adds into its own copy: no races, one order of summation."""
    return np.zeros((rows.shape[0], bands, *rows.shape[1:]), rows.dtype)


def interpolate(
    face: Tensor, bary: Tensor, attributes: Tensor, faces: Tensor, verts: Tensor | None
) -> Tensor:
    """The numba twin of `_ref.interpolate`: (B, C, H, W), with hand-written gradients."""
    tensors = (face, bary, attributes, faces, verts)
    return _Interpolate.apply(*(None if tensor is None else tensor.contiguous() for tensor in tensors))
