"""CPU kernels of `geom.alignment`: the Gauss-Newton steps of one level, and how well a motion explains it.

The same arithmetic as there in few passes; sums are in double precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._kernels import compiled

Array = NDArray[np.float32]
Double = NDArray[np.float64]
LEAST = 16  # pixels that a step is taken from
TUKEY = 4.685
DEVIATIONS = 1.4826  # of a normal distribution, in its median absolute value
CLOSE = 1e-4  # a step that ends a level
SCALE = 3.0  # of the error, in noises


@compiled
def descend(
    grey: Array,
    values: Array,
    jacobian: Array,
    points: Array,
    motion: Double,
    prior: Double,
    noise: float,
    iterations: int,
) -> Double:
    """The motion after at most so many steps; NaN where the picture holds NaN.

    Args:
        grey: of the other picture, (h, w).
        values, jacobian, points: of the template, of the pixels that count: (N,), (N, 4), (N, 2).
        motion: (4,), see `geom.alignment.align_similarity`.
        prior: precision of each component of a step, (4,).
        noise: of the grey values.
        iterations: steps at most.
    """
    residual, inside = np.empty(len(values), np.float32), np.empty(len(values), np.bool_)
    for _ in range(iterations):
        count = _differ(grey, values, points, motion, residual, inside)
        system, right = np.diag(prior), np.zeros(4)
        if count >= LEAST:
            _gather(residual, inside, jacobian, _spread(residual, inside, count, noise), system, right)
        if not (np.isfinite(system).all() and np.isfinite(right).all()):
            return np.full(4, np.nan)
        step = np.linalg.solve(system, right)
        motion = _compose_inverse(motion, step)
        if np.abs(step).max() < CLOSE:
            break
    return motion


@compiled
def robust_error(grey: Array, values: Array, points: Array, motion: Double, noise: float) -> float:
    """Mean Geman-McClure error, 1 more for a motion that leaves the frame."""
    residual, inside = np.empty(len(values), np.float32), np.empty(len(values), np.bool_)
    count = _differ(grey, values, points, motion, residual, inside)
    total = 0.0
    for k in range(len(values)):
        if inside[k]:
            square = (float(residual[k]) / (SCALE * noise)) ** 2
            total += square / (1.0 + square)
    mean = total / max(count, 1)
    return mean + 1.0 if count < 0.3 * max(len(values), 1) else mean


@compiled
def _differ(
    grey: Array,
    values: Array,
    points: Array,
    motion: Double,
    residual: Array,
    inside: NDArray[np.bool_],
) -> int:
    """image(W(x)) - reference(x) where W(x) is inside the frame, and how many are: bilinear, the border
    repeats.
    """
    height, width = grey.shape
    size = np.exp(motion[0])
    cosine, sine = np.float32(size * np.cos(motion[1])), np.float32(size * np.sin(motion[1]))
    shift_x, shift_y = np.float32(motion[2]), np.float32(motion[3])
    unit, tall = np.float32(width), np.float32(0.5 * height / width)
    count = 0
    for k in range(len(values)):
        px, py = points[k, 0], points[k, 1]
        x, y = cosine * px - sine * py + shift_x, sine * px + cosine * py + shift_y
        inside[k] = abs(x) <= np.float32(0.5) and abs(y) <= tall
        if not inside[k]:
            continue
        count += 1
        u = min(max(x * unit + np.float32(0.5 * width - 0.5), np.float32(0)), np.float32(width - 1))
        v = min(max(y * unit + np.float32(0.5 * height - 0.5), np.float32(0)), np.float32(height - 1))
        left, top = int(u), int(v)
        right, low = min(left + 1, width - 1), min(top + 1, height - 1)
        a, b = u - np.float32(left), v - np.float32(top)
        above = grey[top, left] * (np.float32(1) - a) + grey[top, right] * a
        below = grey[low, left] * (np.float32(1) - a) + grey[low, right] * a
        residual[k] = above * (np.float32(1) - b) + below * b - values[k]
    return count


@compiled
def _spread(residual: Array, inside: NDArray[np.bool_], count: int, noise: float) -> float:
    """Robust deviation of the differences, no less than the noise."""
    sizes = np.empty(count, np.float32)
    place = 0
    for k in range(len(residual)):
        if inside[k]:
            sizes[place] = abs(residual[k])
            place += 1
    middle = (count - 1) // 2
    return max(DEVIATIONS * float(np.partition(sizes, middle)[middle]), noise)


@compiled
def _gather(
    residual: Array,
    inside: NDArray[np.bool_],
    jacobian: Array,
    scale: float,
    system: Double,
    right: Double,
) -> None:
    """Add the normal equations of the pixels inside, under Tukey weights."""
    limit = np.float32(TUKEY * scale)
    for k in range(len(residual)):
        ratio = residual[k] / limit
        rest = np.float32(1) - ratio * ratio
        if not inside[k] or rest <= 0:
            continue
        weight = float(rest * rest)
        for i in range(4):
            weighted = weight * float(jacobian[k, i])
            right[i] += weighted * float(residual[k])
            for j in range(i, 4):
                system[i, j] += weighted * float(jacobian[k, j])
    for i in range(4):
        for j in range(i):
            system[i, j] = system[j, i]


@compiled
def _compose_inverse(motion: Double, step: Double) -> Double:
    """W(motion) after the inverse of W(step)."""
    log_scale, angle = motion[0] - step[0], motion[1] - step[1]
    cosine, sine = np.exp(log_scale) * np.cos(angle), np.exp(log_scale) * np.sin(angle)
    out = np.empty(4)
    out[0], out[1] = log_scale, angle
    out[2] = motion[2] - (cosine * step[2] - sine * step[3])
    out[3] = motion[3] - (sine * step[2] + cosine * step[3])
    return out
