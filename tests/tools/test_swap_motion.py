"""A head that is put in takes over as much of the target's motion as is asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from posed_fits import posed_fit

from headwarp.flame.io import load_head
from headwarp.flame.openness import openness
from headwarp.flame.params import MISSING, Pose
from headwarp.flame.posing import apply_pose, head_pose, neck_pixels
from headwarp.flame.replacement import replaced_head, turned_residual
from headwarp.flame.retargeting import Retargeting
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.pose_range import PoseRange
from headwarp.tools.motion import Motion
from headwarp.tools.swap_motion import check_led, led_head

MODEL = load_head("builtin")
SOURCE = dataclasses.replace(
    apply_pose(MODEL, posed_fit(MODEL, [-10.0], size=(128, 128)), Pose(jaw=0.1)),
    residual=torch.linspace(-3, 3, 2 * len(MODEL.landmarks["mediapipe"].indices)).reshape(1, -1, 2),
)
TARGET = apply_pose(MODEL, posed_fit(MODEL, size=(96, 96)), [Pose(yaw=30, jaw=0.8), Pose(pitch=10)])
PLAIN = replaced_head(MODEL, SOURCE, TARGET)


def led(motion: Motion, target=TARGET):
    return led_head(MODEL, SOURCE, target, motion, fps=25.0)


def test_all_of_the_targets_motion_is_the_replaced_head_itself():
    made = led(Motion()).fit
    for name in ("rotation", "neck", "jaw", "eyes", "eyelids", "expression", "shape"):
        assert torch.equal(getattr(made.params, name), getattr(PLAIN.params, name))
    assert torch.equal(made.residual, PLAIN.residual)
    assert torch.equal(made.camera.center, PLAIN.camera.center)


def test_half_a_turn_lies_between_the_photos_and_the_targets():
    made = led(Motion(Retargeting(yaw=0.5))).fit
    torch.testing.assert_close(head_pose(made.params)[:, 0], torch.tensor([10.0, -5.0]), atol=0.02, rtol=0)
    assert torch.equal(made.params.jaw, PLAIN.params.jaw)
    own, there = (neck_pixels(MODEL, fit.params, fit.camera) for fit in (PLAIN, made))
    torch.testing.assert_close(there, own, atol=1e-2, rtol=0)  # on the target's neck
    torch.testing.assert_close(made.residual, turned_residual(SOURCE, made), atol=1e-4, rtol=0)


def test_the_mouth_of_the_photo_on_the_targets_pose():
    made = led(Motion(Retargeting(mouth=0.0))).fit
    torch.testing.assert_close(made.params.jaw, SOURCE.params.jaw.expand(2, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(head_pose(made.params), head_pose(TARGET.params), atol=1e-3, rtol=0)
    assert openness(MODEL, led(Motion(lips=0.3)).fit).lips.tolist() == pytest.approx([0.3, 0.3], abs=1e-3)
    theirs = openness(MODEL, TARGET).lips
    torch.testing.assert_close(
        openness(MODEL, led(Motion(lips="driver")).fit).lips, theirs, atol=1e-3, rtol=0
    )


def test_what_the_engine_holds_is_told_and_kept_in_frames_that_show_the_head():
    narrow = Motion(holds=PoseRange(20, 20))
    assert (led(narrow).beyond.frames, round(led(narrow).beyond.farthest_deg)) == (1, 40)
    kept = led(dataclasses.replace(narrow, clamp=True)).fit
    assert -10 < float(head_pose(kept.params)[0, 0]) < 10.1
    gone = dataclasses.replace(TARGET, status=torch.full_like(TARGET.status, MISSING))
    assert led(narrow, gone).beyond.frames == 0


def test_smoothing_is_the_targets():
    swaying = posed_fit(MODEL, [0.0, 6.0] * 4, size=(96, 96))
    plain, steady = (head_pose(led(Motion(smooth=on), swaying).fit.params)[:, 0] for on in (False, True))
    assert steady.diff().abs().mean() < 0.8 * plain.diff().abs().mean()


def test_what_cannot_be_followed_is_refused():
    class Learned:
        checkpoints = ("aligner",)

    class Plain:
        checkpoints = ()

    with pytest.raises(HeadwarpError, match="--strength position: the head sits on the target's neck"):
        check_led(Motion(Retargeting(position=0.5)), Plain(), name="toy")
    with pytest.raises(HeadwarpError, match="motion: toy sees in the target's picture how the head is held"):
        check_led(Motion(smooth=True), Learned(), name="toy")
    check_led(Motion(smooth=True), Plain(), name="toy")
    check_led(Motion().held_by(Plain(), "toy"), Learned(), name="toy")
