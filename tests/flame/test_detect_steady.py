"""Landmarks read many times over."""

from __future__ import annotations

import numpy as np
from face_pictures import needs_mediapipe, portrait

from headwarp.flame.detect import detect_faces
from headwarp.flame.detect.steady import steady_landmarks


@needs_mediapipe
def test_readings_that_begin_elsewhere_end_nearer_together():
    picture = portrait()
    single = detect_faces(picture)[0].landmarks[:, :2]
    size = float(np.ptp(single[:, 1]))
    spoilt = 1.02 * (single - single.mean(0)) + single.mean(0) + 0.02 * size
    shifted = np.roll(picture, (2, -3), axis=(0, 1))
    single_there = detect_faces(shifted)[0].landmarks[:, :2] - (-3, 2)
    steady, from_spoilt, there = (
        steady_landmarks(picture, single),
        steady_landmarks(picture, spoilt),
        steady_landmarks(shifted, single_there + (-3, 2)) - (-3, 2),
    )
    assert steady.shape == (478, 2)
    assert _apart(steady, single) < 0.01 * size
    assert _apart(steady, from_spoilt) < 0.1 * _apart(single, spoilt)
    assert _apart(steady, there) < 0.5 * _apart(single, single_there)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())
