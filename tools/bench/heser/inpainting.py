"""What fills the ring about a new head: the blender's reference and network, and fills that see no reference.

[HeSer] sec. 5 of the supplement, Fig. 7, in numbers: frames whose head is blended into themselves, so that
what lies under the ring is known. The fills without reference see the frame beyond ring and head, as in the
paper, where neck and background are cut out of the result and given to the rivals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....geom.fill import harmonic_fill, push_pull_fill
from ....training.data.blends.batch import BlendBatch
from ....training.metrics.skin_colour import skin_colour_error
from ....warping.heser_blender import Blend

FILLS = ("carried", "blender", "push_pull", "harmonic")
MEASURES = {
    "l1": "mean absolute difference from the true pixels in the ring, RGB in [0, 1]",
    "delta_e": "mean distance from the true pixels in the ring in CIELAB (delta E of 1976)",
}
SAID = {
    "carried": "the inpainting reference, carried from about the reference's head, before the network",
    "blender": "the picture made",
    "push_pull": "coarser levels of the frame beyond head and ring (geom.fill.push_pull_fill)",
    "harmonic": "the smoothest continuation of the frame beyond head and ring (geom.fill.harmonic_fill)",
}


def ring_fills(batch: BlendBatch, blend: Blend) -> dict[str, Float[Tensor, "B 3 H W"]]:
    """The true frames with their ring filled, by name of what fills it."""
    beyond = ~(blend.head | blend.ring)
    made = {
        "carried": blend.filling,
        "blender": blend.image.clamp(0, 1),
        "push_pull": push_pull_fill(batch.truth, beyond),
        "harmonic": harmonic_fill(batch.truth, beyond),
    }
    return {name: torch.where(blend.ring, image, batch.truth) for name, image in made.items()}


def ring_rows(
    batch: BlendBatch, blend: Blend, fills: Mapping[str, Float[Tensor, "B 3 H W"]]
) -> list[dict[str, Any]]:
    """``name``, ``pixels`` of the ring, and `MEASURES` by fill, of every picture that has a ring.

    Args:
        batch: of heads.
        blend: what the network made of it.
        fills: pictures by the name of the fill.
    """
    ring = blend.ring
    count = ring.sum((1, 2, 3))
    l1 = {
        name: ((fill - batch.truth).abs().mean(1, keepdim=True) * ring).sum((1, 2, 3)) / count
        for name, fill in fills.items()
    }
    apart = {name: skin_colour_error(fill, batch.truth, ring).pixel for name, fill in fills.items()}
    return [
        {
            "name": name,
            "pixels": int(count[n]),
            **{fill: {"l1": float(l1[fill][n]), "delta_e": float(apart[fill][n])} for fill in fills},
        }
        for n, name in enumerate(batch.names)
        if int(count[n])
    ]
