"""How stiff a head is in time: what an unsteady frame costs, in the data's own measure.

A second difference of the unknowns moves the landmarks by B d; its cost is a share of that movement's squared
length. Lips and lids may move as they like, what lies around them within `SOFT` less and less, the rest of a
face is stiff. The matrix of this cost is made diagonal by turning the basis of the frame's coefficients,
which leaves their unit prior as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..landmarks import LEFT_EYE_RIM, LIPS, RIGHT_EYE_RIM
from ._rotations import Array

SOFT = 20.0  # % of the eye distance
LIPS_SHARE, LIDS_SHARE = 0.1, 0.005
SCALE, CENTRE, TURN, JAW = 0.25, 0.6, 0.2, 0.003  # shares of log scale, centre, rotation, jaw
FIRST = 0.04  # weight of first differences over that of second ones: motion dies down in about 5 frames
SLOW = 0.3  # the same for coefficients without second differences
FAST = 24  # coefficients, the stiffest, that have second differences; the others hardly move what is stiff
IBUG_LIPS, IBUG_LIDS = range(48, 68), range(36, 48)


@dataclass(frozen=True)
class Manner:
    """How second differences are counted.

    Attributes:
        strength: over what the residuals of the landmarks cost.
        bends: of log scale, centre, rotation, jaw, coefficients: beyond, it is motion and no noise, and costs
            by its length instead of its square; or, for the pose (the first three) if it ``fades``, by the
            logarithm of its square.
        fades: see there.
    """

    strength: float
    bends: tuple[float, float, float, float, float]
    fades: bool


FOLLOWING = Manner(0.5, (0.002, 0.2, 0.0032, 0.02, 0.15), fades=True)
STEADY = Manner(7.0, (0.005, 0.5, 0.008, 0.02, 0.15), fades=False)


@dataclass(frozen=True)
class Stiffness:
    """Weighted squared length of what a unit of every unknown moves the landmarks by, (n,)."""

    weight: Array

    @property
    def first(self) -> Array:
        """(n,) weights of first differences."""
        return np.where(self.second > 0, FIRST, SLOW) * self.weight

    @property
    def second(self) -> Array:
        """(n,) weights of second differences."""
        return np.where(np.arange(len(self.weight)) < 9 + FAST, self.weight, 0.0)

    @staticmethod
    def of(mean: Array, arm: Array, coefficients: Array) -> Stiffness:
        """For landmarks (L, 3), their arms about the jaw (L, 3), and what `softened` gives (F,)."""
        across, turned = np.square(mean[:, :2] - mean[:, :2].mean(0)).sum(), np.square(arm).sum()
        shares = [SCALE * across, CENTRE * len(mean), TURN * across, JAW * turned]
        counts = [1, 2, 3, 3]
        weight = np.append(np.repeat(shares, counts), coefficients)
        return Stiffness(weight)


def softened(basis: Array, mean: Array, ids: NDArray[np.int64], family: str) -> tuple[Array, Array]:
    """Stiffness of turned coefficients (F,), falling, and the turn (F, F): new basis = basis @ turn.

    Args:
        basis: (L, 3, F); mean (L, 3), normalised units.
        ids: numbers of the landmarks in their family.
    """
    share = np.ones(len(mean))
    lips, lids = (LIPS, (*LEFT_EYE_RIM, *RIGHT_EYE_RIM)) if family == "mediapipe" else (IBUG_LIPS, IBUG_LIDS)
    for soft, least in ((lips, LIPS_SHARE), (lids, LIDS_SHARE)):
        inside = np.isin(ids, list(soft))
        if inside.any():
            distance = np.linalg.norm(mean[:, None] - mean[None, inside], axis=2).min(1)
            share = np.minimum(share, np.clip(np.square(distance / SOFT), least, 1.0))
    flat = basis * np.sqrt(share)[:, None, None]
    flat = flat.reshape(-1, basis.shape[2])
    values, turn = np.linalg.eigh(flat.T @ flat)
    values, turn = values[::-1], turn[:, ::-1]
    # signs are arbitrary: the largest entry of a column is made positive, so that results repeat
    signs = np.sign(turn[np.abs(turn).argmax(0), np.arange(len(turn))])
    return np.maximum(values, 0.0), turn * signs
