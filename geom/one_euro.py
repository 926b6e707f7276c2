"""The One Euro filter [Casiez 2012] of vectors and rotations: steady where they rest, quick where they move.

A step takes the state of the frame before and gives the next one, so that a stream and a clip are filtered
alike; nothing is known of later frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .transforms import axis_angle_to_matrix, matrix_to_axis_angle

SPEED_CUTOFF = 1.0  # Hz, the paper's


@dataclass(frozen=True)
class Filtered:
    """What is known after a frame.

    Attributes:
        value: filtered: numbers ``(...)``, or rotations ``(..., 3, 3)``.
        speed: its filtered change a second: numbers ``(...)``, or axis-angle ``(..., 3)``.
    """

    value: Tensor
    speed: Tensor


def first_value(value: Tensor) -> Filtered:
    """The state after the first frame, which is as it is."""
    return Filtered(value, torch.zeros_like(value))


def first_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Filtered:
    """The state after the first frame of rotations, which are as they are."""
    return Filtered(rotation, torch.zeros_like(rotation[..., 0]))


def filter_value(
    before: Filtered,
    value: Tensor,
    *,
    fps: float,
    min_cutoff: float | Tensor,
    beta: float | Tensor,
    unit: float = 1.0,
    speed_cutoff: float = SPEED_CUTOFF,
) -> Filtered:
    """One step for numbers, each by itself.

    Args:
        before: of the frame before.
        value: of this frame.
        fps: frames a second.
        min_cutoff: cut-off in Hz at rest; one for all, or one each.
        beta: Hz for every unit a second of speed.
        unit: what speed is measured in.
        speed_cutoff: of the speed itself, Hz.

    Example:
        >>> state = first_value(torch.tensor([0.0]))
        >>> moved = filter_value(state, torch.tensor([1.0]), fps=25.0, min_cutoff=1.0, beta=0.0)
        >>> [round(value, 3) for value in moved.value.tolist()]  # most of the jump is held back
        [0.201]
    """
    change = (value - before.value) * (fps / unit)
    speed = torch.lerp(before.speed, change, low_pass_share(torch.full_like(change, speed_cutoff), fps))
    share = low_pass_share(min_cutoff + beta * speed.abs(), fps)
    return Filtered(torch.lerp(before.value, value, share), speed)


def filter_rotation(
    before: Filtered,
    rotation: Float[Tensor, "*batch 3 3"],
    *,
    fps: float,
    min_cutoff: float | Tensor,
    beta: float | Tensor,
    speed_cutoff: float = SPEED_CUTOFF,
) -> Filtered:
    """One step for rotations, each by itself [Casiez 2012].

    Along the shortest turn from the filtered to the new one, so that no sign of an axis or a quaternion
    matters and a turn through 180 degrees goes on.

    Args:
        before: of the frame before.
        rotation: of this frame.
        fps: frames a second.
        min_cutoff: cut-off in Hz at rest; one for all, or of shape ``(...)``.
        beta: Hz for every radian a second of speed; as ``min_cutoff``.
        speed_cutoff: of the speed itself, Hz.
    """
    turn = matrix_to_axis_angle(before.value.mT @ rotation)
    share = low_pass_share(torch.full_like(turn, speed_cutoff), fps)
    speed = torch.lerp(before.speed, turn * fps, share)
    cutoff = min_cutoff + beta * speed.norm(dim=-1)
    step = low_pass_share(cutoff, fps)[..., None] * turn
    return Filtered(before.value @ axis_angle_to_matrix(step), speed)


def low_pass_share(cutoff: Tensor, fps: float) -> Tensor:
    """Of the new value in a low pass of this cut-off in Hz."""
    return 1 / (1 + fps / (2 * math.pi * cutoff))
