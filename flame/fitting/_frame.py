"""One frame of a person whose identity is known, fitted after the frame before: what a stream repeats.

The matrix is formed once, from the plain Jacobian, and serves for several steps, since a frame is near the
one before; gradients are exact, and cheap without a Jacobian. All landmarks may weigh what they like. Single
precision halves the traffic of the tables; the equations are solved in double precision.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from ._chain import FLOOR, above
from ._problem import LandmarkHead
from ._projection import LEAST_DEPTH, POSE_COLUMNS
from ._rotations import Array

Single = NDArray[np.float32]
STEPS = 5
LARGE = 3.0  # movement, % of the eye distance, after which the matrix is formed again
ENOUGH = 0.1  # movement, % of the eye distance: a step that small is the last


@dataclass(frozen=True)
class PersonTables:
    """A head of known identity at L points, in normalised units.

    Attributes:
        base: (6, L) channels (`LandmarkHead.channels`) at rest; by_own (F, 6 L) and own (6, L F) of the
            coefficients of a frame: expression, eyelids, correctives.
        own_count: F without correctives; ``corrected`` if there are some.
        spread: root mean square distance of the landmarks from their centre.
        precision: (n,) of the frame's prior.
    """

    base: Array
    by_own: Single
    own: Single
    own_count: int
    spread: float
    precision: Array

    @staticmethod
    def of(head: LandmarkHead, shape: Array, precision: Array) -> PersonTables:
        own = head.channels[:, :, 1 : 1 + head.own_count]
        return PersonTables(
            head.person(shape).reshape(6, -1),
            np.ascontiguousarray(own.transpose(2, 1, 0), dtype=np.float32).reshape(head.own_count, -1),
            np.ascontiguousarray(own.transpose(1, 0, 2), dtype=np.float32).reshape(6, -1),
            head.frame_count,
            float(np.sqrt(np.square(head.mean).sum(1).mean())),
            precision,
        )

    @property
    def landmarks(self) -> int:
        return self.base.shape[1]

    def at(self, rows: NDArray[np.int64]) -> PersonTables:
        """At some of the points."""
        own = self.own.reshape(6, self.landmarks, -1)[:, rows]
        by_own = own.transpose(2, 0, 1)  # (F, 6, L)
        return dataclasses.replace(
            self,
            base=self.base[:, rows],
            own=np.ascontiguousarray(own).reshape(6, -1),
            by_own=np.ascontiguousarray(by_own).reshape(len(self.by_own), -1),
        )

    @property
    def corrected(self) -> bool:
        return len(self.by_own) > self.own_count

    def channels(self, frame: FrameState) -> Array:
        """(7, L), ones last."""
        own = frame.linear
        if self.corrected:
            own = np.concatenate([own, (turned(frame.jaw) - np.eye(3)).ravel()])
        values = np.ones((7, self.landmarks))
        values[:6] = (own.astype(np.float32) @ self.by_own).reshape(6, -1)
        values[:6] += self.base
        return values


@dataclass(frozen=True)
class FrameState:
    """Unknowns of a frame: (log scale, centre) (3,), rotation (3, 3), jaw (3,), coefficients (F,)."""

    camera: Array
    rotation: Array
    jaw: Array
    linear: Array

    def vector(self) -> Array:
        """(n,), zeros for the rotation."""
        return np.concatenate([self.camera, np.zeros(3), self.jaw, self.linear])

    def moved(self, step: Array) -> FrameState:
        """A step applied, the rotation's from the left."""
        return FrameState(
            self.camera + step[:3],
            turned(step[3:6]) @ self.rotation,
            self.jaw + step[6:9],
            self.linear + step[9:],
        )


@dataclass(frozen=True)
class FrameFit:
    """A frame after its fit.

    Attributes:
        state: where it ends.
        covariance: (n, n) of the unknowns.
        channels: (7, L) at that state.
        image: (2, L) of the landmarks.
        trust: (L,) robust weights, 0 to 1.
    """

    state: FrameState
    covariance: Array
    channels: Array
    image: Array
    trust: Array


