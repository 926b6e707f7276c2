"""The landmark problem in normalised units: the head at its landmarks, state, projection, start.

Normalised units: model lengths are scaled so that the 3D outer-canthal distance (or the size of the landmark
cloud,
if a model lacks those points) is 100, image lengths so that it is about 100 px. Rotations map the model frame
to the camera frame (x right, y down, z forward), so that the frontal head is diag(1, -1, -1).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cross_matrix(vectors: Array) -> Array:
    """(..., 3) -> (..., 3, 3) with ``cross_matrix(v) @ x = v x x``."""
    matrices = np.zeros((*vectors.shape, 3))
    matrices[..., 2, 1], matrices[..., 0, 2], matrices[..., 1, 0] = np.moveaxis(vectors, -1, 0)
    return matrices - np.swapaxes(matrices, -1, -2)


def rotation_exp(vectors: Array) -> Array:
    """Axis-angle (..., 3) to matrices, exact to rounding at zero."""
    sine, cosine, _ = _angle_ratios(vectors)
    cross = cross_matrix(vectors)
    return np.eye(3) + sine * cross + cosine * cross @ cross


def left_jacobian(vectors: Array) -> Array:
    """J (..., 3, 3) with ``rotation_exp(v + d) = rotation_exp(J @ d) @ rotation_exp(v)`` to first order."""
    _, cosine, rest = _angle_ratios(vectors)
    cross = cross_matrix(vectors)
    return np.eye(3) + cosine * cross + rest * cross @ cross


def _angle_ratios(vectors: Array) -> tuple[Array, Array, Array]:
    """sin(a) / a, (1 - cos a) / a^2 and (a - sin a) / a^3 of the angles, (..., 1, 1) each."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    sine = np.where(small, 1.0 - angle**2 / 6, np.sin(safe) / safe)
    cosine = np.where(small, 0.5 - angle**2 / 24, 2 * np.sin(safe / 2) ** 2 / safe**2)
    rest = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    return sine, cosine, rest


def rotation_log(matrices: Array) -> Array:
    """Matrices (..., 3, 3) to axis-angle, safe at zero and at pi (through quaternions)."""
    from scipy.spatial.transform import Rotation

    flat = matrices.reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_rotvec().reshape(*matrices.shape[:-2], 3)


@dataclass(frozen=True)
class State:
    """Unknowns: log scale and centre (T, 3), head rotation (T, 3, 3), jaw axis-angle (T, 3), coefficients.

    ``linear (T, E)`` are those of a frame (expression, eyelids), ``shape (S,)`` those of the person.
    """

    camera: Array
    rotation: Array
    jaw: Array
    linear: Array
    shape: Array

    def frame_vector(self) -> Array:
        """(T, 9 + E): camera, zeros for the rotation (it has no prior), jaw axis-angle, coefficients."""
        zeros = np.zeros((len(self.camera), 3))
        return np.concatenate([self.camera, zeros, self.jaw, self.linear], axis=1)

    def moved(self, frame_step: Array, shape_step: Array) -> State:
        """Apply a step; the head's rotation is perturbed from the left, everything else added to."""
        return State(
            camera=self.camera + frame_step[:, :3],
            rotation=rotation_exp(frame_step[:, 3:6]) @ self.rotation,
            jaw=self.jaw + frame_step[:, 6:9],
            linear=self.linear + frame_step[:, 9:],
            shape=self.shape + shape_step,
        )

    def select(self, frames: slice) -> State:
        """The same person at some of the frames."""
        return State(
            self.camera[frames], self.rotation[frames], self.jaw[frames], self.linear[frames], self.shape
        )


