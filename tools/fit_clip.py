"""One photo or clip fitted: its frames pass by once, its fit and overlay are written."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..flame.fitting import FitConfig
from ..flame.model import HeadModel
from ..flame.params import DETECTED, HeadFit
from ..geom.errors import HeadwarpError
from .fit_report import Fitted, facts, notes
from .portrait import Frame, find_face, fit_face


@dataclass(frozen=True)
class ClipOptions:
    """How one input is fitted and what is written of it; small, and can be sent to another process.

    Attributes:
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None for the first: the largest confirmed one.
        fitting: of the fitter.
        overlay: draw the mesh over a frame.
        provenance: say in the overlay how it was made.
    """

    landmarks: str = "mediapipe"
    face: int | None = None
    fitting: FitConfig = field(default_factory=FitConfig)
    overlay: bool = True
    provenance: bool = True


def fit_to_files(
    path: Path, name: str, options: ClipOptions, model: HeadModel, *, folder: Path
) -> dict[str, Any]:
    """Fit one input and write ``folder/NAME.npz`` and its overlay.

    Returns:
        The input's entry in the report; ``ok`` is False where it failed, and ``error`` says why.
    """
    try:
        fitted = fit_input(path, options, model)
        target = folder / f"{name}.npz"
        _save(fitted.fit, target)
        overlay = (
            _overlay(path, fitted, options, model, target=folder / "overlays" / f"{name}.png")
            if options.overlay
            else None
        )
    except HeadwarpError as error:
        text = str(error)
        reason = text if path.name in text else f"{path}: {text}"
        return {"name": name, "input": path, "ok": False, "error": reason}
    made = {"output": target, "overlay": overlay}
    return {"name": name, "input": path, "ok": True, **made, **facts(fitted)}


def fit_input(path: Path, options: ClipOptions, model: HeadModel) -> Fitted:
    """Read, follow and fit one photo or clip; frames pass by and only landmarks are kept.

    Raises:
        MediaError: the file cannot be read.
        NoFaceError: no face, or none of the rank asked for.
        HeadwarpError: landmarks that do not belong to the input.
    """
    from ..training.data.media import VideoReader

    started = time.perf_counter()
    with VideoReader(path) as reader:
        frames = _Clock(_shown(reader, path.name, reader.info.frames), opening=time.perf_counter() - started)
        choice = find_face(frames, landmarks=options.landmarks, face=options.face)
        info, damaged, truncated = reader.info, reader.damaged, reader.truncated
    tracked = time.perf_counter()
    result = fit_face(choice, model, config=options.fitting)
    ended = time.perf_counter()
    source = {"kind": info.kind, "fps": None if info.fps is None else str(info.fps)}
    seconds = {"decode": frames.seconds, "detect": tracked - started - frames.seconds, "fit": ended - tracked}
    result = dataclasses.replace(result, report={**result.report, **source})
    messages = tuple(notes(result, choice, damaged=damaged, truncated=truncated))
    return Fitted(result, choice, seconds, messages, damaged)


class _Clock:
    """Frames passed on, and how long it took to get them, opening the file included."""

    def __init__(self, frames: Iterable[Frame], *, opening: float) -> None:
        self._frames = frames
        self.seconds = opening

    def __iter__(self) -> Iterator[Frame]:
        started = time.perf_counter()
        for frame in self._frames:
            self.seconds += time.perf_counter() - started
            yield frame
            started = time.perf_counter()
        self.seconds += time.perf_counter() - started


def _shown(frames: Iterable[Frame], name: str, count: int | None) -> Iterable[Frame]:
    """A progress bar on a terminal, for clips."""
    from tqdm import tqdm

    quiet = True if count == 1 else None  # None: unless on a terminal
    return tqdm(frames, desc=name, total=count, unit="frame", leave=False, disable=quiet)


def _save(fit: HeadFit, target: Path) -> None:
    try:
        fit.save(target)
    except OSError as error:
        raise HeadwarpError(f"{target}: cannot be written ({error.strerror or error})") from error


def _overlay(path: Path, fitted: Fitted, options: ClipOptions, model: HeadModel, *, target: Path) -> Path:
    from .overlay import fit_overlay, write_overlay

    seen = np.flatnonzero((fitted.fit.status == DETECTED).numpy())
    index = int(seen[np.abs(seen - (fitted.fit.frames - 1) / 2).argmin()])
    frame = _frame_at(path, index, seek=not fitted.damaged)
    picture = fit_overlay(frame, fitted.fit.select([index]), model, fitted.choice, index)
    write_overlay(target, picture, path if options.provenance else None)
    return target


def _frame_at(path: Path, index: int, *, seek: bool) -> Frame:
    """A frame again; where damage makes numbers uncertain, by the same way through the file."""
    from ..training.data.media import VideoReader

    with VideoReader(path, start=index if seek else 0) as reader:
        return next(itertools.islice(reader, 0 if seek else index, None))
