"""Synthetic people that turn as one rigid body: their flow, depth and relative pose are all exactly known."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from headwarp.flame.io import load_head
from headwarp.geom.cameras import Perspective, project
from headwarp.geom.guidance import Driving, Source
from headwarp.geom.head_pose import rotation_of, turn_about
from headwarp.geom.view_synthesis import intrinsics_matrix
from headwarp.training.data.synthetic import Recipe, SyntheticClip, TrueFlow, synthesise, true_flow, truth_of
from headwarp.training.data.synthetic.render import see


@functools.cache
def person(size: int = 64) -> SyntheticClip:
    """Somebody with nothing before the face."""
    return synthesise(load_head("builtin"), Recipe(seed=3, number=1, frames=2, size=size, occluders=0.0))


@dataclasses.dataclass(frozen=True)
class Turned:
    """The first frame of a person, and the same person turned."""

    source: Source
    driving: Driving
    truth: TrueFlow


def turned(angles_deg: Tensor, *, size: int = 64) -> Turned:
    """Turned about the middle of the head by yaw, pitch, roll ``(3,)``; the source has depth and mask."""
    clip = person(size)
    view, truth = clip.view(0), truth_of(clip.view(0))
    points = see(clip.person, clip.motion, 0).posed.points
    camera = Perspective(clip.motion.camera.focal[[0]], clip.motion.camera.principal[[0]])
    head = len(clip.person.head.template)
    pose = turn_about(rotation_of(angles_deg)[None], points[:, :head].mean(1))
    moved = points @ pose[0, :, :3].T + pose[0, :, 3]
    pixels = project(moved, camera, mean_depth=moved[:, :head, 2].mean(1))
    target = dataclasses.replace(view, verts=pixels, metres=moved[..., 2])
    return Turned(
        Source(
            image=torch.zeros(1, 3, size, size),
            depth=truth.depth[None, None],
            mask=truth.person[None, None].float(),
        ),
        Driving(relative_pose=pose, intrinsics=intrinsics_matrix(camera.focal, camera.principal)),
        true_flow(view, target),
    )
