"""Layers of a picture made from guidance alone: a geometry source says what moves how, not a mesh.

The same `PosedLayers` that the `geometry` animator makes of a posed mesh: person and background by the mask,
flow, known and visible by the guidance. Without a mesh nothing tells where a mouth opens, so nothing is
painted dark; the matte is the source's, carried along.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.alignment import affine_flow
from ..geom.displacement import mesh_radius
from ..geom.flow import warp
from ..geom.guidance import Driving, Guidance, Source, take
from .layers import Layers, split_layers
from .posed_layers import PosedLayers

if TYPE_CHECKING:
    from .animators.geometry import GeometryConfig

OF_LANDMARKS = 1.4  # root-mean-square radius of a head's mesh in those of 68 landmarks
OF_PERSON = 0.6  # and in radii of a disc of the person's area


@dataclass(frozen=True)
class GuidedCache:
    """What a source gives without its geometry, once per source.

    Attributes:
        image: the source picture.
        layers: person and background; None without a mask.
        reach: `PosedLayers.reach`.
        torso_line: row of the picture below which all is torso; inf where unknown.
    """

    image: Float[Tensor, "1 3 H W"]
    layers: Layers | None
    reach: Float[Tensor, "1 1 1 1"]
    torso_line: float = float("inf")


def encode_guided(source: Source, config: GeometryConfig) -> GuidedCache:
    """Split the source by its mask; lengths of the config are in units of `head_radius`."""
    (image,) = take(source, ("image",), by="geometry")
    radius = head_radius(source)
    layers = None
    if source.mask is not None:
        layers = split_layers(
            image,
            source.mask,
            certain=config.certain,
            gap=round(config.gap * radius),
            margin=round(config.margin * radius),
        )
    reach = image.new_full((1, 1, 1, 1), max(config.stillness * radius, 1e-3))
    return GuidedCache(image, layers, reach, torso_line(source))


def guided_layers(cache: GuidedCache, driving: Driving, *, by: str = "geometry") -> PosedLayers:
    """What is known of the source in the driving pose.

    Args:
        cache: of the source.
        driving: frames with their ``guidance``; ``camera_motion`` is looked at.
        by: who asks, for the message.

    Raises:
        HeadwarpError: the driving frame has no guidance.
    """
    take(driving, ("guidance",), by=by)
    guidance = driving.guidance
    assert guidance is not None
    image, layers = cache.image, cache.layers
    whole = torch.ones_like(image[:, :1])
    background = image if layers is None else layers.background
    if layers is not None and driving.camera_motion is not None:
        size = (image.shape[2], image.shape[3])
        background = warp(background, affine_flow(driving.camera_motion.to(image.dtype), size))
    still = PosedLayers(
        matte=whole if layers is None else layers.matte,
        colours=image if layers is None else layers.colours,
        residual=torch.zeros_like(image) if layers is None else layers.residual,
        background=background,
        flow=guidance.flow,
        displacement=guidance.flow,
        covered=guidance.known,
        known=guidance.known,
        person=guidance.known,
        hollow=guidance.known,
        dark=image.new_zeros(1, 3, 1, 1),
        reach=cache.reach,
        torso_line=image.new_full((1, 1, 1, 1), cache.torso_line),
    )
    return with_guidance(still, guidance)


def with_guidance(layers: PosedLayers, guidance: Guidance) -> PosedLayers:
    """The layers of a source moved by guidance in place of what moved them.

    Matte, colours, residual and background stay. An opaque picture of one layer stays opaque.

    Args:
        layers: of a batch of pairs, or of one source.
        guidance: of the same pairs, in pixels of the same frames.
    """
    known = guidance.known
    opaque = (layers.matte.amin((1, 2, 3), keepdim=True) >= 1).to(known)
    return dataclasses.replace(
        layers,
        flow=guidance.flow,
        displacement=guidance.flow * known,
        covered=known,
        known=known * guidance.visible,
        person=opaque.expand_as(known),
        hollow=torch.zeros_like(known),
    )


def head_radius(source: Source) -> float:
    """About the root-mean-square radius of the head's mesh in pixels: of the mesh, the landmarks, the person
    mask or the frame, whichever the source has first.
    """
    if source.posed_vertices is not None:
        return float(mesh_radius(source.posed_vertices))
    if source.landmarks is not None:
        away = source.landmarks - source.landmarks.mean(1, keepdim=True)
        return OF_LANDMARKS * float(away.square().sum(-1).mean().sqrt())
    (image,) = take(source, ("image",), by="head radius")
    if source.mask is not None and bool((source.mask > 0.5).any()):
        return OF_PERSON * (float((source.mask > 0.5).sum()) / torch.pi) ** 0.5
    return min(image.shape[2:]) / 4


def torso_line(source: Source) -> float:
    """Row of the picture below which the source's mesh is all torso; inf where it does not tell."""
    if source.body is None or source.posed_vertices is None or not bool(source.body.any()):
        return float("inf")
    return float(source.posed_vertices[0, source.body, 1].mean())