def fit_frame(
    person: PersonTables,
    start: FrameState,
    seen: Array,
    *,
    weight: Array,
    before: tuple[Array, Array],
    scale: float,
    strength: float = 0.0,
    channels: Array | None = None,
) -> FrameFit:
    """Gauss-Newton from the frame before.

    Args:
        start: of the frame before, or wherever the search starts.
        seen: (2, L) landmarks.
        weight: (L,) of the squared residuals, 0 where missing.
        before: where the frame before is (n,), relative to ``start``, and how firmly it holds on (n,).
        scale: of the robust weights, normalised units.
        strength: of the perspective, lens times unit; 0 for weak perspective.
        channels: of ``start``, if at hand.
    """
    state, (place, hold) = start, before
    values = person.channels(state) if channels is None else channels
    inverse, moved = None, math.inf
    for _ in range(STEPS):
        maps, motion = _maps(state)
        image, depth = _image(maps, values, strength)
        residual = image - seen
        load = weight * np.square(_trust(residual, scale))
        if inverse is None or moved > LARGE:
            matrix = _matrix(person, state, values, (maps, motion), (image, depth, strength), np.sqrt(load))
            diagonal = np.arange(len(matrix))
            matrix[diagonal, diagonal] += person.precision + hold + FLOOR
            inverse = _inverse(matrix)
        force = _force(load * residual, image, depth, strength)
        gradient = _pull(person, state, values, (maps, motion), force)
        step = inverse @ (gradient - person.precision * state.vector() - hold * place)
        state, place = state.moved(step), place + step
        values = person.channels(state)
        moved = _moves(step, state, person.spread)
        if moved < ENOUGH:
            break
    image, _ = _image(_placing(state), values, strength)
    assert inverse is not None
    return FrameFit(state, inverse, values, image, np.square(_trust(image - seen, scale)))


def _trust(residual: Array, scale: float) -> Array:
    """(L,) roots of the robust weights (`_robust`)."""
    if math.isinf(scale):
        return np.ones(residual.shape[1])
    return scale**2 / (scale**2 + np.square(residual).sum(0))


def _image(maps: Array, values: Array, strength: float) -> tuple[Array, Array]:
    """Image points (2, L), and their depths relative to the head's (1, L)."""
    if not strength:
        return maps[:2] @ values, np.ones((1, 1))
    placed = maps @ values
    depth = np.maximum(1 + strength * placed[2:], LEAST_DEPTH)
    return placed[:2] / depth, depth


def placed(state: FrameState, channels: Array) -> Array:
    """(P, 3) points in camera axes, of channels (7, P)."""
    return (_placing(state) @ channels).T


def projected(state: FrameState, channels: Array, strength: float) -> Array:
    """(2, P) image of points given by their channels (7, P)."""
    image, _ = _image(_placing(state), channels, strength)
    return image


def _slopes(person: PersonTables, values: Array, maps: Array, motion: Array, *, axes: int) -> Single:
    """(axes, L, 9 + F): points in camera axes by pose and coefficients."""
    slopes = np.empty((axes, person.landmarks, POSE_COLUMNS + len(person.by_own)), np.float32)
    pose = motion[:, :axes].reshape(-1, 7) @ values
    slopes[..., :POSE_COLUMNS] = np.moveaxis(pose.reshape(POSE_COLUMNS, axes, -1), 0, 2)
    linear = maps[:axes, :6].astype(np.float32) @ person.own
    slopes[..., POSE_COLUMNS:] = linear.reshape(axes, person.landmarks, -1)
    return slopes


def _force(weighted: Array, image: Array, depth: Array, strength: float) -> Array:
    """What weighted residuals (2, L) pull at the points in camera axes, (2 or 3, L)."""
    if not strength:
        return weighted
    return np.concatenate([weighted, -strength * (weighted * image).sum(0, keepdims=True)]) / depth


def _pull(
    person: PersonTables, state: FrameState, values: Array, maps: tuple[Array, Array], force: Array
) -> Array:
    """Downhill gradient (n,) of half the data's energy."""
    axes, own = len(force), len(person.by_own)
    gradient = np.empty(POSE_COLUMNS + own)
    gradient[:POSE_COLUMNS] = maps[1][:, :axes].reshape(POSE_COLUMNS, -1) @ (force @ values.T).ravel()
    pulled = maps[0][:axes, :6].T @ force  # (6, L)
    gradient[POSE_COLUMNS:] = person.by_own @ pulled.astype(np.float32).ravel()
    if person.corrected:
        first = POSE_COLUMNS + person.own_count
        gradient[6:POSE_COLUMNS] += _by_jaw(state.jaw) @ gradient[first:]
        gradient = gradient[:first]
    return -gradient


def _by_jaw(jaw: Array) -> Array:
    """(3, 9): derivatives of vec(R_jaw - I)."""
    return (_crosses(jaw) @ turned(jaw)).reshape(3, 9)


