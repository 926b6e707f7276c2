"""Contact sheets: the right picture in the right tile, and an error for what is none."""

import numpy as np
import pytest
from PIL import Image

from headwarp.geom.errors import ShapeError
from headwarp.tools.sheets import HEADER, contact_sheet, write_sheet


def flat(level, height=40, width=40):
    return np.full((height, width, 3), level, np.uint8)


def test_every_picture_stands_in_its_tile():
    rows = [[flat(10), flat(60)], [flat(110), flat(160)], [flat(210)]]
    sheet = contact_sheet(rows, ["one", "two"], tile=40)
    assert sheet.shape == (HEADER + 120, 80, 3)
    assert sheet.dtype == np.uint8
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            tile = sheet[HEADER + 40 * y : HEADER + 40 * (y + 1), 40 * x : 40 * (x + 1)]
            assert np.array_equal(tile, picture)
    assert (sheet[HEADER + 80 :, 40:] == 245).all()  # the tile without a picture


def test_titles_are_written_above_their_columns():
    sheet = contact_sheet([[flat(245)] * 3], ["", "", "driver"], tile=60)
    header = sheet[:HEADER]
    assert header.min() < 100
    assert (header[:, :120] == 245).all()
    assert not (header[:, 120:] == 245).all()


def test_names_stand_over_their_rows_within_the_sheet():
    rows = [[flat(245)] * 2] * 3
    sheet = contact_sheet(rows, ["a title far too long"] * 2, names=["", "b" * 400, "c"], tile=40)
    assert sheet.shape == (HEADER + 3 * (HEADER + 40), 80, 3)
    bands = [sheet[HEADER + n * (HEADER + 40) :][:HEADER] for n in range(3)]
    assert [band.min() < 160 for band in bands] == [False, True, True]
    assert (sheet[:, -2:] == 245).all()  # what is too long is cut in its middle
    assert (sheet[:HEADER, 38:44] == 245).all()  # no title reaches into the next column
    with pytest.raises(ShapeError, match="expected a name for each of 3 rows, got 1"):
        contact_sheet(rows, [], names=["a"])


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(80, 40, (40, 20)), (30, 120, (10, 40)), (8, 4, (8, 4))]
)
def test_pictures_keep_their_aspect_and_are_never_enlarged(height, width, shape):
    sheet = contact_sheet([[flat(0, height, width)]], ["x"], tile=40)
    dark = (sheet[HEADER:] < 20).all(2)
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    assert (len(rows), len(columns)) == shape
    assert abs((rows[0] + rows[-1]) / 2 - 19.5) <= 0.5  # centred
    assert abs((columns[0] + columns[-1]) / 2 - 19.5) <= 0.5


def test_more_titles_than_pictures_widen_the_sheet():
    assert contact_sheet([[flat(1)]], ["a", "b", "c"], tile=16).shape == (HEADER + 16, 48, 3)
    assert contact_sheet([[flat(1)] * 4], [], tile=16).shape == (HEADER + 16, 64, 3)


def test_the_pictures_are_left_alone():
    picture = flat(7, 100, 90)
    contact_sheet([[picture]], ["x"])
    assert (picture == 7).all()


def test_a_sheet_is_written_as_it_was_drawn(tmp_path):
    rows = [[flat(30), flat(90)]]
    target = write_sheet(tmp_path / "deep" / "sheet.png", rows, ["a", "b"], tile=32)
    assert target == tmp_path / "deep" / "sheet.png"
    assert np.array_equal(np.asarray(Image.open(target)), contact_sheet(rows, ["a", "b"], tile=32))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "expected at least one row of pictures, got none"),
        (
            [[np.zeros((4, 4, 3), np.float32)]],
            r"expected uint8 \(H, W, 3\) pictures, got float32 \(4, 4, 3\)",
        ),
        ([[flat(1), np.zeros((4, 4), np.uint8)]], r"expected uint8 \(H, W, 3\) pictures, got uint8 \(4, 4\)"),
        ([[np.zeros((0, 4, 3), np.uint8)]], r"got uint8 \(0, 4, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(rows, text):
    with pytest.raises(ShapeError, match=text):
        contact_sheet(rows, ["x"])
