"""Facial landmarks of photos and clips: the common types, and a registry of the detectors that fill them.

Everything here is numpy in, numpy out. Pixel centres are at +0.5 and (0, 0) is the outer top-left corner of
the picture; z is in pixels, smaller is nearer, and its origin is the detector's own.

A detector is known by name (`mediapipe`, `face-alignment`) or is a file of landmarks the caller brings
(`.npy`, `.npz`, `.csv`). Packages behind a detector are imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ...geom.errors import HeadwarpError, NoFaceError, ShapeError

if TYPE_CHECKING:  # resolved on first use, see __getattr__
    from .arrays import read_landmarks as read_landmarks
    from .mediapipe import instability as instability
    from .mediapipe import landmarks_in_roi as landmarks_in_roi
    from .mediapipe import redetect as redetect
    from .segmentation import segment_person as segment_person
    from .tracking import FaceTracker as FaceTracker
    from .tracking import TrackerConfig as TrackerConfig

FAMILIES = {478: "mediapipe", 68: "ibug68"}
_LAZY = {
    "FaceTracker": ".tracking",
    "TrackerConfig": ".tracking",
    "landmarks_in_roi": ".mediapipe",
    "redetect": ".mediapipe",
    "instability": ".mediapipe",
    "segment_person": ".segmentation",
    "read_landmarks": ".arrays",
}
__all__ = sorted(
    [
        *_LAZY,
        "Detection",
        "Detector",
        "Track",
        "check_image",
        "detect_faces",
        "detector_names",
        "get_detector",
    ]
    + ["register_detector", "track_clip"]
)


@dataclass(frozen=True)
class Detection:
    """One face in one picture.

    Attributes:
        landmarks: (L, 3) float32 px; L = 478 (mediapipe face mesh with irises) or 68 (iBUG).
        score: presence in [0, 1].
        box: (4,) float32, the landmarks' bounding box x0, y0, x1, y1 in px.
        confirmed: whether a face detector, and not the landmark network alone, found a face here.
        track: number of the clip's track this face belongs to; None for a single picture.
    """

    landmarks: Float[np.ndarray, "L 3"]
    score: float
    box: Float[np.ndarray, " 4"]
    confirmed: bool
    track: int | None = None

    @property
    def size(self) -> float:
        """Longer side of the box in px."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass(frozen=True)
class Track:
    """One face through one clip, a row for every frame of the clip.

    Attributes:
        landmarks: (T, L, 3) float32 px, NaN where the face is absent.
        present: (T,) bool.
        score: (T,) float32 presence in [0, 1]; 0 where absent.
        confirmed: whether a face detector agreed at least once.
        size: (H, W) of the clip's frames; (0, 0) if not known.
        has_depth: False if z was never measured and is 0 by convention.
    """

    landmarks: Float[np.ndarray, "T L 3"]
    present: Bool[np.ndarray, " T"]
    score: Float[np.ndarray, " T"]
    confirmed: bool
    size: tuple[int, int]
    has_depth: bool = True

    @property
    def family(self) -> str:
        """Name of the landmark layout: `mediapipe` or `ibug68`."""
        return FAMILIES[self.landmarks.shape[1]]

    @property
    def span(self) -> tuple[int, int]:
        """First frame with the face and one past the last; (0, 0) if there is none."""
        frames = np.flatnonzero(self.present)
        return (int(frames[0]), int(frames[-1]) + 1) if len(frames) else (0, 0)

    @property
    def boxes(self) -> Float[np.ndarray, "T 4"]:
        """Bounding boxes x0, y0, x1, y1 of the landmarks (irises left out) in px, NaN where absent."""
        xy = self.landmarks[:, :468, :2]
        return np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)

    @property
    def extent(self) -> float:
        """Longer box side summed over the frames with the face: size times length, the rank of a track."""
        boxes = self.boxes[self.present]
        return float(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).sum())


