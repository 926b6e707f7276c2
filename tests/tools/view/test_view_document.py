"""What the editor's document says: transitions, undo, and the command line of it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from headwarp.flame.params import Pose
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.cli import load_command, parse
from headwarp.tools.motion_options import motion_of
from headwarp.tools.view.document import (
    Document,
    History,
    Maker,
    Source,
    as_command,
    as_driven_command,
    at_rest,
    changed_pose,
    channel_of,
    film,
    turned,
    with_channel,
    with_key,
    with_shape,
    with_strength,
    without_key,
)
from headwarp.tools.view.files import Results, Uploads, plain_name

START = Document(Source(Path("a b.jpg"), "a b.jpg"))


@pytest.mark.parametrize("channel", ["yaw", "jaw", "gaze_x", "gaze_y", "blink", "smile", "3"])
def test_a_channel_is_what_it_was_set_to(channel):
    pose = changed_pose(Pose(), channel, 0.5)
    assert channel_of(pose, channel) == 0.5
    assert pose != Pose()
    assert changed_pose(pose, channel, 0.0) == Pose()


def test_a_gesture_is_one_step_and_undo_goes_back_over_it():
    history = History(START)
    for value in (1.0, 2.0, 3.0):
        history = history.said(with_channel(history.present, "yaw", value), "yaw@1")
    history = history.said(with_channel(history.present, "jaw", 0.5), "jaw@2")
    assert history.undone().present.pose == Pose(yaw=3.0)
    assert history.undone().undone().present == START
    assert history.undone().undone().undone().present == START
    assert history.undone().undone().redone().redone().present == history.present
    assert not history.undone().said(at_rest(START)).future


def test_the_same_again_is_no_step():
    assert History(START).said(replace(START)).past == ()


def test_dragging_stays_within_reach():
    pose = turned(START, yaw=500, pitch=-500, roll=3.14159).pose
    assert (pose.yaw, pose.pitch, pose.roll) == (60.0, -40.0, 3.1)


def test_the_command_line_reads_back_as_the_document():
    said = with_channel(START, "yaw", -12.5)
    for channel, value in (("gaze_x", -7.0), ("blink", 0.25), ("smile", 0.7), ("4", -1.15)):
        said = with_channel(said, channel, value)
    said = with_shape(replace(said, full_frame=True, size=384, maker=Maker("tps")), 2, 1.05)
    words = shlex.split(as_command(said, output="o.png"))
    config, _ = parse(load_command("edit"), words[2:])
    assert (config.photo, config.yaw, config.gaze) == (Path("a b.jpg"), -12.5, (-7.0, 0.0))
    assert config.expression == ("smile=0.7", "4=-1.15")
    assert (config.shape, config.size, config.animator, config.full_frame) == (("2=1.05",), 384, "tps", True)


def test_a_frame_of_a_clip_and_a_driver_are_said():
    clip = replace(START, source=Source(Path("c.mp4"), "c.mp4", frame=7, frames=30))
    assert "--frame 7" in as_command(clip)
    driving = replace(START, driver=Source(Path("/clips/d.mp4"), "d.mp4"))
    words = shlex.split(as_driven_command(driving, output="o.mp4"))
    config, _ = parse(load_command("animate"), words[2:])
    assert (config.source, config.driving) == ((Path("a b.jpg"),), Path("d.mp4"))
    words = shlex.split(as_driven_command(with_strength(driving, "pose", 0.5), output="o.mp4"))
    config, _ = parse(load_command("animate"), words[2:])
    assert motion_of(config.motion).retargeting == with_strength(driving, "pose", 0.5).retargeting
    assert motion_of(config.motion).retargeting.position == 0.5
    assert with_strength(with_strength(driving, "pose", 0.5), "pose", 1.0) == driving
    with pytest.raises(HeadwarpError, match="on top"):
        as_driven_command(with_channel(driving, "jaw", 0.1), output="o.mp4")
    with pytest.raises(HeadwarpError, match="first frame"):
        as_driven_command(replace(clip, driver=driving.driver), output="o.mp4")


def test_key_frames_make_a_film():
    said = with_key(with_channel(START, "yaw", 10.0), 1.0)
    said = with_key(with_channel(said, "yaw", 0.0), 0.0)
    said = with_key(with_channel(said, "yaw", 20.0), 1.0)  # in place of the first
    assert [key.time for key in said.keys] == [0.0, 1.0]
    poses = film(said, 10)
    assert (len(poses), poses[0].yaw, poses[-1].yaw) == (11, 0.0, 20.0)
    assert [key.time for key in without_key(said, 0.9).keys] == [0.0]
    with pytest.raises(HeadwarpError, match="none"):
        film(START, 25)
    with pytest.raises(HeadwarpError, match="seconds"):
        with_key(START, -1)


def test_uploads_are_bounded_and_go_with_their_owner():
    uploads = Uploads(10)
    path = uploads.keep("../../x/é <i>.png", b"12345")
    assert path.read_bytes() == b"12345"
    assert path.name == plain_name("é <i>.png")
    for content, why in ((b"", "empty"), (b"x" * 11, "at most")):
        with pytest.raises(HeadwarpError, match=why):
            uploads.keep("a.png", content)
    uploads.close()
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "..", "/", "...", "a/", ".png", "x" * 500 + ".jpeg"])
def test_any_name_is_one_that_can_be_written(name, tmp_path):
    (tmp_path / plain_name(name)).write_bytes(b"")


def test_no_result_is_given_the_name_of_another(tmp_path):
    (tmp_path / "a_001.png").touch()
    results = Results(tmp_path)
    assert [results.free("a", ".png")[0].name for _ in range(2)] == ["a_002.png", "a_003.png"]


def test_nothing_is_kept_after_its_owner_has_left():
    uploads = Uploads(10)
    uploads.close()
    with pytest.raises(HeadwarpError, match="closed"):
        uploads.keep("a.png", b"1")
