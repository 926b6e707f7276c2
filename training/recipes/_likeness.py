"""How far made pictures are from the truth: by a pretrained network, or by what stands in for it.

Without VGG-19's weights the perceptual loss is not to be had: the fixed `losses.structure` stands in, and the
name of the recipe ends in ``+structure``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.nets.vgg import Vgg19
from ...geom.nets.weights import load_backbone, require_pretrained
from ..losses.perceptual import PerceptualConfig, perceptual_levels, perceptual_loss
from ..losses.structure import StructureConfig, structure_loss
from ..losses.warped import WarpedLevel

_SMALLEST = 16
_WEIGHTS = "it needs VGG-19's weights: name them with --vgg FILE (headwarp weights list says where they are)"


class LikenessFields(Protocol):
    """What the configs of recipes that compare pictures have in common; see `Likeness`."""

    @property
    def vgg(self) -> Path | None: ...

    @property
    def perceptual(self) -> PerceptualConfig: ...

    @property
    def structure(self) -> StructureConfig: ...

    @property
    def structure_weight(self) -> float: ...


class Likeness:
    """The perceptual loss of a file of weights, or the structure loss.

    Args:
        vgg: file of VGG-19's weights; None: ``structure`` stands in.
        perceptual: taps, sizes, sum and weight.
        structure: of the loss that stands in.
        structure_weight: of it. Where the perceptual loss is a sum over a sample ([PWM] Eq. 1), so is this:
            its mean times the sample's numbers.
        by: the recipe, for messages.

    Attributes:
        term: ``"perceptual"`` or ``"structure"``, as losses are named.
        suffix: what the recipe's name ends in.
        stand_ins: a sentence for what stands in.

    Raises:
        ModelFileError: no such file, another hash than the published one, or other keys.
    """

    def __init__(
        self,
        vgg: Path | None,
        perceptual: PerceptualConfig,
        structure: StructureConfig,
        structure_weight: float,
        *,
        by: str,
    ) -> None:
        self._network = None if vgg is None else _pretrained(vgg, by=by)
        self._perceptual, self._structure, self._weight = perceptual, structure, structure_weight
        stands_in = self._network is None
        self.term = "structure" if stands_in else "perceptual"
        self.suffix = "+structure" if stands_in else ""
        said = f"a fixed loss of gradients and SSIM stands in for the perceptual loss; {_WEIGHTS}"
        self.stand_ins: tuple[str, ...] = (said,) if stands_in else ()

    @classmethod
    def of(cls, config: LikenessFields, *, by: str) -> Likeness:
        """That of a recipe's config."""
        return cls(config.vgg, config.perceptual, config.structure, config.structure_weight, by=by)

    def __call__(self, levels: Sequence[WarpedLevel]) -> Float[Tensor, ""]:
        """The weighted loss of pictures beside their truths.

        One picture is compared at the scales of the perceptual loss, several as they are; levels and scales
        of fewer than 16 px, where VGG-19 has no pixel left, are left out (at 256 px there is none).
        """
        levels = [level for level in levels if min(level.image.shape[2:]) >= _SMALLEST]
        if self._network is None:
            return self._by_structure(levels)
        network, config = self._network, self._perceptual
        network.to(levels[0].image.device)  # a no-op from the second step on

        def features(image: Tensor) -> tuple[Tensor, ...]:
            return network.taps(image, config.taps)

        if len(levels) == 1:
            side = min(levels[0].image.shape[2:])
            strides = tuple(stride for stride in config.strides if side // stride >= _SMALLEST)
            whole = dataclasses.replace(config, strides=strides)
            return perceptual_loss(levels[0].image, levels[0].target, features, whole)
        images, targets = [level.image for level in levels], [level.target for level in levels]
        return perceptual_levels(images, targets, features, config)

    def _by_structure(self, levels: Sequence[WarpedLevel]) -> Float[Tensor, ""]:
        summed = self._perceptual.reduction == "sum"
        terms = [
            structure_loss(level.image, level.target, self._structure)
            * (level.image[0].numel() if summed else 1)
            for level in levels
        ]
        return self._weight * torch.stack(terms).mean()


def _pretrained(file: Path, *, by: str) -> Vgg19:
    """VGG-19 with the weights of a file, frozen."""
    network = require_pretrained(load_backbone("vgg19", file), by=by)
    assert isinstance(network, Vgg19)
    return network
