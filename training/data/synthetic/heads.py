"""Which pixels of a synthetic frame are the head's: what depth networks are measured on."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from ....geom.rasterizer import interpolate, rasterize
from .clip import SyntheticClip
from .parts import Material
from .truth import truth_of

HEAD = (Material.SKIN, Material.EYE, Material.MOUTH, Material.TEETH, Material.HAIR, Material.FRAME)
FACE = HEAD[:4]


def head_pixels(
    clip: SyntheticClip, frame: int, *, materials: tuple[Material, ...] = HEAD
) -> Bool[Tensor, "1 1 H W"]:
    """Pixels of the head: of these materials, and moved by the head's joints more than by the torso's.

    Args:
        clip: a clip.
        frame: number in it.
        materials: `HEAD`, hair and glasses with it, or `FACE`, without.
    """
    view, person = clip.view(frame), clip.person
    root = person.head.joint_names.index("root")
    weight = torch.cat([person.head.weights, person.weights])[:, root]
    fragments = rasterize(view.verts, view.faces, view.size)
    of_torso = interpolate(fragments, weight[None, :, None].contiguous(), view.faces)[:, :1]
    wanted = torch.tensor([int(kind) for kind in materials])
    return torch.isin(truth_of(view).label, wanted)[None, None] & (of_torso < 0.5)
