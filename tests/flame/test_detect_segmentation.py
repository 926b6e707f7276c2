"""The mask of the person in a picture."""

from __future__ import annotations

import numpy as np
import pytest
from face_pictures import astronaut, blank, needs_mediapipe

from headwarp.flame import detect
from headwarp.geom.errors import ShapeError


@needs_mediapipe
def test_person_mask_covers_the_person() -> None:
    image = astronaut()
    mask = detect.segment_person(image)
    assert mask.shape == image.shape[:2]
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert mask[110:150, 200:250].min() > 0.9  # face
    assert mask[:60, :60].max() < 0.2  # flag
    np.testing.assert_array_equal(mask, detect.segment_person(image))
    assert detect.segment_person(blank(50, 70)).max() < 0.5


@needs_mediapipe
def test_person_mask_in_a_box() -> None:
    image = np.concatenate([blank(512, 700), astronaut()], axis=1)
    mask = detect.segment_person(image, box=np.array([700, -5, 1300, 520]))
    assert mask[:, :700].max() == 0
    assert mask[130, 925] > 0.9
    with pytest.raises(ShapeError, match="does not meet"):
        detect.segment_person(image, box=np.array([-9, 0, -1, 5]))
    with pytest.raises(ShapeError, match="four finite numbers"):
        detect.segment_person(image, box=np.array([0, 0, np.nan, 5]))
