"""How far a head may turn from its photo before a picture of it breaks, and a soft stop at that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError
from .transforms import axis_angle_to_matrix, matrix_to_quaternion

SOFT_FROM = 0.8  # of the range, from where on a turn is slowed
_REST = 1e-9  # radians


@dataclass(frozen=True)
class PoseRange:
    """The turns away from the photo, out of the picture's plane, at which an animator holds.

    A tilt in the plane (roll) breaks nothing and has no limit. Directions between are on an ellipse.

    Attributes:
        yaw_deg: to either side.
        pitch_deg: up or down.
    """

    yaw_deg: float
    pitch_deg: float

    def __post_init__(self) -> None:
        if not (0 < self.yaw_deg < 180 and 0 < self.pitch_deg < 180):
            raise HeadwarpError(f"pose range: expected degrees above 0 and below 180, got {self}")


@dataclass(frozen=True)
class LimitedTurn:
    """Turns softly stopped at a range.

    Attributes:
        turn: in camera axes, ``(T, 3, 3)``.
        angle_deg: out of the picture's plane, as it was, ``(T,)``.
        limit_deg: of the range in that direction, ``(T,)``.
    """

    turn: Float[Tensor, "T 3 3"]
    angle_deg: Float[Tensor, "T"]
    limit_deg: Float[Tensor, "T"]


def swing(turn: Float[Tensor, "T 3 3"]) -> Float[Tensor, "T 3"]:
    """How far turns swing the line of sight, and about which axis in the picture's plane.

    A turn is a tilt about the line of sight followed by this swing.

    Returns:
        ``(T, 3)``: the angle in radians, 0 to pi, and x and y of the axis, of unit length (pitch is about x,
        yaw about y); the axis is 0 where nothing swings.
    """
    w, x, y, z = matrix_to_quaternion(turn).unbind(-1)
    level = (w * w + z * z).sqrt()
    sx, sy = (x * w - y * z, y * w + x * z)  # of the turn times the tilt's inverse
    sine = (sx * sx + sy * sy).sqrt()
    safe = sine.clamp(min=torch.finfo(turn.dtype).tiny)
    return torch.stack([2 * torch.atan2(sine, level * level), sx / safe, sy / safe], dim=-1)


def limited_turn(turn: Float[Tensor, "T 3 3"], limits: PoseRange) -> LimitedTurn:
    """Turns away from the photo, in camera axes, that stay within a range.

    The angle of a turn's `swing` is left alone up to 0.8 of its limit and comes ever nearer to the limit from
    there on, with a continuous speed, so that a video is slowed and not stopped. The tilt stays. By
    quaternions: nothing flips before a swing of 180 degrees.

    Args:
        turn: of each frame against the photo, in camera axes.
        limits: the range.
    """
    angle, across, along = swing(turn).unbind(-1)
    yaw, pitch = math.radians(limits.yaw_deg), math.radians(limits.pitch_deg)
    limit = ((along / yaw) ** 2 + (across / pitch) ** 2).clamp(min=1e-12).rsqrt()
    kept = _soft(angle, limit)
    axis = torch.stack([across, along, torch.zeros_like(along)], dim=-1)
    back = axis_angle_to_matrix(axis * (kept - angle)[:, None])
    moved = torch.where((kept < angle)[:, None, None], back @ turn, turn)
    at_rest = angle < _REST
    return LimitedTurn(
        torch.where(at_rest[:, None, None], turn, moved), torch.rad2deg(angle), torch.rad2deg(limit)
    )


def _soft(angle: Tensor, limit: Tensor) -> Tensor:
    start = SOFT_FROM * limit
    room = limit - start
    return torch.where(angle <= start, angle, start + room * torch.tanh((angle - start) / room))
