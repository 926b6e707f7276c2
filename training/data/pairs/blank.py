"""A made-up pair with the shapes of a real one: for trying a training before its data is ready."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ....flame.model import HeadModel
from ....geom.guidance import Driving, Source
from ....warping.animators.geometry import GeometryAnimator, GeometryConfig
from .batch import PairBatch

SHIFT = (3.0, -2.0, 0.0)
FILLED = 0.6


def blank_pair(head: HeadModel, size: int) -> PairBatch:
    """A batch of one: soft noise, before it the head's template, in the driving pose moved by 3 pixels.

    Args:
        head: gives the mesh.
        size: side of the frames in pixels.
    """
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=draw)
    source, driving = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False).split(1)
    template = head.template.float()
    low, high = template.amin(0), template.amax(0)
    scale = FILLED * size / float((high - low)[:2].max())
    centred = (template - (low + high) / 2) * scale * template.new_tensor([1.0, -1.0, -1.0])
    verts = (centred + centred.new_tensor([size / 2, size / 2, 2.0 * size]))[None]
    moved = verts + verts.new_tensor(SHIFT)
    animator = GeometryAnimator(GeometryConfig())
    cache = animator.encode([Source(image=source, posed_vertices=verts, faces=head.faces)])
    return PairBatch(
        source=source,
        driving=driving,
        driving_mask=torch.ones(1, 1, size, size),
        layers=animator.layers(cache, Driving(posed_vertices=moved)),
        source_verts=verts,
        driving_verts=moved,
        faces=head.faces,
        names=("blank/blank/0>1",),
    )
