"""What head swap engines tell of a target: its skin's colours, its own neck, the picture without its head."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.colour_transfer import ColourStatistics, region_statistics
from ...geom.displacement import erode
from ...geom.face_regions import FaceRegion
from ...geom.guidance import take
from ...geom.rasterizer import interpolate, rasterize
from ..head_swap import Scene, blurred, skin_weight, without_head
from . import SwapSource, SwapTarget

BODY = (int(FaceRegion.NECK), int(FaceRegion.NECKLACE), int(FaceRegion.CLOTH))
UNDERSIDE = 0.98  # of `SwapSource.surface`: below the line of the jaw
PALE = 0.8  # share of the skin's redness at its brightness below which what lies in shade is a beard


def target_colours(target: SwapTarget, given: SwapSource) -> ColourStatistics:
    """Skin statistics of a target's frame, smoothed in time where they are given so."""
    if target.colours is not None:
        return target.colours
    size = (target.image.shape[2], target.image.shape[3])
    (faces,) = take(given.source, ("faces",), by="swap")
    weight = skin_weight(target.posed_vertices, faces, given.skin, size, mask=target.head)
    return region_statistics(target.image, weight)


def target_scene(target: SwapTarget, given: SwapSource, *, margin: int) -> Scene:
    """A target's picture without its head, its own neck continued.

    Args:
        margin: how far around the head its colours are not trusted, in pixels.
    """
    neck, body = own_neck(target, given, margin=margin), own_body(target, given)
    return without_head(target.image, target.head, margin=margin, person=target.person, neck=neck, body=body)


def own_body(target: SwapTarget, given: SwapSource) -> Float[Tensor, "1 1 H W"] | None:
    """Where the target shows its own neck, the underside of its jaw included, and its clothes.

    None where its regions are not known. A new head gives way to the neck down that underside. Were that
    painted out, the edge of the chin would lie elsewhere: a detector would see the jaw open otherwise. But a
    beard goes with the head: it is told from shade, which makes skin no paler.
    """
    labels = target.driving.region_map
    if labels is None:
        return None
    (faces,) = take(given.source, ("faces",), by="swap")
    size = (target.image.shape[2], target.image.shape[3])
    shown = rasterize(target.posed_vertices, faces, size)
    surface = interpolate(shown, given.surface.to(target.posed_vertices)[None, :, None], faces)
    under = (shown.face >= 0)[:, None] & (surface < UNDERSIDE) & (labels == int(FaceRegion.SKIN))[:, None]
    under &= ~bearded(target.image, target_colours(target, given).mean)
    return (under | torch.isin(labels, labels.new_tensor(BODY))[:, None]).to(target.image)


def bearded(image: Float[Tensor, "1 3 H W"], skin: Float[Tensor, "1 3"]) -> Bool[Tensor, "1 1 H W"]:
    """Where a part of a face is darker than its skin and less red than skin would be in that shade.

    Args:
        image: RGB in [0, 1].
        skin: its mean colour.
    """
    smooth = blurred(image, 1)
    red, mean = smooth[:, :1] - smooth[:, 2:], smooth.mean(1, keepdim=True)
    of_skin, its_mean = (skin[:, 0] - skin[:, 2]).view(1, 1, 1, 1), skin.mean(1).view(1, 1, 1, 1)
    return (mean < its_mean) & (red * its_mean < PALE * of_skin * mean)


def own_neck(target: SwapTarget, given: SwapSource, *, margin: int) -> Float[Tensor, "1 1 H W"]:
    """Where the target's own neck and shoulders lie, without what its head hides."""
    (faces,) = take(given.source, ("faces",), by="swap")
    size = (target.image.shape[2], target.image.shape[3])
    lower = faces[(given.surface[faces] < 1).any(1)]
    drawn = (rasterize(target.posed_vertices, lower, size).face >= 0)[:, None]
    return erode(drawn.to(torch.float32), margin).to(target.image)
