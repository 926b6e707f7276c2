"""The soft stop: nothing within, never beyond, smooth between, tilts free."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import HeadwarpError
from headwarp.geom.pose_range import PoseRange, limited_turn
from headwarp.geom.transforms import axis_angle_to_matrix, euler_to_matrix, matrix_to_euler

LIMITS = PoseRange(yaw_deg=45, pitch_deg=30)


def turns(yaw=0.0, pitch=0.0, roll=0.0) -> torch.Tensor:
    angles = torch.broadcast_tensors(*(torch.as_tensor(a, dtype=torch.float64) for a in (yaw, pitch, roll)))
    return euler_to_matrix(*(torch.deg2rad(angle.reshape(-1)) for angle in angles))


def test_within_the_range_nothing_changes():
    inside = turns([0.0, 35.0, 0.0, -20.0], [0.0, 0.0, 20.0, 10.0], [0.0, 170.0, -60.0, 20.0])
    assert torch.equal(limited_turn(inside, LIMITS).turn, inside)


def test_beyond_it_comes_near_and_never_over():
    made = limited_turn(turns(yaw=[50.0, 70.0, 120.0]), LIMITS)
    yaw = torch.rad2deg(matrix_to_euler(made.turn).yaw)
    torch.testing.assert_close(made.angle_deg, torch.tensor([50.0, 70.0, 120.0]).double())
    torch.testing.assert_close(made.limit_deg, torch.full((3,), 45.0).double())
    assert (yaw.diff() > 0).all()
    assert (yaw < 45).all()
    assert yaw[0] > 43
    pitch = torch.rad2deg(matrix_to_euler(limited_turn(turns(pitch=-90.0), LIMITS).turn).pitch)
    assert -30 <= float(pitch) < -29.9


def test_a_video_is_slowed_and_not_stopped():
    swept = limited_turn(turns(yaw=torch.linspace(0, 60, 601)), LIMITS)
    yaw = torch.rad2deg(matrix_to_euler(swept.turn).yaw)
    speed = yaw.diff()
    assert speed.diff().abs().max() < 0.002
    assert (speed > 0).all()


def test_a_tilt_is_kept_and_is_free():
    made = limited_turn(turns(yaw=60.0) @ turns(roll=100.0), LIMITS).turn
    kept = limited_turn(turns(yaw=60.0), LIMITS).turn @ turns(roll=100.0)
    torch.testing.assert_close(made, kept)
    half = torch.tensor([[0.0, 0.0, torch.pi]], dtype=torch.float64)
    assert torch.equal(limited_turn(axis_angle_to_matrix(half), LIMITS).turn, axis_angle_to_matrix(half))


def test_ranges_that_make_no_sense():
    with pytest.raises(HeadwarpError, match="expected degrees above 0"):
        PoseRange(0, 30)
