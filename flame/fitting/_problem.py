"""The landmark problem in normalised units: forward projection, Jacobian pieces, state and its update.

Normalised units: model lengths are scaled so that the 3D outer-canthal distance (or the size of the landmark cloud,
if a model lacks those points) is 100, image lengths so that it is about 100 px. Rotations map the model frame to the
camera frame (x right, y down, z forward), so that the frontal head is diag(1, -1, -1).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cross_matrix(vectors: Array) -> Array:
    """(..., 3) -> (..., 3, 3) with ``cross_matrix(v) @ x = v x x``."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def rotation_exp(vectors: Array) -> Array:
    """Axis-angle (..., 3) to matrices, exact to rounding at zero."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    cross = cross_matrix(vectors)
    small = angle < 1e-8
    safe = np.where(small, 1.0, angle)
    sine = np.where(small, 1.0, np.sin(safe) / safe)
    cosine = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + sine * cross + cosine * cross @ cross


def rotation_log(matrices: Array) -> Array:
    """Matrices (..., 3, 3) to axis-angle, safe at zero and at pi (through quaternions)."""
    from scipy.spatial.transform import Rotation

    flat = matrices.reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_rotvec().reshape(*matrices.shape[:-2], 3)


@dataclass(frozen=True)
class State:
    """Unknowns: log scale and centre (T, 3), head rotation (T, 3, 3), jaw (T, 3, 3), frame and shape coefficients."""

    camera: Array
    rotation: Array
    jaw: Array
    linear: Array
    shape: Array

    def frame_vector(self) -> Array:
        """(T, 9 + E): camera, zeros for the rotation (it has no prior), jaw axis-angle, coefficients."""
        zeros = np.zeros((len(self.camera), 3))
        return np.concatenate([self.camera, zeros, rotation_log(self.jaw), self.linear], axis=1)

    def moved(self, frame_step: Array, shape_step: Array) -> State:
        """Apply a step; rotations are perturbed from the left."""
        return State(
            camera=self.camera + frame_step[:, :3],
            rotation=rotation_exp(frame_step[:, 3:6]) @ self.rotation,
            jaw=rotation_exp(frame_step[:, 6:9]) @ self.jaw,
            linear=self.linear + frame_step[:, 9:],
            shape=self.shape + shape_step,
        )


@dataclass(frozen=True)
class LandmarkProblem:
    """Data and restricted head in normalised units; made by `flame.fitting.problem_of`.

    Attributes:
        target: landmarks (T, L, 2), zeros where absent.
        weight: data weight of every frame (T,), 0 where absent.
        mean: (L, 3); pivot (3,) of the jaw joint; jaw_weight (L,).
        frame_basis: (L, 3, E) expression and eyelids; shape_basis (L, 3, S).
        pivot_frame, pivot_shape: how coefficients move the jaw joint, (3, E) and (3, S).
        correctives: (L, 3, 9) of vec(R_jaw - I), or None.
        focal: focal length in normalised image units for the perspective camera, None for weak perspective.
        undistorted: perspective-corrected target of the current iteration, else `target` itself.
    """

    target: Array
    weight: Array
    mean: Array
    pivot: Array
    jaw_weight: Array
    frame_basis: Array
    shape_basis: Array
    pivot_frame: Array
    pivot_shape: Array
    correctives: Array | None = None
    focal: float | None = None
    undistorted: Array | None = None

    @property
    def frames(self) -> int:
        return self.target.shape[0]

    @property
    def landmarks(self) -> int:
        return self.target.shape[1]

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.weight > 0

    @property
    def frame_basis_count(self) -> int:
        return self.frame_basis.shape[2]

    @property
    def shape_count(self) -> int:
        return self.shape_basis.shape[2]

    @property
    def frame_channels(self) -> Array:
        """(L, 6, E): coefficients move a point by B, and by w (B - pivot) inside the jaw's rotation."""
        turned = self.jaw_weight[:, None, None] * (self.frame_basis - self.pivot_frame)
        return np.concatenate([self.frame_basis, turned], axis=1)

    @property
    def shape_channels(self) -> Array:
        turned = self.jaw_weight[:, None, None] * (self.shape_basis - self.pivot_shape)
        return np.concatenate([self.shape_basis, turned], axis=1)

    def initial_state(self) -> State:
        """Orthographic pose of the mean (POS): affine least squares, projected on rotations; gaps copy a neighbour."""
        points = np.concatenate([self.mean, np.ones((self.landmarks, 1))], axis=1)
        index = np.flatnonzero(self.present)
        stacked = np.moveaxis(self.target[index], 1, 0).reshape(self.landmarks, -1)  # (L, T' 2)
        affine = np.linalg.lstsq(points, stacked, rcond=None)[0].reshape(4, len(index), 2)
        affine = np.moveaxis(affine, 0, 2)  # (T', 2, 4)
        lengths = np.linalg.norm(affine[:, :, :3], axis=2)  # (T', 2)
        lengths = np.maximum(lengths, 1e-6 * max(lengths.max(), 1e-12))
        rows = affine[:, :, :3] / lengths[..., None]
        third = np.cross(rows[:, 0], rows[:, 1])
        left, _, right = np.linalg.svd(np.concatenate([rows, third[:, None]], axis=1))
        left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
        camera = np.concatenate([np.log(lengths.mean(1))[:, None], affine[:, :, 3]], axis=1)
        nearest = index[np.abs(np.arange(self.frames)[:, None] - index[None]).argmin(1)]
        place = np.searchsorted(index, nearest)
        return State(
            camera=camera[place],
            rotation=(left @ right)[place],
            jaw=np.broadcast_to(np.eye(3), (self.frames, 3, 3)).copy(),
            linear=np.zeros((self.frames, self.frame_basis_count)),
            shape=np.zeros(self.shape_count),
        )

    def rest(self, state: State) -> tuple[Array, Array]:
        """Unposed points (T, L, 3) and jaw pivots (T, 3)."""
        shaped = self.mean + self.shape_basis @ state.shape
        moved = state.linear @ self.frame_basis.reshape(-1, self.frame_basis_count).T
        pivot = self.pivot + self.pivot_shape @ state.shape + state.linear @ self.pivot_frame.T
        return shaped + moved.reshape(self.frames, self.landmarks, 3), pivot

    def posed(self, state: State) -> Array:
        """Points after the jaw (T, L, 3), model frame."""
        rest, pivot = self.rest(state)
        if self.correctives is not None:
            feature = (state.jaw - np.eye(3)).reshape(self.frames, 9)
            rest = rest + np.einsum("lck,tk->tlc", self.correctives, feature)
        arm = rest - pivot[:, None]
        turned = arm @ np.swapaxes(state.jaw, 1, 2)
        return rest + self.jaw_weight[:, None] * (turned - arm)

    def camera_points(self, state: State) -> Array:
        """Rotated and scaled points (T, L, 3), before the centre is added."""
        scale = np.exp(state.camera[:, 0])[:, None, None]
        return scale * (self.posed(state) @ np.swapaxes(state.rotation, 1, 2))

    def residual(self, state: State) -> Array:
        """Projected minus target (T, L, 2)."""
        target = self.target if self.undistorted is None else self.undistorted
        return self.camera_points(state)[..., :2] + state.camera[:, None, 1:] - target

    def with_perspective(self, state: State) -> LandmarkProblem:
        """Targets as a weak-perspective camera would see them, given the current depths (POSIT)."""
        if self.focal is None:
            return self
        relief = self.camera_points(state)[..., 2:] / self.focal  # z / Z: scale = focal / Z
        return dataclasses.replace(self, undistorted=self.target * (1 + relief))

    def channel_weights(self, state: State) -> Array:
        """alpha (T, 2, 6): how a rest-space motion and its jaw-turned part move the image point."""
        scale = np.exp(state.camera[:, 0])[:, None, None]
        rows = scale * state.rotation[:, :2]  # (T, 2, 3)
        return np.concatenate([rows, rows @ (state.jaw - np.eye(3))], axis=2)

    def pose_jacobian(self, state: State) -> Array:
        """(T, L, 2, 9): derivatives by log scale, centre, head rotation and jaw (left perturbations)."""
        points = self.camera_points(state)  # (T, L, 3)
        frames, landmarks = points.shape[:2]
        jacobian = np.zeros((frames, landmarks, 2, 9))
        jacobian[..., 0] = points[..., :2]
        jacobian[..., 0, 1] = jacobian[..., 1, 2] = 1.0
        x, y, z = np.moveaxis(points, -1, 0)
        jacobian[..., 0, 4], jacobian[..., 0, 5] = z, -y  # d(delta x p) / d delta, first row
        jacobian[..., 1, 3], jacobian[..., 1, 5] = -z, x
        rest, pivot = self.rest(state)
        rows = np.exp(state.camera[:, 0])[:, None, None] * state.rotation[:, :2]  # (T, 2, 3)
        arm = (rest - pivot[:, None]) @ np.swapaxes(state.jaw, 1, 2)  # (T, L, 3)
        ax, ay, az = np.moveaxis(arm, -1, 0)
        r0, r1, r2 = (rows[:, None, :, k] for k in range(3))  # (T, 1, 2)
        jacobian[..., 6] = az[..., None] * -r1 + ay[..., None] * r2
        jacobian[..., 7] = az[..., None] * r0 - ax[..., None] * r2
        jacobian[..., 8] = -ay[..., None] * r0 + ax[..., None] * r1
        jacobian[..., 6:] *= self.jaw_weight[:, None, None]
        return jacobian
