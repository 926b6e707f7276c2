"""What is expected of a head before anything is seen: of a frame, of its motion, of the person, the lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._chain import Ties
from ._problem import LandmarkHead, State
from ._rotations import Array, left_jacobian, rotation_log

LENS = (0.5, 0.5)  # longer side over focal length: mean and deviation; 0.5 sees 28 degrees


@dataclass(frozen=True)
class Priors:
    """Diagonal precisions.

    Attributes:
        own: of a frame's unknowns (n,).
        first: of their first differences in time (n,).
        second: of second differences (n,). Those beyond ``bend`` (n,) are motion, not noise: they cost less
            and less, by Cauchy's function where they ``fade`` (n,), else pseudo-Huber's.
        shared: of what all frames share (q,), about ``shared_mean``.
    """

    own: Array
    first: Array
    second: Array
    bend: Array
    fade: NDArray[np.bool_]
    shared: Array
    shared_mean: Array

    def at(self, state: State, free_lens: bool) -> PriorTerms:
        """Energy, pull and coupling of the frames at a state."""
        vector, own = state.frame_vector(), self.own
        energy, pull = float((own * np.square(vector)).sum()), -own * vector
        change = differences(state)
        turn = np.diff(change, axis=0)
        eased, cost = self._eased(turn)
        ties = Ties(np.broadcast_to(self.first, change.shape), self.second / eased)
        if ties.tied:
            force, bent = ties.first * change, ties.second * turn
            energy += float((force * change).sum())
            energy += float((self.second * cost).sum())
            force[:-1] -= bent
            force[1:] += bent
            _add_pull(pull, change[:, 3:6], force)
        off = shared_vector(state, free_lens) - self.shared_mean
        energy += float((self.shared * np.square(off)).sum())
        return PriorTerms(energy, pull, -self.shared * off, ties)

    def _eased(self, turn: Array) -> tuple[Array, Array]:
        """What the weights of second differences (T - 2, n) are divided by, and their costs."""
        square = np.square(turn / self.bend)
        root = np.sqrt(1 + square)
        eased = np.where(self.fade, 1 + square, root)
        cost = np.where(self.fade, np.square(self.bend) * np.log1p(square), 2 * np.square(turn) / (1 + root))
        return eased, cost


@dataclass(frozen=True)
class PriorTerms:
    """At a state: energy, half its downhill gradient by frames (T, n) and by what they share (q,), ties."""

    energy: float
    pull: Array
    shared_pull: Array
    ties: Ties


def shared_vector(state: State, free_lens: bool) -> Array:
    """The shape, and the lens where it is an unknown."""
    return np.append(state.shape, state.lens) if free_lens else state.shape


def _add_pull(pull: Array, turn: Array, force: Array) -> None:
    """Add what forces on differences (T - 1, n) do to the frames; rotations turn by ``turn`` in between."""
    before, after = force.copy(), force.copy()
    slope = left_jacobian(turn)
    before[:, 3:6] = np.linalg.solve(slope, force[:, 3:6, None])[..., 0]
    after[:, 3:6] = np.linalg.solve(np.swapaxes(slope, 1, 2), force[:, 3:6, None])[..., 0]
    pull[:-1] += before
    pull[1:] -= after


def differences(state: State) -> Array:
    """First differences in time of the frame block, rotations as the log of the relative rotation."""
    vector = np.diff(state.frame_vector(), axis=0)
    vector[:, 3:6] = rotation_log(state.rotation[1:] @ np.swapaxes(state.rotation[:-1], 1, 2))
    return vector


def frame_precision(head: LandmarkHead, jaw_deviation: tuple[float, float, float]) -> Array:
    """(n,) of pose (none), jaw, coefficients."""
    return np.concatenate([np.zeros(6), 1.0 / np.square(jaw_deviation), np.ones(head.frame_count)])


__all__ = ["LENS", "Priors", "differences", "frame_precision", "shared_vector"]
