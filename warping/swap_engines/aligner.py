"""`aligner`: [HeSer]'s first stage alone: the source anew in the target's pose, laid over the target.

The network makes a whole picture; its head, told by the segmenter, is composited as `geometry` composites
its own: the target's head is painted out, skin takes the statistics of the target's skin, and down the neck
the new head gives way to the target's. Ours: [HeSer] always blends (`heser`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.displacement import mesh_radius
from ...geom.errors import HeadwarpError
from ...geom.guidance import take
from ...geom.rasterizer import interpolate, rasterize
from ..animators import load_animator
from ..animators.heser import HeserAnimator, HeserCache
from ..composite import over
from ..head_swap import blurred, relit, skin_of, skin_weight
from ..heser_aligner import HeserAlignerConfig
from . import HeadRegions, Swapped, SwapSource, SwapTarget, register
from ._framing import Framing
from ._scene import target_colours, target_scene


@dataclass(frozen=True)
class AlignerSwapConfig:
    """Settings of the aligner engine. Lengths are in units of the mesh's root-mean-square radius.

    Attributes:
        network: size of the aligner.
        margin: how far around the target's head its colours are not trusted.
        softness: of the boundary between skin and hair, and of the head's outline.
        framing: the part of the window that the network sees and makes.
        opaque: values of the made head's mask at which it begins to show and is opaque.
        hair_share: how far hair follows the light of the skin, 0 to 1.
    """

    network: HeserAlignerConfig = field(default_factory=HeserAlignerConfig)
    framing: Framing = field(default_factory=Framing)
    margin: float = 0.08
    softness: float = 0.04
    opaque: tuple[float, float] = (0.3, 0.7)
    hair_share: float = 0.3


@dataclass(frozen=True)
class AlignedSources:
    """What depends on the sources alone.

    Attributes:
        main: the first source, whose mesh is posed.
        cache: codes of all of them.
        framing: the part of the window that they were made of.
    """

    main: SwapSource
    cache: HeserCache
    framing: Framing


@register(AlignerSwapConfig)
class AlignerEngine(nn.Module):
    """See the module.

    Args:
        config: its settings.
        animator: a trained one; None: untrained, of the config's size.
    """

    checkpoints: ClassVar[tuple[str, ...]] = ("ALIGNER",)
    window_multiple: ClassVar[int] = 1

    def __init__(self, config: AlignerSwapConfig, animator: HeserAnimator | None = None) -> None:
        super().__init__()
        self.config = config
        self.animator = HeserAnimator(config.network) if animator is None else animator

    @classmethod
    def open_checkpoint(cls, aligner: str | Path) -> AlignerEngine:
        """The engine with the weights of a `heser` animator's checkpoint.

        Raises:
            ModelFileError: no such file, or a checkpoint of something else.
        """
        animator = open_aligner(aligner)
        return cls(AlignerSwapConfig(network=animator.config), animator)

    def encode(self, sources: Sequence[SwapSource]) -> AlignedSources:
        """Codes of every source."""
        return aligned_sources(self.animator, sources, self.config.framing)

    def swap(self, cache: AlignedSources, target: SwapTarget) -> Swapped:
        """The head that the network makes, in the target's light, in place of the target's."""
        config, main = self.config, cache.main
        image, regions = aligned(self.animator, cache, target)
        verts, faces = _posed(main, target)
        radius = float(mesh_radius(verts))
        margin, softness = (max(1, round(length * radius)) for length in (config.margin, config.softness))
        size = (image.shape[2], image.shape[3])
        face = skin_weight(verts, faces, main.skin, size, mask=regions.head)
        skin = skin_of(image, face, regions.head, reach=softness, labels=regions.labels)
        statistics = target_colours(target, main)
        lit = relit(image, skin.weight, skin.statistics, statistics, hair_share=config.hair_share)
        alpha = blurred(self._opacity(main, target, regions), max(1, softness // 2))
        scene = target_scene(target, main, margin=margin)
        changed = torch.maximum(scene.filled, (alpha > 0).to(alpha))
        return Swapped(over(lit, scene.image, alpha).clamp(0, 1), changed, alpha)

    def _opacity(
        self, main: SwapSource, target: SwapTarget, regions: HeadRegions
    ) -> Float[Tensor, "1 1 H W"]:
        """Of the made head: its mask, and the neck below it as far as the mesh says, falling to 0."""
        low, high = self.config.opaque
        alpha = ((regions.head - low) / (high - low)).clamp(0, 1)
        verts, faces = _posed(main, target)
        fragments = rasterize(verts, faces, (alpha.shape[2], alpha.shape[3]))
        covered = (fragments.face >= 0)[:, None].to(alpha)
        surface = interpolate(fragments, main.surface[None, :, None], faces) * covered
        shown = (regions.labels != 0)[:, None].to(alpha)
        return torch.maximum(alpha * (1 - covered + surface), surface * shown)


def open_aligner(path: str | Path) -> HeserAnimator:
    """The animator of a checkpoint.

    Raises:
        ModelFileError: no such file, or a checkpoint of something else.
    """
    animator: Any = load_animator("heser", path)
    return animator


def aligned_sources(
    animator: HeserAnimator, sources: Sequence[SwapSource], framing: Framing
) -> AlignedSources:
    """Codes of the sources.

    Args:
        animator: a `heser` animator.
        sources: of one person.
        framing: which part of the window it sees.

    Raises:
        HeadwarpError: no source.
    """
    if not sources:
        raise HeadwarpError("swap: expected at least one source, got none")
    codes = animator.encode([framing.cut(each.source) for each in sources])
    return AlignedSources(sources[0], codes, framing)


def aligned(
    animator: HeserAnimator, cache: AlignedSources, target: SwapTarget
) -> tuple[Float[Tensor, "1 3 H W"], HeadRegions]:
    """The source as the target's frame holds the head, and the regions of that picture.

    Args:
        animator: a `heser` animator.
        cache: from `aligned_sources`.
        target: one frame, with its picture as the driver and a segmenter.

    Raises:
        HeadwarpError: a target without its picture as the driver, or without a segmenter.
    """
    if target.segment is None:
        raise HeadwarpError(
            "swap: SwapTarget.segment: expected a function that tells a picture's regions, got None; "
            "tools.swap_windows.target_windows gives one"
        )
    framing, side = cache.framing, target.image.shape[3]
    made = animator.animate(cache.cache, framing.cut(target.driving)).image
    image = framing.put_back(made, side)
    regions, inside = target.segment(image), framing.inside(side, like=made)
    return image, HeadRegions(regions.head * inside, regions.labels * inside[:, 0].long())


def _posed(main: SwapSource, target: SwapTarget) -> tuple[Tensor, Tensor]:
    """Vertices of the source's head in the target's frame, and its triangles."""
    (verts,) = take(target.driving, ("posed_vertices",), by="swap")
    (faces,) = take(main.source, ("faces",), by="swap")
    return verts, faces