@dataclass(frozen=True)
class LandmarkHead:
    """A head at its landmarks, in normalised units.

    Attributes:
        mean: (L, 3); pivot (3,) of the jaw joint; jaw_weight (L,).
        frame_basis: (L, 3, E) expression and eyelids; shape_basis (L, 3, S).
        pivot_frame, pivot_shape: how coefficients move the jaw joint, (3, E) and (3, S).
        correctives: (L, 3, 9) of vec(R_jaw - I), or None.
    """

    mean: Array
    pivot: Array
    jaw_weight: Array
    frame_basis: Array
    shape_basis: Array
    pivot_frame: Array
    pivot_shape: Array
    correctives: Array | None = None

    @property
    def landmarks(self) -> int:
        return len(self.mean)

    @property
    def frame_count(self) -> int:
        return self.frame_basis.shape[2]

    @property
    def shape_count(self) -> int:
        return self.shape_basis.shape[2]

    @property
    def corrective_count(self) -> int:
        return 0 if self.correctives is None else 9

    @cached_property
    def channels(self) -> Array:
        """(L, 6, 1 + E + C + S): what coefficients (1, frame, correctives, shape) do to a landmark.

        Channels 0-2 are the rest position x, 3-5 the arm about the jaw joint times its weight, w (x - pivot):
        all that rotations and camera act on, linearly.
        """
        none = np.zeros((3, self.corrective_count))
        correctives = np.zeros((self.landmarks, 3, 0)) if self.correctives is None else self.correctives
        rest = np.concatenate([self.mean[..., None], self.frame_basis, correctives, self.shape_basis], axis=2)
        pivot = np.concatenate([self.pivot[:, None], self.pivot_frame, none, self.pivot_shape], axis=1)
        return np.concatenate([rest, self.jaw_weight[:, None, None] * (rest - pivot)], axis=1)

    def coefficients(self, state: State) -> Array:
        """(T, 1 + E + C + S): what the channels are multiplied with."""
        frames = len(state.camera)
        parts = [np.ones((frames, 1)), state.linear]
        if self.correctives is not None:
            parts.append((rotation_exp(state.jaw) - np.eye(3)).reshape(frames, 9))
        return np.concatenate([*parts, np.broadcast_to(state.shape, (frames, self.shape_count))], axis=1)


@dataclass(frozen=True)
class LandmarkProblem:
    """What was seen, and the head it is explained with.

    Attributes:
        head: at the landmarks, normalised units.
        target: landmarks (T, L, 2), zeros where absent.
        weight: data weight of every frame (T,), 0 where absent.
        focal: focal length in normalised image units for the perspective camera, None for weak perspective.
        undistorted: perspective-corrected target of the current iteration, else None.
    """

    head: LandmarkHead
    target: Array
    weight: Array
    focal: float | None = None
    undistorted: Array | None = None

    @property
    def frames(self) -> int:
        return len(self.target)

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.weight > 0

    @property
    def aim(self) -> Array:
        """The target as a weak-perspective camera would see it (T, L, 2)."""
        return self.target if self.undistorted is None else self.undistorted

    def posed(self, state: State) -> Array:
        """Points after the jaw (T, L, 3), model frame."""
        channels = self.head.channels
        both = self.head.coefficients(state) @ channels.reshape(-1, channels.shape[2]).T
        both = both.reshape(len(state.camera), self.head.landmarks, 6)
        turn: Array = np.swapaxes(rotation_exp(state.jaw) - np.eye(3), 1, 2)
        return both[..., :3] + both[..., 3:] @ turn

    def camera_points(self, state: State) -> Array:
        """Rotated and scaled points (T, L, 3), before the centre is added."""
        scale = np.exp(state.camera[:, 0])[:, None, None]
        return self.posed(state) @ np.swapaxes(scale * state.rotation, 1, 2)

    def residual(self, state: State) -> Array:
        """Projected minus target (T, L, 2)."""
        return self.camera_points(state)[..., :2] + state.camera[:, None, 1:] - self.aim

    def with_perspective(self, state: State) -> LandmarkProblem:
        """Targets as a weak-perspective camera would see them, given the current depths (POSIT)."""
        if self.focal is None:
            return self
        relief = self.camera_points(state)[..., 2:] / self.focal  # z / Z: scale = focal / Z
        return dataclasses.replace(self, undistorted=self.target * (1 + relief))

    def initial_state(self) -> State:
        """Orthographic pose of the mean (POS) by affine least squares; gaps take their neighbour."""
        points = np.concatenate([self.head.mean, np.ones((self.head.landmarks, 1))], axis=1)
        index = np.flatnonzero(self.present)
        affine = np.linalg.pinv(points) @ self.target[index]  # (T', 4, 2)
        affine = np.swapaxes(affine, 1, 2)  # (T', 2, 4)
        lengths = np.linalg.norm(affine[:, :, :3], axis=2)  # (T', 2)
        lengths = np.maximum(lengths, 1e-6 * max(lengths.max(), 1e-12))
        rows = affine[:, :, :3] / lengths[..., None]
        third = np.cross(rows[:, 0], rows[:, 1])
        left, _, right = np.linalg.svd(np.concatenate([rows, third[:, None]], axis=1))
        left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
        camera = np.concatenate([np.log(lengths.mean(1))[:, None], affine[:, :, 3]], axis=1)
        nearest = _nearest(index, self.frames)
        return State(
            camera=camera[nearest],
            rotation=(left @ right)[nearest],
            jaw=np.zeros((self.frames, 3)),
            linear=np.zeros((self.frames, self.head.frame_count)),
            shape=np.zeros(self.head.shape_count),
        )


