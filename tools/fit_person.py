"""One identity for several inputs of one person: found from views of all of them, before each is fitted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..flame.detect import Track
from ..flame.fitting import fit_views
from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError, NoFaceError
from ..training.data.inputs import Input, opened
from .fit_clip import ClipOptions, follow

VIEWS_EACH = 8  # frames of a clip, spread over it: neighbours tell nothing new


@dataclass(frozen=True)
class _View:
    points: NDArray[np.floating]
    size: tuple[int, int]
    score: float
    family: str


def person_shape(inputs: Sequence[Input], options: ClipOptions, model: HeadModel) -> tuple[float, ...]:
    """Coefficients of the shape that the person of all inputs has.

    Every photo is a view, of a clip up to eight frames are. An input that cannot be read, or shows no face,
    is passed over here; it fails when its turn comes to be fitted.

    Args:
        inputs: photos and clips of one person.
        options: of the fit.
        model: the head that is fitted.

    Raises:
        NoFaceError: no input shows a face.
    """
    views = [view for found in inputs for view in _views(found, options)]
    if not views:
        raise NoFaceError("fit: --one-person: expected a face in at least one input, found none")
    fits = fit_views(
        model,
        [view.points for view in views],
        [view.size for view in views],
        scores=[view.score for view in views],
        family=views[0].family,
        config=options.fitting,
    )
    return tuple(fits[0].params.shape.tolist())


def _views(found: Input, options: ClipOptions) -> Iterator[_View]:
    try:
        with tempfile.TemporaryDirectory() as folder, opened(found, Path(folder)) as path:
            track = follow(path, options).choice.track
    except HeadwarpError:
        return
    yield from _spread(track)


def _spread(track: Track) -> Iterator[_View]:
    """Frames of a track, evenly over those with a face."""
    seen = np.flatnonzero(track.present)
    for frame in seen[np.linspace(0, len(seen) - 1, min(VIEWS_EACH, len(seen))).round().astype(int)]:
        points = track.landmarks[frame, :, :2]
        yield _View(points, track.size, float(track.score[frame]), track.family)
