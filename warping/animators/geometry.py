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
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.alignment import affine_flow
from ...geom.displacement import DisplacementConfig, MeshFlow, border, carried_mask, complete, dilate, erode
from ...geom.fill import harmonic_fill
from ...geom.flow import pixel_grid, warp
from ...geom.guidance import Driving, Source, require
from ...geom.outline import Hairline, hairline, hairline_anchors, skull_outline
from ...geom.rasterizer import rasterize
from ...geom.sources.mesh import MeshSource, MeshSourceConfig, MeshState
from . import Animation, register, single


SURELY_BACKGROUND = 0.05


@dataclass(frozen=True)
class GeometryConfig:
    """Settings of the geometry animator. Margins are in units of the mesh's root-mean-square radius.

    Attributes:
        displacement: the source-visibility gate.
        matte: mask values that count as certainly background and certainly person.
        background_margin: how far around the person the background is painted in.
        matte_gap: notches and holes of the mask up to about twice this wide are closed.
        residual_reach: motion at which the residual has faded to 1 / e.
        cavity_shade: brightness of the mouth's inside against the face.
    """

    displacement: DisplacementConfig = field(default_factory=DisplacementConfig)
    matte: tuple[float, float] = (0.3, 0.7)
    background_margin: float = 0.06
    matte_gap: float = 0.06
    residual_reach: float = 0.012
    cavity_shade: float = 0.16


@dataclass(frozen=True)
class GeometryCache:
    """Computed once per source: mesh state, and the layers (None without a mask)."""

    image: Float[Tensor, "1 3 H W"]
    mesh: MeshState
    dark: Float[Tensor, "1 3 1 1"]
    matte: Float[Tensor, "1 1 H W"] | None = None
    person: Float[Tensor, "1 7 H W"] | None = None  # matte, person colours, residual
    background: Float[Tensor, "1 3 H W"] | None = None
    torso_line: float = float("inf")
    hairline: Hairline | None = None
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
        dark = _cavity_colour(source, mesh) * self.config.cavity_shade
        if source.mask is None:
            return GeometryCache(image=source.image, mesh=mesh, dark=dark)
        low, high = self.config.matte
        gap = round(float(self.config.matte_gap * mesh.radius))
        closed = erode(dilate(source.mask, gap), gap)
        matte = ((closed - low) / (high - low)).clamp(0, 1)
        margin = round(float(self.config.background_margin * mesh.radius))
        background = _painted_out(source.image, closed, margin)
        colours = _decontaminated(source.image, matte, margin)
        residual = source.image - (matte * colours + (1 - matte) * background)
        person = torch.cat([matte, colours, residual], dim=1)
        line, torso = None, float("inf")
        if source.skull is not None:
            covered = rasterize(source.posed_vertices, source.faces, mesh.size).face >= 0
            outline = skull_outline(source.posed_vertices, source.skull, covered[:, None].to(source.mask))
            line = hairline(outline, matte)
        if source.body is not None and bool(source.body.any()):
            torso = float(source.posed_vertices[0, source.body, 1].mean())
        return GeometryCache(source.image, mesh, dark, matte, person, background, torso, line, source.skull)

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
        matte = torch.maximum(matte * _inside_frame(flow, cache.torso_line), F.avg_pool2d(raw.person, 3, 1, 1))
        background = _moved(cache.background, camera)
        image = matte * colours + (1 - matte) * background + residual * self._stillness(cache, flow)
        image = image + cavity_opacity(raw) * (cache.dark - image)
        return Animation(image=image.clamp(0, 1), flow=flow, occlusion=matte)

    def _stillness(self, cache: GeometryCache, flow: Tensor) -> Tensor:
        """1 where nothing moves, fading with the motion: the residual belongs to the source's own pose."""
        reach = self.config.residual_reach * cache.mesh.radius
        return torch.exp(-flow.square().sum(1, keepdim=True) / reach.square())

    def _anchors(self, cache: GeometryCache, driving: Driving, raw: MeshFlow) -> tuple[Tensor, Tensor]:
        """Fixed flow besides the mesh: torso and bottom of the frame follow the body, the hairline its outline."""
        size = tuple(cache.image.shape[2:])
        body = affine_motion_flow(driving.body_motion, cache.image)
        flow = torch.zeros_like(raw.flow) if body is None else body.expand_as(raw.flow).clone()
        anchors = border(size, "b", flow) | _below(flow, cache.torso_line)
        if cache.hairline is None:
            return anchors, flow
        here, there, known = hairline_anchors(
            cache.hairline, skull_outline(driving.posed_vertices, cache.skull, raw.covered)
        )
        return splat_anchors(anchors, flow, here, there, known)

    def _one_layer(self, cache: GeometryCache, driving: Driving, camera: Tensor | None) -> Animation:
        raw = self.source.flow(cache.mesh, driving)
        flow = complete(
            raw, anchors=border(tuple(cache.image.shape[2:]), "tblr", raw.flow), anchor_flow=camera
        )
        image = warp(cache.image.expand(len(flow), -1, -1, -1), flow)
        image = image + cavity_opacity(raw) * (cache.dark - image)
        return Animation(image=image, flow=flow, occlusion=raw.known)

    def explain(self, cache: GeometryCache, driving: Driving) -> Mapping[str, Tensor]:
        result = self.animate(cache, driving)
        raw = self.source.flow(cache.mesh, driving)
        maps = {"animated": result.image, "flow": result.flow, "covered": raw.covered, "known": raw.known}
        if cache.background is not None:
            maps |= {
                "background": cache.background,
                "matte": cache.matte,
                "carried": carried_mask(cache.matte, result.flow),
            }
        return maps


