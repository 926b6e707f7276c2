"""Frames that a detector spoilt: it jumped elsewhere and came back, or found points that are no face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._problem import LandmarkProblem, State
from ._rotations import Array, rotation_log

LEVER = 55.0  # root mean square distance of the landmarks from their centre, % of the eye distance
JUMP = 30.0  # % of the eye distance that landmarks move at least
AGAINST_USUAL = 6.0  # a jump over the clip's usual motion
RETURN = 0.34  # what lies before and after is at most this share of the jump apart
LONGEST = 5  # frames; what stays longer is another place, not a slip
TRUST = 0.5  # mean robust weight of a frame's landmarks, below which it is flagged


def motion(state: State, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
    """How far the landmarks move between frames, root mean square, % of the eye distance at the first."""
    size = np.exp(state.camera[first, 0])
    moved = (state.camera[second, 1:] - state.camera[first, 1:]) / size[:, None]
    grown = LEVER * np.expm1(np.clip(state.camera[second, 0] - state.camera[first, 0], -3, 3))
    turned = LEVER * rotation_log(state.rotation[second] @ np.swapaxes(state.rotation[first], 1, 2))
    return np.sqrt(np.square(moved).sum(1) + np.square(grown) + np.square(turned).sum(1))


def slips(problem: LandmarkProblem, state: State) -> NDArray[np.bool_]:
    """Frames (T,) in which a face jumps away and comes back within `LONGEST` frames.

    Args:
        state: any that has the frames' poses, the initial one will do.
    """
    slipped = np.zeros(problem.frames, bool)
    index = np.flatnonzero(problem.present)
    if len(index) < 3:
        return slipped
    step = motion(state, index[:-1], index[1:])
    limit = max(JUMP, AGAINST_USUAL * float(np.median(step)))
    place = 0
    while place < len(index) - 2:
        back = _return(state, index[place : place + LONGEST + 2], limit) if step[place] > limit else 0
        slipped[index[place + 1 : place + back]] = True
        place += max(back, 1)
    return slipped


def _return(state: State, index: NDArray[np.intp], limit: float) -> int:
    """Places after which the frames are where the first is again, 0 if they never are."""
    near = index - index[0] <= LONGEST + 1
    away = motion(state, np.repeat(index[:1], len(index)), index)
    for place in range(2, len(index)):
        least = away[1:place].min()
        left = motion(state, index[place - 1 : place], index[place : place + 1])[0]
        if near[place] and left > limit and away[place] < RETURN * least:
            return place
    return 0


def doubtful(problem: LandmarkProblem, trust: Array) -> NDArray[np.bool_]:
    """Frames (T,) most of whose landmarks the head cannot be made to explain."""
    return problem.present & (trust < TRUST)
