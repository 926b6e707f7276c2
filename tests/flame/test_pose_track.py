"""Pose tracks: keys are met, nothing overshoots, what is written is read, nonsense is a sentence."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from headwarp.flame.params import Pose
from headwarp.flame.pose_track import absolute, interpolate_poses, read_pose_track, write_pose_track
from headwarp.geom.errors import HeadwarpError


def track(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def yaws(poses):
    return [pose.yaw for pose in poses]


def test_keyframes_are_met_and_every_channel_lands_in_its_place(tmp_path):
    header = "time,yaw,pitch,roll,jaw,gaze_x,gaze_y,blink,smile\n"
    poses = read_pose_track(track(tmp_path, header + "0,1,2,3,.4,5,6,.7,.8\n1,2,3,4,.5,6,7,.8,.9\n"), 4)
    assert len(poses) == 5
    assert poses[0] == Pose(1, 2, 3, 0.4, (5, 6), 0.7, {"smile": 0.8})
    last = Pose(2, 3, 4, 0.5, (6, 7), 0.8, {"smile": 0.9})
    assert (poses[4].yaw, poses[4].pitch, poses[4].roll) == pytest.approx((last.yaw, last.pitch, last.roll))
    assert (*poses[4].gaze, poses[4].jaw, poses[4].blink) == pytest.approx((*last.gaze, last.jaw, last.blink))
    assert poses[4].expressions["smile"] == pytest.approx(0.9)


def test_the_cubic_neither_overshoots_nor_wiggles(tmp_path):
    poses = read_pose_track(track(tmp_path, "time,yaw\n0,0\n1,0\n2,20\n3,20\n"), 50)
    values = np.array(yaws(poses))
    assert values.min() == 0
    assert values.max() == 20
    assert (np.diff(values) >= 0).all()
    assert not np.allclose(np.diff(values[50:100]), 0.4)  # it is not the straight line


def test_two_keys_are_a_straight_line_and_one_is_held(tmp_path):
    assert yaws(read_pose_track(track(tmp_path, "frame,yaw\n0,0\n4,8\n"), 25)) == pytest.approx(
        [0, 2, 4, 6, 8]
    )
    assert yaws(read_pose_track(track(tmp_path, "frame,yaw\n2,8\n"), 25)) == [8, 8, 8]


def test_an_empty_cell_is_no_key(tmp_path):
    sparse = read_pose_track(track(tmp_path, "time,yaw,jaw\n0,0,0\n1,,1\n2,10,\n3,,0.5\n"), 1)
    assert yaws(sparse) == pytest.approx([0, 5, 10, 10])
    assert [pose.jaw for pose in sparse][::3] == [0, 0.5]


def test_frames_count_at_the_asked_rate_and_seconds_do_not_care(tmp_path):
    rate = Fraction(30000, 1001)
    assert len(read_pose_track(track(tmp_path, "frame,yaw\n0,0\n90,9\n"), rate)) == 91
    assert yaws(read_pose_track(track(tmp_path, "frame,yaw\n0,0\n90,9\n"), rate))[-1] == pytest.approx(9)
    assert len(read_pose_track(track(tmp_path, "time,yaw\n0,0\n1,9\n"), 10)) == 11
    assert len(read_pose_track(track(tmp_path, "time,yaw\n0,0\n1,9\n"), rate)) == 30


def test_json_says_the_same_as_csv(tmp_path):
    rows = [{"time": 0, "yaw": 0, "smile": 0.5}, {"time": 0.5, "yaw": 10, "smile": 0}]
    plain = read_pose_track(track(tmp_path, json.dumps(rows), "a.json"), 10)
    wrapped = read_pose_track(track(tmp_path, json.dumps({"keyframes": rows}), "b.json"), 10)
    from_csv = read_pose_track(track(tmp_path, "time,yaw,smile\n0,0,0.5\n.5,10,0\n"), 10)
    assert plain == wrapped == from_csv


@pytest.mark.parametrize(
    "text", ["time,yaw,relative\n0,1,0\n1,2,0\n", "Time , YAW,relative\r\n0,1,0\r\n\r\n1,2,\r\n"]
)
def test_relative_may_be_said_in_the_file(tmp_path, text):
    assert {pose.relative for pose in read_pose_track(track(tmp_path, text), 5)} == {False}


def test_a_byte_order_mark_is_no_name(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufefftime,yaw\n0,3\n".encode())
    assert yaws(read_pose_track(tmp_path / "t.csv", 5)) == [3]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("relative", [True, False])
def test_what_is_written_is_read(tmp_path, suffix, relative):
    rng = np.random.default_rng(0)
    numbers = rng.uniform(-1, 1, (7, 9))
    poses = [
        Pose(
            *(float(v) for v in n[:4]),
            (float(n[4]), float(n[5])),
            float(n[6]),
            {"smile": float(n[7])},
            relative,
        )
        for n in numbers
    ]
    path = write_pose_track(tmp_path / "deep" / f"t{suffix}", poses, Fraction(24000, 1001))
    again = read_pose_track(path, Fraction(24000, 1001))
    assert len(again) == 7
    for pose, back in zip(poses, again, strict=True):
        assert back.relative is relative
        assert back.expressions["smile"] == pytest.approx(pose.expressions["smile"], abs=1e-12)
        assert (back.yaw, back.jaw, *back.gaze) == pytest.approx((pose.yaw, pose.jaw, *pose.gaze), abs=1e-12)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_poses_in_code_are_interpolated_alike(tmp_path):
    poses = [Pose(), Pose(yaw=20, expressions={"smile": 1}), Pose(jaw=1)]
    made = interpolate_poses([0, 0.5, 1], poses, 10)
    rows = "time,yaw,jaw,smile\n0,0,0,0\n.5,20,0,1\n1,0,1,0\n"
    read = read_pose_track(track(tmp_path, rows), 10)
    assert [(p.yaw, p.jaw, p.expressions) for p in made] == [(p.yaw, p.jaw, p.expressions) for p in read]
    with pytest.raises(HeadwarpError, match="one per time, got 3 for 2"):
        interpolate_poses([0, 1], poses, 10)


def test_absolute_changes_nothing_else():
    assert absolute([Pose(yaw=3, expressions={"smile": 1})]) == [
        Pose(yaw=3, expressions={"smile": 1}, relative=False)
    ]


def test_names_are_checked_against_the_head(tmp_path):
    path = track(tmp_path, "time,yawn,smile\n0,1,1\n")
    assert read_pose_track(path, 5)[0].expressions == {"yawn": 1, "smile": 1}
    with pytest.raises(
        HeadwarpError, match=r"no channel or expression yawn; known are time, frame, yaw.*smile"
    ):
        read_pose_track(path, 5, expressions={"smile"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one keyframe, got none"),
        ("time,yaw\n", "at least one keyframe, got none"),
        ("yaw\n1\n", "expected time .* or frame .* in every keyframe, got neither"),
        ("time,frame,yaw\n0,0,1\n", "got frame and time"),
        ("time,yaw\n0,1\n,2\n", "expected time .* in every keyframe"),
        ("time,yaw\n1,1\n1,2\n", "0 or more that rise"),
        ("time,yaw\n2,1\n1,2\n", "0 or more that rise"),
        ("time,yaw\n-1,1\n", "0 or more that rise"),
        ("time,yaw\n0,left\n", r"keyframe 1: yaw: expected a finite number, got 'left'"),
        ("time,yaw\n0,nan\n", "finite number, got 'nan'"),
        ("time,yaw\n0,1e999\n", "finite number, got '1e999'"),
        ("time,yaw\n0,1,2\n", "keyframe 1: expected 2 cells, got 3"),
        ("time,yaw,yaw\n0,1,2\n", "header of distinct names"),
        ("time,,yaw\n0,1,2\n", "header of distinct names"),
        ("time,pitch\n0,1\n1,120\n", r"at 0\.\d+ s: Pose.pitch: expected degrees within"),
        ("time,yaw,relative\n0,1,0\n1,1,1\n", "relative: expected 0 or 1, the same"),
        ("time,yaw,relative\n0,1,2\n", "relative: expected 0 or 1"),
        ("time,yaw\n0,1\n1e9,1\n", "at most 1000000 frames"),
        ("time;yaw\n0;1\n", "time;yaw: expected a finite number"),
    ],
)
def test_malformed_csv_is_a_sentence_that_names_the_file(tmp_path, text, message):
    with pytest.raises(HeadwarpError, match=message) as caught:
        read_pose_track(track(tmp_path, text), 25)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("3", "list of keyframe objects"),
        ("[1]", "list of keyframe objects"),
        ('{"frames": []}', "members relative and keyframes, got frames"),
        ('{"keyframes": [], "fps": 3}', "members relative and keyframes"),
        ("[]", "at least one keyframe"),
        ('[{"time": 0, "gaze": [1, 2]}]', r"gaze: expected a finite number, got \[1, 2\]"),
        ('[{"time": 0, "yaw": null}]', "finite number, got None"),
        ('[{"time": 0, "yaw": NaN}]', "finite number"),
        ('{"keyframes": [{"time": 0, "yaw": 1}], "relative": "no"}', "relative: expected a finite number"),
    ],
)
def test_malformed_json_is_a_sentence(tmp_path, text, message):
    with pytest.raises(HeadwarpError, match=message):
        read_pose_track(track(tmp_path, text, "t.json"), 25)


def test_files_that_are_no_track(tmp_path):
    with pytest.raises(HeadwarpError, match=r"in \.csv or \.json, got '\.txt'"):
        read_pose_track(tmp_path / "t.txt", 25)
    with pytest.raises(HeadwarpError, match=r"no such pose track; sought in"):
        read_pose_track(tmp_path / "t.csv", 25)
    (tmp_path / "b.csv").write_bytes(bytes(range(256)))
    with pytest.raises(HeadwarpError, match="expected a text file"):
        read_pose_track(tmp_path / "b.csv", 25)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(HeadwarpError, match="cannot be read"):
        read_pose_track(tmp_path / "d.csv", 25)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1001])
def test_impossible_rates(tmp_path, fps):
    with pytest.raises(HeadwarpError, match="fps: expected a number above 0"):
        read_pose_track(track(tmp_path, "time,yaw\n0,1\n"), fps)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(HeadwarpError, match="at least one pose"):
        write_pose_track(tmp_path / "t.csv", [], 25)
    with pytest.raises(HeadwarpError, match="got both"):
        write_pose_track(tmp_path / "t.csv", [Pose(), Pose(relative=False)], 25)
    with pytest.raises(HeadwarpError, match=r"\.csv or \.json"):
        write_pose_track(tmp_path / "t.xls", [Pose()], 25)
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadwarpError, match="cannot be written"):
        write_pose_track(tmp_path / "file" / "t.csv", [Pose()], 25)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
