"""Normal equations in closed form: the Gauss-Newton matrix without a Jacobian.

A landmark is seven channels c = (rest point, jaw arm, 1), affine in the coefficients z = (1, frame,
correctives, shape): c = C z. The image point is A c with A (2 x 7) of the frame, its derivative by a
coefficient A C, by a pose parameter A' c. If all landmarks of a frame weigh the same, every sum over them in
the matrix is a small contraction of moments that are fixed per head,

    sum C C^T (products), sum c C^T = products . z (once a state).

The gradient is exact whatever the weights and the camera: it takes the forces on the points, f C^T summed.
Landmarks that weigh nearly the same, and a pinhole, leave the matrix approximate and the minimum the same.

Per frame this costs 2 x 42 F K flops for F coefficients of a frame and K in all (1 MFLOP for the built-in
head's 71 and 159), instead of 4 L K^2 (47 MFLOP) for the Gram matrix of the plain Jacobian (`_direct`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._problem import LandmarkHead, State
from ._projection import POSE_COLUMNS, Points, corrective_slopes
from ._rotations import Array

_UPPER = np.triu_indices(6)


@dataclass(frozen=True)
class HeadProducts:
    """Products of the channels of a head, summed over its landmarks; made once per head by `head_products`.

    Attributes:
        head: whose they are.
        own: (L, 6 F) channels of the frame's coefficients.
        mixed_own, mixed_rest: (F, 42 K), (1 + S, 42 K): z @ mixed = sum of c_i C_jk, i in 7 channels, j in 6.
        linear: (21, n (n + S + 1)): Gram matrices of channel pairs, laid out as the rows of a frame in the
            normal equations; zeros where pose columns and the gradient go.
        shape: (21, S S).
    """

    head: LandmarkHead
    own: Array
    mixed_own: Array
    mixed_rest: Array
    linear: Array
    shape: Array

    @property
    def width(self) -> int:
        """Unknowns of a frame, correctives among them."""
        return POSE_COLUMNS + self.head.own_count


def head_products(head: LandmarkHead) -> HeadProducts:
    """See `HeadProducts`; about 20 ms for 468 landmarks."""
    channels, own, shapes = head.channels, head.own_count, head.shape_count
    landmarks, _, count = channels.shape
    flat = channels.reshape(landmarks, -1)
    products = (flat.T @ flat).reshape(6, count, 6, count)
    mixed = np.zeros((count, 7, 6, count))
    mixed[:, :6] = products.transpose(1, 0, 2, 3)
    mixed[0, 6] = channels.sum(0)
    mixed = mixed.reshape(count, -1)
    first, second = _UPPER
    pairs = products[first, :, second]  # (21, K, K)
    pairs = pairs + np.where(first == second, 0, 1)[:, None, None] * np.swapaxes(pairs, 1, 2)
    width = POSE_COLUMNS + own
    linear = np.zeros((len(first), width, width + shapes + 1))
    linear[:, POSE_COLUMNS:, POSE_COLUMNS:-1] = pairs[:, 1 : 1 + own, 1:]
    return HeadProducts(
        head,
        own=np.ascontiguousarray(channels[:, :, 1 : 1 + own]).reshape(landmarks, -1),
        mixed_own=mixed[1 : 1 + own].copy(),
        mixed_rest=np.concatenate([mixed[:1], mixed[1 + own :]]),
        linear=linear.reshape(21, -1),
        shape=np.ascontiguousarray(pairs[:, 1 + own :, 1 + own :]).reshape(21, -1),
    )


@dataclass(frozen=True)
class Person:
    """What all frames of a state share: the shape's part of the channels and of their products."""

    shape: Array
    channels: Array
    mixed: Array

    @staticmethod
    def of(products: HeadProducts, shape: Array) -> Person:
        mixed = np.append(1.0, shape) @ products.mixed_rest
        return Person(shape, products.head.person(shape), mixed)


@dataclass(frozen=True)
class NormalRows:
    """Rows of some frames of the normal equations, and what they add to the shared block.

    Attributes:
        rows: (t, n, n + q + 1) = [block | coupling to the q shared unknowns | gradient].
        shared: (q, q); shared_gradient (q,).

    Gradients point downhill.
    """

    rows: Array
    shared: Array
    shared_gradient: Array


