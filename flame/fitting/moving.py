"""Landmarks that are other points of the mesh in every frame, as the jaw contour of the 68 points is.

A contour landmark marks where the outline of the face meets a line of the mesh, so it slides over the mesh
as the head turns. The solver takes the mesh points it may stand for (candidates) and a function that picks
one for every landmark and frame; it asks again after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from ...geom.errors import ShapeError
from ..model import LandmarkEmbedding

Choose = Callable[[Float[np.ndarray, "T M 3"]], Int[np.ndarray, "T K"]]


@dataclass(frozen=True)
class MovingLandmarks:
    """K landmarks of a family, the M mesh points they may stand for, and how one is picked.

    Attributes:
        numbers: which landmarks of the family move, ``(K,)``; they replace the fixed ones of these numbers in
            the head's embedding, if it has any.
        candidates: mesh points ``(M,)``; its ``indices`` are not looked at.
        choose: takes the candidates as posed in T frames, camera axes (x right, y down, z forward, so that
            smaller z is nearer) in pixels up to one shift and one scale for all, ``(T, M, 3)``; returns the
            row among the candidates for every frame and landmark, ``(T, K)``, -1 where a landmark is not to
            be used (its line is wholly hidden, say). It must depend on its argument alone, frame by frame,
            or fits are not repeatable and streams differ from clips.

    Raises:
        ShapeError: numbers are no vector, or repeat.
    """

    numbers: Int[Tensor, "K"]
    candidates: LandmarkEmbedding
    choose: Choose

    def __post_init__(self) -> None:
        if self.numbers.ndim != 1 or len(self.numbers.unique()) != len(self.numbers):
            raise ShapeError(
                f"MovingLandmarks.numbers: expected different landmark numbers (K,), got {self.numbers}"
            )
