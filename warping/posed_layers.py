"""What geometry knows of a source in one driving pose, and the picture that it makes of it.

`PosedLayers` holds plain tensors that stack along the batch, so that a network may be trained on what the
`geometry` animator knows, and may change any part of it before `compose` makes the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geom.flow import warp
from .layers import inside_frame


@dataclass(frozen=True)
class PosedLayers:
    """A source and one driving frame (or a batch of pairs), before they become a picture.

    Attributes:
        matte: opacity of the person in the source, ``(B, 1, H, W)``; 1 everywhere without a mask.
        colours: of the person, continued beyond its edge, in the source.
        residual: what the two layers leave of the source picture, in the source.
        background: the picture with the person painted out, already moved by the camera: in the target.
        flow: backward flow of the person layer, target to source, in pixels, ``(B, 2, H, W)``.
        displacement: the mesh's own flow where it covers the target, 0 elsewhere: neither gated nor filled.
        covered: 1 where the driving mesh lies.
        known: 1 where covered and seen in the source: there ``flow`` is the mesh's.
        person: 1 where the target surely shows the person (known, or covered by the skull), soft.
        hollow: opacity of the mouth's dark inside, soft.
        dark: its colour, ``(B, 3, 1, 1)``.
        reach: motion in pixels at which ``residual`` is faded to 1 / e, ``(B, 1, 1, 1)``.
        torso_line: row of the source below which all is torso, ``(B, 1, 1, 1)``; inf where unknown.
    """

    matte: Float[Tensor, "#B 1 H W"]
    colours: Float[Tensor, "#B 3 H W"]
    residual: Float[Tensor, "#B 3 H W"]
    background: Float[Tensor, "#B 3 H W"]
    flow: Float[Tensor, "B 2 H W"]
    displacement: Float[Tensor, "B 2 H W"]
    covered: Float[Tensor, "B 1 H W"]
    known: Float[Tensor, "B 1 H W"]
    person: Float[Tensor, "B 1 H W"]
    hollow: Float[Tensor, "B 1 H W"]
    dark: Float[Tensor, "#B 3 1 1"]
    reach: Float[Tensor, "#B 1 1 1"]
    torso_line: Float[Tensor, "#B 1 1 1"]

    def map(self, change: Callable[[Tensor], Tensor]) -> PosedLayers:
        """Every tensor changed in the same way: moved, indexed, stored in another type."""
        fields = dataclasses.fields(self)
        return PosedLayers(**{field.name: change(getattr(self, field.name)) for field in fields})


def stack_layers(items: Sequence[PosedLayers]) -> PosedLayers:
    """Pairs of equal size as one batch."""
    names = [field.name for field in dataclasses.fields(PosedLayers)]
    return PosedLayers(**{name: torch.cat([getattr(item, name) for item in items]) for name in names})


@dataclass(frozen=True)
class Composed:
    """The picture and what it was made of, in the target.

    Attributes:
        image: RGB, not clamped, ``(B, 3, H, W)``.
        matte: opacity of the person layer.
        colours: the person layer.
    """

    image: Float[Tensor, "B 3 H W"]
    matte: Float[Tensor, "B 1 H W"]
    colours: Float[Tensor, "B 3 H W"]


def compose(
    layers: PosedLayers,
    *,
    flow: Float[Tensor, "B 2 H W"] | None = None,
    matte_change: Float[Tensor, "B 1 H W"] | None = None,
) -> Composed:
    """The warped person over the background, the mouth's inside dark.

    Args:
        layers: of a batch of pairs.
        flow: of the person layer in place of ``layers.flow``.
        matte_change: added to the person's opacity in the target, which stays in [0, 1].

    Differentiable in ``flow``, ``matte_change`` and the layers. Without changes this is the picture of the
    ``geometry`` animator. On a CPU without gradients it is one pass over the frame, else `compose_ref`.
    """
    chosen = layers.flow if flow is None else flow
    if not _one_pass(layers, chosen, matte_change):
        return compose_ref(layers, flow=flow, matte_change=matte_change)
    from ._compose_numba import compose as in_one_pass

    change = torch.zeros_like(chosen[:1, :1]) if matte_change is None else matte_change
    source = (layers.matte, layers.colours, layers.residual)
    target = (chosen, layers.background, layers.person, layers.hollow, change)
    made = in_one_pass(source, target, (layers.dark, layers.reach, layers.torso_line))
    return Composed(*made)


def _one_pass(layers: PosedLayers, flow: Tensor, change: Tensor | None) -> bool:
    """Whether the compiled kernel may make the picture: plain numbers on the CPU that nobody traces."""
    if torch.compiler.is_compiling():
        return False
    given = [getattr(layers, field.name) for field in dataclasses.fields(layers)]
    given += [flow] if change is None else [flow, change]
    wanted = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    plain = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in given)
    return plain and not wanted


def compose_ref(
    layers: PosedLayers,
    *,
    flow: Float[Tensor, "B 2 H W"] | None = None,
    matte_change: Float[Tensor, "B 1 H W"] | None = None,
) -> Composed:
    """Plain twin of `compose`: operation by operation, on any device, differentiable.

    Args:
        layers, flow, matte_change: as for `compose`.
    """
    chosen = layers.flow if flow is None else flow
    batch = len(chosen)
    moved = torch.cat([layers.matte, layers.colours, layers.residual], dim=1).expand(batch, -1, -1, -1)
    matte, colours, residual = warp(moved, chosen).split([1, 3, 3], dim=1)
    matte = torch.maximum(matte * inside_frame(chosen, layers.torso_line), layers.person)
    if matte_change is not None:
        matte = (matte + matte_change).clamp(0, 1)
    still = torch.exp(-chosen.square().sum(1, keepdim=True) / layers.reach.square())
    image = matte * colours + (1 - matte) * layers.background + residual * still
    image = image + layers.hollow * (layers.dark - image)
    return Composed(image=image, matte=matte, colours=colours)


def soft_edge(mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """A mask whose edge is soft by a pixel; beyond the frame it goes on."""
    return box_sum(mask) / box_sum(torch.ones_like(mask[:1, :1]))


def box_sum(mask: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Sum over a square of three pixels, nothing beyond the frame; four times as fast as `F.avg_pool2d`."""
    rows = F.pad(mask, (0, 0, 1, 1))
    rows = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    columns = F.pad(rows, (1, 1))
    return columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]