def gram_rows(
    products: HeadProducts,
    person: Person,
    state: State,
    points: Points,
    *,
    force: Array,
    weight: Array,
    room: Array | None = None,
) -> NormalRows:
    """The frames' rows, every landmark of a frame weighing the same in the matrix.

    Args:
        state: at these t frames; ``points`` at it.
        force: (t, 2 or 3, L) weighted residuals, as `Points.forces` gives them.
        weight: (t,) of a frame's landmarks.
        room: (t or more, n (n + S + 1)) to write the rows to.
    """
    head, frames = products.head, len(weight)
    own, count = head.own_count, products.mixed_own.shape[1] // 42
    coefficients = head.own_coefficients(state)
    mixed = coefficients @ products.mixed_own
    mixed += person.mixed
    mixed = mixed.reshape(frames, 42, count)
    rest = np.broadcast_to(person.shape, (frames, len(person.shape)))
    z = np.concatenate([np.ones((frames, 1)), coefficients, rest], axis=1)
    square = np.empty((frames, 7, 7))
    square[..., :6] = (mixed @ z[..., None]).reshape(-1, 7, 6)
    square[:, :6, 6], square[:, 6, 6] = square[:, 6, :6], head.landmarks
    motion = points.motion[:, :, :2]
    alpha = weight[:, None, None] * points.projection[:, :2, :6]
    through = np.swapaxes(motion, 2, 3) @ alpha[:, None]  # (t, 9, 7, 6)
    pose_rows = (through.reshape(frames, POSE_COLUMNS, 42) @ mixed)[..., 1:]
    turned = (motion @ square[:, None]).reshape(frames, POSE_COLUMNS, 14)
    pairs = (np.swapaxes(points.projection[:, :2, :6], 1, 2) @ alpha)[:, _UPPER[0], _UPPER[1]]
    flat = np.matmul(pairs, products.linear, out=None if room is None else room[:frames])
    width = products.width
    rows = flat.reshape(frames, width, -1)
    rows[:, :9, :9] = turned @ np.swapaxes(motion.reshape(frames, 9, 14) * weight[:, None, None], 1, 2)
    rows[:, :9, 9:-1] = pose_rows
    rows[:, 9:, :9] = np.swapaxes(pose_rows[..., :own], 1, 2)
    rows[..., -1], shared_gradient = _pull(products, points, force)
    if head.correctives is not None:
        rows = _folded(rows, corrective_slopes(state.jaw), head)
    shapes = len(person.shape)
    return NormalRows(rows, (pairs.sum(0) @ products.shape).reshape(shapes, shapes), shared_gradient)


def _pull(products: HeadProducts, points: Points, force: Array) -> tuple[Array, Array]:
    """Downhill gradients of the frames' unknowns (t, n) and of the shape (S,)."""
    frames, axes, landmarks = force.shape
    maps = points.projection[:, :axes, :6]
    moments = np.empty((frames, axes, 7))
    moments[..., :6] = force @ np.swapaxes(points.channels, 1, 2)
    moments[..., 6] = force.sum(2)
    gradient = np.empty((frames, products.width))
    motion = np.ascontiguousarray(points.motion[:, :, :axes]).reshape(frames, POSE_COLUMNS, -1)
    gradient[:, :POSE_COLUMNS] = -(motion @ moments.reshape(frames, -1, 1))[..., 0]
    by_own = (force.reshape(-1, landmarks) @ products.own).reshape(frames, axes * 6, -1)
    flat_maps = np.ascontiguousarray(maps).reshape(frames, 1, -1)
    gradient[:, POSE_COLUMNS:] = -(flat_maps @ by_own)[:, 0]
    pulled = flat_maps.reshape(-1, 6).T @ force.reshape(-1, landmarks)  # (6, L)
    by_shape = products.head.columns[1 + products.head.own_count :]
    return gradient, -(by_shape @ pulled.ravel())


def _folded(rows: Array, slopes: Array, head: LandmarkHead) -> Array:
    """Correctives are no unknowns: their rows and columns go to the jaw's by the chain rule."""
    first = POSE_COLUMNS + head.frame_count
    inner = slice(first, first + head.corrective_count)
    rows[:, 6:9] += slopes @ rows[:, inner]
    rows[:, :, 6:9] += rows[:, :, inner] @ np.swapaxes(slopes, 1, 2)
    return np.concatenate([rows[:, :first, :first], rows[:, :first, inner.stop :]], axis=2)
