"""The landmark problem in normalised units: the head at its landmarks, what was seen, the unknowns.

Normalised units: model lengths are scaled so that the 3D outer-canthal distance (or the size of the landmark
cloud, if a model lacks those points) is 100, image lengths so that it is about 100 px. Rotations map the
model frame to the camera frame (x right, y down, z forward), so that the frontal head is diag(1, -1, -1).

The camera: with y = s R X of the log scale and rotation, a landmark's image is ``(y_xy + centre) / depth``,
``depth = 1 + lens unit y_z``: weak perspective for lens 0, else a pinhole whose principal point is the origin
(lens = longer side of the picture / focal length, unit = 1 / that side in normalised units).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ._rotations import Array, rotation_exp
from ._stiffness import Stiffness

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class State:
    """Unknowns: log scale and centre (T, 3), head rotation (T, 3, 3), jaw axis-angle (T, 3), coefficients.

    ``linear (T, E)`` are those of a frame (expression, eyelids), ``shape (S,)`` those of the person, ``lens``
    that of the camera.
    """

    camera: Array
    rotation: Array
    jaw: Array
    linear: Array
    shape: Array
    lens: float = 0.0

    @property
    def frames(self) -> int:
        return len(self.camera)

    def frame_vector(self) -> Array:
        """(T, 9 + E): camera, zeros for the rotation (it has no prior), jaw axis-angle, coefficients."""
        zeros = np.zeros((len(self.camera), 3))
        return np.concatenate([self.camera, zeros, self.jaw, self.linear], axis=1)

    def moved(self, frame_step: Array, shared_step: Array) -> State:
        """Apply a step; the head's rotation is perturbed from the left, everything else added to.

        Args:
            frame_step: (T, 9 + E).
            shared_step: of the shape and, where it is an unknown, the lens, (S,) or (S + 1,).
        """
        shapes = len(self.shape)
        return State(
            camera=self.camera + frame_step[:, :3],
            rotation=rotation_exp(frame_step[:, 3:6]) @ self.rotation,
            jaw=self.jaw + frame_step[:, 6:9],
            linear=self.linear + frame_step[:, 9:],
            shape=self.shape + shared_step[:shapes],
            lens=self.lens + float(shared_step[shapes:].sum()),
        )

    def select(self, frames: slice | Rows) -> State:
        """The same person at some of the frames."""
        return dataclasses.replace(
            self,
            camera=self.camera[frames],
            rotation=self.rotation[frames],
            jaw=self.jaw[frames],
            linear=self.linear[frames],
        )


@dataclass(frozen=True)
class LandmarkHead:
    """A head at its landmarks, or at the points they may stand for, in normalised units.

    Attributes:
        mean: (L, 3); pivot (3,) of the jaw joint; jaw_weight (L,).
        frame_basis: (L, 3, E) expression and eyelids; shape_basis (L, 3, S).
        pivot_frame, pivot_shape: how coefficients move the jaw joint, (3, E) and (3, S).
        correctives: (L, 3, 9) of vec(R_jaw - I), or None.
        stiffness: what unsteady motion costs; None for how far it moves the landmarks.
        turn: (E, E) the frame's coefficients in the model's own basis are ``turn @ linear``; None if they are
            these.
    """

    mean: Array
    pivot: Array
    jaw_weight: Array
    frame_basis: Array
    shape_basis: Array
    pivot_frame: Array
    pivot_shape: Array
    correctives: Array | None = None
    stiffness: Stiffness | None = None
    turn: Array | None = None

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

    @property
    def own_count(self) -> int:
        """Coefficients of a frame: expression and eyelids, correctives."""
        return self.frame_count + self.corrective_count

    def at(self, rows: NDArray[np.intp]) -> LandmarkHead:
        """The head at some of its points."""
        names = ("mean", "jaw_weight", "frame_basis", "shape_basis")
        picked = {name: getattr(self, name)[rows] for name in names}
        correctives = None if self.correctives is None else self.correctives[rows]
        return dataclasses.replace(self, **picked, correctives=correctives)

    def of_person(self, shape: Array) -> LandmarkHead:
        """The head of known shape (S,), which is no unknown any more."""
        return dataclasses.replace(
            self,
            mean=self.mean + self.shape_basis @ shape,
            pivot=self.pivot + self.pivot_shape @ shape,
            shape_basis=self.shape_basis[..., :0],
            pivot_shape=self.pivot_shape[:, :0],
        )

    def own_basis(self, linear: Array) -> Array:
        """Coefficients (T, E) in the model's own basis."""
        return linear if self.turn is None else linear @ self.turn.T

    @cached_property
    def rigidity(self) -> Stiffness:
        """What unsteady motion costs."""
        if self.stiffness is not None:
            return self.stiffness
        return Stiffness.of(self.mean, self.jaw_arm, np.square(self.frame_basis).sum((0, 1)))

    @property
    def jaw_arm(self) -> Array:
        """(L, 3): from the jaw joint, times the weight."""
        return self.jaw_weight[:, None] * (self.mean - self.pivot)

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

    @cached_property
    def columns(self) -> Array:
        """(1 + E + C + S, 6 L): the channels, coefficients first."""
        return np.ascontiguousarray(self.channels.transpose(2, 1, 0)).reshape(-1, 6 * self.landmarks)

    def person(self, shape: Array) -> Array:
        """(6 L,): channels of a person at rest."""
        return self.columns[0] + shape @ self.columns[1 + self.own_count :]

    def own_coefficients(self, state: State) -> Array:
        """(T, E + C): what the channels of a frame are multiplied with."""
        if self.correctives is None:
            return state.linear
        turn = (rotation_exp(state.jaw) - np.eye(3)).reshape(-1, 9)
        return np.concatenate([state.linear, turn], axis=1)


