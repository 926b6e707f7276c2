"""A picture as two layers: a person with a soft edge over a background that goes on behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geom.displacement import dilate, erode
from ..geom.fill import harmonic_fill
from ..geom.flow import pixel_grid

SURELY_BACKGROUND = 0.05  # mask values below are background beyond doubt


@dataclass(frozen=True)
class Layers:
    """What a person mask makes of a picture; all ``(1, C, H, W)``.

    Attributes:
        matte: opacity of the person.
        colours: of the person, continued outwards from well inside, so that edges carry no background.
        background: the picture with the person painted out.
        residual: what ``matte * colours + (1 - matte) * background`` leaves of the picture.
    """

    matte: Float[Tensor, "1 1 H W"]
    colours: Float[Tensor, "1 3 H W"]
    background: Float[Tensor, "1 3 H W"]
    residual: Float[Tensor, "1 3 H W"]


def split_layers(
    image: Float[Tensor, "1 3 H W"],
    mask: Float[Tensor, "1 1 H W"],
    *,
    certain: tuple[float, float],
    gap: int,
    margin: int,
) -> Layers:
    """Person and background of a picture.

    Args:
        image: RGB in [0, 1].
        mask: person probability in [0, 1].
        certain: mask values that count as certainly background and certainly person.
        gap: notches and holes of the mask up to about twice as many pixels wide are closed.
        margin: how far around the mask's edge, in pixels, colours are not trusted.
    """
    low, high = certain
    closed = erode(dilate(mask, gap), gap)
    matte = ((closed - low) / (high - low)).clamp(0, 1)
    background = painted_out(image, closed, margin)
    colours = continued_colours(image, matte, margin)
    return Layers(matte, colours, background, image - (matte * colours + (1 - matte) * background))


def painted_out(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"], margin: int
) -> Float[Tensor, "1 3 H W"]:
    """The picture where the mask is sure of background, a harmonic fill from further off elsewhere.

    Args:
        image: RGB in [0, 1].
        mask: person probability.
        margin: pixels around the person that are painted out too.
    """
    person = dilate((mask > SURELY_BACKGROUND).to(image.dtype), max(1, margin // 2))
    filled = harmonic_fill(image, 1 - dilate(person, margin - margin // 2))
    return torch.where(person > 0, filled, image)


def continued_colours(
    image: Float[Tensor, "1 3 H W"], matte: Float[Tensor, "1 1 H W"], margin: int
) -> Float[Tensor, "1 3 H W"]:
    """The picture well inside the matte, and a harmonic continuation of its colours everywhere else.

    Args:
        image: RGB in [0, 1].
        matte: opacity of the person.
        margin: pixels inside the edge whose colours do not count.
    """
    inside = erode((matte >= 1).to(image.dtype), max(1, margin // 2))
    if not bool(inside.any()):
        return image
    return torch.where(inside > 0.5, image, harmonic_fill(image, inside))


def inside_frame(
    flow: Float[Tensor, "B 2 H W"], torso_line: float | Float[Tensor, "#B 1 1 1"]
) -> Float[Tensor, "B 1 H W"]:
    """0 where a pixel would come from beyond the frame's top, or beyond its sides above the torso; soft by a
    pixel.

    Hair that the frame cuts off does not go on for ever; clothes at the sides and the bottom may.

    Args:
        flow: backward, in pixels.
        torso_line: row of the source below which all is torso; inf where unknown.
    """
    height, width = flow.shape[2:]
    origin = flow + pixel_grid((height, width), device=flow.device, dtype=flow.dtype)
    x, y = origin[:, :1], origin[:, 1:]
    aside = torch.where(y < torso_line, torch.minimum(x, width - x), torch.full_like(x, 2.0))
    return (torch.minimum(y, aside) + 1).clamp(0, 1)


def below(flow: Float[Tensor, "B 2 H W"], line: float) -> Bool[Tensor, "B 1 H W"]:
    """True where a flow points below a line of the source picture.

    Args:
        flow: backward, in pixels.
        line: row of the source, from its upper edge.
    """
    rows = torch.arange(flow.shape[2], dtype=flow.dtype, device=flow.device)[:, None] + 0.5
    return (flow[:, 1:] + rows) > line


def splat_anchors(
    anchors: Bool[Tensor, "#B 1 H W"],
    flow: Float[Tensor, "B 2 H W"],
    here: Float[Tensor, "B K 2"],
    there: Float[Tensor, "B K 2"],
    known: Bool[Tensor, "B K"],
) -> tuple[Bool[Tensor, "B 1 H W"], Float[Tensor, "B 2 H W"]]:
    """Write known point correspondences into the pixels they fall into; of several the last one stays.

    Args:
        anchors: pixels whose flow is given already.
        flow: backward, in pixels.
        here, there: the points in this frame and in the one that flow leads to, in pixels.
        known: correspondences that count; those beyond the frame do not.

    Returns:
        Anchors and flow with the points' own, copies.
    """
    height, width = flow.shape[2:]
    inside = known & (here >= 0).all(-1) & (here < here.new_tensor([width, height])).all(-1)
    batch, sample = inside.nonzero(as_tuple=True)
    x, y = here[batch, sample].long().unbind(-1)
    anchors, flow = anchors.expand(len(flow), -1, -1, -1).clone(), flow.clone()
    anchors[batch, 0, y, x] = True
    flow[batch, :, y, x] = (there - here)[batch, sample]
    return anchors, flow
