"""Parts of a head's surface that a head swap tells apart: skin whose colour counts, and where necks begin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geom.mesh import vertex_normals
from .model import HeadModel

JOIN_METRES = 0.025  # below the jaw the head gives way to the neck over this length
_DOWNWARDS = 0.45  # of a normal: what faces the ground more than so much lies under the chin
_HOLES = (
    "lips",
    "left_eye_region",
    "right_eye_region",
    "left_eyeball",
    "right_eyeball",
    "left_eye_socket",
    "right_eye_socket",
    "mouth_interior",
    "teeth",
    "gums",
    "eye_region",
)


@dataclass(frozen=True)
class HeadSurface:
    """One number a vertex.

    Attributes:
        skin: True on the face without lips, eyes and mouth, ``(V,)``.
        head: 1 on the head, falling to 0 over `JOIN_METRES` down the neck, ``(V,)``.
    """

    skin: Bool[Tensor, "V"]
    head: Float[Tensor, "V"]


def head_surface(model: HeadModel) -> HeadSurface:
    """The parts of a head model, by its region masks, or by its joints where it has none."""
    masks = model.region_masks
    none = torch.zeros(len(model.template), dtype=torch.bool)
    neck, body = model.joint_names.index("neck"), model.weights[:, model.joint_names.index("root")] > 0.05
    low = model.template[:, 1] < model.joint_template[neck, 1]
    below = masks.get("neck", none) | masks.get("body", none) | masks.get("boundary", none) | body | low
    below |= _underside(model)
    above = ~below
    if not bool(above.any()):
        above, below = ~none, none
    distance = torch.cdist(model.template[below], model.template[above])
    head = torch.ones(len(model.template))
    if bool(below.any()):
        head[below] = (1 - distance.amin(1) / JOIN_METRES).clamp(0, 1)
    holes = none.clone()
    for name in _HOLES:
        holes |= masks.get(name, none)
    face = masks.get("face", above)
    return HeadSurface(face & above & ~holes, head)


def _underside(model: HeadModel) -> Bool[Tensor, "V"]:
    """Vertices under the chin: below the mouth, in front of the neck joint, and facing the ground."""
    rest, neck = model.template, model.joint_template[model.joint_names.index("neck")]
    normals = vertex_normals(rest[None], model.faces)[0]
    lips = model.region_masks.get("lips")
    line = rest[lips, 1].min() if lips is not None and bool(lips.any()) else neck[1]
    return (rest[:, 1] < line) & (rest[:, 2] > neck[2]) & (normals[:, 1] < -_DOWNWARDS)