def _nearest(index: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """For each of 0 .. count - 1 the place in the sorted ``index`` of its nearest member."""
    frames = np.arange(count)
    after = np.searchsorted(index, frames).clip(max=len(index) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(frames - index[before]) <= np.abs(index[after] - frames), before, after)


def pose_maps(state: State) -> tuple[Array, Array]:
    """How the 7 channels (rest, jaw arm, 1) of a landmark become its image point, and how that moves with the
    pose.

    Returns:
        ``projection`` (T, 2, 7): image point = projection @ channels. ``motion`` (T, 9, 2, 7): its
        derivatives by log scale, centre x y, head rotation (left perturbation) and jaw axis-angle.
    """
    frames = len(state.camera)
    scaled = np.exp(state.camera[:, 0])[:, None, None] * state.rotation  # (T, 3, 3)
    jaw = rotation_exp(state.jaw)
    turned = np.concatenate([scaled, scaled @ (jaw - np.eye(3))], axis=2)  # (T, 3, 6)
    projection = np.concatenate([turned[:, :2], state.camera[:, 1:, None]], axis=2)
    motion = np.zeros((frames, 9, 2, 7))
    motion[:, 0, :, :6] = turned[:, :2]
    motion[:, 1, 0, 6] = motion[:, 2, 1, 6] = 1.0
    motion[:, 3, 1, :6], motion[:, 4, 0, :6] = -turned[:, 2], turned[:, 2]
    motion[:, 5, 0, :6], motion[:, 5, 1, :6] = -turned[:, 1], turned[:, 0]
    axes = cross_matrix(np.swapaxes(left_jacobian(state.jaw), 1, 2))  # (T, 3 parameters, 3, 3)
    motion[:, 6:, :, 3:6] = scaled[:, None, :2] @ axes @ jaw[:, None]
    return projection, motion


def corrective_slopes(jaw: Array) -> Array:
    """(T, 3, 9): derivatives of vec(R_jaw - I) by the jaw's axis-angle."""
    axes = cross_matrix(np.swapaxes(left_jacobian(jaw), 1, 2))
    return (axes @ rotation_exp(jaw)[:, None]).reshape(len(jaw), 3, 9)


def jacobian_reference(problem: LandmarkProblem, state: State) -> Array:
    """The plain Jacobian (T, L, 2, 9 + E + S) of the projected landmarks, to test the sums in closed form."""
    head, (projection, motion) = problem.head, pose_maps(state)
    channels, frame_count = head.channels, head.frame_count
    values = np.einsum("lck,tk->tlc", channels, head.coefficients(state))
    values = np.concatenate([values, np.ones((*values.shape[:2], 1))], axis=2)  # (T, L, 7)
    pose = np.einsum("tpac,tlc->tlap", motion, values)
    linear = np.einsum("tac,lck->tlak", projection[..., :6], channels[..., 1:])
    frame, rest = linear[..., :frame_count], linear[..., frame_count:]
    if head.correctives is not None:
        pose[..., 6:] += np.einsum("tlac,tkc->tlak", rest[..., :9], corrective_slopes(state.jaw))
        rest = rest[..., 9:]
    return np.concatenate([pose, frame, rest], axis=3)


__all__ = [
    "LandmarkHead",
    "LandmarkProblem",
    "State",
    "corrective_slopes",
    "cross_matrix",
    "jacobian_reference",
    "left_jacobian",
    "pose_maps",
    "rotation_exp",
    "rotation_log",
]
