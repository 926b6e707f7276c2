"""Whole frames of odd footage: turned by its metadata, cut short by hand, wrong faces, any length."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from face_pictures import frames_of, needs_mediapipe, portrait
from live_bytes import peak_bytes
from media_files import mean_error, write_clip
from posed_fits import detected_points, posed_fit

from headwarp.flame.driving import Transfer, transfer_motion
from headwarp.flame.fitting import fit_landmarks
from headwarp.flame.io import load_head
from headwarp.flame.params import Pose
from headwarp.flame.pose_track import write_pose_track
from headwarp.flame.retargeting import Retargeting
from headwarp.geom.pose_range import PoseRange
from headwarp.tools import cli, filmed_head, head_motion, performance
from headwarp.tools.drivers import Driver
from headwarp.tools.faces import fit_frames
from headwarp.tools.frame_files import write_frames
from headwarp.tools.motion import Motion
from headwarp.warping.animators import load_animator

PHONE = np.ascontiguousarray(portrait()[:, 30:270])  # 300 high, 240 wide
DRIVER = Driver(None, (Pose(yaw=5.0),), None, 25)
FEW, MANY = 2, 8


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A portrait clip as phones store it, lying on its side, and a track of poses."""
    folder = tmp_path_factory.mktemp("files")
    lying = np.ascontiguousarray(np.rot90(PHONE))
    write_clip(folder / "s.mp4", [lying] * 2, fps=10, rotation=-90)
    write_pose_track(folder / "t.csv", [Pose(), Pose(yaw=12.0)], 10)
    return folder


def words(files, output, *more):
    return ["animate", "--source", str(files / "s.mp4"), "--driving", str(files / "t.csv")] + [
        *("--output", str(output), "--size", "64", "--fps", "10"),
        *more,
    ]


@needs_mediapipe
def test_a_clip_that_lies_on_its_side_is_seen_upright(files, tmp_path):
    assert cli.main(words(files, tmp_path / "o.mp4")) == 0
    still, turned = frames_of(tmp_path / "o.mp4")
    assert still.shape == PHONE.shape
    assert mean_error(still, PHONE) < 4 < mean_error(np.ascontiguousarray(still[::-1, ::-1]), PHONE)
    assert mean_error(turned, PHONE) > 2 * mean_error(still, PHONE)


@needs_mediapipe
def test_an_interrupted_clip_leaves_nothing(files, tmp_path, monkeypatch):
    pasted, made = filmed_head.pasted, []

    def interrupted(*given):
        if made:
            raise KeyboardInterrupt
        made.append(pasted(*given))
        return made[-1]

    monkeypatch.setattr(filmed_head, "pasted", interrupted)
    assert cli.main(words(files, tmp_path / "o.mp4")) == 130
    assert len(made) == 1
    assert list(tmp_path.iterdir()) == []


@needs_mediapipe
@pytest.mark.parametrize(
    ("also", "text"),
    [("7={}/t.csv", "--face 7: the source has 1 face(s)"), ("1={}/nowhere.mp4", "nowhere.mp4")],
)
def test_a_wrong_face_or_driver_beside_others_is_a_sentence(files, tmp_path, capsys, also, text):
    more = ["--face", "0", "--also", also.format(files)]
    assert cli.main(words(files, tmp_path / "o.mp4", *more)) == 1
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@needs_mediapipe
@pytest.mark.parametrize("clamp", [False, True])
def test_turns_beyond_what_holds_are_told_once_for_a_clip(files, tmp_path, capsys, clamp):
    write_pose_track(tmp_path / "far.csv", [Pose(yaw=60.0), Pose(yaw=75.0)], 10)
    given = words(files, tmp_path / "o.mp4", *(["--clamp"] if clamp else []))
    given[4] = str(tmp_path / "far.csv")
    assert cli.main(given) == 0
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: rotation"))
    assert "rotation of 75 degrees" in said
    assert "2 frame(s)" in said
    assert said.endswith("clamped" if clamp else "--clamp stops there")


def of_clip(head, fit, count, animator):
    """Frames of a clip in which one frame is repeated."""
    fit = dataclasses.replace(fit.select([0] * count), report={**fit.report, "frames": count})
    filmed = filmed_head.film(head, fit, DRIVER, Transfer(), size=64, motion=Motion())
    _ = filmed.windows, filmed.residuals
    frames = (PHONE.copy() for _ in range(count))
    return filmed_head.with_head_driven(frames, [(k, 0) for k in range(count)], filmed, animator)


def of_photo(head, fit, count, animator):
    """As many frames of a photo."""
    driver = dataclasses.replace(DRIVER, poses=DRIVER.poses * count)
    performance = head_motion.resting(head_motion.prepare(PHONE, driver, head, size=64))
    stage = head_motion.stage(performance, animator)
    return stage.pasted(animator.animate(stage.cache, each) for each in stage.drivings())


@needs_mediapipe
@pytest.mark.parametrize("source", [of_clip, of_photo])
def test_no_frame_is_kept_however_long_the_clip(source, tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "POSED_AT_ONCE", FEW)  # meshes of so many frames are held, and no more
    head, animator = load_head("builtin"), load_animator("geometry", None)
    fit = fit_frames([PHONE], head)
    peaks = []
    for count in (FEW, MANY):
        frames = source(head, fit, count, animator)
        peaks.append(peak_bytes(lambda made=frames: write_frames(tmp_path / "o.mp4", made, fps=25)))
    assert peaks[0] > PHONE.nbytes  # the bytes of frames are counted
    assert peaks[1] - peaks[0] < PHONE.nbytes  # kept, they would be MANY - FEW times that


def test_records_of_ten_thousand_frames_fit_in_the_bound():
    """What grows with a clip: its fit, and the motion made of it with every option; no mesh and no frame.

    The bound is 1.5 GB: 60 KB a frame are 600 MB, beside the 700 that a process takes which animates.
    """
    head = load_head("builtin")
    source = posed_fit(head, size=(128, 128))
    motion = Motion(
        Retargeting(yaw=0.9, mouth=1.2),
        eyes="driver",
        lips="driver",
        smooth=True,
        clamp=True,
        holds=PoseRange(40, 35),
    )

    def motion_of(fit):
        steady = motion.filtered(head, fit, 25.0)
        driven = transfer_motion(head, source, steady, Transfer(relative=True))
        return motion.moved(head, source, driven.fit, steady)

    peaks = []
    for frames in (20, 80):
        clip = posed_fit(head, [10 * math.sin(number / 9) for number in range(frames)], size=(128, 128))
        points = detected_points(clip)
        peaks.append(
            peak_bytes(lambda points=points: fit_landmarks(head, points, (128, 128)))
            + peak_bytes(lambda clip=clip: motion_of(clip))
        )
    a_frame = (peaks[1] - peaks[0]) / 60
    assert 4_000 < a_frame < 60_000  # a mesh of the head a frame would be 65,000 alone
