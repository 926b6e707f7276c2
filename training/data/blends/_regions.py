"""Regions of a packed frame: the rendered head, and the person mask for hair and clothes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ....flame.model import HeadModel
from ....geom.rasterizer import rasterize

_HAIR, _CLOTH, _NECK, _SKIN, _MOUTH = 17, 16, 14, 1, 11
_NAMED = (
    ("neck", _NECK),
    ("ears", 7),
    ("nose", 10),
    ("lips", 12),
    ("left_eyeball", 5),
    ("right_eyeball", 4),
    ("mouth_interior", _MOUTH),
)


def region_labels(
    head: HeadModel, verts: Float[Tensor, "1 V 3"], faces: Int[Tensor, "F 3"], mask: Float[Tensor, "1 1 H W"]
) -> UInt8[Tensor, "H W"]:
    """Labels of a frame, see `geom.face_regions`."""
    height, width = mask.shape[2:]
    fragments = rasterize(verts, faces, (height, width))
    labels = torch.full((verts.shape[1],), _MOUTH, dtype=torch.uint8)
    count = len(head.template)
    labels[:count] = _SKIN
    for name, label in _NAMED:
        if name in head.region_masks:
            labels[:count][head.region_masks[name]] = label
    if "body" in head.region_masks:
        labels[:count][head.region_masks["body"]] = _CLOTH
    if "skull" in head.region_masks:
        labels[:count][head.region_masks["skull"]] = _HAIR
    of_face = labels[faces[:, 0]]
    shown = fragments.face[0] >= 0
    found = torch.where(shown, of_face[fragments.face[0].clamp_min(0).long()], 0)
    person = mask[0, 0] > 0.5
    neck = verts[0, :count][head.region_masks.get("neck", torch.zeros(count, dtype=torch.bool))]
    line = float(neck[:, 1].mean()) if len(neck) else height
    rows = torch.arange(height)[:, None] + 0.5
    rest = torch.where(rows < line, _HAIR, _CLOTH).expand(height, width)
    found = torch.where(person & ~shown, rest, found)
    return torch.where(person | (shown & (found != _HAIR)), found, 0).to(torch.uint8)
