"""Whole frames: a clip as the source, several faces, sound by choice, a preview first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_pictures import blank, frames_of, needs_mediapipe, portrait, sway
from media_files import mean_error, write_clip, write_photo
from PIL import Image

from headwarp.flame.params import Pose
from headwarp.flame.pose_track import write_pose_track
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.animate import Animate, animate, run
from headwarp.tools.shows import Role, Show, check_faces, read_role
from headwarp.tools.timeline import in_step, picked, together
from headwarp.warping.animators import load_animator
from headwarp.warping.keypoint_network import fomm, tiny


def test_frames_are_picked_by_time_and_begun_again():
    assert in_step(6, 30, 20) == [0, 1, 3, 4]
    assert together([[0, 1, 2, 3], [0, 1]], loop=True, length=3) == [[0, 1, 2], [0, 1, 0]]
    assert list(picked(lambda: iter("abc"), [0, 0, 2, 1])) == ["a", "a", "c", "b"]


@pytest.mark.parametrize("word", ["1", "x=a.mp4", "=a.mp4", "1="])
def test_a_pair_of_face_and_driver_is_read_or_refused(word):
    assert read_role("2=a=b@c.mp4") == Role(2, Path("a=b@c.mp4"))
    with pytest.raises(HeadwarpError, match="--also: expected FACE=FILE"):
        read_role(word)
    with pytest.raises(HeadwarpError, match="every face by another number"):
        check_faces([None, 1])


def test_sound_is_the_drivers_else_the_sources():
    show = Show(lambda: iter(()), 0, 25, (), Path("s.mp4"), {})
    assert show.sound(None) == ("source", Path("s.mp4"))
    assert show.sound("none") == ("none", None)
    with pytest.raises(HeadwarpError, match="--audio driver: the driver has no sound"):
        show.sound("driver")


@needs_mediapipe
def test_a_clip_is_a_source_frame_by_frame(tmp_path):
    own = [*sway(3), blank(300, 300)]
    source = write_clip(tmp_path / "s.mp4", own, fps=10, audio_seconds=0.4)
    track = write_pose_track(tmp_path / "t.csv", [Pose(yaw=0), Pose(yaw=15)], 10)
    output = tmp_path / "o.mp4"
    report = run(Animate((source,), track, output, fps=10, loop=True, preview=True, size=64))
    assert (report["frames"], report["fps"], report["audio_of"]) == (4, 10, "source")
    assert (report["unchanged_frames"], report["ends_with"]) == (1, "source")
    made, read = frames_of(output), frames_of(source)
    assert made[0].shape == read[0].shape
    errors = [mean_error(a, b) for a, b in zip(made, read, strict=True)]
    assert errors[1] > 2 * max(errors[0], errors[2], errors[3])  # turned in the second frame alone
    assert len(frames_of(Path(report["preview"]))) == 4


@needs_mediapipe
def test_two_faces_follow_two_drivers_and_all_else_keeps_its_bits(tmp_path):
    pair = np.concatenate([portrait(), portrait()[:, ::-1]], axis=1)
    photo = write_photo(tmp_path / "p.png", np.ascontiguousarray(pair))
    turned, still = (write_pose_track(tmp_path / f"{yaw}.csv", [Pose(yaw=yaw)], 25) for yaw in (12.0, 0.0))
    output = tmp_path / "o.png"
    report = run(Animate((photo,), turned, output, face=0, also=(f"1={still}",)))
    made = np.asarray(Image.open(output))
    changed = (made != pair).any(2)
    assert len(report["faces"]) == 2
    halves = changed[:, :300].sum(), changed[:, 300:].sum()
    assert halves[1] < 2500 < 25_000 < halves[0]  # the open mouth of the still one is drawn anew
    assert not changed[0].any()  # beyond the soft rim of what moved
    said = animate(pair, [Pose(yaw=12.0)], face=0, also={1: [Pose()]})
    assert np.array_equal(next(said), made)
    (alone,) = animate(iter([pair]), [Pose(yaw=12.0)], face=0, full_frame=True)
    there = (alone != pair).any(2)
    assert np.array_equal(there[:, :300], changed[:, :300])
    assert not there[:, 310:].any()


def test_other_faces_need_the_number_of_the_first_and_an_animator_of_heads():
    with pytest.raises(HeadwarpError, match="every face by another number"):
        animate("a.jpg", "b.mp4", also={1: "c.mp4"})
    pictures = load_animator("fomm", config=tiny(fomm(), width=4))
    with pytest.raises(HeadwarpError, match="looks at whole pictures and finds no face"):
        animate("a.jpg", "b.mp4", face=0, also={1: "c.mp4"}, animator=pictures, size=64)
