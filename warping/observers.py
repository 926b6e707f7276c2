"""What trained networks see in pictures, as the fields that geometry sources read; see `guided.Observer`.

Networks look at pictures in the size of their training; what they say comes back in pixels of the frame.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.aligned_pose import ALIGNMENT, alignable, aligned_pose
from ..geom.depth import STRIDE
from ..geom.depth_pose import DepthPoseConfig, DepthPoseNetwork
from ..geom.errors import HeadwarpError
from ..geom.grids import GridConvention, pixel_flow, resize_displacement
from ..geom.guidance import Driving, Source, take
from ..geom.keypoints import Keypoints, to_normalised, to_pixels
from ..geom.relative_pose import HeadPoseNetwork, RelativePose
from ..geom.rigid_alignment import AlignmentConfig
from ..geom.sources.keypoints import DenseMotionMaps
from ..geom.transforms import axis_angle_to_matrix
from ..geom.view_synthesis import scale_intrinsics
from .keypoint_network import KeypointNetwork
from .relative_motion import adapted_scale, relative_keypoints


def seen_picture(
    image: Float[Tensor, "B 3 H W"], side: int | None, multiple: int
) -> Float[Tensor, "B 3 h w"]:
    """A picture as a network is shown it.

    Args:
        image: RGB in [0, 1].
        side: most pixels of the longer side; None: as many as it has.
        multiple: of both sides; the nearest ones are taken.
    """
    height, width = image.shape[2:]
    ratio = 1.0 if side is None else min(1.0, side / max(height, width))
    size = tuple(max(multiple, round(length * ratio / multiple) * multiple) for length in (height, width))
    if size == (height, width):
        return image
    smaller = size[0] < height or size[1] < width
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=smaller)


class DepthObserver(nn.Module):
    """Depth, camera and motion of trained depth and pose networks.

    The pose network says of a pair how the camera went; here the camera stands and the head turns. What a
    network of heads' poses says of the focal length is taken from the source alone: a camera does not zoom
    within a clip, and the depth depends on it.

    What the pose network says is a guess: `geom.aligned_pose` makes it better by the pictures and the depth,
    once for every motion. Networks of the published forms are taken at their word, see
    `geom.aligned_pose.alignable`.

    Args:
        network: of a training of depth.
        side: of the pictures that it sees, see `seen_picture`; best that of its training.
        alignment: how its guesses are made better; None: they are not.
    """

    produces_source: tuple[str, ...] = ("depth",)
    produces_driving: tuple[str, ...] = ("relative_pose", "intrinsics")

    def __init__(
        self,
        network: DepthPoseNetwork,
        *,
        side: int | None = None,
        alignment: AlignmentConfig | None = ALIGNMENT,
    ) -> None:
        super().__init__()
        self.network, self.side = network, side
        self.alignment = alignment if alignable(network.config) else None
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def source(self, source: Source) -> Source:
        """With ``depth``, unless it is given; ``intrinsics`` stay the driving frame's matter."""
        if source.depth is not None:
            return source
        (image,) = take(source, ("image",), by="depth")
        scene = self.network.scene(self._seen(image))
        return dataclasses.replace(source, depth=_resized(scene.depth, _sides(image)))

    @torch.no_grad()
    def driving(self, source: Source, driving: Driving) -> Driving:
        """With the motion from the source and the camera of both; a ``relative_pose`` that is given stays."""
        (own,) = take(source, ("image",), by="depth")
        if driving.relative_pose is not None:
            if driving.intrinsics is not None:
                return driving
            return dataclasses.replace(driving, intrinsics=self.camera(source))
        (image,) = take(driving, ("image",), by="depth")
        pose = self._pose(own, image, own)
        if self.alignment is not None:
            pose = self._aligned(self.source(source), image, pose)
        return self._moved(driving, pose, own)

    @torch.no_grad()
    def reference(self, source: Source, driving: Driving) -> Driving:
        """With the ``depth`` of the driver's frame, as the source's camera would see it, where motion is
        aligned.
        """
        if self.alignment is None or driving.depth is not None:
            return driving
        (own,), (image,) = (take(seen, ("image",), by="depth") for seen in (source, driving))
        camera = self.network.scene(self._seen(own)).intrinsics
        focal = (camera[:, 0, 0] / self._seen(own).shape[3]).expand(len(image))
        scene = self.network.scene(self._seen(image), focal=focal)
        return dataclasses.replace(driving, depth=_resized(scene.depth, _sides(image)))

    @torch.no_grad()
    def referred(self, source: Source, reference: Driving, driving: Driving, *, adapt_scale: bool) -> Driving:
        """The source's head turned and shifted as the driver's was since its reference frame.

        Both drivers' frames need their pictures. Scale adapts by itself: depth is in units of the distance.

        Args:
            source: what `source` returned.
            reference: what `reference` returned.
            driving: frames with their pictures.
            adapt_scale: not looked at.
        """
        (own,), (then,), (now,) = (
            take(seen, ("image",), by="depth") for seen in (source, reference, driving)
        )
        pose = self._pose(then, now, own)
        if self.alignment is not None:
            pose = self._aligned(self.reference(source, reference), now, pose)
        return self._moved(driving, pose, own)

    def camera(self, source: Source) -> Float[Tensor, "B 3 3"]:
        """Intrinsics that the network gives the source's camera, in pixels of the frame."""
        (image,) = take(source, ("image",), by="depth")
        seen = self._seen(image)
        return scale_intrinsics(self.network.scene(seen).intrinsics, _sides(seen), _sides(image))

    def _pose(self, one: Tensor, other: Tensor, own: Tensor) -> RelativePose:
        """Motion from one picture to another, as the network says it, with the camera of the source."""
        same = one is own
        one, other, own = (self._seen(image) for image in (one, other, own))
        network = self.network.pose
        if isinstance(network, HeadPoseNetwork):
            still = network.poses(own)
            camera = {"focal": still.focal, "principal": still.principal}
            first = still if same else dataclasses.replace(network.poses(one), **camera)
            second = dataclasses.replace(network.poses(other), **camera)
            return network.between(first, second, _sides(own))
        count = max(len(one), len(other))
        pair = torch.cat([one.expand(count, -1, -1, -1), other.expand(count, -1, -1, -1)], 1)
        return network(pair)

    def _aligned(self, still: Source | Driving, other: Tensor, pose: RelativePose) -> RelativePose:
        """A motion from an observation with its depth to another picture, made better by both.

        Depth of a network has the mean 1; of another unit the translation is in that.
        """
        assert self.alignment is not None
        image, depth = take(still, ("image", "depth"), by="depth")
        target = self._seen(image)
        mask = None if still.mask is None else _resized(still.mask, _sides(target))
        known = _resized((depth > 0).to(depth), _sides(target))
        smaller = (_resized(depth, _sides(target)) / known).where(known > 0.5, depth.new_zeros(()))
        return aligned_pose(
            pose,
            smaller,
            target=target,
            source=self._seen(other),
            mask=mask,
            config=self.alignment,
        )

    def _moved(self, driving: Driving, pose: RelativePose, own: Tensor) -> Driving:
        turn = axis_angle_to_matrix(pose.rotation)
        return dataclasses.replace(
            driving,
            relative_pose=torch.cat([turn, pose.translation[..., None]], -1),
            intrinsics=scale_intrinsics(pose.intrinsics, _sides(self._seen(own)), _sides(own)),
        )

    def _seen(self, image: Tensor) -> Tensor:
        return seen_picture(image, self.side, STRIDE)