class Detector(Protocol):
    """What a registered detector can do."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int) -> list[Detection]:
        """Find the faces of one picture."""

    def track(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, max_faces: int) -> list[Track]:
        """Follow the faces of one clip."""


_DETECTORS: dict[str, Callable[[], Detector]] = {}


def register_detector(name: str, factory: Callable[[], Detector]) -> None:
    """Make a detector known by name.

    Raises:
        HeadwarpError: the name is taken.
    """
    if name in _DETECTORS:
        raise HeadwarpError(f"detector {name!r} is already registered; choose another name")
    _DETECTORS[name] = factory


def detector_names() -> list[str]:
    """Return the names `get_detector` knows, sorted."""
    return sorted(_DETECTORS)


def get_detector(name: str | Path) -> Detector:
    """Return the detector of a name, or one that answers from a file of landmarks.

    Raises:
        HeadwarpError: unknown name, or a landmark file that is absent or malformed.
        MissingDependencyError: the detector's package is not installed.
    """
    if str(name) in _DETECTORS:
        return _DETECTORS[str(name)]()
    if Path(name).suffix.lower() in {".npy", ".npz", ".csv"}:
        return importlib.import_module(".arrays", __name__).ArrayDetector(Path(name))
    raise HeadwarpError(
        f"landmarks: expected one of {', '.join(detector_names())} or a .npy, .npz or .csv file, "
        f"got {str(name)!r}"
    )


def detect_faces(
    image: UInt8[np.ndarray, "H W 3"], *, max_faces: int = 8, detector: str | Path = "mediapipe"
) -> list[Detection]:
    """Find the faces of one picture, confirmed ones first, larger ones first within each kind.

    Args:
        image: (H, W, 3) uint8 RGB, any size.
        max_faces: at most this many are returned.
        detector: name of a registered detector or a landmark file.

    Returns:
        Detections; an empty list if there is no face.

    Raises:
        ShapeError: not a (H, W, 3) uint8 picture.

    Example:
        >>> import skimage.data  # doctest: +SKIP
        >>> detect_faces(skimage.data.astronaut())[0].landmarks.shape  # doctest: +SKIP
        (478, 3)
    """
    return get_detector(detector).detect(check_image(image), max_faces=max_faces)


def track_clip(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    *,
    face: int | None = None,
    max_faces: int = 4,
    detector: str | Path = "mediapipe",
) -> list[Track]:
    """Follow the faces of one clip; the frames are read once, in order, and none is kept.

    Tracks come sorted: confirmed ones first, then by size times length (`Track.extent`). For fitting one
    person, take the first. A camera cut ends every track; the same person may come back in another one
    after it, so the tracks of a clip with cuts are as many as its shots. A face that is lost for a while
    and comes back to about the same place continues its track, with `present` False between.

    Args:
        frames: (H, W, 3) uint8 RGB pictures of one size.
        face: return only the track of this rank (0 = first), in a list of one.
        max_faces: at most this many faces at a time.
        detector: name of a registered detector or a landmark file.

    Raises:
        NoFaceError: `face` was given and there are not so many tracks.
        ShapeError: a frame is not (H, W, 3) uint8 or differs in size from the first.
    """
    tracks = get_detector(detector).track(frames, max_faces=max_faces)
    if face is None:
        return tracks
    if not 0 <= face < len(tracks):
        raise NoFaceError(
            f"face {face}: the clip has {len(tracks)} face track(s)"
            + (f", numbered 0 to {len(tracks) - 1}" if tracks else "; is a face visible, upright and sharp?")
        )
    return [tracks[face]]


def check_image(image: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """Return the picture if it is (H, W, 3) uint8 with at least one pixel.

    Raises:
        ShapeError: it is not.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ShapeError(
            f"image: expected uint8 (H, W, 3) RGB, got {got}; read files with training.data.media"
        )
    if 0 in image.shape:
        raise ShapeError(f"image: expected at least one pixel, got {image.shape}")
    return image


def _mediapipe() -> Detector:
    return importlib.import_module(".mediapipe", __name__).MediapipeDetector()


def _face_alignment() -> Detector:
    return importlib.import_module(".face_alignment", __name__).FaceAlignmentDetector()


register_detector("mediapipe", _mediapipe)
register_detector("face-alignment", _face_alignment)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
