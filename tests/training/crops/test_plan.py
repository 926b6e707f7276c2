"""Box tracks with known clips: cut at jumps, drift, gaps and shots; short, small and border ones dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.crops.plan import CropConfig, check_config, plan_track, runs, tubes
from headwarp.training.data.crops.windows import iou

SIZE = (1000, 1000)
CONFIG = CropConfig(min_frames=4, max_frames=50, min_box=20, bridge=2)


def still(count: int, x: float = 400.0, y: float = 400.0, side: float = 100.0) -> np.ndarray:
    """(count, 4) equal boxes."""
    return np.tile([[x, y, x + side, y + side]], (count, 1)).astype(float)


def plan(boxes: np.ndarray, config: CropConfig = CONFIG, breaks: tuple[int, ...] = ()) -> list[tuple]:
    marks = np.zeros(len(boxes), bool)
    marks[list(breaks)] = True
    return [
        (item.tube.start, item.tube.end, item.dropped)
        for item in plan_track(boxes, boxes, marks, config, size=SIZE)
    ]


def test_a_still_face_is_one_clip() -> None:
    (item,) = plan_track(still(20), still(20), np.zeros(20, bool), CONFIG, size=SIZE)
    assert (item.tube.start, item.tube.end, item.tube.missing, item.dropped) == (0, 20, 0, "")
    assert item.square.box == (390, 390, 510, 510)  # a tenth of the side all round


def test_a_jump_begins_a_clip() -> None:
    boxes = np.concatenate([still(10), still(10, x=480)])  # overlap 1/9
    assert plan(boxes) == [(0, 10, ""), (10, 20, "")]
    assert plan(boxes, replace(CONFIG, iou=0.1)) == [(0, 20, "")]


def test_drift_is_measured_from_the_first_box() -> None:
    boxes = still(40) + np.arange(40)[:, None] * [3.0, 0, 3, 0]
    # overlap (100 - d) / (100 + d) falls below a quarter beyond d = 60: with frame 21
    assert plan(boxes) == [(0, 21, ""), (21, 40, "")]
    first, second = plan_track(boxes, boxes, np.zeros(40, bool), CONFIG, size=SIZE)
    assert first.tube.box.tolist() == [400, 400, 560, 500]
    assert second.tube.box.tolist() == [463, 400, 617, 500]


def test_a_zoom_begins_a_clip_at_four_times_the_area() -> None:
    boxes = np.stack([[500 - s, 500 - s, 500 + s, 500 + s] for s in np.linspace(50, 120, 71)])
    assert plan(boxes, replace(CONFIG, max_frames=100)) == [(0, 51, ""), (51, 71, "")]


def test_the_longest_clip() -> None:
    assert plan(still(104)) == [(0, 50, ""), (50, 100, ""), (100, 104, "")]
    assert plan(still(103)) == [(0, 50, ""), (50, 100, ""), (100, 103, "short")]


def test_gaps() -> None:
    boxes = still(30)
    boxes[10:12] = np.nan
    (item,) = plan_track(boxes, boxes, np.zeros(30, bool), CONFIG, size=SIZE)
    assert (item.tube.start, item.tube.end, item.tube.missing) == (0, 30, 2)
    assert plan(boxes, replace(CONFIG, bridge=1)) == [(0, 10, ""), (12, 30, "")]
    boxes[:3] = boxes[-3:] = np.nan
    assert plan(boxes) == [(3, 27, "")]
    assert plan(np.full((5, 4), np.nan)) == []


def test_shots_end_clips_also_within_a_gap() -> None:
    assert plan(still(20), breaks=(8,)) == [(0, 8, ""), (8, 20, "")]
    boxes = still(20)
    boxes[8:10] = np.nan
    for mark in (8, 9, 10):
        assert plan(boxes, breaks=(mark,)) == [(0, 8, ""), (10, 20, "")]
    assert plan(boxes, breaks=(7,)) == [(0, 7, ""), (7, 20, "")]


def test_a_gap_before_a_jump_belongs_to_no_clip() -> None:
    boxes = np.concatenate([still(10), still(10, x=480)])
    boxes[9] = np.nan
    assert plan(boxes) == [(0, 9, ""), (10, 20, "")]


def test_small() -> None:
    item = plan_track(still(10), still(10), np.zeros(10, bool), replace(CONFIG, min_box=101), size=SIZE)[0]
    assert (item.dropped, item.detail) == ("small", "box of 100 px, expected 101")
    assert plan(still(10), replace(CONFIG, min_box=100)) == [(0, 10, "")]
    assert plan(still(10), replace(CONFIG, min_box=None, size=256)) == [(0, 10, "small")]


def test_border() -> None:
    boxes = still(10, x=5)
    item = plan_track(boxes, boxes, np.zeros(10, bool), CONFIG, size=SIZE)[0]
    assert (item.dropped, item.detail) == ("border", "window -5 390 115 510 in a picture of 1000 x 1000")
    assert plan(still(10, x=10)) == [(0, 10, "")]
    padded = plan_track(boxes, boxes, np.zeros(10, bool), replace(CONFIG, border="pad"), size=SIZE)[0]
    assert padded.square.box == (-5, 390, 115, 510)
    narrow = replace(CONFIG, border="shift")
    beyond = plan_track(boxes - [20, 0, 20, 0], boxes, np.zeros(10, bool), narrow, size=SIZE)[0]
    assert beyond.square.box == (0, 390, 120, 510)  # the face is in it, not all of the box
    beyond = plan_track(boxes, boxes - [10, 0, 10, 0], np.zeros(10, bool), narrow, size=SIZE)[0]
    assert beyond.dropped == "border"
    moved = plan_track(boxes, boxes, np.zeros(10, bool), replace(CONFIG, border="shift"), size=SIZE)[0]
    assert moved.square.box == (0, 390, 120, 510)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_box_is_in_one_clip_whose_window_holds_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 120))
    boxes = still(count) + np.cumsum(rng.normal(0, 12, (count, 1)), axis=0)
    boxes[rng.random(count) < 0.2] = np.nan
    breaks = rng.random(count) < 0.05
    planned = plan_track(boxes, boxes, breaks, replace(CONFIG, border="pad", max_pad=1.0), size=SIZE)
    covered = np.zeros(count, int)
    for item in planned:
        tube = item.tube
        covered[tube.start : tube.end] += 1
        inside = boxes[tube.start : tube.end]
        there = inside[~np.isnan(inside[:, 0])]
        assert len(there) == tube.frames - tube.missing
        assert not np.isnan(inside[[0, -1], 0]).any()
        assert tube.frames <= CONFIG.max_frames
        assert not breaks[tube.start + 1 : tube.end].any()
        assert all(iou(there[0], box) >= CONFIG.iou for box in there)
        assert all(item.square.contains(box) for box in there)
    assert (covered[~np.isnan(boxes[:, 0])] == 1).all()
    assert covered.max(initial=0) <= 1


def test_runs_and_tubes_of_one_box() -> None:
    assert runs(np.array([True]), np.array([True]), 0) == [(0, 1)]
    (tube,) = tubes(still(1), still(1), (0, 1), min_iou=0.25, max_frames=1)
    assert (tube.start, tube.end) == (0, 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"window": "x"}, "window: expected one of"),
        ({"size": 255}, "--size: expected an even number of pixels from 16 to 4096, got 255"),
        ({"size": 8}, "--size"),
        ({"min_frames": 0}, "--min-frames, --max-frames: expected 1 <= least <= most, got 0 and 1024"),
        ({"max_frames": 63}, "got 64 and 63"),
        ({"iou": 1.5}, "--iou: expected 0 to 1, got 1.5"),
        ({"max_pad": float("nan")}, "--max-pad: expected 0 to 1, got nan"),
        ({"bridge": -1}, "--bridge: expected 0 or more, got -1"),
        ({"min_box": -1}, "--min-box"),
        ({"fps": 0}, "--fps: expected above 0"),
    ],
)
def test_configs_that_make_no_sense(change: dict, text: str) -> None:
    with pytest.raises(HeadwarpError, match=text):
        check_config(CropConfig(**change))
    check_config(CropConfig())
