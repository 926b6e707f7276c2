"""`geometry`: the picture moved by rendered geometry alone; no weights, nothing learned.

With a person mask: two layers, the warped person over the background with the person painted out, which the
camera's motion moves. The person's flow is the source-visibility gated displacement of the mesh; between the
mesh and the anchors (torso, hairline, bottom of the frame) it is filled harmonically. Without a mask: one
layer, the filled displacement. Where the mouth's inside shows, it is dark.

A source of `encode_guided` has no mesh: its driving frames bring the guidance of any geometry source
(`guided.GuidedAnimator` puts the two together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...geom.alignment import affine_flow
from ...geom.displacement import DisplacementConfig, MeshFlow, border, carried_mask, complete, mesh_radius
from ...geom.flow import warp
from ...geom.guidance import Driving, Source, require, take
from ...geom.outline import Hairline, hairline, hairline_anchors, skull_outline
from ...geom.pose_range import PoseRange
from ...geom.sources.mesh import MeshSource, MeshSourceConfig, MeshState
from ..guided_layers import GuidedCache, encode_guided, guided_layers, torso_line
from ..layers import Layers, below, splat_anchors, split_layers
from ..posed_layers import PosedLayers, box_sum, compose, soft_edge
from . import Animation, register, single

MOUTH_TINT = (1.0, 0.55, 0.5)  # of the face's mean colour: the inside of a mouth is redder


@dataclass(frozen=True)
class GeometryConfig:
    """Settings of the geometry animator. Lengths are in units of the mesh's root-mean-square radius.

    Attributes:
        displacement: the source-visibility gate.
        certain: mask values that count as certainly background and certainly person.
        margin: how far around the person's edge colours are not trusted.
        gap: notches and holes of the mask up to about twice this wide are closed.
        stillness: motion at which the residual of the layers, which belongs to the source's pose, is faded to
            1 / e.
        cavity_shade: brightness of the mouth's inside against the face.
    """

    displacement: DisplacementConfig = field(default_factory=DisplacementConfig)
    certain: tuple[float, float] = (0.3, 0.7)
    margin: float = 0.06
    gap: float = 0.06
    stillness: float = 0.012
    cavity_shade: float = 0.16


@dataclass(frozen=True)
class GeometryCache:
    """Computed once per source.

    Attributes:
        image: the source picture.
        mesh: state of the mesh source.
        dark: colour of the mouth's inside.
        layers: person and background; None without a mask.
        torso_line: row of the picture below which everything belongs to the torso.
        hairline: reach of the mask beyond the skull, with its vertices; None if either is unknown.
    """

    image: Float[Tensor, "1 3 H W"]
    mesh: MeshState
    dark: Float[Tensor, "1 3 1 1"]
    layers: Layers | None = None
    torso_line: float = float("inf")
    hairline: tuple[Hairline, Bool[Tensor, "V"]] | None = None


@register(GeometryConfig)
class GeometryAnimator:
    """See the module. ``Source.mask``, ``skull``, ``body`` and ``cavity``, and ``Driving.camera_motion`` and
    ``body_motion`` are used where given.
    """

    needs_source = ("image", "posed_vertices", "faces")
    needs_driving = ("posed_vertices",)
    holds = PoseRange(yaw_deg=40, pitch_deg=35)  # see docs/benchmarks.md

    def __init__(self, config: GeometryConfig) -> None:
        self.config = config
        self.source = MeshSource(MeshSourceConfig(displacement=config.displacement))

    def encode(self, sources: Sequence[Source]) -> GeometryCache:
        """Visibility, layers, hairline and mouth colour of the source."""
        source = single(sources, by="geometry")
        return self.encode_split(source, self.split(source))

    def split(self, source: Source) -> Layers | None:
        """Person and background of the source, most of the work of `encode`; None without a mask."""
        image, verts, _ = take(source, self.needs_source, by="geometry")
        if source.mask is None:
            return None
        radius = float(mesh_radius(verts))
        return split_layers(
            image,
            source.mask,
            certain=self.config.certain,
            gap=round(self.config.gap * radius),
            margin=round(self.config.margin * radius),
        )

    def encode_split(self, source: Source, layers: Layers | None) -> GeometryCache:
        """`encode` with layers that were split before."""
        image, *_ = take(source, self.needs_source, by="geometry")
        mesh = self.source.prepare(source)
        dark = _cavity_colour(image, mesh) * self.config.cavity_shade
        if layers is None:
            return GeometryCache(image, mesh, dark)
        line = _hairline(source, mesh, layers.matte)
        return GeometryCache(image, mesh, dark, layers, torso_line(source), line)

    def encode_guided(self, sources: Sequence[Source]) -> GuidedCache:
        """Layers of a source without a mesh; of the driving frames, `Driving.guidance` is read instead."""
        return encode_guided(single(sources, by="geometry"), self.config)

    def layers(self, cache: GeometryCache | GuidedCache, driving: Driving) -> PosedLayers:
        """What geometry knows of the source in the driving pose; `compose` makes the picture of it.

        Args:
            cache: what `encode` returned.
            driving: posed vertices, or guidance.
        """
        if isinstance(cache, GuidedCache):
            return guided_layers(cache, driving)
        return self.layers_of(cache, driving, self.raw(cache, driving))

    def raw(self, cache: GeometryCache, driving: Driving) -> MeshFlow:
        """The driving mesh rasterised, with its own displacement.

        Args:
            cache: what `encode` returned.
            driving: with posed vertices.
        """
        require(driving, self.needs_driving, by="geometry")
        return self.source.flow(cache.mesh, driving)

    def layers_of(self, cache: GeometryCache, driving: Driving, raw: MeshFlow) -> PosedLayers:
        """`layers` with a displacement that was computed before.

        Args:
            cache: what `encode` returned.
            driving: whose ``camera_motion`` and ``body_motion`` are looked at.
            raw: as `geom.displacement.mesh_flow` gives it.
        """
        camera = motion_flow(driving.camera_motion, cache.image)
        anchors, anchor_flow = _anchors(cache, driving, raw, camera)
        layers, whole = cache.layers, torch.ones_like(raw.known)
        person = whole if layers is None else torch.maximum(raw.known, box_sum(raw.person) / 9)
        background = cache.image if layers is None else layers.background
        return PosedLayers(
            matte=whole[:1] if layers is None else layers.matte,
            colours=cache.image if layers is None else layers.colours,
            residual=torch.zeros_like(cache.image) if layers is None else layers.residual,
            background=background if camera is None or layers is None else warp(background, camera),
            flow=complete(raw, anchors=anchors, anchor_flow=anchor_flow),
            displacement=raw.flow,
            covered=raw.covered,
            known=raw.known,
            person=person,
            hollow=soft_edge((raw.cavity > 0.5).to(raw.flow.dtype)),
            dark=cache.dark,
            reach=self.reach(cache),
            torso_line=raw.flow.new_full((1, 1, 1, 1), cache.torso_line),
        )

    def reach(self, cache: GeometryCache) -> Float[Tensor, "1 1 1 1"]:
        """`PosedLayers.reach` of a source."""
        return (self.config.stillness * cache.mesh.radius).clamp(min=1e-3)[:, None, None, None]

    def animate(self, cache: GeometryCache | GuidedCache, driving: Driving) -> Animation:
        """The source in the driving pose."""
        layers = self.layers(cache, driving)
        made = compose(layers)
        occlusion = shown_of(cache, layers, made.matte)
        return Animation(image=made.image.clamp(0, 1), flow=layers.flow, occlusion=occlusion)

    def explain(self, cache: GeometryCache | GuidedCache, driving: Driving) -> Mapping[str, Tensor]:
        """Flow, covered and known pixels; with a mask also background, matte and matte in the driving
        pose.
        """
        result = self.animate(cache, driving)
        layers = self.layers(cache, driving)
        maps = {"animated": result.image, "covered": layers.covered, "known": layers.known}
        if result.flow is not None:
            maps["flow"] = result.flow
        if cache.layers is not None and result.flow is not None:
            matte = cache.layers.matte
            maps |= {
                "background": cache.layers.background,
                "matte": matte,
                "carried": carried_mask(matte, result.flow),
            }
        return maps


def shown_of(
    cache: GeometryCache | GuidedCache, layers: PosedLayers, matte: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 1 H W"]:
    """`Animation.occlusion` of two layers: the person's matte; of one layer: where the source is seen.

    Args:
        cache: of the source.
        layers: of the driving frames.
        matte: opacity of the person in the target.
    """
    return layers.known if cache.layers is None else matte


def motion_flow(
    motion: Float[Tensor, "#B 2 3"] | None, image: Float[Tensor, "1 3 H W"]
) -> Float[Tensor, "#B 2 H W"] | None:
    """Backward flow of a camera or body motion over the image's frame; None for none.

    Args:
        motion: affine map of output pixels to source pixels; None: rest.
        image: whose size the flow has.
    """
    return None if motion is None else affine_flow(motion.to(image.dtype), (image.shape[2], image.shape[3]))


def _anchors(
    cache: GeometryCache, driving: Driving, raw: MeshFlow, camera: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Fixed flow besides the mesh: torso and bottom of the frame follow the body, the hairline the skull's
    outline; in a picture of one layer the frame's border follows the camera.
    """
    moved = camera if cache.layers is None else motion_flow(driving.body_motion, cache.image)
    flow = torch.zeros_like(raw.flow) if moved is None else moved.expand_as(raw.flow)
    if cache.layers is None:
        return border(cache.mesh.size, "tblr", flow), flow
    anchors = border(cache.mesh.size, "b", flow) | below(flow, cache.torso_line)
    if cache.hairline is None or driving.posed_vertices is None:
        return anchors, flow
    line, skull = cache.hairline
    outline = skull_outline(driving.posed_vertices, skull, raw.covered)
    return splat_anchors(anchors, flow, *hairline_anchors(line, outline))


def _hairline(source: Source, mesh: MeshState, matte: Tensor) -> tuple[Hairline, Tensor] | None:
    if source.skull is None:
        return None
    outline = skull_outline(mesh.verts, source.skull, mesh.covered.to(matte.dtype))
    return hairline(outline, matte), source.skull


def _cavity_colour(image: Float[Tensor, "1 3 H W"], mesh: MeshState) -> Float[Tensor, "1 3 1 1"]:
    """Mean colour of the source where its mesh is seen, reddened: what a lit mouth would show."""
    height, width = mesh.size
    x, y = mesh.verts[0, :, 0].long().clamp(0, width - 1), mesh.verts[0, :, 1].long().clamp(0, height - 1)
    seen = mesh.visibility[0] > 0.5
    mean = image[0][:, y[seen], x[seen]].mean(1) if bool(seen.any()) else image.mean((0, 2, 3))
    return (mean * mean.new_tensor(MOUTH_TINT))[None, :, None, None]
