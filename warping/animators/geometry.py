"""`geometry`: the picture moved by rendered geometry alone; no weights, nothing learned.

With a person mask: two layers, the warped person (source-visibility gated displacement, harmonically filled) over the
background with the person painted out, moved by the camera's motion. Without: one layer, the filled displacement.
What the matte cannot explain of the source picture is kept as a residual and warped along, so that the source pose
reproduces the source picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.alignment import affine_flow
from ...geom.displacement import DisplacementConfig, MeshFlow, border, carried_mask, complete, dilate
from ...geom.fill import harmonic_fill
from ...geom.flow import pixel_grid, warp
from ...geom.guidance import Driving, Source, require
from ...geom.outline import Outline, outline_flow, skull_outline
from ...geom.sources.mesh import MeshSource, MeshSourceConfig, MeshState
from . import Animation, register, single


@dataclass(frozen=True)
class GeometryConfig:
    """Settings of the geometry animator. Margins are in units of the mesh's root-mean-square radius.

    Attributes:
        displacement: the source-visibility gate.
        matte: mask values that count as certainly background and certainly person.
        background_margin: how far around the person the background is painted in.
    """

    displacement: DisplacementConfig = field(default_factory=DisplacementConfig)
    matte: tuple[float, float] = (0.3, 0.7)
    background_margin: float = 0.12
    ring: int = 2
    outline_tolerance: float = 0.08


@dataclass(frozen=True)
class GeometryCache:
    """Computed once per source: mesh state, and the layers (None without a mask)."""

    image: Float[Tensor, "1 3 H W"]
    mesh: MeshState
    matte: Float[Tensor, "1 1 H W"] | None = None
    person: Float[Tensor, "1 7 H W"] | None = None  # matte, person colours, residual
    background: Float[Tensor, "1 3 H W"] | None = None
    outline: Outline | None = None
    skull: Bool[Tensor, "V"] | None = None


@register(GeometryConfig)
class GeometryAnimator:
    """See the module. ``Source.mask`` and ``Driving.camera_motion`` are used where given."""

    needs_source = ("image", "posed_vertices", "faces")
    needs_driving = ("posed_vertices",)

    def __init__(self, config: GeometryConfig) -> None:
        self.config = config
        self.source = MeshSource(MeshSourceConfig(displacement=config.displacement))

    def encode(self, sources: Sequence[Source]) -> GeometryCache:
        source = require(single(sources, by="geometry"), self.needs_source, by="geometry")
        mesh = self.source.prepare(source)
        if source.mask is None:
            return GeometryCache(image=source.image, mesh=mesh)
        low, high = self.config.matte
        matte = ((source.mask - low) / (high - low)).clamp(0, 1)
        margin = round(float(self.config.background_margin * mesh.radius))
        background = _painted_out(source.image, matte, margin)
        colours = _decontaminated(source.image, matte, margin)
        residual = source.image - (matte * colours + (1 - matte) * background)
        person = torch.cat([matte, colours, residual], dim=1)
        outline = None if source.skull is None else skull_outline(source.posed_vertices, source.skull)
        return GeometryCache(source.image, mesh, matte, person, background, outline, source.skull)

    def animate(self, cache: GeometryCache, driving: Driving) -> Animation:
        require(driving, self.needs_driving, by="geometry")
        camera = affine_motion_flow(driving.camera_motion, cache.image)
        if cache.person is None:
            return self._one_layer(cache, driving, camera)
        raw = self.source.flow(cache.mesh, driving)
        size = tuple(cache.image.shape[2:])
        anchors, anchor_flow = self._anchors(cache, driving, raw)
        flow = complete(raw, anchors=anchors, anchor_flow=anchor_flow)
        layer = warp(cache.person.expand(len(flow), -1, -1, -1), flow)
        matte, colours, residual = layer[:, :1], layer[:, 1:4], layer[:, 4:]
        matte = torch.maximum(matte, raw.known)
        background = _moved(cache.background, camera)
        image = matte * colours + (1 - matte) * background + residual
        return Animation(image=image.clamp(0, 1), flow=flow, occlusion=matte)

    def _anchors(
        self, cache: GeometryCache, driving: Driving, raw: MeshFlow
    ) -> tuple[Tensor, Tensor]:
        """Fixed flow besides the mesh: the bottom of the frame stays, the ring around the skull follows its outline."""
        size = tuple(cache.image.shape[2:])
        anchors = border(size, "b", raw.flow).expand(len(raw.flow), -1, -1, -1)
        body = affine_motion_flow(driving.body_motion, cache.image)
        flow = torch.zeros_like(raw.flow) if body is None else body.expand_as(raw.flow)
        if cache.outline is None:
            return anchors, flow
        ring = (dilate(raw.covered, self.config.ring) - raw.covered) > 0.5
        at = pixel_grid(size, device=flow.device, dtype=flow.dtype).flatten(2).mT  # (1, H W, 2)
        moved, valid = outline_flow(
            cache.outline,
            skull_outline(driving.posed_vertices, cache.skull),
            at.expand(len(flow), -1, -1),
            tolerance=self.config.outline_tolerance,
        )
        on_ring = ring & valid.view(len(flow), 1, *size)
        return anchors | on_ring, torch.where(on_ring, moved.mT.reshape(flow.shape), flow)

    def _one_layer(self, cache: GeometryCache, driving: Driving, camera: Tensor | None) -> Animation:
        raw = self.source.flow(cache.mesh, driving)
        flow = complete(raw, anchors=border(tuple(cache.image.shape[2:]), "tblr", raw.flow), anchor_flow=camera)
        image = warp(cache.image.expand(len(flow), -1, -1, -1), flow)
        return Animation(image=image, flow=flow, occlusion=raw.known)

    def explain(self, cache: GeometryCache, driving: Driving) -> Mapping[str, Tensor]:
        result = self.animate(cache, driving)
        raw = self.source.flow(cache.mesh, driving)
        maps = {"animated": result.image, "flow": result.flow, "covered": raw.covered, "known": raw.known}
        if cache.background is not None:
            maps |= {"background": cache.background, "matte": cache.matte, "carried": carried_mask(cache.matte, result.flow)}
        return maps


def affine_motion_flow(motion: Tensor | None, image: Tensor) -> Tensor | None:
    """Backward flow of a camera or body motion over the image's frame; None for none."""
    return None if motion is None else affine_flow(motion.to(image.dtype), tuple(image.shape[2:]))


def _moved(background: Tensor, camera: Tensor | None) -> Tensor:
    return background if camera is None else warp(background.expand(len(camera), -1, -1, -1), camera)


def _painted_out(image: Tensor, matte: Tensor, margin: int) -> Tensor:
    """The background: the picture where the matte has no person, a harmonic fill from some way off elsewhere."""
    person = dilate((matte > 0).to(image.dtype), 1)
    filled = harmonic_fill(image, 1 - dilate(person, margin))
    return torch.where(person > 0, filled, image)


def _decontaminated(image: Tensor, matte: Tensor, margin: int) -> Tensor:
    """Person colours: the picture where the matte is certain, continued outwards so that edges carry no background."""
    certain = (matte >= 1).to(image.dtype)
    if not bool(certain.any()):
        return image
    filled = harmonic_fill(image, certain)
    near = dilate((matte > 0).to(image.dtype), margin)
    return torch.where(certain > 0.5, image, torch.where(near > 0.5, filled, image))
