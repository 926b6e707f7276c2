"""Options of motion: what they come to, what is refused, and that they reach the pictures' heads."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.io import load_head
from headwarp.flame.openness import openness
from headwarp.flame.params import Pose
from headwarp.flame.pose_limit import Beyond, cut_sides, narrowed
from headwarp.flame.posing import apply_pose, head_pose, neck_pixels
from headwarp.flame.retargeting import Retargeting
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.pose_range import PoseRange
from headwarp.tools.animate import Animate
from headwarp.tools.edit import Edit
from headwarp.tools.motion import Motion, check_poses, check_still
from headwarp.tools.motion_options import MotionOptions, check_no_head, motion_of

MODEL = load_head("builtin")
SOURCE = posed_fit(MODEL, size=(128, 128))
DRIVEN = apply_pose(MODEL, SOURCE, [Pose(), Pose(yaw=30, jaw=0.5), Pose(yaw=20, blink=1.0)])


def test_a_group_and_one_of_its_own():
    made = motion_of(MotionOptions(("yaw=0.25", "pose=0.5", "mouth=1.5"))).retargeting
    assert made == Retargeting(yaw=0.25, pitch=0.5, roll=0.5, mouth=1.5)
    assert motion_of(MotionOptions(("pose=0.5", "yaw=0.25"))).retargeting.yaw == 0.25


def test_no_option_changes_nothing():
    motion = motion_of(MotionOptions())
    assert motion.applied(MODEL, SOURCE, DRIVEN, DRIVEN) is DRIVEN
    assert motion.filtered(MODEL, DRIVEN, 25.0) is DRIVEN
    for command in (Animate, Edit):
        assert "motion" in {field.name for field in dataclasses.fields(command)}


def test_strength_and_openness_reach_the_head():
    motion = motion_of(MotionOptions(("pose=0.5",), eyes_open="driver", lips_open="0.2"))
    made = motion.applied(MODEL, SOURCE, DRIVEN, DRIVEN)
    torch.testing.assert_close(
        head_pose(made.params)[:, 0], torch.tensor([0.0, 15.0, 10.0]), atol=1e-2, rtol=0
    )
    measured = openness(MODEL, made)
    torch.testing.assert_close(measured.lips, torch.full((3,), 0.2), atol=1e-4, rtol=0)
    assert measured.eyes[2].abs().max() < 1e-3
    torch.testing.assert_close(measured.eyes[:1], openness(MODEL, SOURCE).eyes, atol=0.02, rtol=0)
    lips = motion_of(MotionOptions(lips_open="driver")).applied(MODEL, SOURCE, SOURCE, DRIVEN.select([1]))
    torch.testing.assert_close(
        openness(MODEL, lips).lips, openness(MODEL, DRIVEN).lips[1:2], atol=1e-4, rtol=0
    )


def test_the_range_of_the_animator_is_told_and_kept(capsys):
    class Toy:
        holds = PoseRange(21, 21)

    told = motion_of(MotionOptions(), Toy(), name="toy")
    assert told.applied(MODEL, SOURCE, DRIVEN) is DRIVEN
    said = capsys.readouterr().err
    assert "rotation of 30 degrees from the photo is beyond the 21 that toy holds, in 1 frame(s)" in said
    made = motion_of(MotionOptions(clamp=True), Toy(), name="toy").applied(MODEL, SOURCE, DRIVEN)
    yaw = head_pose(made.params)[:, 0]
    assert 20 < yaw[1] < 21.01
    assert 18 < yaw[2] < yaw[1]
    assert "clamped" in capsys.readouterr().err
    own, there = (neck_pixels(MODEL, fit.params, fit.camera) for fit in (DRIVEN, made))
    torch.testing.assert_close(there, own, atol=1e-2, rtol=0)
    assert motion_of(MotionOptions(clamp=True), Toy()).applied(MODEL, SOURCE, SOURCE) is SOURCE


def test_smooth_reaches_the_driver():
    made = motion_of(MotionOptions(smooth=True)).filtered(MODEL, DRIVEN, 25.0)
    assert head_pose(made.params)[1, 0] < 29.5


def test_a_strength_leaves_the_animators_name(capsys):
    class Toy:
        holds = PoseRange(21, 21)

    motion_of(MotionOptions(strength=("mouth=0.5",)), Toy(), name="toy").applied(MODEL, SOURCE, DRIVEN)
    assert "that toy holds" in capsys.readouterr().err


def test_a_range_of_ones_own_goes_before_the_animators():
    class Toy:
        holds = PoseRange(21, 21)

    assert Motion(holds=PoseRange(50, 50)).held_by(Toy(), "toy").holds == PoseRange(50, 50)
    assert Motion().held_by(object(), "toy").holds is None


@pytest.mark.parametrize(
    ("shift", "side"), [((-62, 0), "left"), ((62, 0), "right"), ((0, -75), "top"), ((0, 50), "bottom")]
)
def test_a_face_that_the_border_cuts_is_told_and_holds_less(shift, side, capsys):
    cut = dataclasses.replace(SOURCE, landmarks=SOURCE.landmarks + torch.tensor([float(s) for s in shift]))
    assert list(cut_sides(cut)) == [side]
    assert cut_sides(SOURCE) == {}
    narrow = narrowed(PoseRange(40, 35), cut)
    assert narrow == (PoseRange(5, 35) if side in ("left", "right") else PoseRange(40, 5))
    assert narrowed(PoseRange(40, 35), SOURCE) == PoseRange(40, 35)
    motion = Motion(clamp=True, holds=PoseRange(40, 35), animator="toy")
    made = motion.applied(MODEL, cut, apply_pose(MODEL, cut, Pose(yaw=20, pitch=15)))
    said = capsys.readouterr().err
    assert f"the {side} border of the picture cuts the face (" in said
    assert "that toy holds, in 1 frame(s); clamped" in said
    assert float(head_pose(made.params)[0, :2].norm()) < 17
    unknown = dataclasses.replace(SOURCE, landmarks=SOURCE.landmarks * math.nan)
    assert cut_sides(unknown) == {}


def test_motions_add_up_to_their_farthest():
    near, far = Beyond(2, 45.0, 40.0), Beyond(1, 44.0, 35.0)
    assert near.joined(far) == far.joined(near) == Beyond(3, 44.0, 35.0)
    assert Beyond().joined(near) == near


@pytest.mark.parametrize("value", ["wide", -0.1, 1.5, math.nan])
def test_an_openness_that_is_none(value):
    with pytest.raises(HeadwarpError, match=r"Motion.lips: expected driver, or a number from 0 to 1"):
        Motion(lips=value)


def test_a_motion_where_no_head_is_fitted():
    check_still(None, what="toy")
    check_still(Motion(), what="toy")
    with pytest.raises(HeadwarpError, match="motion: belongs to fitted heads, and toy fits none"):
        check_still(Motion(smooth=True), what="toy")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strength": ("mouth",)}, "--strength: expected NAME=AMOUNT"),
        ({"strength": ("chin=1",)}, "--strength: expected one of pose, yaw"),
        ({"strength": ("mouth=3",)}, "strength of mouth: expected 0 to 2"),
        ({"eyes_open": "wide"}, "--eyes-open: expected driver, or a number from 0 to 1, got 'wide'"),
        ({"lips_open": "-1"}, "--lips-open: expected driver"),
        ({"lips_open": "nan"}, "--lips-open: expected driver"),
    ],
)
def test_options_that_make_no_sense(options, told):
    with pytest.raises(HeadwarpError, match=told):
        motion_of(MotionOptions(**options))


def test_options_where_there_is_no_head_or_no_driver():
    with pytest.raises(HeadwarpError, match="--eyes-open driver: a pose track has no driver's face"):
        check_poses(motion_of(MotionOptions(eyes_open="driver")))
    with pytest.raises(HeadwarpError, match="--smooth: belongs to heads"):
        check_no_head(MotionOptions(smooth=True))
    check_no_head(MotionOptions())
