"""`geometry`: the source's own pixels, moved by its fitted mesh into the target's pose; no weights.

The source is split into person and background (two layers, as the `geometry` animator does) and its head
moved: skin by the mesh, hair by the filled displacement between mesh and hairline. The target's head is
painted out, the new one laid over it, and down the neck the one gives way to the other. Skin takes the
statistics of the target's skin. What is seen between the lips is the target's own: the source may never have
opened its mouth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.colour_transfer import ColourStatistics
from ...geom.displacement import MeshFlow, erode
from ...geom.errors import HeadwarpError
from ...geom.flow import pixel_grid, warp
from ...geom.guidance import take
from ...geom.rasterizer import interpolate
from ..animators.geometry import GeometryAnimator, GeometryCache, GeometryConfig
from ..composite import over
from ..head_swap import SkinOf, blurred, relit, skin_of, skin_weight
from ..layers import inside_frame
from ..posed_layers import PosedLayers, box_sum
from . import Swapped, SwapSource, SwapTarget, register
from ._scene import target_colours, target_scene


@dataclass(frozen=True)
class GeometrySwapConfig:
    """Settings of the geometry engine. Lengths are in units of the mesh's root-mean-square radius.

    Attributes:
        animator: of the source's two layers and their motion.
        margin: how far around the target's head its colours are not trusted.
        softness: of the boundary between skin and hair, and of the join at the neck.
        opaque: values of the source's head mask at which the new head begins to show and is opaque; the first
            is high, so that no rim of the source's background comes along.
        hair_share: how far hair follows the light of the skin, 0 to 1.
    """

    animator: GeometryConfig = field(default_factory=GeometryConfig)
    margin: float = 0.08
    softness: float = 0.04
    opaque: tuple[float, float] = (0.5, 0.9)
    hair_share: float = 0.3


@dataclass(frozen=True)
class EncodedHead:
    """What is known of one source picture.

    Attributes:
        given: the source.
        cache: of the geometry animator.
        skin: its skin.
        head: opacity of its head, hair included.
    """

    given: SwapSource
    cache: GeometryCache
    skin: SkinOf
    head: Float[Tensor, "1 1 H W"]


@register(GeometrySwapConfig)
class GeometryEngine:
    """See the module."""

    checkpoints: tuple[str, ...] = ()
    holds = GeometryAnimator.holds
    window_multiple = 1

    def __init__(self, config: GeometrySwapConfig) -> None:
        self.config = config
        self.animator = GeometryAnimator(config.animator)

    def encode(self, sources: Sequence[SwapSource]) -> tuple[EncodedHead, ...]:
        """Layers, visibility and skin of every source.

        Raises:
            HeadwarpError: no source.
        """
        if not sources:
            raise HeadwarpError("swap: expected at least one source, got none")
        return tuple(self._encode(each) for each in sources)

    def _encode(self, given: SwapSource) -> EncodedHead:
        image, mask, verts, faces = take(
            given.source, ("image", "mask", "posed_vertices", "faces"), by="swap"
        )
        cache = self.animator.encode([given.source])
        size = (image.shape[2], image.shape[3])
        face = skin_weight(verts, faces, given.skin, size, mask=mask)
        skin = skin_of(
            image,
            face,
            given.head,
            reach=self._pixels(cache, self.config.softness),
            labels=given.source.region_map,
        )
        low, high = self.config.opaque
        head = ((given.head - low) / (high - low)).clamp(0, 1)
        return EncodedHead(given, cache, skin, head)

    def swap(self, cache: tuple[EncodedHead, ...], target: SwapTarget) -> Swapped:
        """The head of the first source, completed by the others, in place of the target's."""
        main = cache[0]
        raw = self.animator.raw(main.cache, target.driving)
        layers = self.animator.layers_of(main.cache, target.driving, raw)
        alpha, colours = self._head(cache, target, raw, layers)
        scene = target_scene(target, main.given, margin=self._pixels(main.cache, self.config.margin))
        image = over(colours, scene.image, alpha)
        return Swapped(image.clamp(0, 1), torch.maximum(scene.filled, (alpha > 0).to(alpha)), alpha)

    def _pixels(self, cache: GeometryCache, length: float) -> int:
        return max(1, round(length * float(cache.mesh.radius)))

    def _head(
        self, cache: tuple[EncodedHead, ...], target: SwapTarget, raw: MeshFlow, layers: PosedLayers
    ) -> tuple[Float[Tensor, "1 1 H W"], Float[Tensor, "1 3 H W"]]:
        """Opacity and colours of the posed head, in the target's light."""
        main = cache[0]
        moved = torch.cat([main.head, main.skin.weight, layers.colours], dim=1)
        head, skin, colours = warp(moved, layers.flow).split([1, 1, 3], dim=1)
        posed = self._on_mesh(main, target, raw)
        skull = box_sum(raw.person) / 9
        alpha = torch.maximum(head * inside_frame(layers.flow, layers.torso_line), skull)
        alpha = alpha * (1 - raw.covered * (1 - posed.surface))
        soft = blurred(raw.known, self._pixels(main.cache, self.config.softness))
        alpha = torch.maximum(alpha, posed.surface * soft)
        unseen = raw.covered * (1 - soft) * (1 - posed.mouth)
        statistics = target_colours(target, main.given)
        lit = relit(colours, skin, main.skin.statistics, statistics, hair_share=self.config.hair_share)
        for other in cache[1:]:
            share, shown = self._completion(main, other, raw, statistics, unseen)
            lit = lit + share * (shown - lit)
            alpha = torch.maximum(alpha, posed.surface * share)
            unseen = unseen - share
        return alpha, over(warp(target.image, posed.own), lit, blurred(posed.mouth, 1))

    def _completion(
        self,
        main: EncodedHead,
        other: EncodedHead,
        raw: MeshFlow,
        statistics: ColourStatistics,
        unseen: Float[Tensor, "1 1 H W"],
    ) -> tuple[Float[Tensor, "1 1 H W"], Float[Tensor, "1 3 H W"]]:
        """What another source shows of the mesh that those before do not: its share, and its colours."""
        state = other.cache.mesh
        hollow = torch.zeros_like(main.given.mouth) if state.cavity is None else state.cavity
        seen = state.visibility[0] * ~(hollow | main.given.mouth)
        attributes = torch.cat([state.verts[0, :, :2], seen[:, None]], dim=1)
        drawn = interpolate(raw.fragments, attributes[None], main.cache.mesh.faces)
        size = (drawn.shape[2], drawn.shape[3])
        flow = (drawn[:, :2] - pixel_grid(size, device=drawn.device, dtype=drawn.dtype)) * raw.covered
        moved = torch.cat([other.head, other.skin.weight, other.cache.image], dim=1)
        head, skin, colours = warp(moved, flow).split([1, 1, 3], dim=1)
        known = erode(raw.covered * (drawn[:, 2:] > 0.5) * (head > 0.5))
        share = unseen * blurred(known, self._pixels(main.cache, self.config.softness))
        lit = relit(colours, skin, other.skin.statistics, statistics, hair_share=self.config.hair_share)
        return share, lit

    def _on_mesh(self, main: EncodedHead, target: SwapTarget, raw: MeshFlow) -> _OnMesh:
        given, faces = main.given, main.cache.mesh.faces
        own = target.posed_vertices[0, :, :2]
        attributes = torch.cat([own, given.surface[:, None], given.mouth.to(own)[:, None]], dim=1)
        drawn = interpolate(raw.fragments, attributes[None], faces)
        size = (drawn.shape[2], drawn.shape[3])
        flow = (drawn[:, :2] - pixel_grid(size, device=own.device, dtype=own.dtype)) * raw.covered
        return _OnMesh(flow, drawn[:, 2:3], (drawn[:, 3:] > 0.5).to(own))


@dataclass(frozen=True)
class _OnMesh:
    """What the posed mesh carries to the pixels; 0 beside it.

    Attributes:
        own: backward flow into the target's picture: where the target shows the same place of the surface.
        surface: 1 on the head, falling to 0 down the neck.
        mouth: 1 between the lips.
    """

    own: Float[Tensor, "1 2 H W"]
    surface: Float[Tensor, "1 1 H W"]
    mouth: Float[Tensor, "1 1 H W"]
