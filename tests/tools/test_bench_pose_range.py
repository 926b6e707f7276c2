"""How far heads turn, measured: people turn as they are told, rows become medians, nothing is left out."""

from __future__ import annotations

import math

import pytest
import torch
from face_pictures import needs_mediapipe

from headwarp.flame.io import load_head
from headwarp.geom.pose_range import PoseRange, swing
from headwarp.tools.bench import pose_range
from headwarp.tools.bench.pose_range import Seen, head_rotation, judged, synthetic, table
from headwarp.warping.animators import load_animator


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


def test_rows_become_medians_by_direction():
    rows = [
        Seen("a", 29.0, 3.0, 1.0, 0.1, 0.01),
        Seen("a", -31.0, 3.0, 3.0, 0.3, 0.03),
        Seen("a", 30.0, 0.0, math.nan, 0.2, 0.02),  # no face is found in what was made
        Seen("a", 30.0, 0.0, math.inf, 9.0, 9.0),  # nor in the true picture: not counted
        Seen("a", 2.0, 11.0, 5.0, 0.5, 0.05),
        Seen("a", 2.0, -11.0, math.nan, 0.6, 0.06),
    ]
    across, down, up = sorted(table(rows), key=lambda row: ("yaw", "down", "up").index(row["way"]))
    assert (across["degrees"], across["frames"], across["akd"]) == (30, 3, 2.0)
    assert across["lost"] == pytest.approx(1 / 3)
    assert (across["hidden"], across["l1"]) == (0.2, 0.02)
    assert (down["degrees"], down["akd"], down["lost"]) == (10, 5.0, 0.0)
    assert (up["akd"], up["lost"]) == (None, 1.0)


@needs_mediapipe
def test_a_person_turns_as_told_and_a_picture_that_does_not_move_is_far_off(head, monkeypatch):
    monkeypatch.setattr(pose_range, "YAWS", (25,))
    monkeypatch.setattr(pose_range, "PITCHES", ())
    footage = synthetic(head, 1, size=96)
    turns = swing(head_rotation(footage.fit))
    degrees = torch.rad2deg(turns[:, :1]) * turns[:, 1:]
    told = torch.tensor([[0, 0], [0, -25], [0, 25.0]])
    torch.testing.assert_close(degrees, told, atol=0.05, rtol=0)
    still, moved = (judged(footage, head, name, load_animator(name)) for name in ("copy", "geometry"))
    assert [round(row.yaw_deg) for row in moved] == [-25, 25]
    for copied, made in zip(still, moved, strict=True):
        assert made.akd < 0.5 * copied.akd
        assert made.l1 < copied.l1
        assert 0.05 < made.hidden < 0.5
    stopped = judged(footage, head, "geometry", load_animator("geometry"), within=PoseRange(20, 20))
    assert [round(row.yaw_deg) for row in stopped] == [-25, 25]
    assert all(row.akd > made.akd for row, made in zip(stopped, moved, strict=True))
