"""A network's relative pose made better by the two pictures themselves: `rigid_alignment` for depth maps."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from .depth import middle_window
from .depth_pose import DepthPoseConfig
from .displacement import dilate
from .errors import ShapeError
from .relative_pose import RelativePose
from .rigid_alignment import AlignmentConfig, SurfaceMotion, align_surfaces, pose_of_surface, surface_of_pose
from .transforms import axis_angle_to_matrix, matrix_to_axis_angle

ALIGNMENT = AlignmentConfig((16, 32, 64), steps=5)
"""Of a network's guess, some six degrees off."""
_BELIEVED, _DOUBTED = 0.45, 0.55
"""Cost up to which the pictures are believed, and from which on the guess is. What is left of two frames of
one person was up to 0.3 on synthetic people and mostly below 0.5 on real clips, of two persons 0.5 to 0.7.
"""
_OUTLINE = 0.05  # widths about a mask that count: against what lies behind it an outline says much of a pose


def alignable(config: DepthPoseConfig) -> bool:
    """Whether networks say what alignment starts from: relief, a head's pose, the axis in the middle.

    Those of the published forms do not: their depth has no mean, and K two focal lengths.
    """
    return config.depth.mapping == "relief" and config.pose.form == "head" and config.pose.principal == 0


def aligned_pose(
    pose: RelativePose,
    depth: Float[Tensor, "#B 1 H W"],
    *,
    target: Float[Tensor, "#B 3 H W"],
    source: Float[Tensor, "#B 3 H W"],
    mask: Float[Tensor, "#B 1 H W"] | None = None,
    config: AlignmentConfig = ALIGNMENT,
) -> RelativePose:
    """The pose at which the target's surface shows the source picture, sought from a guess on.

    The camera stays as it was guessed. What lies in the middle of the frame counts most. Pictures that say
    nothing leave the guess, and those that do not fit, as of two persons, bring it back: alignment would turn
    a face until its features lie on another's. Not differentiable.

    Args:
        pose: the guess: motion from the target to the source picture, its translation in units of the
            target's mean depth under `depth.middle_window`; K with one focal length, its axis in the middle.
        depth: of the target in any unit, 0 where unknown.
        target, source: RGB in [0, 1].
        mask: of the target's pixels that move as one, in [0, 1]; they count with their outline, a twentieth
            of the width about them. All by default.
        config: how it is sought.

    Returns:
        The pose, its translation in the unit of the depth.

    Raises:
        ShapeError: pictures, depth or mask of different sizes.
        HeadwarpError: K has two focal lengths.
    """
    size = (int(target.shape[2]), int(target.shape[3]))
    for name, value in (("depth", depth), ("mask", mask)):
        if value is not None and value.shape[1:] != (1, *size):
            expected = f"(B, 1, {size[0]}, {size[1]}) as the target"
            raise ShapeError(f"{name}: expected {expected}, got {tuple(value.shape)}; resize it")
    known = (depth > 0).to(depth)
    weight = middle_window(depth) * known
    mean = _mean(depth, weight)
    weight = weight if mask is None else weight * dilate(mask, round(size[1] * _OUTLINE))
    focal = pose.intrinsics[:, 0, 0] / size[1]  # in widths
    relief = (depth / mean - 1) * focal[:, None, None, None] * known
    start = surface_of_pose(pose, size[1])
    parts = (target, source, relief, weight, *vars(start).values())
    count = max(len(part) for part in parts)
    target, source, relief, weight, *moved = (part.expand(count, *part.shape[1:]) for part in parts)
    start = SurfaceMotion(*moved)
    found = align_surfaces(target, source, relief, start, weight=weight, config=config)
    share = ((_DOUBTED - found.cost) / (_DOUBTED - _BELIEVED)).clamp(0, 1)
    better = pose_of_surface(_on_the_way(start, found.motion, share), size)
    believed = (share > 0)[:, None]  # of what is not, the start may have been bounded: the guess is not
    rotation = torch.where(believed, better.rotation, pose.rotation)
    translation = torch.where(believed, better.translation, pose.translation)
    return dataclasses.replace(pose, rotation=rotation, translation=translation * mean[:, 0, 0])


def _on_the_way(start: SurfaceMotion, end: SurfaceMotion, share: Float[Tensor, " B"]) -> SurfaceMotion:
    """From one motion to another that differs little."""
    turn = matrix_to_axis_angle(end.rotation @ start.rotation.mT)
    return SurfaceMotion(
        axis_angle_to_matrix(share[:, None] * turn) @ start.rotation,
        torch.lerp(start.shift, end.shift, share[:, None]),
        torch.lerp(start.distance, end.distance, share),
        start.perspective,
    )


def _mean(depth: Tensor, weight: Tensor) -> Float[Tensor, "B 1 1 1"]:
    """Of the depth that is known; 1 where nothing is."""
    total = weight.sum((2, 3), keepdim=True)
    mean = (depth * weight).sum((2, 3), keepdim=True) / total.where(total > 0, total.new_ones(()))
    return mean.where(total > 0, mean.new_ones(()))
