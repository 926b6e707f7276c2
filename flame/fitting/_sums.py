"""Sums over the landmarks in closed form: energy, gradient and Gauss-Newton matrix without a Jacobian.

A landmark is seven channels c = (rest point, jaw arm, 1), affine in the coefficients z = (1, frame,
correctives, shape): c = C z. The image point is A c with A (2 x 7) of the frame, its derivative by a
coefficient A C, by a pose parameter A' c. So every sum over the landmarks is a small contraction of three
kinds of moments, fixed per head:

    sum C C^T (products), sum c C^T = products . z (once a state), and per frame sum u C^T of the detected
    points u.

Per frame and state this costs 2 x 42 K^2 flops for K coefficients (2.1 MFLOP for the built-in head's 159),
instead of 4 L K^2 (47 MFLOP) for the Gram matrix of the plain Jacobian.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ._problem import Array, LandmarkHead, LandmarkProblem, State, corrective_slopes, pose_maps

POSE_COLUMNS = 9  # log scale, centre x y, rotation xyz, jaw xyz
CHUNK = 64  # frames whose blocks are handled together: a few megabytes
_UPPER = np.triu_indices(6)


@dataclass(frozen=True)
class HeadProducts:
    """Products of the channels of a head, summed over its landmarks; made once per head by `head_products`.

    Attributes:
        channels: (L, 6 K).
        mixed: (K, 42 K): z @ mixed = sum of c_i C_jk, i in 7 channels, j in 6.
        linear: (21, n (n + S + 1)): Gram matrices of channel pairs, laid out as the rows of a frame in the
            normal equations; zeros where pose columns and the gradient go.
        shape: (21, S S).
        sizes: frame coefficients, correctives, shape coefficients.
    """

    channels: Array
    mixed: Array
    linear: Array
    shape: Array
    sizes: tuple[int, int, int]

    @property
    def width(self) -> int:
        """Unknowns of a frame, correctives among them."""
        return POSE_COLUMNS + self.sizes[0] + self.sizes[1]


def head_products(head: LandmarkHead) -> HeadProducts:
    """See `HeadProducts`; about 20 ms for 468 landmarks."""
    channels = head.channels
    landmarks, _, count = channels.shape
    flat = channels.reshape(landmarks, -1)
    products = (flat.T @ flat).reshape(6, count, 6, count)
    mixed = np.zeros((count, 7, 6, count))
    mixed[:, :6] = products.transpose(1, 0, 2, 3)
    mixed[0, 6] = channels.sum(0)
    first, second = _UPPER
    pairs = products[first, :, second]  # (21, K, K)
    pairs = pairs + np.where(first == second, 0, 1)[:, None, None] * np.swapaxes(pairs, 1, 2)
    sizes = (head.frame_count, head.corrective_count, head.shape_count)
    own = sizes[0] + sizes[1]
    width = POSE_COLUMNS + own
    linear = np.zeros((len(first), width, width + sizes[2] + 1))
    linear[:, POSE_COLUMNS:, POSE_COLUMNS:-1] = pairs[:, 1 : 1 + own, 1:]
    shape = pairs[:, 1 + own :, 1 + own :]
    return HeadProducts(
        flat,
        mixed.reshape(count, -1),
        linear.reshape(21, -1),
        np.ascontiguousarray(shape).reshape(21, -1),
        sizes,
    )


@dataclass(frozen=True)
class Seen:
    """Moments of the detected points of every frame: sum u C^T (T, 12, K), sum u (T, 2), sum |u|^2 (T,)."""

    correlation: Array
    total: Array
    square: Array

    @staticmethod
    def of(problem: LandmarkProblem, products: HeadProducts) -> Seen:
        target = np.ascontiguousarray(np.swapaxes(problem.aim, 1, 2))  # (T, 2, L)
        frames, _, landmarks = target.shape
        correlation = target.reshape(-1, landmarks) @ products.channels
        return Seen(correlation.reshape(frames, 12, -1), target.sum(2), np.square(target).sum((1, 2)))


@dataclass(frozen=True)
class Linearised:
    """The data term at a state, weighted; what the normal equations need, before they are written out.

    Attributes:
        energy: of the data.
        pose: (T, 9, 9); pose_gradient (T, 9).
        rows: (T, 9, K - 1) pose by coefficients; gradient (T, K - 1) of the coefficients.
        pairs: (T, 21) weights of the channel pairs.
        slopes: (T, 3, C) of the correctives by the jaw, or None.

    Gradients point downhill.
    """

    energy: float
    pose: Array
    pose_gradient: Array
    rows: Array
    gradient: Array
    pairs: Array
    slopes: Array | None


def linearise_data(
    problem: LandmarkProblem, state: State, *, products: HeadProducts, seen: Seen, weight: Array
) -> Linearised:
    """The energy ``sum weight_t |projected - seen|^2``, and derivatives of half of it."""
    frames, count = problem.frames, len(products.mixed)
    energy = 0.0
    pose, pose_gradient = np.empty((frames, 9, 9)), np.empty((frames, 9))
    rows, pairs = np.empty((frames, 10, count)), np.empty((frames, len(_UPPER[0])))
    coefficients = problem.head.coefficients(state)
    room = np.empty((min(CHUNK, frames), 42 * count))
    for start in range(0, frames, CHUNK):
        part = slice(start, min(start + CHUNK, frames))
        projection, motion = pose_maps(state.select(part))
        z, load = coefficients[part], weight[part]
        mixed = np.matmul(z, products.mixed, out=room[: len(z)]).reshape(-1, 42, count)
        square = np.empty((len(z), 7, 7))
        square[..., :6] = (mixed @ z[..., None]).reshape(-1, 7, 6)
        square[:, :6, 6], square[:, 6, 6] = square[:, 6, :6], problem.head.landmarks
        correlation = seen.correlation[part]
        data = np.empty((len(z), 2, 7))
        data[..., :6] = (correlation @ z[..., None]).reshape(-1, 2, 6)
        data[..., 6] = seen.total[part]
        moved = projection @ square
        share = (projection * (moved - 2 * data)).sum((1, 2)) + seen.square[part]
        energy += float(load @ share)
        flat = motion.reshape(-1, 9, 14)
        weighted = flat * load[:, None, None]
        pose[part] = (motion @ square[:, None]).reshape(-1, 9, 14) @ np.swapaxes(weighted, 1, 2)
        pose_gradient[part] = (weighted @ (data - moved).reshape(-1, 14, 1))[..., 0]
        alpha = load[:, None, None] * projection[..., :6]  # (c, 2, 6)
        all_maps = np.concatenate([motion, -projection[:, None]], axis=1)
        through = np.swapaxes(all_maps, 2, 3) @ alpha[:, None]  # (c, 10, 7, 6)
        rows[part] = through.reshape(-1, 10, 42) @ mixed
        rows[part, 9] += (alpha.reshape(-1, 1, 12) @ correlation)[:, 0]
        pairs[part] = (np.swapaxes(projection[..., :6], 1, 2) @ alpha)[:, _UPPER[0], _UPPER[1]]
    slopes = None if problem.head.correctives is None else corrective_slopes(state.jaw)
    return Linearised(energy, pose, pose_gradient, rows[:, :9, 1:], rows[:, 9, 1:], pairs, slopes)


def written_out(linearised: Linearised, products: HeadProducts) -> Iterator[tuple[slice, Array]]:
    """The frames' rows of the normal equations, (c, n, n + S + 1) = [block | coupling | gradient].

    A chunk at a time, all in the same memory: done with one before the next.
    """
    frames, width = len(linearised.pairs), products.width
    room = np.empty((min(CHUNK, frames), products.linear.shape[1]))
    for start in range(0, frames, CHUNK):
        part = slice(start, min(start + CHUNK, frames))
        flat = np.matmul(linearised.pairs[part], products.linear, out=room[: part.stop - start])
        rows = flat.reshape(-1, width, width + products.sizes[2] + 1)
        rows[:, :9, :9] = linearised.pose[part]
        rows[:, :9, 9:-1] = linearised.rows[part]
        own = width - POSE_COLUMNS
        rows[:, 9:, :9] = np.swapaxes(linearised.rows[part, :, :own], 1, 2)
        rows[:, :9, -1] = linearised.pose_gradient[part]
        rows[:, 9:, -1] = linearised.gradient[part, :own]
        yield (
            part,
            rows if linearised.slopes is None else _folded(rows, linearised.slopes[part], products.sizes),
        )


def _folded(rows: Array, slopes: Array, sizes: tuple[int, int, int]) -> Array:
    """Correctives are no unknowns: their rows and columns go to the jaw's by the chain rule."""
    first = POSE_COLUMNS + sizes[0]
    inner = slice(first, first + sizes[1])
    rows[:, 6:9] += slopes @ rows[:, inner]
    rows[:, :, 6:9] += rows[:, :, inner] @ np.swapaxes(slopes, 1, 2)
    return np.concatenate([rows[:, :first, :first], rows[:, :first, inner.stop :]], axis=2)


def shape_terms(linearised: Linearised, products: HeadProducts) -> tuple[Array, Array]:
    """Shape block (S, S) and gradient (S,) of the data, over all frames."""
    count = products.sizes[2]
    block = (linearised.pairs.sum(0) @ products.shape).reshape(count, count)
    return block, linearised.gradient[:, len(linearised.gradient[0]) - count :].sum(0)
