"""Depth and pose networks together: what self-supervised training trains, and what is kept of it.

A few frames of a clip give disparity of the middle one and the motion from it to the others; one picture
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
class OtherView:
    """One of the frames beside the target.

    Attributes:
        number: of its motion in `Views.motions`.
        disparity: of it, the finest, ``(B, 1, H, W)``.
    """

    number: int
    disparity: Float[Tensor, "B 1 H W"]


@dataclass(frozen=True)
class Views:
    """What the networks say of an odd number of frames of a clip.

    Attributes:
        disparities: of the middle frame, the target, finest first.
        motions: of points from the target to every other frame, in the order of the frames.
        heads: poses of the head in all frames, which share one focal length, from a network of heads' poses;
            None from one of pairs.
        other: depth of one more frame, where it was asked for.
    """

    disparities: tuple[Float[Tensor, "B 1 h w"], ...]
    motions: tuple[RelativePose, ...]
    heads: tuple[HeadPose, ...] | None = None
    other: OtherView | None = None


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

    def forward(self, frames: Float[Tensor, "B N 3 H W"], *, other: int | None = None) -> Views:
        """Disparity of the middle frame, and the motion to the others; RGB in [0, 1].

        With ``other`` disparity of one more frame is told, by its number among the others.

        A network of pairs takes three frames and sees both pairs in the order of time; the motion to the
        previous frame is the inverse of what it says. Heads' poses share one focal length, the mean of the
        logarithms, over any odd number of frames.

        Args:
            frames: RGB in [0, 1], in the order of time; the middle one is the target.
            other: number among the others of a frame whose disparity is told too; None: of none.

        Raises:
            ShapeError: another shape, or a number of frames that the pose network does not take.
        """
        paired = not isinstance(self.pose, HeadPoseNetwork)
        shaped = frames.ndim == 5 and frames.shape[2] == 3 and frames.shape[1] >= 3
        if not shaped or (frames.shape[1] != 3 if paired else frames.shape[1] % 2 == 0):
            number = "three" if paired else "an odd number from three on"
            got = tuple(frames.shape)
            raise ShapeError(f"frames: expected (B, N, 3, H, W), {number} of a clip, got {got}")
        middle = frames.shape[1] // 2
        disparities, second = self._disparities(frames, other)
        if isinstance(self.pose, HeadPoseNetwork):
            heads = _each(self.pose.poses(frames.flatten(0, 1)), len(frames))
            size = (int(frames.shape[3]), int(frames.shape[4]))
            others = (*heads[:middle], *heads[middle + 1 :])
            motions = tuple(self.pose.between(heads[middle], other, size) for other in others)
            return Views(disparities, motions, heads, second)
        pairs = torch.cat([frames[:, 0:2], frames[:, 1:3]]).flatten(1, 2)  # (2 B, 6, H, W)
        before, after = _split(self.pose(pairs), len(frames))
        return Views(disparities, (inverse(before), after), other=second)

    def _disparities(self, frames: Tensor, other: int | None) -> tuple[tuple[Tensor, ...], OtherView | None]:
        """Of the middle frame, and of the other one that is asked for, in one pass."""
        middle = frames.shape[1] // 2
        if other is None:
            return self.depth(frames[:, middle]), None
        if not 0 <= other < frames.shape[1] - 1:
            raise ShapeError(f"other: expected a number below {frames.shape[1] - 1}, got {other}")
        second = other + (other >= middle)
        both = self.depth(torch.cat([frames[:, middle], frames[:, second]]))
        told = both[0][len(frames) :]
        return tuple(one[: len(frames)] for one in both), OtherView(other, told)

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


def depth_of(
    config: DepthPoseConfig, disparity: Float[Tensor, "B 1 H W"], intrinsics: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B 1 H W"]:
    """Depth of disparities as seen with K, which is for maps of their size.

    Args:
        config: of the network that made the disparities.
        disparity: what it made, in (0, 1).
        intrinsics: camera matrix in pixels of the disparity's size.
    """
    focal = intrinsics[:, 0, 0] / disparity.shape[3]
    return disparity_to_depth(disparity, config.depth, focal=focal)


def inverse(pose: RelativePose) -> RelativePose:
    """The motion from source to target; the camera is the same."""
    back = axis_angle_to_matrix(-pose.rotation)
    translation = -(back @ pose.translation[:, :, None])[:, :, 0]
    return RelativePose(-pose.rotation, translation, pose.intrinsics)


def _each(poses: HeadPose, count: int) -> tuple[HeadPose, ...]:
    """The poses of each of the frames of ``count`` samples, with one focal length a sample."""
    parts = {f.name: getattr(poses, f.name).unflatten(0, (count, -1)) for f in dataclasses.fields(poses)}
    parts["focal"] = parts["focal"].mean(1, keepdim=True).expand_as(parts["focal"])
    number = parts["focal"].shape[1]
    return tuple(HeadPose(**{name: part[:, n] for name, part in parts.items()}) for n in range(number))


def _split(poses: RelativePose, count: int) -> tuple[RelativePose, RelativePose]:
    values = (poses.rotation, poses.translation, poses.intrinsics)
    return RelativePose(*(v[:count] for v in values)), RelativePose(*(v[count:] for v in values))
