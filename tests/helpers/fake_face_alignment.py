"""Stands in for the package face-alignment: a face is a white rectangle with 68 points on an ellipse."""

from __future__ import annotations

import enum
import warnings

import numpy as np
from scipy import ndimage


class LandmarksType(enum.IntEnum):
    TWO_D = 1
    THREE_D = 3


class FaceAlignment:
    """The calls that the adapter makes, with the package's own order and kinds of outputs."""

    points = 68

    def __init__(self, kind: LandmarksType, *, device: str = "cuda", flip_input: bool = True) -> None:
        self.arguments = (kind, device, flip_input)

    def get_landmarks_from_image(
        self, image: np.ndarray, *, return_bboxes: bool, return_landmark_score: bool
    ) -> tuple[list | None, list | None, list | None]:
        assert return_bboxes
        assert return_landmark_score
        labels, count = ndimage.label((image > 200).all(axis=2))
        if count == 0:
            warnings.warn("No faces were detected.", stacklevel=2)
            return None, None, None
        boxes = [
            np.array([columns.start, rows.start, columns.stop, rows.stop, 0.9], np.float32)
            for rows, columns in ndimage.find_objects(labels)
        ]
        angle = np.linspace(0, 2 * np.pi, self.points, endpoint=False)
        circle = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points = [(box[:2] + circle * (box[2:4] - box[:2])).astype(np.float32) for box in boxes]
        return points, [np.ones(self.points, np.float32) for _ in boxes], boxes
