"""CPU kernels of the harmonic fill: pyramid down, interpolation up, red-black SOR.

Serial on purpose: a few milliseconds of work in hundreds of short sweeps, where waking threads costs more
than it brings and spinning ones cost tenfold on a busy machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._kernels import compiled

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


@compiled
def _restrict(values: Array, known: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Means of the known among 2 x 2 pixels, and where there are any."""
    batch, channels, height, width = values.shape
    h2, w2 = (height + 1) // 2, (width + 1) // 2
    small = np.zeros((batch, channels, h2, w2), np.float32)
    given = np.zeros((batch, h2, w2), np.bool_)
    for b in range(batch):
        for i in range(h2):
            for j in range(w2):
                bottom, right, count = min(2 * i + 2, height), min(2 * j + 2, width), 0
                for y in range(2 * i, bottom):
                    for x in range(2 * j, right):
                        count += known[b, y, x]
                if count == 0:
                    continue
                given[b, i, j] = True
                for c in range(channels):
                    total = np.float32(0)
                    for y in range(2 * i, bottom):
                        for x in range(2 * j, right):
                            if known[b, y, x]:
                                total += values[b, c, y, x]
                    small[b, c, i, j] = total / np.float32(count)
    return small, given


@compiled
def _prolong(small: Array, values: Array, known: NDArray[np.bool_], out: Array) -> None:
    """Known pixels take their value, others the coarser level, bilinear with half-pixel grids: three quarters
    of the nearer one a side.
    """
    batch, channels, height, width = values.shape
    h2, w2 = small.shape[2:]
    near, far = np.float32(0.75), np.float32(0.25)
    for task in range(batch * channels * height):
        b, rest = task // (channels * height), task % (channels * height)
        c, y = rest // height, rest % height
        middle = small[b, c, y // 2]
        beside = small[b, c, max(y // 2 - 1, 0) if y % 2 == 0 else min(y // 2 + 1, h2 - 1)]
        row = out[b, c, y]
        for j in range(w2):
            left, right = max(j - 1, 0), min(j + 1, w2 - 1)
            own = middle[j] * near + beside[j] * far
            row[2 * j] = (middle[left] * near + beside[left] * far) * far + own * near
            if 2 * j + 1 < width:
                row[2 * j + 1] = own * near + (middle[right] * near + beside[right] * far) * far
        for x in range(width):
            row[x] = values[b, c, y, x] if known[b, y, x] else row[x]


@compiled
def _relax(field: Array, known: NDArray[np.bool_], sweeps: int) -> None:
    """Red-black successive over-relaxation. A row's colour is computed for all of it and half is kept: loops
    without a branch are vector instructions, three times as fast.
    """
    batch, channels, height, width = field.shape
    turn = np.empty((2, width), np.bool_)
    for x in range(width):
        turn[0, x], turn[1, x] = x % 2 == 0, x % 2 == 1
    around, last = np.empty(width, np.float32), width - 1
    for sweep in range(2 * sweeps):
        for task in range(batch * channels * height):
            b, rest = task // (channels * height), task % (channels * height)
            c, y = rest // height, rest % height
            own, fixed, mine = field[b, c, y], known[b, y], turn[(y + sweep) % 2]
            up, down = field[b, c, max(y - 1, 0)], field[b, c, min(y + 1, height - 1)]
            for x in range(1, last):
                around[x] = (up[x] + down[x]) + (own[x - 1] + own[x + 1])
            around[0] = (up[0] + down[0]) + (own[0] + own[min(1, last)])
            around[last] = (up[last] + down[last]) + (own[max(last - 1, 0)] + own[last])
            for x in range(width):
                moved = own[x] + RELAXATION * (around[x] * np.float32(0.25) - own[x])
                own[x] = moved if mine[x] and not fixed[x] else own[x]
