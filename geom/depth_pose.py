"""Depth and pose networks together: what self-supervised training trains, and what is kept of it.

Three frames of a clip give disparity of the middle one and the motion from it to its neighbours; one picture
alone gives its depth and the camera that took it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .depth import DepthConfig, DepthNetwork, disparity_to_depth
from .errors import ShapeError
from .relative_pose import HeadPose, HeadPoseNetwork, PoseConfig, RelativePose, build_pose
from .transforms import axis_angle_to_matrix
from .view_synthesis import intrinsics_matrix


@dataclass(frozen=True)
class DepthPoseConfig:
    """The two networks.

    Attributes:
        depth: of single pictures.
        pose: of pairs.
    """

    depth: DepthConfig = field(default_factory=DepthConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)


@dataclass(frozen=True)
class Triplet:
    """What the networks say of three frames.

    Attributes:
        disparities: of the middle frame, the target, finest first.
        previous, following: motion of points from the target to the frame before and the one after it.
    """

    disparities: tuple[Float[Tensor, "B 1 h w"], ...]
    previous: RelativePose
    following: RelativePose


@dataclass(frozen=True)
class Scene:
    """One picture as points in space.

    Attributes:
        disparity: larger where nearer, in (0, 1), ``(B, 1, H, W)``.
        depth: along the camera's axis, up to a factor, ``(B, 1, H, W)``.
        intrinsics: K in pixels, ``(B, 3, 3)``.
    """

    disparity: Float[Tensor, "B 1 H W"]
    depth: Float[Tensor, "B 1 H W"]
    intrinsics: Float[Tensor, "B 3 3"]


class DepthPoseNetwork(nn.Module):
    """Both networks, as ``depth`` and ``pose``.

    Args:
        config: their configs.

    Raises:
        HeadwarpError: settings that make no sense.
    """

    def __init__(self, config: DepthPoseConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DepthPoseConfig()
        self.depth = DepthNetwork(config.depth)
        self.pose = build_pose(config.pose)

    def forward(self, frames: Float[Tensor, "B 3 3 H W"]) -> Triplet:
        """Disparity of the middle frame, and the motion to its neighbours; RGB in [0, 1].

        A network of pairs sees both pairs in the order of time; the motion to the previous frame is the
        inverse of what it says. Heads' poses share one focal length, the mean of the three logarithms.

        Raises:
            ShapeError: another shape.
        """
        if frames.ndim != 5 or frames.shape[1:3] != (3, 3):
            raise ShapeError(f"frames: expected (B, 3, 3, H, W), three of a clip, got {tuple(frames.shape)}")
        disparities = self.depth(frames[:, 1])
        if isinstance(self.pose, HeadPoseNetwork):
            return Triplet(disparities, *self._between_heads(self.pose, frames))
        pairs = torch.cat([frames[:, 0:2], frames[:, 1:3]]).flatten(1, 2)  # (2 B, 6, H, W)
        before, after = _split(self.pose(pairs), len(frames))
        return Triplet(disparities, inverse(before), after)

    def scene(self, image: Float[Tensor, "B 3 H W"], *, focal: Float[Tensor, " B"] | None = None) -> Scene:
        """Depth and intrinsics of single pictures; the pose network sees each as its own neighbour.

        Args:
            image: RGB in [0, 1], sides multiples of 32.
            focal: focal lengths in widths where they are known; None: what the pose network says.
        """
        disparity = self.depth(image)[0]
        intrinsics = self.pose(torch.cat([image, image], dim=1)).intrinsics
        if focal is not None:
            lengths = (focal.to(image) * image.shape[3])[:, None].expand(-1, 2)
            intrinsics = intrinsics_matrix(lengths, intrinsics[:, :2, 2])
        return Scene(disparity, depth_of(self.config, disparity, intrinsics), intrinsics)

    def _between_heads(self, network: HeadPoseNetwork, frames: Tensor) -> tuple[RelativePose, RelativePose]:
        count, size = len(frames), (int(frames.shape[3]), int(frames.shape[4]))
        poses = network.poses(frames.flatten(0, 1))
        focal = poses.focal.unflatten(0, (count, 3)).mean(1, keepdim=True).expand(-1, 3)
        shared = dataclasses.replace(poses, focal=focal.flatten())
        previous, target, following = (_nth(shared, number, count) for number in range(3))
        return network.between(target, previous, size), network.between(target, following, size)


def depth_of(
    config: DepthPoseConfig, disparity: Float[Tensor, "B 1 H W"], intrinsics: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B 1 H W"]:
    """Depth of disparities as seen with K, which is for maps of their size."""
    focal = intrinsics[:, 0, 0] / disparity.shape[3]
    return disparity_to_depth(disparity, config.depth, focal=focal)


def inverse(pose: RelativePose) -> RelativePose:
    """The motion from source to target; the camera is the same."""
    back = axis_angle_to_matrix(-pose.rotation)
    translation = -(back @ pose.translation[:, :, None])[:, :, 0]
    return RelativePose(-pose.rotation, translation, pose.intrinsics)


def _nth(poses: HeadPose, number: int, count: int) -> HeadPose:
    """The poses of one of three frames."""
    parts = {
        f.name: getattr(poses, f.name).unflatten(0, (count, 3))[:, number] for f in dataclasses.fields(poses)
    }
    return HeadPose(**parts)


def _split(poses: RelativePose, count: int) -> tuple[RelativePose, RelativePose]:
    values = (poses.rotation, poses.translation, poses.intrinsics)
    return RelativePose(*(v[:count] for v in values)), RelativePose(*(v[count:] for v in values))
