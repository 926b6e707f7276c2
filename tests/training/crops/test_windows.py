"""Windows of the papers, and where they may lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwarp.flame.landmarks import MEDIAPIPE_68
from headwarp.geom.crops import head_crop
from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.crops.windows import (
    WINDOWS,
    Square,
    face_box,
    get_window,
    iou,
    placed,
    reached,
    squared,
)


def points_of(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """68 points whose box is the one given."""
    points = np.tile([[(x0 + x1) / 2, (y0 + y1) / 2, 0.0]], (68, 1))
    points[:2, :2] = [[x0, y0], [x1, y1]]
    return points


def window_box(points: np.ndarray, name: str) -> np.ndarray:
    """The box of a window around one face."""
    (box,) = reached(face_box(points)[None], WINDOWS[name])
    return box


def test_published_sides() -> None:
    face = points_of(100, 100, 180, 200)  # 80 x 100
    sides = {name: squared(window_box(face, name), window.increase).side for name, window in WINDOWS.items()}
    assert sides["heser"] == 180  # 1.8 times the longer side
    assert sides["vox"] == 180  # 1.2 times a detector's box of 1.5 times the points' height
    assert sides["pwm"] == pytest.approx(1.485 * 90, abs=2)  # times the mean side
    x0, y0, _, y1 = window_box(face, "pwm")
    assert ((150 - y0) / (y1 - y0), x0) == pytest.approx((0.6, 140 - 0.7425 * 90))


def test_all_landmark_families_give_the_same_box() -> None:
    mesh = np.full((478, 3), 1000.0)
    mesh[list(MEDIAPIPE_68)] = points_of(10, 20, 30, 60)
    for points in (mesh, mesh[:468, :2], points_of(10, 20, 30, 60)):
        assert face_box(points).tolist() == [10, 20, 30, 60]


def test_the_head_window_is_the_one_that_animators_see() -> None:
    """Forehead points lie a fifth of the height above the brows' box, as measured on frontal faces."""
    crop = head_crop(torch.tensor([[100.0, 81.0], [180.0, 200.0]]))
    square = squared(window_box(points_of(100, 100, 180, 200), "head"), 0.0)
    assert square.side == pytest.approx(crop.side, abs=2)
    assert (square.x, square.y) == pytest.approx((crop.x, crop.y), abs=2)


def test_iou() -> None:
    first, second = np.array([0.0, 0, 4, 4]), np.array([2.0, 2, 6, 6])
    assert iou(first, second) == pytest.approx(4 / 28)
    assert iou(first, first) == 1.0
    assert iou(first, first + 10) == 0.0
    assert iou(first * 0, first * 0) == 0.0


@given(
    st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(0.5, 800)] * 2),
    st.floats(0, 1),
)
def test_a_square_holds_its_box_with_the_margin(values: tuple[float, ...], increase: float) -> None:
    x, y, width, height = values
    box = np.array([x, y, x + width, y + height])
    square = squared(box, increase)
    longer = max(width, height)
    assert (1 + 2 * increase) * longer - 1e-3 <= square.side <= (1 + 2 * increase) * longer + 2
    margin = increase * np.array([-width, -height, width, height])
    x0, y0, x1, y1 = square.box
    grown = box + margin
    assert (x0 <= grown[0] + 1e-5, y0 <= grown[1] + 1e-5, x1 >= grown[2] - 1e-5, y1 >= grown[3] - 1e-5) == (
        True,
    ) * 4
    assert abs((x0 + x1) - (box[0] + box[2])) <= 2  # about the same centre


class TestPlaced:
    box = np.array([10.0, 10, 90, 90])
    inside = Square(5, 5, 90)
    over = Square(-5, 5, 90)

    def test_inside_stays(self) -> None:
        for border in ("drop", "shift", "pad"):
            assert placed(self.inside, self.box, size=(100, 100), border=border, max_pad=0) == self.inside

    def test_a_window_that_touches_the_border_is_inside(self) -> None:
        assert placed(Square(0, 10, 90), self.box, size=(100, 100)) == Square(0, 10, 90)
        assert placed(Square(0, 11, 90), self.box, size=(100, 100)) is None

    def test_drop_is_the_default(self) -> None:
        assert placed(self.over, self.box, size=(100, 100)) is None

    def test_shift(self) -> None:
        assert placed(self.over, self.box, size=(100, 100), border="shift") == Square(0, 5, 90)
        assert placed(
            Square(50, 50, 90), np.array([60.0, 60, 95, 95]), size=(100, 120), border="shift"
        ) == Square(30, 10, 90)

    def test_shift_shrinks_to_the_picture(self) -> None:
        assert placed(Square(-10, -20, 120), self.box, size=(100, 200), border="shift") == Square(0, 0, 100)
        assert placed(Square(40, -20, 120), self.box + 50, size=(160, 100), border="shift") is None

    def test_pad(self) -> None:
        assert placed(self.over, self.box, size=(100, 100), border="pad", max_pad=0.1) == self.over
        assert placed(self.over, self.box, size=(100, 100), border="pad", max_pad=0.05) is None


def test_an_unknown_window() -> None:
    with pytest.raises(HeadwarpError, match="window: expected one of head, heser, pwm, vox, got 'fomm'"):
        get_window("fomm")
