"""Where the blender's correspondence looks: attention of each region's pixels by the labels it falls on.

[HeSer] sec. 5 of the supplement, Fig. 5: were every pixel of the animated head correlated with every pixel of
the target, would those of another label count for anything? If not, correlating region by region loses
nothing. So here the whole target answers for every pixel, whatever its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ....geom.face_regions import CORRESPONDENCE_REGIONS
from ....geom.region_correlation import RegionRule, region_correlation
from ....warping.heser_blender import Blend, EncodedTarget, HeserBlender
from ....warping.heser_regions import RING, SCENE

REGIONS = tuple(CORRESPONDENCE_REGIONS)
PARTS = (*REGIONS, "ring", "scene")
_CLASSES: tuple[frozenset[int], ...] = (
    *(frozenset(int(label) for label in labels) for labels in CORRESPONDENCE_REGIONS.values()),
    frozenset({RING}),
    frozenset({SCENE}),
)
_EVERYTHING = RegionRule(((1,) * (max(RING, SCENE) + 1),), ())


@dataclass(frozen=True)
class Attention:
    """Of B pictures, between cells.

    Attributes:
        maps: of each region of the animated head, mean over its cells of their softmax over all of the
            target's: sums to 1, 0 where the head has no such cell.
        mass: how much of it falls on the target's parts, which are `PARTS`; NaN without such a cell.
        share: of the target's cells that are each part's: the mass if attention were even.
    """

    maps: Float[Tensor, "B R h w"]
    mass: Float[Tensor, "B R P"]
    share: Float[Tensor, "B P"]


def attention_of(network: HeserBlender, blend: Blend, target: EncodedTarget) -> Attention:
    """Attention of the heads of a blend.

    The weights are those of the values in `region_correlation` with one class of labels: the gradient of the
    sum over a region's cells of what they found with respect to a value is the weight that the value has in
    it. So memory is bounded as it is in blending.

    Args:
        network: made the blend.
        blend: heads in scenes.
        target: what the blend's colours are from.
    """
    queries = torch.stack([_of(blend.labels, labels) for labels in _CLASSES[: len(REGIONS)]], 1).float()
    keys = torch.stack([_of(target.labels, labels) for labels in _CLASSES], 1).float()  # (B, P, h, w)
    with torch.enable_grad():
        shape = (len(queries), len(REGIONS), *target.labels.shape[1:])
        values = torch.zeros(shape, device=queries.device, requires_grad=True)
        found = region_correlation(
            blend.query.detach().float(),
            target.key.detach().float(),
            values,
            torch.zeros_like(blend.labels),
            torch.zeros_like(target.labels),
            rule=_EVERYTHING,
            temperature=network.config.temperature,
            limit_mb=network.limit_mb,
        )
        (summed,) = torch.autograd.grad(found.values, values, queries)
    count = queries.sum((2, 3))  # (B, R)
    maps = summed / count.clamp_min(1)[..., None, None]
    mass = torch.einsum("brhw,bphw->brp", maps, keys)
    mass = torch.where(count[..., None] > 0, mass, torch.nan)
    return Attention(maps, mass, keys.mean((2, 3)))


def _of(labels: Int[Tensor, "B h w"], some: frozenset[int]) -> Bool[Tensor, "B h w"]:
    return torch.isin(labels, torch.tensor(sorted(some), device=labels.device))


@dataclass(frozen=True)
class AttentionTable:
    """Means over pictures.

    Attributes:
        mass: see `Attention`; of pictures whose target shows the region too. NaN where there is none.
        deviation: of what falls on the own region, from picture to picture.
        share: mean of the own region's share of the target's cells, of the same pictures.
        count: of these pictures.
    """

    mass: Float[Tensor, "R P"]
    deviation: Float[Tensor, " R"]
    share: Float[Tensor, " R"]
    count: Int[Tensor, " R"]


def attention_table(parts: Sequence[Attention]) -> AttentionTable:
    """Batches as one table."""
    mass = torch.cat([part.mass for part in parts]).double().cpu()  # (N, R, P)
    share = torch.cat([part.share for part in parts]).double().cpu()
    regions = range(len(REGIONS))
    counts = [mass[:, r, r].isfinite() & (share[:, r] > 0) for r in regions]
    own = [mass[counts[r], r, r] for r in regions]
    return AttentionTable(
        mass=torch.stack([mass[counts[r], r].mean(0) for r in regions]),
        deviation=torch.stack([(some - some.mean()).square().mean().sqrt() for some in own]),
        share=torch.stack([share[counts[r], r].mean() for r in regions]),
        count=torch.stack([counts[r].sum() for r in regions]),
    )
