"""Facial proportions of a fitted head, against those of human faces."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..model import LandmarkModel

Pair = tuple[int, int]
OUTER_CANTHI: Pair = (33, 263)
# Distances between face-mesh points of the resting, expressionless face over that of the outer canthi,
# averaged over the pairs: mean and standard deviation over fits of 372 single frames of about 75 persons.
PROPORTIONS: dict[str, tuple[tuple[Pair, ...], float, float]] = {
    "inner_canthi": (((133, 362),), 0.393, 0.008),
    "face_width": (((234, 454),), 1.570, 0.040),
    "jaw_width": (((172, 397),), 1.243, 0.049),
    "nose_length": (((168, 2),), 0.565, 0.025),
    "nose_width": (((129, 358),), 0.471, 0.017),
    "philtrum": (((2, 0),), 0.161, 0.011),
    "eyes_to_mouth": (((168, 13),), 0.796, 0.039),
    "forehead": (((10, 168),), 0.558, 0.023),
    "eye_opening": (((159, 145), (386, 374)), 0.094, 0.023),
    "brow_height": (((105, 159), (334, 386)), 0.248, 0.010),
}


def proportions_deviation(
    head: LandmarkModel, shape: Float[Tensor, " S"], *, frames: int = 1
) -> float | None:
    """How far a face's proportions lie from those of people: the root mean square of their standard scores.

    About 0.9 for a person, above 1.5 for one in fifty; a dog, a cat or a monkey that the face mesh takes for
    a face has 1.4 to 2.8. The more frames a shape was fitted to, the less the prior holds it back: with many,
    people spread 1.4 times as wide, which is allowed for.

    Args:
        head: landmarks of the face mesh.
        shape: identity coefficients.
        frames: how many the shape was fitted to.

    Returns:
        None if the head lacks one of the landmarks.
    """
    place = {index: row for row, index in enumerate(head.indices.tolist())}
    measured = [pair for pairs, _, _ in PROPORTIONS.values() for pair in pairs]
    if not all(index in place for pair in (OUTER_CANTHI, *measured) for index in pair):
        return None
    face = (head.mean + head.shape_basis @ shape.to(head.mean)).detach().cpu().double().numpy()

    def distance(pairs: tuple[Pair, ...]) -> float:
        return float(np.mean([_length(face[place[a]] - face[place[b]]) for a, b in pairs]))

    unit = distance((OUTER_CANTHI,))
    scores = [(distance(pairs) / unit - mean) / spread for pairs, mean, spread in PROPORTIONS.values()]
    width = 1.4 - 0.4 / math.sqrt(frames)
    return math.sqrt(sum(score**2 for score in scores) / len(scores)) / width


def _length(vector: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(vector))
