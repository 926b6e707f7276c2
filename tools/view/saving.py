"""What the editor saves: a picture, a track, a film; atomic, and saying how it was made."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ...flame.params import HeadFit
from ...flame.pose_track import write_pose_track
from ...geom.errors import HeadwarpError
from ...training.data.media import VideoWriter, write_image
from ...training.data.provenance import Provenance
from ...training.data.visible_mark import marked_frames
from ..drivers import Driver
from ..performance import provenance_of
from .document import Document, film
from .engine import Subject, frames
from .files import Results, stem_of


@dataclass(frozen=True)
class Signature:
    """What is said about files: ``provenance`` in them and beside them, ``mark`` visibly in every frame."""

    provenance: bool = True
    mark: bool = False


class Stopped(HeadwarpError):
    """The person stopped it; nothing was written."""


def save_picture(
    results: Results,
    subject: Subject,
    document: Document,
    fit: HeadFit,
    *,
    signature: Signature,
) -> Path:
    """Write the picture of a one-frame fit.

    Args:
        results: where files go.
        subject: the opened photo.
        document: what is seen.
        fit: one frame.
        signature: how it is marked.

    Raises:
        HeadwarpError: it cannot be written.
    """
    (path,) = results.free(stem_of(document), ".png")
    made = frames(subject, fit, full_frame=document.full_frame)
    frame = next(marked_frames(made, signature.mark))
    write_image(path, frame, provenance=_provenance(subject, document, signature))
    return path


def save_track(results: Results, document: Document, fps: float) -> Path:
    """Write the film's poses, one a frame: what ``--track`` reads.

    Args:
        results: where files go.
        document: what is seen.
        fps: of the track.

    Raises:
        HeadwarpError: no key frame.
    """
    poses = film(document, fps)
    (path,) = results.free(stem_of(document), ".csv")
    return write_pose_track(path, poses, fps)


def save_motion(results: Results, document: Document, driver: Driver) -> Path:
    """Write what a driver does: a fit (.npz) or, of poses, a track; `headwarp animate --driving` reads both.

    Args:
        results: where files go.
        document: what is seen.
        driver: what the head follows.

    Raises:
        HeadwarpError: it cannot be written.
    """
    if driver.fit is not None:
        (path,) = results.free(stem_of(document), ".npz")
        fit = dataclasses.replace(driver.fit, report={**driver.fit.report, "fps": str(driver.fps)})
        return fit.save(path)
    (path,) = results.free(stem_of(document), ".csv")
    return write_pose_track(path, list(driver.poses or ()), float(driver.fps))


def save_film(
    results: Results,
    subject: Subject,
    document: Document,
    fit: HeadFit,
    *,
    fps: Fraction | float,
    signature: Signature,
    stop: threading.Event,
    told: Callable[[int, int], None],
    audio_from: Path | None = None,
) -> Path:
    """Write a clip of every frame of a fit.

    Args:
        results: where files go.
        subject: the opened photo.
        document: what is seen.
        fit: T frames.
        fps: of the film.
        signature: how it is marked.
        stop: set by another thread: the clip is given up.
        told: how many frames of how many are done.
        audio_from: a file with sound, or None.

    Raises:
        Stopped: it was given up.
        HeadwarpError: it cannot be written.
    """
    (path,) = results.free(stem_of(document), ".mp4")
    provenance = _provenance(subject, document, signature)
    made = marked_frames(frames(subject, fit, full_frame=document.full_frame), signature.mark)
    with VideoWriter(path, fps, audio_from=audio_from, provenance=provenance) as writer:
        for number, frame in enumerate(made, start=1):
            if stop.is_set():
                raise Stopped("the film was stopped; nothing was written")
            writer.write(frame)
            told(number, fit.frames)
    return path


def _provenance(subject: Subject, document: Document, signature: Signature) -> Provenance | None:
    if not signature.provenance:
        return None
    inputs = [subject.opened.source.path, document.driver and document.driver.path]
    only = subject.moved_pixels_only and document.driver is None
    return provenance_of(subject.maker.animator, inputs=inputs, moved_pixels_only=only)
