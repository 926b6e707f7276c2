"""The detector `face-alignment`: 68 points by the package of that name, one picture at a time.

Its networks are fetched by the package itself on first use. Its pixel convention is ours (a peak in the
middle of a pixel reads +0.5), so that points are passed through; they follow the visible contour of the
face and carry no depth.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...geom.errors import MissingDependencyError, ShapeError
from . import Detection, Track, check_image
from .mediapipe import iou, landmark_box
from .tracking import collect_tracks

_SAME_FACE_IOU = 0.3
_PATIENCE = 50


class FaceAlignmentDetector:
    """The registered detector `face-alignment`.

    Args:
        device: torch device of its networks.

    Raises:
        MissingDependencyError: the package is not installed, or its networks cannot be fetched.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._network = _load_network(device)

    def detect(self, image: np.ndarray, *, max_faces: int) -> list[Detection]:
        """Find the faces of one picture: `Detection.landmarks` (68, 3) px with z = 0, larger ones first.

        Raises:
            ShapeError: not a picture, or the package answered with another number of points than 68.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No faces were detected")
            points, _, boxes = self._network.get_landmarks_from_image(
                check_image(image), return_bboxes=True, return_landmark_score=True
            )
        found = [_as_detection(p, b) for p, b in zip(points or [], boxes if points else [], strict=True)]
        return sorted(found, key=lambda face: -face.size)[:max_faces]

    def track(self, frames: Iterable[np.ndarray], *, max_faces: int) -> list[Track]:
        """Detect in every frame and join by overlap; after more than 50 frames away a face is a new one."""
        tracks = collect_tracks(_Matcher(self, max_faces), frames)
        return [replace(track, has_depth=False) for track in tracks]


def _load_network(device: str) -> Any:
    try:
        package = importlib.import_module("face_alignment")
    except ImportError as error:
        raise MissingDependencyError(
            f"the landmark detector face-alignment needs its package ({error}); "
            "pip install 'face-alignment>=1.4', or use --landmarks mediapipe"
        ) from error
    kinds = package.LandmarksType
    two_d = kinds.TWO_D if hasattr(kinds, "TWO_D") else kinds._2D  # the name before 1.4
    try:
        return package.FaceAlignment(two_d, device=device, flip_input=False)
    except OSError as error:  # of its download; urllib's errors are of this kind
        raise MissingDependencyError(
            f"the detector face-alignment fetches its networks on first use and could not ({error}); "
            "run it once with a network, copy ~/.cache/torch/hub/checkpoints from a machine where it ran, or "
            "use --landmarks mediapipe"
        ) from error


def _as_detection(points: np.ndarray, found: np.ndarray) -> Detection:
    """Wrap 68 points and the package's box x0, y0, x1, y1[, confidence]."""
    points = np.asarray(points, np.float32)
    if points.ndim != 2 or points.shape[0] != 68 or points.shape[1] not in (2, 3):
        raise ShapeError(f"face-alignment: expected (68, 2|3) points, got {points.shape}")
    landmarks = np.zeros((68, 3), np.float32)
    landmarks[:, :2] = points[:, :2]
    score = float(np.clip(found[4], 0.0, 1.0)) if len(found) > 4 else 1.0
    return Detection(landmarks, score, landmark_box(landmarks), True)


@dataclass(frozen=True)
class _Seen:
    number: int
    box: np.ndarray
    lost: int = 0


class _Matcher:
    """Numbers the faces of successive frames by the overlap of their boxes."""

    def __init__(self, detector: FaceAlignmentDetector, max_faces: int) -> None:
        self._detector = detector
        self._max_faces = max_faces
        self._seen: list[_Seen] = []
        self._next_number = 0

    def step(self, frame: np.ndarray) -> list[Detection]:
        away = list(self._seen)
        now: list[_Seen] = []
        numbered = []
        for face in self._detector.detect(frame, max_faces=self._max_faces):
            overlaps = [(iou(face.box, other.box), -other.number, other) for other in away]
            best = max(overlaps, key=lambda entry: entry[:2], default=None)
            if best is not None and best[0] > _SAME_FACE_IOU:
                number = best[2].number
                away = [other for other in away if other.number != number]
            else:
                number, self._next_number = self._next_number, self._next_number + 1
            now.append(_Seen(number, face.box))
            numbered.append(replace(face, track=number))
        self._seen = now + [replace(face, lost=face.lost + 1) for face in away if face.lost < _PATIENCE]
        return numbered