def _matrix(
    person: PersonTables,
    state: FrameState,
    values: Array,
    maps: tuple[Array, Array],
    view: tuple[Array, Array, float],
    root: Array,
) -> Array:
    """Gauss-Newton matrix (n, n) of the data.

    Args:
        view: image, depth and strength of the perspective.
        root: (L,) of the weights.
    """
    image, depth, strength = view
    slopes = _slopes(person, values, *maps, axes=3 if strength else 2)
    if person.corrected:
        first = POSE_COLUMNS + person.own_count
        slopes[..., 6:POSE_COLUMNS] += slopes[..., first:] @ _by_jaw(state.jaw).T.astype(np.float32)
        slopes = slopes[..., :first]
    if strength:
        bend = (strength * image)[..., None].astype(np.float32)
        slopes = (slopes[:2] - bend * slopes[2]) / depth[..., None].astype(np.float32)
    flat = (slopes * root.astype(np.float32)[:, None]).reshape(-1, slopes.shape[2])
    return (flat.T @ flat).astype(np.float64)


def _inverse(matrix: Array) -> Array:
    """Of a symmetric positive definite matrix; singular precision is excluded by the priors."""
    lower, failed = dpotrf(matrix, lower=1)
    if failed:
        return np.linalg.pinv(matrix, hermitian=True)
    half, _ = dpotri(lower, lower=1, overwrite_c=1)
    np.copyto(half, half.T, where=above(len(half)))
    return half


def _placing(state: FrameState) -> Array:
    """(3, 7): channels to points in camera axes, ``projection`` of `_projection.pose_maps`."""
    scaled = math.exp(state.camera[0]) * state.rotation
    maps = np.zeros((3, 7))
    maps[:, :3], maps[:, 3:6] = scaled, scaled @ turned(state.jaw) - scaled
    maps[:2, 6] = state.camera[1:]
    return maps


def _maps(state: FrameState) -> tuple[Array, Array]:
    """`_projection.pose_maps` of one frame: (3, 7) and (9, 3, 7)."""
    maps = _placing(state)
    x, y, z = maps[:, :6]
    motion = np.zeros((POSE_COLUMNS, 3, 7))
    motion[0, :, :6] = maps[:, :6]
    motion[1, 0, 6] = motion[2, 1, 6] = 1.0
    motion[3, 1, :6], motion[3, 2, :6] = -z, y
    motion[4, 0, :6], motion[4, 2, :6] = z, -x
    motion[5, 0, :6], motion[5, 1, :6] = -y, x
    motion[6:, :, 3:6] = maps[:, :3] @ (_crosses(state.jaw) @ turned(state.jaw))
    return maps, motion


def turned(vector: Array) -> Array:
    """Axis-angle (3,) to a matrix."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    sine, cosine = _ratios(angle)[:2]
    diagonal = 1.0 - cosine * angle * angle
    return np.array(
        [
            [diagonal + cosine * x * x, cosine * x * y - sine * z, cosine * x * z + sine * y],
            [cosine * x * y + sine * z, diagonal + cosine * y * y, cosine * y * z - sine * x],
            [cosine * x * z - sine * y, cosine * y * z + sine * x, diagonal + cosine * z * z],
        ]
    )


def _ratios(angle: float) -> tuple[float, float, float]:
    """sin(a) / a, (1 - cos a) / a^2, (a - sin a) / a^3."""
    square = angle * angle
    if angle < 1e-4:
        return 1.0 - square / 6, 0.5 - square / 24, 1 / 6 - square / 120
    return (
        math.sin(angle) / angle,
        2 * (math.sin(angle / 2) / angle) ** 2,
        (angle - math.sin(angle)) / angle**3,
    )


def _crosses(jaw: Array) -> Array:
    """(3, 3, 3): cross matrices of the columns of the jaw's left Jacobian."""
    _, cosine, rest = _ratios(float(np.sqrt(jaw @ jaw)))
    cross = _cross(jaw)
    return np.stack([_cross(column) for column in (np.eye(3) + cosine * cross + rest * cross @ cross).T])


def _cross(vector: Array) -> Array:
    x, y, z = vector.tolist()
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _moves(step: Array, state: FrameState, spread: float) -> float:
    """Root mean square movement of the landmarks, % of the eye distance, roughly."""
    size = math.exp(state.camera[0])
    pose = (step[1] ** 2 + step[2] ** 2) / size**2 + spread**2 * (step[0] ** 2 + float(step[3:6] @ step[3:6]))
    return math.sqrt(pose + 0.1 * float(step[9:] @ step[9:]))
