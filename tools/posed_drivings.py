"""Driving frames of a pose that nobody filmed: a fit tells what an animator would have seen in pictures.

Keypoints are carried along by the posed mesh; the motion of a depth map is the turn of the fitted head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..flame.params import HeadFit
from ..flame.posing import camera_rotation, head_pose, neck_pixels, pixels_per_metre
from ..geom.carried import carried_keypoints
from ..geom.depth_surface import back_projected
from ..geom.displacement import source_visibility
from ..geom.errors import HeadwarpError
from ..geom.flow import sample
from ..geom.guidance import Driving, Source, take
from ..geom.head_pose import rotation_of, turn_about
from ..geom.keypoints import to_pixels
from ..training.data.portrait import Portrait
from ..warping.animators import Animator
from ..warping.guided import GuidedAnimator
from ..warping.keypoint_animator import KeypointAnimator
from ..warping.observers import DepthObserver, KeypointsObserver

Adder = Callable[[Driving, int], Driving]


def posed_drivings(
    animator: Animator, cache: Any, portrait: Portrait, fit: HeadFit, drivings: Iterable[Driving]
) -> Iterator[Driving]:
    """Driving frames with what an animator would have seen in their pictures.

    Args:
        animator: any; one that looks at no pictures gets the frames as they are.
        cache: of it.
        portrait: the source.
        fit: of the driving frames, in the portrait's window.
        drivings: of the fit, on the animator's device.
    """
    add = _adder(animator, cache, portrait, fit)
    for frame, driving in enumerate(drivings):
        yield driving if add is None else add(driving, frame)


def _adder(animator: Animator, cache: Any, portrait: Portrait, fit: HeadFit) -> Adder | None:
    if isinstance(animator, KeypointAnimator):
        found = cache.features.keypoints
        size = (portrait.image.shape[2], portrait.image.shape[3])
        corners = animator.config.keypoints.align_corners
        points = to_pixels(found.points, size, align_corners=corners)
        return _carrying(portrait.source(), points, found.jacobians)
    if not isinstance(animator, GuidedAnimator):
        return None
    if isinstance(animator.observer, KeypointsObserver):
        (points,) = take(cache.source, ("keypoints",), by="edit")
        return _carrying(portrait.source(), points, cache.source.jacobians)
    if isinstance(animator.observer, DepthObserver):
        return _turning(animator.observer, cache.source, portrait, fit)
    return None


def _carrying(source: Source, points: Tensor, jacobians: Tensor | None) -> Adder:
    """Keypoints that go with the posed mesh."""
    image, verts, faces = take(source, ("image", "posed_vertices", "faces"), by="edit")
    size = (image.shape[2], image.shape[3])

    def add(driving: Driving, frame: int) -> Driving:
        (posed,) = take(driving, ("posed_vertices",), by="edit")
        there, turned = carried_keypoints(
            points, jacobians, verts.to(posed), posed, faces.to(posed.device), size=size
        )
        return dataclasses.replace(driving, keypoints=there, jacobians=turned)

    return add


def _turning(observer: DepthObserver, source: Source, portrait: Portrait, fit: HeadFit) -> Adder:
    """The rigid motion of the fitted head, in the unit of the source's depth."""
    camera = observer.camera(source)
    poses = relative_poses(source, camera, portrait, fit)

    def add(driving: Driving, frame: int) -> Driving:
        return dataclasses.replace(driving, relative_pose=poses[[frame]], intrinsics=camera)

    return add


def relative_poses(
    source: Source, intrinsics: Float[Tensor, "1 3 3"], portrait: Portrait, fit: HeadFit
) -> Float[Tensor, "T 3 4"]:
    """How the head of a fit turned and moved against the portrait's, as a depth map is posed.

    The turn is that of root and neck; the neck joint goes where it goes in the picture, and nearer as the
    head grows. How deep it lies in the unit of the depth map is told by the map beside the visible vertices.

    Args:
        source: with ``depth``, in the portrait's window.
        intrinsics: of its camera.
        portrait: fitted.
        fit: T frames in the same window.

    Raises:
        HeadwarpError: the depth is known nowhere on the visible head.
    """
    own = portrait.fit
    turn = rotation_of(head_pose(fit.params)) @ rotation_of(head_pose(own.params)).mT  # (T, 3, 3)
    model = portrait.head
    here, there = (neck_pixels(model, each.params, each.camera) for each in (own, fit))
    ratio = pixels_per_metre(fit.params, fit.camera) / pixels_per_metre(own.params, own.camera)
    deep = _joint_depth(source, intrinsics, portrait)
    place = intrinsics.new_tensor(here.tolist())
    pivot = back_projected(place, deep.expand(1), intrinsics[0])
    moved = back_projected(place + (there - here).to(place), deep / ratio.to(deep), intrinsics[0])
    return turn_about(turn.to(pivot), pivot, moved - pivot)


def _joint_depth(source: Source, intrinsics: Tensor, portrait: Portrait) -> Float[Tensor, ""]:
    """Depth of the neck joint: under each visible vertex the map's, and how far behind it the joint lies."""
    depth, verts, faces = take(
        dataclasses.replace(portrait.source(), depth=source.depth),
        ("depth", "posed_vertices", "faces"),
        by="depth",
    )
    verts, faces = verts.to(depth), faces.to(depth.device)
    size = (depth.shape[2], depth.shape[3])
    seen = source_visibility(verts, faces, size)[0] > 0.5
    found = sample(depth, verts[:, seen, :2].mT[:, :, None])[0, 0, 0]
    behind = 1 + (verts[0, :, 2].mean() + _joint_offset(portrait) - verts[0, seen, 2]) / intrinsics[0, 0, 0]
    middle = (found * behind)[torch.isfinite(found) & (found > 0)]
    if not middle.numel():
        raise HeadwarpError("depth: expected some on the visible head, found none; try another photo")
    return middle.median()


def _joint_offset(portrait: Portrait) -> float:
    """How much deeper than the mesh's mean the neck joint lies, in pixels."""
    model, fit = portrait.head, portrait.fit
    joint = model.joint_template[model.joint_names.index("neck")] - model.template.mean(0)
    deeper = (camera_rotation(fit.params)[0] @ joint.to(fit.params.rotation))[2]
    return float(deeper * pixels_per_metre(fit.params, fit.camera)[0])
