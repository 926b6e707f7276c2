"""SSIM of single-channel planes on the CPU: float64, one pass, its buffers in the first-level cache.

Compiled as `geom._kernels` says.
"""

from __future__ import annotations

import functools

import numpy as np

from ...geom._kernels import compiled

# sums may be vectorised; nothing else of IEEE arithmetic is given up
_compiled = functools.partial(compiled, fastmath={"contract", "reassoc"})


@_compiled
def _filter_row(row, kernel, out):
    for m in range(4):
        for j in range(out.shape[1]):
            out[m, j] = 0.0
        for k in range(kernel.shape[0]):
            weight = kernel[k]
            for j in range(out.shape[1]):
                out[m, j] += weight * row[m, j + k]


@_compiled
def _filter_column(ring, kernel, first, out):
    """``first``: index of the oldest row in the ring, modulo its length."""
    taps = kernel.shape[0]
    out[:] = 0.0
    for k in range(taps):
        weight = kernel[k]
        line = ring[(first + k) % taps]
        for m in range(4):
            for j in range(out.shape[1]):
                out[m, j] += weight * line[m, j]


@_compiled
def _row_sum(mean, c1, c2):
    total = 0.0
    for j in range(mean.shape[1]):
        x, y = mean[0, j], mean[1, j]
        square, product = x * x + y * y, x * y
        luminance = (2.0 * product + c1) / (square + c1)
        structure = (2.0 * (mean[3, j] - product) + c2) / (mean[2, j] - square + c2)
        total += luminance * structure
    return total


@_compiled
def ssim_planes(images, targets, kernel, c1, c2):
    """Mean SSIM over the windows inside each plane.

    Args:
        images: (N, H, W) float32 or float64.
        targets: (N, H, W), the same type.
        kernel: (K,) float64 weights of the separable window, sum 1; K at most H and W.
        c1: the constant of the luminance term.
        c2: the constant of the contrast and structure term.

    Returns:
        (N,) float64.
    """
    count, height, width = images.shape
    taps = kernel.shape[0]
    inner = width - taps + 1
    row = np.empty((4, width))  # x, y, x^2 + y^2, x y
    ring = np.zeros((taps, 4, inner))  # the last rows, filtered along the row
    column = np.empty((4, inner))
    values = np.empty(count)
    for plane in range(count):
        total = 0.0
        for i in range(height):
            for j in range(width):
                x, y = np.float64(images[plane, i, j]), np.float64(targets[plane, i, j])
                row[0, j], row[1, j], row[2, j], row[3, j] = x, y, x * x + y * y, x * y
            slot = ring[i % taps]
            _filter_row(row, kernel, slot)
            if i >= taps - 1:
                _filter_column(ring, kernel, i + 1, column)
                total += _row_sum(column, c1, c2)
        values[plane] = total / (inner * (height - taps + 1))
    return values