def _cavity_colour(source: Source, mesh: MeshState) -> Float[Tensor, "1 3 1 1"]:
    """Mean colour of the source where its mesh is seen, reddened: what a lit mouth would show."""
    height, width = mesh.size
    x, y = mesh.verts[0, :, 0].long().clamp(0, width - 1), mesh.verts[0, :, 1].long().clamp(0, height - 1)
    seen = mesh.visibility[0] > 0.5
    colours = source.image[0][:, y[seen], x[seen]]
    mean = colours.mean(1) if bool(seen.any()) else source.image.mean((0, 2, 3))
    return (mean * mean.new_tensor([1.0, 0.55, 0.5]))[None, :, None, None]


def _below(flow: Float[Tensor, "B 2 H W"], line: float) -> Bool[Tensor, "B 1 H W"]:
    """True where the flow, taken as the body's motion, points below a line of the source picture."""
    rows = torch.arange(flow.shape[2], dtype=flow.dtype, device=flow.device)[:, None] + 0.5
    return (flow[:, 1:] + rows) > line


def _inside_frame(flow: Float[Tensor, "B 2 H W"], torso_line: float) -> Float[Tensor, "B 1 H W"]:
    """0 where a pixel would come from beyond the frame's top, or beyond its sides above the torso; soft by a pixel.

    Hair that the frame cuts off does not go on for ever; clothes at the sides and the bottom may.
    """
    height, width = flow.shape[2:]
    origin = flow + pixel_grid((height, width), device=flow.device, dtype=flow.dtype)
    x, y = origin[:, :1], origin[:, 1:]
    aside = torch.where(y < torso_line, torch.minimum(x, width - x), torch.full_like(x, 2.0))
    return (torch.minimum(y, aside) + 1).clamp(0, 1)


def splat_anchors(
    anchors: Bool[Tensor, "B 1 H W"],
    flow: Float[Tensor, "B 2 H W"],
    here: Float[Tensor, "B K 2"],
    there: Float[Tensor, "B K 2"],
    known: Bool[Tensor, "B K"],
) -> tuple[Bool[Tensor, "B 1 H W"], Float[Tensor, "B 2 H W"]]:
    """Write known point correspondences into the pixels they fall into; of several the last one stays."""
    height, width = flow.shape[2:]
    inside = known & (here >= 0).all(-1) & (here < here.new_tensor([width, height])).all(-1)
    batch, sample = inside.nonzero(as_tuple=True)
    x, y = here[batch, sample].long().unbind(-1)
    anchors, flow = anchors.expand(len(flow), -1, -1, -1).clone(), flow.clone()
    anchors[batch, 0, y, x] = True
    flow[batch, :, y, x] = (there - here)[batch, sample]
    return anchors, flow


def cavity_opacity(raw: MeshFlow) -> Float[Tensor, "B 1 H W"]:
    """How much of a pixel is mouth cavity, with a soft edge of about a pixel."""
    return F.avg_pool2d((raw.cavity > 0.5).to(raw.cavity), 3, stride=1, padding=1, count_include_pad=False)


def affine_motion_flow(motion: Tensor | None, image: Tensor) -> Tensor | None:
    """Backward flow of a camera or body motion over the image's frame; None for none."""
    return None if motion is None else affine_flow(motion.to(image.dtype), tuple(image.shape[2:]))


def _moved(background: Tensor, camera: Tensor | None) -> Tensor:
    return background if camera is None else warp(background.expand(len(camera), -1, -1, -1), camera)


def _painted_out(image: Tensor, mask: Tensor, margin: int) -> Tensor:
    """The background: the picture where the mask is sure of it, a harmonic fill from further off elsewhere."""
    person = dilate((mask > SURELY_BACKGROUND).to(image.dtype), max(1, margin // 2))
    filled = harmonic_fill(image, 1 - dilate(person, margin - margin // 2))
    return torch.where(person > 0, filled, image)


def _decontaminated(image: Tensor, matte: Tensor, margin: int) -> Tensor:
    """Person colours: the picture well inside the matte, continued outwards so that edges carry no background."""
    certain = erode((matte >= 1).to(image.dtype), max(1, margin // 2))
    if not bool(certain.any()):
        return image
    return torch.where(certain > 0.5, image, harmonic_fill(image, certain))
