"""Two pictures of one domed surface that turned between them, and a guess of how, to test alignment on."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from headwarp.geom.depth import middle_window
from headwarp.geom.flow import sample
from headwarp.geom.rigid_alignment import SurfaceMotion, pose_of_surface, seen_at
from headwarp.geom.transforms import axis_angle_to_matrix, rotation_angle

SIDE, PERSPECTIVE = 64, 0.5
TRUTH = SurfaceMotion(
    axis_angle_to_matrix(torch.tensor([[0.05, 0.14, -0.04]])),
    torch.tensor([[0.03, -0.02]]),
    torch.tensor([0.04]),
    torch.tensor([PERSPECTIVE]),
)


def texture(seed):
    draw = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(1, 3, 16, 16, generator=draw), (SIDE, SIDE), mode="bicubic").clamp(0, 1)


def relief():
    """A dome whose mean in the middle of the frame is 0."""
    y, x = torch.meshgrid(*[torch.linspace(-0.5, 0.5, SIDE)] * 2, indexing="ij")
    raised = (0.6 * (x * x + y * y))[None, None]
    return raised - (raised * middle_window(raised)).sum()


SOURCE, DEPTH = texture(0), 1 + relief() * PERSPECTIVE
TARGET = sample(SOURCE, seen_at(relief(), TRUTH), padding_mode="border", mode="bilinear")
"""The target shows the source's texture wherever its own surface went."""


def guess(off=0.1):
    """The true motion turned too little to one side."""
    turned = axis_angle_to_matrix(torch.tensor([[0.0, -off, 0.0]])) @ TRUTH.rotation
    return pose_of_surface(dataclasses.replace(TRUTH, rotation=turned), (SIDE, SIDE))


def error_deg(rotation):
    """Angle between rotations and the true one."""
    return torch.rad2deg(rotation_angle(rotation, TRUTH.rotation.expand_as(rotation)))
