"""Charts of studies: what is drawn where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.errors import ShapeError
from headwarp.tools.bench.charts import Band, BandPanel, draw_bands, draw_bars, draw_matrix
from headwarp.tools.curves import PALETTE

BLUE, ORANGE = (np.array(colour) for colour in PALETTE[:2])


def where(picture, colour):
    """Rows and columns of the pixels of a colour, below the names."""
    return np.nonzero((picture[45:] == colour).all(-1))


def test_a_falling_curve_falls_and_its_gap_stays_empty():
    falling = Band(np.array([3.0, 2.0, 1.0]), np.zeros(3))
    broken = Band(np.array([1.0, np.nan, 1.0]), np.zeros(3))
    picture = draw_bands([BandPanel("error", {"a": falling, "b": broken}, {"copy": 2.5})], "124", "t")
    assert picture.shape == (20 + 190 + 22, 640, 3)
    rows, columns = where(picture, BLUE)
    left, right = columns < np.quantile(columns, 0.2), columns > np.quantile(columns, 0.8)
    assert rows[left].max() < rows[right].min()  # y points down
    _, columns = where(picture, ORANGE)
    middle = np.abs(columns - (56 + 624) / 2) < 60
    assert len(columns)
    assert not middle.any()


def test_a_band_is_as_high_as_its_deviation():
    def height(deviation):
        tall = Band(np.array([1.0, 1.0]), np.array([deviation, deviation]))
        picture = draw_bands([BandPanel("x", {"a": tall}, {"low": 0.0, "high": 2.0})], "12", "t")
        tinted = picture[45:, 340].astype(int)
        blue = (tinted[:, 2] - tinted[:, 0] > 15) & (tinted[:, 0] < 240)
        return np.flatnonzero(blue).size

    assert height(0.6) == pytest.approx(2 * height(0.3), abs=6)


def test_bars_are_as_long_as_their_values():
    picture = draw_bars({"off": {"a": (1.0, 0.0), "b": (2.0, 0.0)}}, "t")
    lengths = [np.ptp(where(np.pad(picture, ((45, 0), (0, 0), (0, 0))), c)[1]) for c in (BLUE, ORANGE)]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=3)


def test_a_matrix_is_darker_where_it_is_larger():
    picture = draw_matrix(np.array([[0.0, 0.25], [1.0, np.nan]]), ["r", "s"], ["left eye", "nose"], "t")
    cell = [picture[62 + 24 * r + 20, 104 + 46 * c + 40].astype(int).sum() for r in (0, 1) for c in (0, 1)]
    assert cell[0] > cell[1] > cell[2]
    assert cell[3] == 3 * 255


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: draw_bands([], "12", "t"), "expected panels and places, got 0 and 2"),
        (
            lambda: draw_bands([BandPanel("x", {"a": Band(np.zeros(3), np.zeros(3))})], "12", "t"),
            "a: expected 2 values, got 3",
        ),
        (lambda: draw_bars({}, "t"), "expected finite values"),
        (lambda: draw_bars({"x": {"a": (-1.0, 0.0)}}, "t"), "expected finite values from 0 on"),
        (lambda: draw_matrix(np.zeros((1, 2)), ["a"], ["b"], "t"), r"expected \(1, 1\) values, got \(1, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw, told):
    with pytest.raises(ShapeError, match=told):
        draw()
