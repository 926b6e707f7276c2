"""Rows of trained networks among the geometry sources: those that guide animators, or files by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.guidance import Driving, GeometrySource, Source, take
from ...geom.head_pose import affine_of_keypoints, pose_of_affine, pose_of_keypoints, pose_of_relative
from ...geom.keypoints import to_normalised
from ...geom.sources.depth import DepthSource
from ...geom.sources.keypoints import KeypointsSource
from ...training.data.portrait import to_image
from ...warping.animators import Animator
from ...warping.checkpoints import load_checkpoint
from ...warping.guided import GuidedAnimator, Observer
from ...warping.observers import (
    DepthObserver,
    KeypointsObserver,
    load_depth_observer,
    load_keypoints_observer,
)
from ..performance import on_device
from .source_rows import Row, Scene, Told


def network_rows(animators: Mapping[str, Animator]) -> dict[str, Row]:
    """Rows of the trained networks that guide animators, each kind once."""
    rows: dict[str, Row] = {}
    for animator in animators.values():
        if isinstance(animator, GuidedAnimator) and animator.observer is not None:
            kind = "depth" if isinstance(animator.observer, DepthObserver) else "keypoints"
            rows[f"{kind}, network"] = by_network(animator.geometry_source, animator.observer)
    return rows


def checkpoint_rows(files: Sequence[Path], *, side: int | None) -> dict[str, Row]:
    """Rows of checkpoints, in the order of the files; those of keypoints with the first depth network beside
    them, if there is one, in a row more.

    Depth whose motion is aligned (`geom.aligned_pose`) has a second row without that.

    Args:
        files: of ``headwarp train depth``, or of animators with keypoints (``fomm``, ``dagan``); a row is
            called after what the file's header names, two of one name after their files too.
        side: longer side of the pictures that the networks see at most, in pixels; None: as they are.

    Raises:
        ModelFileError: no such file, or none of ours.
        HeadwarpError: an animator without keypoints, or two files that would be called the same.
    """
    names = [load_checkpoint(file).name for file in files]
    rows: dict[str, Row] = {}
    depth: DepthObserver | None = None
    keypoints: list[tuple[str, KeypointsObserver]] = []
    for file, name in zip(files, names, strict=True):
        label = "depth, network" if name == "depth" else f"keypoints, {name}"
        label += f":{file.stem}" if names.count(name) > 1 else ""
        if label in rows:
            raise HeadwarpError(f"--source-checkpoint {file}: another one is called {label} too; rename one")
        if name == "depth":
            observer = load_depth_observer(file, side=side)
            depth = depth or observer
            rows[label] = by_network(DepthSource(), observer)
            if observer.alignment is not None:
                alone = DepthObserver(observer.network, side=side, alignment=None)
                rows[f"{label} unaligned"] = by_network(DepthSource(), alone)
            continue
        found = load_keypoints_observer(file, side=side)
        rows[label] = by_network(KeypointsSource(dense_motion=found.dense_motion), found)
        keypoints.append((label, found))
    for label, found in keypoints if depth is not None else ():
        deep = KeypointsSource(dense_motion=found.dense_motion)
        rows[f"{label} with depth"] = by_network(deep, found, depth=depth)
    return rows


def by_network(maker: GeometrySource, observer: Observer, *, depth: DepthObserver | None = None) -> Row:
    """The row of a network.

    Args:
        maker: the geometry source that it feeds.
        observer: the network, which sees pictures alone.
        depth: tells the depth of keypoints in the source, with which they tell yaw and pitch too.
    """

    def told(scene: Scene, frame: int) -> Told:
        place, back = _place_of(observer), torch.device("cpu")
        bare = on_device(dataclasses.replace(scene.source, depth=None, intrinsics=None), place)
        picture = Driving(image=to_image(scene.clip.picture(frame)).to(place))
        seen = observer.source(bare)
        moved = observer.driving(seen, picture)
        made = on_device(maker.guide(maker.prepare(seen), moved), back)
        seen, moved = on_device(seen, back), on_device(moved, back)
        if moved.relative_pose is not None:
            return Told(made, pose_of_relative(moved.relative_pose, scene.start_deg))
        (here,) = take(seen, ("keypoints",), by="sources")
        (there,) = take(moved, ("keypoints",), by="sources")
        if depth is not None:
            behind = depth_at(depth, on_device(bare, back), here)
            return Told(made, pose_of_keypoints(here, there, behind, scene.start_deg))
        return Told(made, pose_of_affine(affine_of_keypoints(here, there), scene.start_deg))

    return told


def _place_of(observer: Observer) -> torch.device:
    """Where a network is."""
    own = observer.parameters() if isinstance(observer, nn.Module) else iter(())
    return next((parameter.device for parameter in own), torch.device("cpu"))


def depth_at(observer: DepthObserver, source: Source, points: Float[Tensor, "1 K 2"]) -> Float[Tensor, "K"]:
    """Depth that a network sees at points of a picture, in pixel units: times focal length over its mean.

    Args:
        observer: the network.
        source: with its picture and no depth.
        points: in pixels.
    """
    (depth,) = take(observer.source(source), ("depth",), by="sources")
    size = (depth.shape[2], depth.shape[3])
    grid = to_normalised(points, size, align_corners=False)[:, None]  # (1, 1, K, 2)
    found = F.grid_sample(depth, grid, padding_mode="border", align_corners=False)[0, 0, 0]  # (K,)
    return found * observer.camera(source)[0, 0, 0] / found.mean()