def load_depth_observer(
    path: Any, *, side: int | None = 256, alignment: AlignmentConfig | None = ALIGNMENT
) -> DepthObserver:
    """The networks of a training of depth; ``side`` and ``alignment`` are those of `DepthObserver`.

    Args:
        path: a checkpoint of a training of depth.
        side: see `DepthObserver`.
        alignment: see `DepthObserver`.

    Raises:
        ModelFileError: no such file, or none of depth networks.
    """
    from ._config_json import config_from_json
    from .checkpoints import load_checkpoint, load_weights

    found = load_checkpoint(path, name="depth")
    network = DepthPoseNetwork(config_from_json(DepthPoseConfig, found.config))
    load_weights(network, found.tensors, name=str(path))
    return DepthObserver(network, side=side, alignment=alignment)


def _sides(image: Tensor) -> tuple[int, int]:
    return (image.shape[2], image.shape[3])


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


class KeypointsObserver(nn.Module):
    """Keypoints with Jacobians of a trained network, and its dense motion.

    Args:
        network: of a checkpoint of `fomm`, `dagan` or another of their kind.
        side: of the pictures that it sees, see `seen_picture`.
    """

    produces_source: tuple[str, ...] = ("keypoints", "jacobians")
    produces_driving: tuple[str, ...] = ("keypoints", "jacobians")

    def __init__(self, network: KeypointNetwork, *, side: int | None = None) -> None:
        super().__init__()
        self.network, self.side = network, side
        self.eval().requires_grad_(False)

    def source(self, source: Source) -> Source:
        """With ``keypoints`` and ``jacobians``, unless they are given."""
        return source if source.keypoints is not None else self._found(source)

    def driving(self, source: Source, driving: Driving) -> Driving:
        """The same of a driving frame."""
        return driving if driving.keypoints is not None else self._found(driving)

    def reference(self, source: Source, driving: Driving) -> Driving:
        """The same as `driving`."""
        return self.driving(source, driving)

    def referred(self, source: Source, reference: Driving, driving: Driving, *, adapt_scale: bool) -> Driving:
        """The driving frame with the source's keypoints moved as the driver's did since its reference frame.

        Args:
            source, reference: with their keypoints.
            driving: the frame.
            adapt_scale: shifts are in sizes of what is driven; else in pixels.
        """
        driving = self.driving(source, driving)
        own, then, now = (self._normalised(seen, source) for seen in (source, reference, driving))
        scale = adapted_scale(own.points, then.points) if adapt_scale else 1.0
        return self._with(driving, relative_keypoints(own, now, then, scale=scale), source)

    @torch.no_grad()
    def dense_motion(self, source: Source, driving: Driving) -> DenseMotionMaps:
        """Flow and occlusion of the network's dense motion, for `geom.sources.keypoints.KeypointsSource`.

        What is resampled from the size it was estimated in is the motion. The public code resamples the grid,
        by which a picture at rest moves by up to one and a half pixels; nothing is trained through that.
        """
        (image,) = take(source, ("image",), by="keypoints")
        size = (image.shape[2], image.shape[3])
        motion = self.network.generator.dense_motion_network(
            self._seen(image), self._normalised(source, source), self._normalised(driving, source)
        )
        whole = resize_displacement(motion.displacement, size, GridConvention())
        occlusion = motion.occlusion
        if occlusion is not None:
            occlusion = F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
        return DenseMotionMaps(pixel_flow(whole, motion.convention), occlusion)

    def _seen(self, image: Tensor) -> Tensor:
        return seen_picture(image, self.side, self.network.config.multiple)

    @torch.no_grad()
    def _found(self, observation: Any) -> Any:
        (image,) = take(observation, ("image",), by="keypoints")
        return self._with(observation, self.network.detect(self._seen(image)), observation)

    def _with(self, observation: Any, found: Keypoints, frame: Any) -> Any:
        corners = self.network.config.keypoints.align_corners
        points = to_pixels(found.points, _size(frame), align_corners=corners)
        return dataclasses.replace(observation, keypoints=points, jacobians=found.jacobians)

    def _normalised(self, observation: Any, frame: Any) -> Keypoints:
        (points,) = take(observation, ("keypoints",), by="keypoints")
        corners = self.network.config.keypoints.align_corners
        return Keypoints(to_normalised(points, _size(frame), align_corners=corners), observation.jacobians)


def load_keypoints_observer(path: Any, *, side: int | None = 256) -> KeypointsObserver:
    """The network of an animator's checkpoint (`fomm`, `dagan`).

    Args:
        path: a checkpoint of `fomm` or `dagan`.
        side: see `seen_picture`.

    Raises:
        ModelFileError: no such file, or none of ours.
        HeadwarpError: an animator without keypoints.
    """
    from .animators import load_animator
    from .checkpoints import ANIMATOR, load_checkpoint

    name = load_checkpoint(path, kind=ANIMATOR).name
    network = getattr(load_animator(name, path), "network", None)
    if not isinstance(network, KeypointNetwork):
        raise HeadwarpError(
            f"{path}: expected a network of keypoints (fomm, dagan), got the weights of {name!r}"
        )
    return KeypointsObserver(network, side=side)


def _size(observation: Any) -> tuple[int, int]:
    (image,) = take(observation, ("image",), by="keypoints")
    return _sides(image)
