"""Curves: values stand where they should, gaps are gaps, axes have round numbers."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.errors import ShapeError
from headwarp.tools.curves import PALETTE, Panel, draw_curves, runs, ticks


def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of a colour within the axes."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    inside = (columns > 52) & (rows > 38)
    return np.stack([rows[inside], columns[inside]], 1)


def test_a_rising_line_rises():
    picture = draw_curves([Panel("x", {"": np.linspace(0, 1, 50)})], "t", width=400, height=100)
    points = pixels(picture, PALETTE[0])
    order = np.argsort(points[:, 1])
    assert np.polyfit(points[order, 1], points[order, 0], 1)[0] < -0.2
    assert points[:, 0].max() - points[:, 0].min() > 90


def test_gaps_stay_empty_and_absent_frames_are_shaded():
    values = np.ones(40)
    values[10:30] = np.nan
    absent = np.isnan(values)
    picture = draw_curves([Panel("x", {"": values})], "t", absent=absent, width=460, height=80)
    columns = pixels(picture, PALETTE[0])[:, 1]
    left, right = 52 + 398 * 10 / 40, 52 + 398 * 30 / 40
    assert not ((columns > left + 1) & (columns < right - 1)).any()
    middle = picture[60, int((left + right) / 2)]
    assert middle.tolist() == [238, 224, 224]


def test_marks_are_red_lines():
    picture = draw_curves([Panel("x", {"": np.zeros(10)})], "t", marks=[5], width=300)
    assert (picture == (220, 60, 60)).all(-1).any()


def test_a_constant_and_a_single_frame_can_be_drawn():
    for values in (np.full(5, 3.0), np.array([1.0]), np.full(3, np.nan), np.array([np.nan, 1.0, np.nan])):
        assert draw_curves([Panel("x", {"a": values})], "t").shape[2] == 3


def test_small_noise_does_not_fill_the_axes():
    noise = 0.001 * np.sin(np.arange(50))
    picture = draw_curves([Panel("x", {"": noise}, least=1.0)], "t", width=400, height=100)
    rows = pixels(picture, PALETTE[0])[:, 0]
    assert rows.max() - rows.min() < 5


def test_panels_lie_under_each_other():
    one = draw_curves([Panel("x", {"": np.zeros(3)})], "t")
    two = draw_curves([Panel("x", {"": np.zeros(3)}), Panel("y", {"": np.zeros(3)})], "t")
    assert two.shape[0] - one.shape[0] == 128


@pytest.mark.parametrize("low", [-3.0, 0.0, 17.3])
@pytest.mark.parametrize("extent", [1e-6, 0.03, 1.0, 40.0, 1e5])
def test_ticks_are_few_round_and_inside(low, extent):
    found = ticks(low, low + extent)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 * extent <= tick <= low + extent * (1 + 1e-9) for tick in found)


def test_runs_and_refusals():
    assert runs(np.array([False])) == []
    assert runs(np.array([True, True])) == [(0, 2)]
    with pytest.raises(ShapeError, match=r"series of one length above 0, got \[2, 3\]"):
        draw_curves([Panel("x", {"a": np.zeros(2), "b": np.zeros(3)})], "t")
    with pytest.raises(ShapeError, match=r"got \[\]"):
        draw_curves([], "t")
