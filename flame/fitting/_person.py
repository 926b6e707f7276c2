"""A person a stream follows: everything of a head that identity fixes, made once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ._frame import FrameState, PersonTables, placed
from ._observed import Units, choice_of
from ._prepared import PreparedHead, as_numpy
from ._priors import frame_precision
from ._problem import Rows
from ._rotations import Array
from .gaze import EyePlaces
from .solver import SolverConfig

STREAM_TIE = 0.1  # hold of the frame before, over the data's own: a frame follows its own points by 91 %
LEAST_HOLD = 1e-6  # of unknowns that move no landmark


def spread_of(points: Array) -> float:
    """Root mean square distance of points (2, L) from their centre."""
    middle = points.mean(axis=1)
    flat = points.ravel()
    return math.sqrt(max(float(flat @ flat) / points.shape[1] - float(middle @ middle), 0.0))


@dataclass(frozen=True)
class Eyes:
    """The eyes of a person, in the solver's units and coefficients.

    Attributes:
        places: their landmarks.
        centre: (2, 3) of the joints at rest, centre_by_own (2, 3, F).
        weight: (2, L) of the landmarks to the joints; rows: those that turn with an eye.
    """

    places: EyePlaces
    centre: Array
    centre_by_own: Array
    weight: Array
    rows: NDArray[np.intp]

    @staticmethod
    def of(prepared: PreparedHead, shape: Array) -> Eyes | None:
        points, head = prepared.points, prepared.everything
        places = EyePlaces.among(points.indices.tolist())
        if places is None:
            return None
        joints = [points.joint_names.index(name) for name in ("left_eye", "right_eye")]
        rest = as_numpy(points.joint_template)[joints] * prepared.unit - prepared.centre
        by_shape = as_numpy(points.joint_shape_basis)[joints][..., : len(shape)] * prepared.unit
        by_expression = as_numpy(points.joint_expression_basis)[joints][..., : head.frame_count - 2]
        by_own = np.concatenate([by_expression * prepared.unit, np.zeros((2, 3, 2))], axis=2)
        turn = np.eye(head.frame_count) if head.turn is None else head.turn
        weight = as_numpy(points.weights)[:, joints].T
        rows = np.flatnonzero(weight.any(0))
        return Eyes(places, rest + by_shape @ shape, by_own @ turn, weight, rows)

    def centres(self, linear: Array) -> Array:
        """(2, 3)."""
        return self.centre + self.centre_by_own @ linear


@dataclass(frozen=True)
class Person:
    """Identity, camera and units of a stream.

    Attributes:
        shape: (S,) coefficients of the fitted part of the basis.
        tables: of all prepared points; of the landmarks in their order, if none slides.
        fitted: (L,) which landmarks take part; ``fixed`` of them, the first, do not move over the mesh.
        choose: what tells which points the landmarks are (`_observed.choice_of`); None if none slides.
        taking_part: (M',) the points that it is asked about.
        eyes: None for a head without irises.
        hold: (n,) of the frame before.
        units: of one frame; strength of the perspective, 0 for weak.
        lens: longer side over focal length, 0 for weak perspective.
        usual_ratio: spread of the resting landmarks over that of a face of usual size.
        combined: (3 + F, n) what `HeadFit.deviation` is made of.
    """

    shape: Array
    tables: PersonTables
    fitted: NDArray[np.bool_]
    fixed: int
    choose: Callable[[Array], Rows] | None
    taking_part: NDArray[np.intp]
    eyes: Eyes | None
    hold: Array
    units: Units
    lens: float
    strength: float
    usual_ratio: float
    combined: Array

    def rows(self, state: FrameState) -> Rows | None:
        """Which of the points that take part the landmarks are in a state, -1 where one is not used (L',)."""
        if self.choose is None:
            return None
        points = placed(state, self.tables.channels(state))[self.taking_part]
        return self.choose(np.ascontiguousarray(points)[None])[0]

    def tables_at(self, rows: Rows | None) -> tuple[PersonTables, NDArray[np.bool_] | None]:
        """Tables of the landmarks, and which of them (L,) are used; None for all."""
        if rows is None:
            return self.tables, None
        place = np.arange(len(self.fitted))
        place[self.fitted] = self.taking_part[np.maximum(rows, 0)]
        used = np.ones(len(place), bool)
        used[self.fitted] = rows >= 0
        return self.tables.at(place), used

    def resting_spread(self, taken: NDArray[np.bool_]) -> float:
        """Root mean square distance of landmarks at rest from their centre, as seen from the front."""
        if np.array_equal(taken, self.fitted[: self.fixed]):
            return self._usual_spread
        return spread_of(self.tables.base[:2, : self.fixed][:, taken])

    @cached_property
    def _usual_spread(self) -> float:
        return spread_of(self.tables.base[:2, : self.fixed][:, self.fitted[: self.fixed]])

    @staticmethod
    def of(
        prepared: PreparedHead,
        shape: Array,
        *,
        config: SolverConfig,
        units: Units,
        lens: float,
        strength: float,
    ) -> Person:
        head = prepared.everything
        precision = frame_precision(head, config.jaw_deviation)
        combined = np.eye(len(precision))[6:]
        if head.turn is not None:
            combined[3:, 9:] = head.turn
        return Person(
            prepared.identity_of(shape),
            PersonTables.of(head, shape, precision),
            prepared.fitted,
            prepared.fixed,
            choice_of(prepared),
            np.flatnonzero(prepared.taking_part),
            Eyes.of(prepared, prepared.identity_of(shape)),
            np.maximum(STREAM_TIE * config.smooth / config.sigma**2 * head.rigidity.weight, LEAST_HOLD),
            units,
            lens,
            strength,
            1.0,
            combined,
        )
