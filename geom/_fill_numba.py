"""CPU kernels of the harmonic fill: pyramid down, interpolation up, red-black SOR.

Serial on purpose: a few milliseconds of work in hundreds of short sweeps, where waking threads costs more
than it brings and spinning ones cost tenfold on a busy machine.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
RELAXATION = np.float32(1.5)


def fill(values: Array, known: NDArray[np.bool_], coarse: int, coarse_sweeps: int, fine_sweeps: int) -> Array:
    """(B, C, H, W) filled where ``known`` (B, H, W) is false; see `geom.fill.harmonic_fill`."""
    levels = [(np.where(known[:, None], values, np.float32(0)), known)]
    while max(levels[-1][1].shape[1:]) > 4:
        levels.append(_restrict(*levels[-1]))
    data, given = levels[-1]
    count = given.sum((1, 2))[:, None]
    mean = data.sum((2, 3)) / np.maximum(count, 1)
    current = np.where(given[:, None], data, mean[..., None, None]).astype(np.float32)
    _relax(current, given, coarse_sweeps)
    for data, given in reversed(levels[:-1]):
        finer = np.empty_like(data)
        _prolong(current, data, given, finer)
        _relax(finer, given, coarse_sweeps if max(given.shape[1:]) <= coarse else fine_sweeps)
        current = finer
    return current


@nb.njit(cache=True)
def _restrict(values: Array, known: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    batch, channels, height, width = values.shape
    h2, w2 = (height + 1) // 2, (width + 1) // 2
    small = np.zeros((batch, channels, h2, w2), np.float32)
    given = np.zeros((batch, h2, w2), np.bool_)
    for b in range(batch):
        for i in range(h2):
            for j in range(w2):
                count = 0
                for y in range(2 * i, min(2 * i + 2, height)):
                    for x in range(2 * j, min(2 * j + 2, width)):
                        if known[b, y, x]:
                            count += 1
                            for c in range(channels):
                                small[b, c, i, j] += values[b, c, y, x]
                if count > 0:
                    given[b, i, j] = True
                    for c in range(channels):
                        small[b, c, i, j] /= np.float32(count)
    return small, given


@nb.njit(cache=True)
def _prolong(small: Array, values: Array, known: NDArray[np.bool_], out: Array) -> None:
    """Known pixels take their value, others the coarser level, bilinear with half-pixel grids."""
    batch, channels, height, width = values.shape
    h2, w2 = small.shape[2:]
    for task in range(batch * channels * height):
        b, rest = task // (channels * height), task % (channels * height)
        c, y = rest // height, rest % height
        fy = (np.float32(y) + np.float32(0.5)) * np.float32(0.5) - np.float32(0.5)
        y0 = int(np.floor(fy))
        ty = fy - np.float32(y0)
        ya, yb = max(y0, 0), min(y0 + 1, h2 - 1)
        for x in range(width):
            if known[b, y, x]:
                out[b, c, y, x] = values[b, c, y, x]
                continue
            fx = (np.float32(x) + np.float32(0.5)) * np.float32(0.5) - np.float32(0.5)
            x0 = int(np.floor(fx))
            tx = fx - np.float32(x0)
            xa, xb = max(x0, 0), min(x0 + 1, w2 - 1)
            top = small[b, c, ya, xa] * (1 - tx) + small[b, c, ya, xb] * tx
            low = small[b, c, yb, xa] * (1 - tx) + small[b, c, yb, xb] * tx
            out[b, c, y, x] = top * (1 - ty) + low * ty


@nb.njit(cache=True)
def _relax(field: Array, known: NDArray[np.bool_], sweeps: int) -> None:
    batch, channels, height, width = field.shape
    for sweep in range(2 * sweeps):
        colour = sweep % 2
        for task in range(batch * channels * height):
            b, rest = task // (channels * height), task % (channels * height)
            c, y = rest // height, rest % height
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            for x in range((y + colour) % 2, width, 2):
                if known[b, y, x]:
                    continue
                left, right = max(x - 1, 0), min(x + 1, width - 1)
                around = field[b, c, up, x] + field[b, c, down, x]
                around += field[b, c, y, left] + field[b, c, y, right]
                own = field[b, c, y, x]
                field[b, c, y, x] = own + RELAXATION * (around * np.float32(0.25) - own)
