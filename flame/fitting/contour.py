"""The jaw contour of 68 detected points as landmarks that slide: what the solver needs to fit them."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int

from .._head_data import CONTOUR_COUNT
from ..contour import ContourCandidates, choose_on_patch, contour_candidates
from ..model import HeadModel, LandmarkEmbedding
from .config import FitConfig
from .moving import MovingLandmarks

MOST_COLUMNS = 18  # of a path: a step every 6 mm, at the outline 0.2 mm in the picture


def contour_of_points(head: HeadModel, family: str, count: int) -> MovingLandmarks | None:
    """The sliding contour of ``count`` detected points of a family, None where they or the head have none.

    Detectors of the 68 points, trained on pictures people marked, mark the outline that is seen.

    Args:
        head: whose contour slides.
        family: of the detected points.
        count: of the detected points.
    """
    return contour_landmarks(head) if family == "ibug68" and count == 68 else None


def contour_of(head: HeadModel, family: str, count: int, config: FitConfig) -> MovingLandmarks | None:
    """`contour_of_points`, where the configuration lets it move.

    Args:
        head, family, count: as there.
        config: of the fitter.
    """
    return contour_of_points(head, family, count) if config.contour == "visible" else None


def contour_landmarks(head: HeadModel) -> MovingLandmarks | None:
    """iBUG's points 0 .. 16 of a head, each resting until the face itself hides it; None without a contour.

    Made once for a head.

    Hidden is what the candidates' own surface hides (`contour.choose_on_patch`), since a solver poses
    landmarks and never the whole mesh. A point whose whole path is hidden is left out of that frame.
    """
    if head not in _MOVING:
        options = contour_candidates(head)
        _MOVING[head] = None if options is None else _moving(options)
    return _MOVING[head]


_MOVING: WeakKeyDictionary[HeadModel, MovingLandmarks | None] = WeakKeyDictionary()


def _moving(options: ContourCandidates) -> MovingLandmarks:
    options = options.every(-(-options.faces.shape[1] // MOST_COLUMNS))
    faces = torch.cat([options.faces, options.cover_faces]).flatten()
    bary = torch.cat([options.bary, options.cover_bary]).flatten(0, 1)
    numbers = torch.full((len(faces),), -1)  # of no landmark: which they are is chosen in every frame
    candidates = LandmarkEmbedding(numbers, faces, bary, "contour")

    def choose(points: Float[np.ndarray, "T M 3"]) -> Int[np.ndarray, "T 17"]:
        return _rows(options, points)

    return MovingLandmarks(torch.arange(CONTOUR_COUNT), candidates, choose)


def _rows(options: ContourCandidates, points: np.ndarray) -> np.ndarray:
    """Rows among the flattened candidates, -1 where a point has no visible one."""
    columns = options.faces.shape[1]
    posed = torch.from_numpy(np.ascontiguousarray(points)).unflatten(1, (-1, columns))
    choice, visible = choose_on_patch(options, posed[:, :CONTOUR_COUNT], posed[:, CONTOUR_COUNT:])
    rows = torch.arange(CONTOUR_COUNT) * columns + choice
    return torch.where(visible, rows, -1).numpy()
