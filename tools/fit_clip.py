"""One photo or clip fitted: its frames pass by once, its fit and overlay are written."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..flame.detect import reads_parts
from ..flame.fitting import FitConfig
from ..flame.model import HeadModel
from ..geom.errors import NoFaceError
from ..training.data.portrait import Frame
from .faces import FaceChoice, find_face, fit_face
from .fit_report import Fitted, facts, measures, notes

if TYPE_CHECKING:
    from ..training.data.media import VideoReader


@dataclass(frozen=True)
class ClipOptions:
    """How one input is fitted and what is written of it; small, and can be sent to another process.

    Attributes:
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None for the first: the largest confirmed one.
        all_faces: fit every face track.
        start: first frame.
        stop: index after the last frame; None for all.
        fitting: of the fitter.
        photometric: refine the fit by the pictures; the file is read again.
        overlay: draw the mesh over a frame, and the curves of a clip.
        overlay_video: draw the mesh over all frames of a clip; the file is read again.
        provenance: say in the overlay how it was made.
    """

    landmarks: str = "mediapipe"
    face: int | None = None
    all_faces: bool = False
    start: int = 0
    stop: int | None = None
    fitting: FitConfig = field(default_factory=FitConfig)
    photometric: bool = False
    overlay: bool = True
    overlay_video: bool = False
    provenance: bool = True


@dataclass(frozen=True)
class FramesOf:
    """The frames of a file, read anew in every loop."""

    path: Path
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        from ..training.data.media import VideoReader

        with VideoReader(self.path, start=self.start, stop=self.stop) as reader:
            yield from reader


@dataclass(frozen=True)
class Followed:
    """One input after its frames have passed by.

    Attributes:
        frames: to see them again.
        choice: its faces, and the one asked for.
        source: what its file is, for the report of a fit: ``kind``, ``fps``, ``start`` where a part of
            it was fitted, and ``times`` (seconds from the start of the clip, a frame each)
            where frames are not evenly spaced.
        damaged: pictures or packets that were passed over.
        truncated: None, or a sentence on where it ends before its header says.
        seconds: ``decode`` and ``detect`` that either took, in threads of their own, and their ``total`` wall
            time.
    """

    frames: FramesOf
    choice: FaceChoice
    source: Mapping[str, Any]
    damaged: int
    truncated: str | None
    seconds: Mapping[str, float]


def fit_to_files(
    path: Path, name: str, options: ClipOptions, model: HeadModel, *, folder: Path
) -> dict[str, Any]:
    """Fit one input and write ``folder/NAME.npz``, ``folder/overlays/NAME.png``, ``folder/curves/NAME.png``,
    and ``folder/overlays/NAME.mp4`` of a clip where that is asked for.

    With ``all_faces`` the first face goes to NAME.npz, every other one to NAME.faceK.npz, K its rank; what
    turns out to be no face is told in the messages.

    Args:
        path: the photo or clip.
        name: of the outputs, folders by ``/``.
        options: how it is fitted.
        model: the head.
        folder: where outputs go.

    Returns:
        The input's `facts` and `measures`, with ``name`` and the files ``output``, ``overlay``, ``curves``
        and ``video`` seen from ``folder``, and the further faces in ``others``.

    Raises:
        MediaError: the file cannot be read.
        NoFaceError: no face, or none of the rank asked for.
        HeadwarpError: landmarks that do not belong to the input, or nothing can be written.
    """
    followed = follow(path, options)
    ranks = range(len(followed.choice.tracks)) if options.all_faces else [followed.choice.rank]
    entries: list[dict[str, Any]] = []
    refused: list[tuple[int, NoFaceError]] = []
    for rank in ranks:
        try:
            fitted = fit_followed(followed, rank, options, model)
        except NoFaceError as error:
            refused.append((rank, error))
            continue
        own = f"{name}.face{rank}" if entries else name
        entries.append({"name": own, **_write(followed, fitted, options, model, name=own, folder=folder)})
    if not entries:
        raise refused[0][1]
    return _joined(entries, [f"face {rank} left out: {error}" for rank, error in refused])


def _joined(entries: list[dict[str, Any]], refused: list[str]) -> dict[str, Any]:
    """The first entry with the ``others``, the time that all took, and what was refused."""
    first, *others = entries
    if not others and not refused:
        return first
    seconds = dict(first["seconds_per_frame"])
    for stage, of in (("fit", "fit"), ("total", "fit"), ("report", "report")):
        seconds[stage] += sum(entry["seconds_per_frame"][of] for entry in others)
    messages = [*first["messages"], *refused]
    return {**first, "seconds_per_frame": seconds, "messages": messages, "others": others}


def follow(path: Path, options: ClipOptions) -> Followed:
    """Read one photo or clip and follow its faces.

    Raises:
        MediaError: the file cannot be read.
        NoFaceError: no face, or none of the rank asked for.
        HeadwarpError: landmarks that do not belong to the input.
    """
    from ..training.data.media import VideoReader, read_ahead

    started = time.perf_counter()
    with VideoReader(path, start=options.start, stop=options.stop) as reader:
        opening = time.perf_counter() - started
        decoding = _Decoding(reader, in_parts=reads_parts(options.landmarks))
        with contextlib.closing(read_ahead(decoding)) as ahead:
            waiting = _Clock(_shown(ahead, path.name, reader.info.frames))
            choice = find_face(waiting, landmarks=options.landmarks, face=options.face)
        info, damaged, truncated = reader.info, reader.damaged, reader.truncated
    total = time.perf_counter() - started
    seconds = {"decode": opening + decoding.seconds, "detect": total - opening - waiting.seconds}
    source: dict[str, Any] = {"kind": info.kind, "fps": None if info.fps is None else str(info.fps)}
    if options.start or options.stop is not None:
        source["start"] = options.start
    times = uneven_times(decoding.times)
    if times is not None:
        source["times"] = times
    frames = FramesOf(path, options.start, options.stop)
    return Followed(frames, choice, source, damaged, truncated, {**seconds, "total": total})


def fit_followed(followed: Followed, rank: int, options: ClipOptions, model: HeadModel) -> Fitted:
    """Fit the face of a rank.

    Args:
        followed: the faces of an input.
        rank: of the face.
        options: of the fit.
        model: the head that is fitted.

    Raises:
        NoFaceError: nothing that could be a face.
    """
    choice = FaceChoice(followed.choice.tracks, rank)
    started = time.perf_counter()
    result = fit_face(choice, model, config=options.fitting)
    if options.photometric:
        from .refine import refine

        result = refine(result, followed.frames, head=model)
    fitting = time.perf_counter() - started
    seconds = {**followed.seconds, "fit": fitting, "total": followed.seconds["total"] + fitting}
    result = dataclasses.replace(result, report={**result.report, **followed.source})
    told = notes(
        result,
        choice,
        damaged=followed.damaged,
        truncated=followed.truncated,
        all_faces=options.all_faces,
    )
    return Fitted(result, choice, seconds, tuple(told), followed.damaged)


class _Clock:
    """Frames passed on, and how long it took to get them."""

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames = frames
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        started = time.perf_counter()
        for frame in self._frames:
            self.seconds += time.perf_counter() - started
            yield frame
            started = time.perf_counter()
        self.seconds += time.perf_counter() - started


class _Decoding(_Clock):
    """The frames of a reader, how long it took, and when each is due."""

    def __init__(self, reader: VideoReader, *, in_parts: bool) -> None:
        super().__init__(reader.in_parts() if in_parts else reader)
        self._reader = reader
        self.times: list[float | None] = []

    def __iter__(self) -> Iterator[Any]:
        for frame in super().__iter__():
            self.times.append(self._reader.time)
            yield frame


def uneven_times(times: Sequence[float | None]) -> list[float] | None:
    """The times of a clip of variable frame rate, in seconds to the microsecond; None where a rate says it
    all, or the file does not.

    Even are times within a quarter of a frame, or 2 ms, of an even grid: containers round them.

    Example:
        >>> uneven_times([0.0, 0.033, 0.067, 0.1])
        >>> uneven_times([0.0, 0.04, 0.2, 0.24])
        [0.0, 0.04, 0.2, 0.24]
    """
    known = [time for time in times if time is not None]
    if len(known) < max(len(times), 3):
        return None
    grid = np.linspace(known[0], known[-1], len(known))
    allowed = max(0.002, 0.25 * abs(grid[1] - grid[0]))
    if np.abs(np.array(known) - grid).max() <= allowed:
        return None
    return [round(time, 6) for time in known]


def _shown(frames: Iterable[Any], name: str, count: int | None) -> Iterable[Any]:
    """A progress bar on a terminal, for clips."""
    from tqdm import tqdm

    quiet = True if count == 1 else None  # None: unless on a terminal
    return tqdm(frames, desc=name, total=count, unit="frame", leave=False, disable=quiet)


def _write(
    followed: Followed, fitted: Fitted, options: ClipOptions, model: HeadModel, *, name: str, folder: Path
) -> dict[str, Any]:
    """Write the fit and the pictures of one face; returns where, and the `facts`."""
    output = f"{name}.npz"
    fitted.fit.save(folder / output)
    started = time.perf_counter()
    path = followed.frames.path
    pictures: dict[str, str | None] = {"overlay": None, "curves": None, "video": None}
    if options.overlay:
        from .fit_pictures import write_pictures

        pictures |= write_pictures(
            path,
            fitted,
            model,
            name=name,
            folder=folder,
            start=options.start,
            provenance=options.provenance,
        )
    if options.overlay_video and fitted.fit.frames > 1:
        from .fit_film import write_film

        video, source = f"overlays/{name}.mp4", path if options.provenance else None
        write_film(folder / video, followed.frames, model, fitted.fit, title=name, source=source)
        pictures["video"] = video
    measured = measures(model, fitted.fit, options.fitting)
    seconds = {**fitted.seconds, "report": time.perf_counter() - started}
    told = facts(dataclasses.replace(fitted, seconds=seconds))
    return {"output": output, **pictures, **told, **measured}
