"""What head swap engines share: a picture without its head, a head laid over it, skin in the new light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geom.colour_transfer import (
    ColourStatistics,
    colour_likeness,
    colour_map,
    light_map,
    region_statistics,
)
from ..geom.displacement import dilate
from ..geom.face_regions import HEAD, FaceRegion
from ..geom.fill import harmonic_fill
from ..geom.rasterizer import Fragments, interpolate, rasterize
from .layers import SURELY_BACKGROUND

SKIN_REGIONS = tuple(
    int(region)
    for region in FaceRegion
    if region in HEAD | {FaceRegion.NECK} and region not in {FaceRegion.HAIR, FaceRegion.HAT}
)
BODY_MARGIN = 2  # pixels beside a head in which its own neck shows its colours


@dataclass(frozen=True)
class Scene:
    """A picture without its head.

    Attributes:
        image: RGB in [0, 1].
        filled: 1 where it was painted, soft by a few pixels outwards; where it is 0 the picture is untouched.
    """

    image: Float[Tensor, "1 3 H W"]
    filled: Float[Tensor, "1 1 H W"]


def without_head(
    image: Float[Tensor, "1 3 H W"],
    head: Float[Tensor, "1 1 H W"],
    *,
    margin: int,
    person: Float[Tensor, "1 1 H W"] | None = None,
    neck: Float[Tensor, "1 1 H W"] | None = None,
    body: Float[Tensor, "1 1 H W"] | None = None,
) -> Scene:
    """The picture with its head painted out.

    What lies around the head is continued smoothly over it (`geom.fill`): background from the background
    alone and body from the body, so that a collar does not run out into the wall. Which of the two a pixel
    is, is continued in the same way, and where the neck's mesh lies it is body. The fill is computed at half
    resolution: it is smooth.

    Args:
        image: RGB in [0, 1].
        head: the head that goes, soft.
        margin: how far around the head, in pixels, colours are not trusted.
        person: where a person is; None: all that surrounds the head counts as one.
        neck: where the neck's mesh lies.
        body: where the picture is surely neck or clothes, which stay, up to `BODY_MARGIN` pixels from what
            else the head's mask holds.
    """
    old = (head > SURELY_BACKGROUND).to(image.dtype)
    trusted = torch.zeros_like(old) if body is None else body * (1 - dilate(old * (1 - body), BODY_MARGIN))
    gone = dilate(old, margin) * (1 - trusted)
    someone = torch.zeros_like(gone) if person is None else (person > 0.5).to(image.dtype)
    beside = dilate(someone, margin) if person is not None else someone
    background = _continued(image, (1 - gone) * (1 - beside))
    if person is None or neck is None:
        filled = background
    else:
        own = _continued(image, (1 - gone) * someone)
        share = torch.maximum(_continued(someone, 1 - gone), blurred(neck, margin))
        filled = background + ((share - 0.35) / 0.3).clamp(0, 1) * (own - background)
    soft = torch.lerp(_softened(gone, margin), _softened(gone, 1), trusted)
    return Scene(torch.where(soft > 0, image + soft * (filled - image), image), soft)


def _softened(mask: Float[Tensor, "1 1 H W"], radius: int) -> Float[Tensor, "1 1 H W"]:
    """1 in the mask, falling to 0 outwards."""
    return torch.where(mask > 0.5, torch.ones_like(mask), (2 * blurred(mask, radius)).clamp(0, 1))


def _continued(image: Float[Tensor, "1 C H W"], known: Float[Tensor, "1 1 H W"]) -> Float[Tensor, "1 C H W"]:
    """A smooth continuation of the known pixels' values; where nothing is known, the picture's mean."""
    half = F.avg_pool2d(torch.cat([image * known, known], 1), 2, ceil_mode=True)
    given = (half[:, -1:] > 0.5).to(image.dtype)
    if not bool(given.any()):
        return image.mean((2, 3), keepdim=True).expand_as(image)
    filled = harmonic_fill(half[:, :-1] / half[:, -1:].clamp(min=1e-3), given)
    return F.interpolate(filled, size=image.shape[2:], mode="bilinear", align_corners=False)


def head_mask(
    person: Float[Tensor, "1 1 H W"],
    verts: Float[Tensor, "1 V 3"],
    faces: Int[Tensor, "F 3"],
    surface: Float[Tensor, "V"],
) -> Float[Tensor, "1 1 H W"]:
    """The head, hair included, of a person: what is nearer to the head's mesh than to the neck's.

    Every pixel of the person is told by a harmonic interpolation between the mesh's head (1), its neck and
    the bottom of the frame (0).

    Args:
        person: probability in [0, 1].
        verts: posed mesh in pixels.
        faces: its triangles.
        surface: 1 for vertices of the head, less down the neck.
    """
    size = (person.shape[2], person.shape[3])
    fragments = rasterize(verts, faces, size)
    given = (fragments.face >= 0)[:, None].to(person.dtype)
    upper = (interpolate(fragments, surface[None, :, None], faces) > 0.6).to(person.dtype) * given
    given[..., -1, :] = 1
    share = harmonic_fill(F.max_pool2d(upper, 2, ceil_mode=True), F.max_pool2d(given, 2, ceil_mode=True))
    share = F.interpolate(share, size=size, mode="bilinear", align_corners=False)
    return person * ((share - 0.4) / 0.2).clamp(0, 1)


def blurred(mask: Float[Tensor, "B C H W"], radius: int) -> Float[Tensor, "B C H W"]:
    """A box mean over (2 radius + 1) squared pixels, twice; wide ones at half resolution.

    Args:
        mask: any values.
        radius: pixels.
    """
    if radius < 1:
        return mask
    if radius >= 4 and min(mask.shape[2:]) >= 8:
        half = blurred(F.avg_pool2d(mask, 2, ceil_mode=True), (radius + 1) // 2)
        return F.interpolate(half, size=mask.shape[2:], mode="bilinear", align_corners=False)
    for axis in (3, 2, 3, 2):
        mask = _row_mean(mask, radius, axis=axis)
    return mask


def _row_mean(values: Float[Tensor, "B C H W"], radius: int, *, axis: int) -> Float[Tensor, "B C H W"]:
    """Mean over 2 radius + 1 neighbours along an axis, those within the frame: the bits of `F.avg_pool2d`,
    which sums each window by itself, in less than half of its time.
    """
    length, beyond = values.shape[axis], (radius, radius) if axis == 3 else (0, 0, radius, radius)
    padded = F.pad(values, beyond)
    total = padded.narrow(axis, 0, length) + padded.narrow(axis, 1, length)
    for shift in range(2, 2 * radius + 1):
        total += padded.narrow(axis, shift, length)
    place = torch.arange(length, device=values.device)
    count = (place + radius).clamp(max=length - 1) - (place - radius).clamp(min=0) + 1
    return total.div_(count.to(values).view((-1,) if axis == 3 else (-1, 1)))


def skin_weight(
    verts: Float[Tensor, "1 V 3"],
    faces: Int[Tensor, "F 3"],
    skin: Bool[Tensor, "V"],
    size: tuple[int, int],
    *,
    fragments: Fragments | None = None,
    mask: Float[Tensor, "1 1 H W"] | None = None,
) -> Float[Tensor, "1 1 H W"]:
    """How much each pixel shows the mesh's skin, in [0, 1].

    Args:
        verts: posed mesh in pixels.
        faces: its triangles.
        skin: vertices of skin.
        size: (H, W).
        fragments: the mesh rasterised, where it is already.
        mask: where a person, or a head, is; elsewhere the weight is 0.
    """
    shown = fragments or rasterize(verts, faces, size)
    weight = interpolate(shown, skin.to(verts.dtype)[None, :, None], faces)
    return weight if mask is None else weight * (mask > 0.5)


@dataclass(frozen=True)
class SkinOf:
    """The skin of a source head.

    Attributes:
        statistics: its colours.
        weight: how much each pixel of the window is skin, soft in [0, 1].
    """

    statistics: ColourStatistics
    weight: Float[Tensor, "1 1 H W"]


def skin_of(
    image: Float[Tensor, "1 3 H W"],
    face: Float[Tensor, "1 1 H W"],
    head: Float[Tensor, "1 1 H W"],
    *,
    reach: int,
    labels: Int[Tensor, "1 H W"] | None = None,
) -> SkinOf:
    """Skin colours of a head, and which of its pixels are skin.

    Args:
        image: RGB in [0, 1].
        face: `skin_weight` of the face, whose statistics are taken.
        head: the whole head with neck and ears; what is as the skin, and nothing outside, counts as skin.
        reach: softness in pixels.
        labels: `FaceRegion` of every pixel; where given, they say what is skin, and hair that is as the
            skin (a bald head's) is skin too.
    """
    statistics = region_statistics(image, face)
    if labels is not None:
        bare = torch.isin(labels, labels.new_tensor(SKIN_REGIONS))[:, None].to(image.dtype)
        bald = colour_likeness(image, statistics, within=1.2) * (head > 0.5)
        return SkinOf(statistics, blurred(torch.maximum(bare, bald), max(1, reach // 2)))
    likeness = colour_likeness(image, statistics)
    near = blurred(dilate((face > 0.5).to(image.dtype), 2 * reach), reach)
    weight = torch.maximum(near * (likeness > 0), likeness * (head > 0.5))
    return SkinOf(statistics, blurred(weight, max(1, reach // 2)))


def relit(
    colours: Float[Tensor, "B 3 H W"],
    skin: Float[Tensor, "B 1 H W"],
    source: ColourStatistics,
    target: ColourStatistics,
    *,
    hair_share: float = 0.3,
) -> Float[Tensor, "B 3 H W"]:
    """Head colours in the target's light: skin by its statistics, all else by a gentle curve of brightness.

    Args:
        colours: of the head.
        skin: how much of each pixel is skin.
        source, target: statistics of both skins.
        hair_share: how far hair follows the skin's brightness, 0 to 1.
    """
    as_skin = colour_map(source, target)(colours)
    as_hair = light_map(source, target, share=hair_share, bounds=(0.7, 1.4))(colours)
    return torch.lerp(as_hair, as_skin, skin.expand_as(colours))
