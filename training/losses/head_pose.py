"""Losses of heads' poses against motions that direct alignment found (`geom.rigid_alignment`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.relative_pose import HeadPose
from ...geom.rigid_alignment import SurfaceMotion
from ...geom.transforms import axis_angle_to_matrix

_NEAREST = 0.05  # of a middle before the camera, in distances of the target
_ROUND = 1e-5  # under the root: no slope without end where both agree


@dataclass(frozen=True)
class HeadPoseLossConfig:
    """Weights of the terms; every one is an absolute difference, so that a few bad alignments pull little.

    Attributes:
        rotation: of the relative rotation: Frobenius distance, 1.41 a radian.
        place: of where the head's middle goes, in widths.
        distance: of the logarithm of the factor on its distance.
    """

    rotation: float = 1.0
    place: float = 2.0
    distance: float = 2.0


@dataclass(frozen=True)
class HeadPoseTargets:
    """What an alignment says of a source picture's head.

    Attributes:
        rotation: relative, ``(B, 3, 3)``.
        place: where the head's middle is seen, in widths from the frame's middle, ``(B, 2)``.
        distance: logarithm of the factor on its distance, ``(B,)``.
    """

    rotation: Float[Tensor, "B 3 3"]
    place: Float[Tensor, "B 2"]
    distance: Float[Tensor, " B"]


@torch.no_grad()
def head_pose_targets(target: HeadPose, motion: SurfaceMotion, *, pivot: float) -> HeadPoseTargets:
    """Where an aligned motion carries the middle of the target's head.

    Args:
        target: pose of the target's head.
        motion: from the target to the source.
        pivot: how far the middle lies behind the mean surface, in widths (`PoseConfig.pivot`).
    """
    depth = 1 + pivot * motion.perspective
    middle = torch.cat([target.place * depth[:, None], torch.full_like(depth, pivot)[:, None]], dim=1)
    turned = (motion.rotation @ middle[:, :, None])[:, :, 0]
    scale = (motion.distance.exp() + motion.perspective * turned[:, 2]).clamp_min(_NEAREST)
    place = (turned[:, :2] + motion.shift) / scale[:, None]
    return HeadPoseTargets(motion.rotation, place, (scale / depth).log())


def head_pose_losses(
    target: HeadPose,
    source: HeadPose,
    targets: HeadPoseTargets,
    config: HeadPoseLossConfig | None = None,
    *,
    weight: Float[Tensor, " B"] | None = None,
) -> Mapping[str, Float[Tensor, ""]]:
    """Weighted terms by name, means over the batch, differentiable in both poses.

    Args:
        target, source: poses as the network says them.
        targets: as the alignment has them.
        config: weights of the terms.
        weight: of the pairs, not negative; all alike by default. Where all are 0 the terms are.
    """
    config = config or HeadPoseLossConfig()
    turn_t, turn_s = axis_angle_to_matrix(target.rotation), axis_angle_to_matrix(source.rotation)
    off = turn_s @ turn_t.transpose(1, 2) - targets.rotation
    weight = torch.ones_like(targets.distance) if weight is None else weight
    total = weight.sum().clamp_min(torch.finfo(weight.dtype).eps)

    def mean(values: Tensor) -> Tensor:
        return (values * weight).sum() / total

    distance = source.distance - target.distance - targets.distance
    return {
        "rotation": config.rotation * mean((off.square().sum((1, 2)) + _ROUND).sqrt()),
        "place": config.place * mean((source.place - targets.place).abs().mean(1)),
        "distance": config.distance * mean(distance.abs()),
    }
