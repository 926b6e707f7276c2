"""The pictures beside a fit: its mesh over a frame, and its curves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from ..flame.model import HeadModel
from ..flame.params import DETECTED
from ..training.data.portrait import Frame
from .fit_curves import write_fit_curves
from .fit_report import Fitted
from .overlay import fit_overlay, write_overlay


def write_pictures(
    path: Path, fitted: Fitted, model: HeadModel, *, name: str, folder: Path, start: int, provenance: bool
) -> dict[str, str | None]:
    """Write ``folder/overlays/NAME.png`` and, of a clip, ``folder/curves/NAME.png``.

    Args:
        path: the photo or clip.
        fitted: what came of it.
        model: the head.
        name: of the outputs, folders by ``/``.
        folder: where outputs go.
        start: number in the file of the fit's first frame.
        provenance: say in the overlay how it was made.

    Returns:
        ``overlay`` and ``curves``, seen from ``folder``; None for the curves of a photo.
    """
    overlay, curves = f"overlays/{name}.png", f"curves/{name}.png" if fitted.fit.frames > 1 else None
    seen = np.flatnonzero((fitted.fit.status == DETECTED).numpy())
    index = int(seen[np.abs(seen - (fitted.fit.frames - 1) / 2).argmin()])
    frame = _frame_at(path, start + index, seek=not fitted.damaged)
    picture = fit_overlay(frame, model, fitted.fit.select([index]), fitted.choice, index)
    write_overlay(folder / overlay, picture, path if provenance else None)
    if curves is not None:
        write_fit_curves(folder / curves, model, fitted.fit, name)
    return {"overlay": overlay, "curves": curves}


def _frame_at(path: Path, index: int, *, seek: bool) -> Frame:
    """A frame again; where damage makes numbers uncertain, by the same way through the file."""
    from ..training.data.media import VideoReader

    with VideoReader(path, start=index if seek else 0) as reader:
        return next(itertools.islice(reader, 0 if seek else index, None))
