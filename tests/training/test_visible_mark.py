"""The visible mark: in a corner, readable, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.training.data.visible_mark import marked, marked_frames


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920), (12, 9)])
def test_the_mark_is_in_the_lower_left_corner(size):
    frame = np.full((*size, 3), 128, np.uint8)
    made = marked(frame)
    changed = (made != frame).any(-1)
    assert changed[-1, 0]
    assert changed[: size[0] // 2].sum() == 0 or size[0] < 40
    assert made.shape == frame.shape
    assert (frame == 128).all()  # the frame itself is left alone
    if size[0] > 100:
        assert 0.005 < changed.mean() < 0.1
        assert made.max() > 200  # light letters
        assert made.min() < 60  # on a dark bar


def test_frames_are_marked_only_where_asked():
    frame = np.zeros((64, 64, 3), np.uint8)
    assert next(marked_frames([frame], False)) is frame
    assert next(marked_frames([frame], True)).any()
