"""Facial landmarks of photos and clips: the common types, and a registry of the detectors that fill them.

Everything here is numpy in, numpy out. Pixel centres are at +0.5 and (0, 0) is the outer top-left corner of
the picture; z is in pixels, smaller is nearer, and its origin is the detector's own.

A detector is known by name (`mediapipe`, `face-alignment`) or is a file of landmarks the caller brings
(`.npy`, `.npz`, `.csv`). Packages behind a detector are imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import UInt8

from ...geom.errors import HeadwarpError, NoFaceError, ShapeError
from ._picture import LazyPicture as LazyPicture
from ._picture import sampled as sampled
from ._tracks import Detection as Detection
from ._tracks import Track as Track

if TYPE_CHECKING:  # resolved on first use, see __getattr__
    from .arrays import read_landmarks as read_landmarks
    from .mediapipe import instability as instability
    from .mediapipe import landmarks_in_roi as landmarks_in_roi
    from .mediapipe import redetect as redetect
    from .regions import RegionMap as RegionMap
    from .regions import RegionSegmenter as RegionSegmenter
    from .regions import load_segmenter as load_segmenter
    from .segmentation import segment_person as segment_person
    from .tracking import FaceTracker as FaceTracker
    from .tracking import TrackerConfig as TrackerConfig

_LAZY = {
    "FaceTracker": ".tracking",
    "RegionMap": ".regions",
    "RegionSegmenter": ".regions",
    "TrackerConfig": ".tracking",
    "landmarks_in_roi": ".mediapipe",
    "redetect": ".mediapipe",
    "instability": ".mediapipe",
    "load_segmenter": ".regions",
    "segment_person": ".segmentation",
    "read_landmarks": ".arrays",
}
__all__ = sorted(
    [
        *_LAZY,
        "Detection",
        "Detector",
        "LazyPicture",
        "Track",
        "check_image",
        "detect_faces",
        "detector_names",
        "get_detector",
        "reads_parts",
        "sampled",
    ]
    + ["register_detector", "track_clip"]
)


class Detector(Protocol):
    """What a registered detector can do."""

    def detect(self, image: UInt8[np.ndarray, "H W 3"], *, max_faces: int) -> list[Detection]:
        """Find the faces of one picture.

        Args:
            image: uint8 RGB.
            max_faces: how many at most.
        """

    def track(self, frames: Iterable[UInt8[np.ndarray, "H W 3"]], *, max_faces: int) -> list[Track]:
        """Follow the faces of one clip.

        Args:
            frames: uint8 RGB, in order.
            max_faces: in one frame at most.
        """


_DETECTORS: dict[str, Callable[[], Detector]] = {}
_READ_PARTS: set[str] = set()


def register_detector(name: str, factory: Callable[[], Detector], *, reads_parts: bool = False) -> None:
    """Make a detector known by name; ``reads_parts`` if its `track` takes a `LazyPicture` for an array.

    Args:
        name: as `landmarks=` and ``--landmarks`` take it.
        factory: makes the detector; called when it is needed.
        reads_parts: its `track` takes a `LazyPicture` for an array.

    Raises:
        HeadwarpError: the name is taken.
    """
    if name in _DETECTORS:
        raise HeadwarpError(f"detector {name!r} is already registered; choose another name")
    _DETECTORS[name] = factory
    if reads_parts:
        _READ_PARTS.add(name)


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


def reads_parts(name: str | Path) -> bool:
    """Whether a detector, or a file of landmarks, takes a `LazyPicture` for an array; the others do not."""
    return str(name) in _READ_PARTS or str(name) not in _DETECTORS


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
    max_faces: int = 8,
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


register_detector("mediapipe", _mediapipe, reads_parts=True)
register_detector("face-alignment", _face_alignment)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