@dataclass(frozen=True)
class Sliding:
    """Landmarks that may stand for any of the head's points: which, in every frame.

    Attributes:
        rows: (T, L) points of the head, -1 where a landmark is not used.
        certain: (T, L) confidence of the landmarks where they are used.
        choose: takes all points of T frames (T, M, 3), camera axes, and says which, (T, L).
    """

    rows: Rows
    certain: Array
    choose: Callable[[Array], Rows]

    def select(self, frames: slice | Rows) -> Sliding:
        return Sliding(self.rows[frames], self.certain[frames], self.choose)


@dataclass(frozen=True)
class LandmarkProblem:
    """What was seen, and the head it is explained with.

    Attributes:
        head: at the landmarks (or at the points they may slide over), normalised units.
        target: landmarks (T, 2, L), zeros where absent; single precision will do.
        weight: data weight of every frame (T,), 0 where absent.
        confidence: (T, L) of every landmark, 0 where absent; None for 1 everywhere.
        unit: (T,) of the lens; None for weak perspective.
        lens: known, or where its search starts; 0 for weak perspective.
        sliding: None if landmark l is the head's point l in all frames.
    """

    head: LandmarkHead
    target: NDArray[np.floating]
    weight: Array
    confidence: Array | None = None
    unit: Array | None = None
    lens: float = 0.0
    sliding: Sliding | None = None

    @property
    def frames(self) -> int:
        return len(self.target)

    @property
    def present(self) -> NDArray[np.bool_]:
        return self.weight > 0

    def select(self, frames: slice | Rows) -> LandmarkProblem:
        """The problem of some of the frames."""
        return dataclasses.replace(
            self,
            target=self.target[frames],
            weight=self.weight[frames],
            confidence=None if self.confidence is None else self.confidence[frames],
            unit=None if self.unit is None else self.unit[frames],
            sliding=None if self.sliding is None else self.sliding.select(frames),
        )


__all__ = ["Array", "LandmarkHead", "LandmarkProblem", "Rows", "Sliding", "State"]
