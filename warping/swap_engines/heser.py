"""`heser`: [HeSer] whole: the aligned head becomes part of the target's scene, in its skin's colours.

The aligner makes the source in the target's pose (`swap_engines.aligner`), the segmenter tells its regions,
and the blender (`warping.heser_blender`) makes head and surroundings of both pictures. What lies outside both
heads and the ring around them is the target's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from ...geom.guidance import take
from ..animators.heser import HeserAnimator
from ..heser_aligner import HeserAlignerConfig
from ..heser_blender import HeserBlender, HeserBlenderConfig, LabelledPicture
from ..heser_files import load_heser_blender
from . import Swapped, SwapSource, SwapTarget, register
from ._framing import Framing
from .aligner import AlignedSources, aligned, aligned_sources, open_aligner


@dataclass(frozen=True)
class HeserSwapConfig:
    """Sizes of both networks, and what the first one sees.

    Attributes:
        aligner: of the first stage.
        blender: of the second.
        framing: the part of the window that the aligner sees and makes.
    """

    aligner: HeserAlignerConfig = field(default_factory=HeserAlignerConfig)
    blender: HeserBlenderConfig = field(default_factory=HeserBlenderConfig)
    framing: Framing = field(default_factory=Framing)


@register(HeserSwapConfig)
class HeserEngine(nn.Module):
    """See the module. The blender works at the window's size, the aligner at its own.

    Args:
        config: sizes of both networks.
        animator, blender: trained ones; None: untrained, of the config's sizes.
    """

    checkpoints: ClassVar[tuple[str, ...]] = ("ALIGNER", "BLENDER")

    def __init__(
        self,
        config: HeserSwapConfig,
        animator: HeserAnimator | None = None,
        blender: HeserBlender | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.animator = HeserAnimator(config.aligner) if animator is None else animator
        self.blender = HeserBlender(config.blender).eval() if blender is None else blender

    @classmethod
    def open_checkpoint(cls, aligner: str | Path, blender: str | Path) -> HeserEngine:
        """The engine with the weights of a `heser` animator's checkpoint and of a blender's.

        Raises:
            ModelFileError: no such file, or a checkpoint of something else.
        """
        animator, blend = open_aligner(aligner), load_heser_blender(blender)
        return cls(HeserSwapConfig(animator.config, blend.config), animator, blend)

    @property
    def window_multiple(self) -> int:
        """The blender's."""
        return self.blender.multiple

    def encode(self, sources: Sequence[SwapSource]) -> AlignedSources:
        """Codes of every source."""
        return aligned_sources(self.animator, sources, self.config.framing)

    def swap(self, cache: AlignedSources, target: SwapTarget) -> Swapped:
        """The blended picture.

        Raises:
            HeadwarpError: a target without labels (``driving.region_map``) or without a segmenter.
        """
        image, regions = aligned(self.animator, cache, target)
        (labels,) = take(target.driving, ("region_map",), by="swap")
        encoded = self.blender.encode(LabelledPicture(target.image, labels))
        blend = self.blender.blend(LabelledPicture(image, regions.labels), encoded)
        changed = (blend.head | blend.ring).to(image)
        made = torch.where(changed > 0, blend.image.clamp(0, 1), target.image)
        return Swapped(made, changed, blend.head.to(image))
