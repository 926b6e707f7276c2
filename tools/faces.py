"""The faces of a photo or clip: found and followed, one chosen or all, each fitted on its own frames."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..flame.detect import Track, track_clip
from ..flame.fitting import FitConfig, accept, fit_landmarks
from ..flame.model import HeadModel
from ..flame.params import MISSING, HeadFit
from ..geom.errors import NoFaceError

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceChoice:
    """The face that was chosen among those of a photo or clip.

    Attributes:
        tracks: every face found, by rank: confirmed ones first, then by size times length.
        rank: which of them it is; the number that ``--face`` takes.
    """

    tracks: tuple[Track, ...]
    rank: int

    @property
    def track(self) -> Track:
        """The chosen face."""
        return self.tracks[self.rank]


@contextlib.contextmanager
def naming(source: Any) -> Iterator[None]:
    """Whoever finds no face says in which file; pictures in memory have no name.

    Args:
        source: a file, or pictures.

    Raises:
        NoFaceError: what was raised within, the file named.
    """
    try:
        yield
    except NoFaceError as error:
        if not isinstance(source, (str, Path)):
            raise
        raise NoFaceError(f"{source}: {error}") from error


def find_faces(frames: Iterable[Frame], *, landmarks: str | Path = "mediapipe") -> list[Track]:
    """Detect and follow; the face tracks by rank.

    Raises:
        NoFaceError: no face.
    """
    tracks = track_clip(frames, detector=landmarks)
    if not tracks:
        raise NoFaceError(
            "expected a face, found none; is it visible, upright and larger than about 25 pixels?"
        )
    return tracks


def find_face(
    frames: Iterable[Frame], *, landmarks: str | Path = "mediapipe", face: int | None = None
) -> FaceChoice:
    """Detect and follow; the first face, or the one of rank ``face``.

    Args:
        frames: of one clip, or one photo.
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None: the first.

    Raises:
        NoFaceError: no face, or none of that rank.
    """
    return choose_face(find_faces(frames, landmarks=landmarks), face)


def choose_face(tracks: Sequence[Track], face: int | None) -> FaceChoice:
    """The face of a rank; the first where it is None.

    Raises:
        NoFaceError: none of that rank.
    """
    if face is not None and not 0 <= face < len(tracks):
        raise NoFaceError(
            f"--face {face}: the input has {len(tracks)} face(s), numbered 0 to {len(tracks) - 1}"
        )
    return FaceChoice(tuple(tracks), face or 0)


def fit_face(choice: FaceChoice, head: HeadModel, *, config: FitConfig | None = None) -> HeadFit:
    """Fit the chosen face; one record for every frame of the input.

    Only the frames between the first and the last that show the face are solved for; outside, the records
    are missing. A face that no detector confirms, as a profile may be, is accepted if the fit finds it
    plausible.

    Args:
        choice: from `find_face` or `choose_face`.
        head: the head that is fitted.
        config: of the fitter.

    Raises:
        NoFaceError: nothing that could be a face.
    """
    track = choice.track
    start, stop = track.span
    shown = track.cut(start, stop)
    fit = fit_landmarks(
        head, shown.landmarks[..., :2], shown.size, scores=shown.score, family=shown.family, config=config
    )
    accept(fit, confirmed=track.confirmed)
    fit = placed(fit, start, track.length)
    known = {"faces": len(choice.tracks), "face": choice.rank, "track": track.number, "span": [start, stop]}
    return dataclasses.replace(fit, report={**fit.report, **known, "family": track.family})


def fit_faces(
    tracks: Sequence[Track], head: HeadModel, *, config: FitConfig | None = None
) -> Iterator[HeadFit]:
    """Fit one track after another, by rank; those that turn out to be no face are left out.

    Args:
        tracks: from `find_faces`, by rank.
        head: the head that is fitted.
        config: of the fitter.

    Raises:
        NoFaceError: none of them is a face.
    """
    refused: list[NoFaceError] = []
    for rank in range(len(tracks)):
        try:
            yield fit_face(FaceChoice(tuple(tracks), rank), head, config=config)
        except NoFaceError as error:
            refused.append(error)
    if len(refused) == len(tracks):
        raise refused[0]


def placed(fit: HeadFit, start: int, length: int) -> HeadFit:
    """The fit of a part of a clip as a fit of the whole clip of ``length`` frames.

    Frames before ``start`` and after the part are `MISSING`: they hold the nearest record's parameters and
    camera, confidence 0, NaN landmarks, covariance and deviation.

    Args:
        fit: of a part.
        start: number of its first frame in the clip.
        length: of the clip.
    """
    if (start, fit.frames) == (0, length):
        return fit
    index = torch.arange(length) - start
    outside = (index < 0) | (index >= fit.frames)
    whole = fit.select(index.clamp(0, fit.frames - 1))
    unknown = outside[:, None, None]
    status, deviation = whole.status.masked_fill(outside, MISSING), whole.deviation
    outliers = [frame + start for frame in fit.report.get("outlier_frames", ())]
    report = {"frames": length, "outlier_frames": outliers}
    return dataclasses.replace(
        whole,
        status=status,
        confidence=whole.confidence.masked_fill(outside, 0.0),
        landmarks=whole.landmarks.masked_fill(unknown, math.nan),
        residual=whole.residual.masked_fill(unknown, 0.0),
        covariance=whole.covariance.masked_fill(unknown, math.nan),
        deviation=None if deviation is None else deviation.masked_fill(outside[:, None], math.nan),
        report={**fit.report, **report, "missing": int((status == MISSING).sum())},
    )


def fit_frames(
    frames: Iterable[Frame],
    head: HeadModel,
    *,
    landmarks: str | Path = "mediapipe",
    face: int | None = None,
    config: FitConfig | None = None,
) -> HeadFit:
    """`find_face`, then `fit_face`; one record for every frame.

    Args:
        frames: of one clip, or one photo.
        head: the head that is fitted.
        landmarks: a detector's name, or a file of landmarks.
        face: rank of the face; None: the first.
        config: of the fitter.

    Raises:
        NoFaceError: no face, no face of that rank, or nothing that could be a face.
    """
    return fit_face(find_face(frames, landmarks=landmarks, face=face), head, config=config)
