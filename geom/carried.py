"""Keypoints carried along by a posed mesh: how any network of keypoints is told a pose that nobody filmed."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .flow import warp_points
from .guidance import Driving, Source
from .sources.mesh import MeshSource

_REACH = 0.1  # of the mesh's radius: over which a Jacobian is measured


def carried_keypoints(
    points: Float[Tensor, "1 K 2"],
    jacobians: Float[Tensor, "1 K 2 2"] | None,
    source_verts: Float[Tensor, "1 V 3"],
    driving_verts: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    *,
    size: tuple[int, int],
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 2 2"] | None]:
    """Where keypoints of the source lie when its mesh takes another pose, and their Jacobians there.

    Off the mesh they move as the displacement is filled between it and the resting border of the frame. The
    other pose is asked what it shows of the source's, so that points which it hides are filled too.

    Args:
        points: in pixels of the source.
        jacobians: of the source's keypoints, or None.
        source_verts, driving_verts: the mesh in pixels in both poses.
        faces: its triangles.
        size: (H, W) of the frame.
    """
    maker = MeshSource()
    radius = (source_verts[..., :2] - source_verts[..., :2].mean(1, keepdim=True)).square().sum(-1).mean()
    step = _REACH * float(radius.sqrt())
    offsets = points.new_tensor([[0.0, 0], [step, 0], [-step, 0], [0, step], [0, -step]])
    stencil = (points[:, :, None] + offsets).flatten(1, 2)  # (1, 5 K, 2)
    moved = []
    for verts in driving_verts.split(1):
        canvas = points.new_zeros(1, 3, *size)
        state = maker.prepare(Source(image=canvas, posed_vertices=verts, faces=faces))
        flow = maker.guide(state, Driving(posed_vertices=source_verts)).flow
        moved.append(warp_points(stencil, flow))
    places = torch.cat(moved).unflatten(1, (points.shape[1], 5))  # (B, K, 5, 2)
    if jacobians is None:
        return places[:, :, 0], None
    along = (places[:, :, 1::2] - places[:, :, 2::2]) / (2 * step)  # (B, K, 2, 2): a row an axis
    return places[:, :, 0], along.mT @ jacobians
