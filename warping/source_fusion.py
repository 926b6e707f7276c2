"""Several pictures of one person fused: each counts by how much of what is needed it shows.

Every vertex of the head gives one vote, shared among the pictures by how squarely they see it: a softmax over
the pictures of their visibility (`geom.displacement.source_visibility`: hidden 0, face on 1). A picture's
weight is the mean of its votes over the vertices that the driver's pose shows. So two pictures alike share
what one of them would get, and a profile counts where a profile is to be made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.displacement import source_visibility
from ..geom.guidance import Source

SHARPNESS = 4.0
"""Of the softmax: a vertex seen face on by one picture and hidden in another votes 98 : 2."""


def visibilities(sources: Sequence[Source]) -> Float[Tensor, "K V"] | None:
    """How far each picture shows each vertex, in [0, 1]; None where a picture has no mesh, or another one."""
    shown = []
    for source in sources:
        verts, faces, image = source.posed_vertices, source.faces, source.image
        if verts is None or faces is None or image is None:
            return None
        shown.append(source_visibility(verts, faces, (image.shape[2], image.shape[3]), mask=source.mask)[0])
    return torch.stack(shown) if len({len(each) for each in shown}) == 1 else None


def fusion_weights(
    shown: Float[Tensor, "K V"], needed: Float[Tensor, "B V"] | None = None
) -> Float[Tensor, "B K"]:
    """Weights of K pictures, summing to 1.

    Args:
        shown: by `visibilities`.
        needed: how far the driver's pose shows each vertex; None: all of them count alike.

    Example:
        >>> shown = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        >>> [round(each, 2) for each in fusion_weights(shown)[0].tolist()]
        [0.66, 0.34]
        >>> fusion_weights(shown, torch.tensor([[0.0, 0.0, 1.0]])).argmax().item()
        1
    """
    votes = (SHARPNESS * shown).softmax(0)  # (K, V)
    if needed is None:
        return votes.mean(1)[None]  # (1, K)
    total = needed.sum(1, keepdim=True)
    even = torch.ones_like(needed) / needed.shape[1]
    shares = torch.where(total > 0, needed / total.clamp_min(torch.finfo(needed.dtype).tiny), even)
    return shares @ votes.T
