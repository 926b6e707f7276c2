"""`heser_blender`: the second stage of [HeSer], a head of other colours blended into a scene.

Frames of fitted clips are recoloured, and the recoloured head is to be blended into its own frame again, by
the colours of a reference: the same frame or another of its clip, mirrored or moved, so that regions do not
lie where they lay. No aligner is needed. Modes: ``paper`` is what the supplement says; where it is silent
(weights of pixels, cycles and game, temperature, dilation) it follows the unofficial code. ``unofficial``
follows that for the network, least squares and coarse regions. Of that code's losses neither mode keeps the
perceptual one (all layers of an average-pooled VGG-19, x 0.0005; here `losses.perceptual`, pretrained), nor
its VGG-19 trained from nothing, frozen here, nor cycles as optimiser steps of their own, summed here.
``own`` adds, each a field of its own:

| addition | field | ``paper`` |
|---|---|---|
| the references themselves are the picture, to which the network adds | ``network.anchored`` | false |
| the target beyond the masks is kept bit for bit | ``network.pasted`` | false |
| the colours' L1 is that of what was made, not of the frame | ``masked`` | false |
| references are other frames and are moved, too | ``changes`` | mirrored at most |

Without VGG-19's weights (``--vgg``) correspondence is sought on the fitted head's surface and in edges
(`warping.surface_features`) and the perceptual loss is `losses.structure`: the recipe's name then ends in
``+surface+structure``. A frozen network with random weights is never looked through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...geom.nets.vgg import Vgg19
from ...geom.nets.weights import load_backbone, require_pretrained
from ...warping.blending_unet import ResidualUNetConfig
from ...warping.heser_blender import HeserBlenderConfig, sized_blender
from ...warping.heser_cycle import HeserBlenderTraining, TrainedBlend
from ..blender_discriminator import BlenderDiscriminator, BlenderDiscriminatorConfig
from ..data.blends.batch import BlendBatch
from ..data.blends.changes import BlendChanges
from ..losses import adversarial, perceptual
from ..losses.pixel import masked_l1
from ..losses.structure import StructureConfig
from ..losses.warped import WarpedLevel
from . import GENERATED, Needs, register
from ._game import judged, turns_of
from ._likeness import Likeness

SIZES = ("tiny", "small", "paper")
FAMILY = "heser_blender"
KIND = "blender"
"""Of the checkpoint that a training leaves."""
_SURFACE = (
    "correspondence is sought on the fitted head's surface and in edges in place of VGG-19's features; it "
    "needs VGG-19's weights: name them with --vgg FILE (headwarp weights list says where they are)"
)
_HINGE = adversarial.AdversarialConfig("hinge", "mean", 0.1)


@dataclass(frozen=True)
class HeserBlenderRecipeConfig:
    """What is trained and on what; the defaults are ``heser_blender/own``'s.

    Attributes:
        mode: stands in the recipe's name.
        network: the blender's config; its ``features`` follow ``vgg``.
        vgg: file of VGG-19's weights; None: something else stands in, see the module.
        learning_rate: of Adam: 1e-4 ([HeSer] sec. 3.2).
        discriminator_rate: of its Adam as a share of ``learning_rate``: 4 ([HeSer] sec. 3.2: 4e-4).
        betas: of Adam ([HeSer] sec. 3.2).
        pixel_weight: of the mean absolute difference of pixels ([HeSer] Eq. 7), in [0, 1]: the unofficial
            code's 1 on values in [-1, 1] is 2 here.
        masked: mean over the head and the ring alone.
        cycle_weight: of either cycle ([HeSer] Eq. 8, 9); 0: there is none.
        perceptual: [HeSer] Eq. 6.
        structure, structure_weight: of the loss that stands in.
        adversarial: [HeSer] Eq. 10-11; None: no game.
        discriminator: its size.
        changes: what is done to frames to make a task of them.
        limit_mb: most that correlations take at a time in training.
    """

    mode: Literal["own", "paper", "unofficial"] = "own"
    network: HeserBlenderConfig = field(default_factory=HeserBlenderConfig)
    vgg: Path | None = None
    learning_rate: float = 4e-4
    discriminator_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    pixel_weight: float = 10.0
    masked: bool = True
    cycle_weight: float = 1.0
    perceptual: perceptual.PerceptualConfig = perceptual.OFFICIAL
    structure: StructureConfig = field(default_factory=StructureConfig)
    structure_weight: float = 2.0
    adversarial: adversarial.AdversarialConfig | None = _HINGE
    discriminator: BlenderDiscriminatorConfig = field(default_factory=BlenderDiscriminatorConfig)
    changes: BlendChanges = field(default_factory=BlendChanges)
    limit_mb: float = 512.0


_PAPER = HeserBlenderRecipeConfig(
    mode="paper",
    network=HeserBlenderConfig(
        temperature=1e-3, dilation=17, unet=ResidualUNetConfig(), anchored=False, pasted=False
    ),
    learning_rate=1e-4,
    discriminator_rate=4.0,
    pixel_weight=2.0,
    masked=False,
    structure_weight=1.0,
    adversarial=adversarial.AdversarialConfig("hinge", "mean", 0.2),
    changes=BlendChanges(0.5, 0.5, 0.5, 0.1, other=0.0, flip=0.7, scale=0.0, shift=0.0),
)
MODES = {
    "own": HeserBlenderRecipeConfig(
        network=HeserBlenderConfig(unet=ResidualUNetConfig(norm="group", spectral_norm=False))
    ),
    "paper": _PAPER,
    "unofficial": dataclasses.replace(
        _PAPER,
        mode="unofficial",
        network=dataclasses.replace(_PAPER.network, form="unofficial", regions="unofficial"),
        adversarial=adversarial.AdversarialConfig("least_squares", "mean", 0.2),
    ),
}


def sized(config: HeserBlenderRecipeConfig, size: str) -> HeserBlenderRecipeConfig:
    """A mode with networks of another size, all for frames of multiples of 8 px.

    Raises:
        HeadwarpError: no such size.
    """
    network = sized_blender(config.network, size)
    divisor = {"paper": 1, "small": 2, "tiny": 4}[size]
    channels = tuple(count // divisor for count in BlenderDiscriminatorConfig().channels)
    return dataclasses.replace(config, network=network, discriminator=BlenderDiscriminatorConfig(channels))


@register(MODES)
class HeserBlenderRecipe:
    """See the module.

    Args:
        config: what is trained and on what.
    """

    needs: Needs = "regions"
    frames = 2
    kind = KIND

    def __init__(self, config: HeserBlenderRecipeConfig) -> None:
        features: Literal["vgg", "surface"] = "surface" if config.vgg is None else "vgg"
        network = dataclasses.replace(config.network, features=features)
        self.config = dataclasses.replace(config, network=network)
        name = f"{FAMILY}/{config.mode}"
        self._alike = Likeness.of(config, by=name)
        on_surface = config.vgg is None
        self.name = f"{name}{'+surface' if on_surface else ''}{self._alike.suffix}"
        self.stand_ins = (*((_SURFACE,) if on_surface else ()), *self._alike.stand_ins)
        self.turns = turns_of(config.adversarial)

    def networks(self) -> Mapping[str, nn.Module]:
        """The blender, with the backbone of ``vgg`` in it, and the discriminator if there is a game."""
        config = self.config
        generator = HeserBlenderTraining(
            config.network, cycle=config.cycle_weight > 0, limit_mb=config.limit_mb
        )
        if config.vgg is not None:
            backbone = require_pretrained(load_backbone("vgg19", config.vgg), by=self.name)
            assert isinstance(backbone, Vgg19)
            generator.network.load_features(backbone)
        networks: dict[str, nn.Module] = {"generator": generator}
        if config.adversarial is not None:
            networks["discriminator"] = BlenderDiscriminator(config.discriminator)
        return networks

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam of what is trained; the backbone is not."""
        config = self.config
        share = config.discriminator_rate if turn == "discriminator" else 1.0
        trained = [weights for weights in network.parameters() if weights.requires_grad]
        return torch.optim.Adam(trained, share * config.learning_rate, config.betas)

    def generate(self, networks: Mapping[str, nn.Module], batch: BlendBatch) -> TrainedBlend:
        """Every head in its scene."""
        made: TrainedBlend = networks["generator"](batch.animated, batch.reference, batch.truth)
        return made

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: BlendBatch, made: TrainedBlend
    ) -> Mapping[str, Tensor]:
        """Terms of the generator or of the discriminator."""
        config, blend, game = self.config, made.blend, self.config.adversarial
        masks = (blend.head.float(), blend.ring.float())
        if turn == "discriminator":
            assert game is not None
            return judged(networks["discriminator"], batch.truth, blend.image, masks, game=game)
        inside = masks[0] + masks[1] if config.masked else torch.ones_like(masks[0])
        terms = {
            "pixel": config.pixel_weight * masked_l1(blend.image, batch.truth, inside),
            self._alike.term: self._alike([WarpedLevel(blend.image, batch.truth)]),
        }
        if made.cycled is not None:
            terms["cycle"] = config.cycle_weight * made.cycled.error()
        if made.other is not None:
            terms["cycle_other"] = config.cycle_weight * made.other.error()
        if game is not None:
            fake = networks["discriminator"](blend.image, *masks)
            terms["adversarial"] = adversarial.generator_loss(fake.logits, game)
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: BlendBatch) -> Mapping[str, Tensor]:
        """The recoloured head in its scene, the reference, its colours there, the picture, and the truth."""
        blend = self.generate(networks, batch).blend
        pasted = torch.where(blend.head, batch.animated.image, batch.truth)
        references = torch.where(blend.head, blend.head_colours, blend.filling)
        shown = torch.where(blend.head | blend.ring, references, batch.truth)
        return {
            "source": pasted,
            "reference": batch.reference.image,
            "carried": shown,
            GENERATED: blend.image.clamp(0, 1),
            "driving": batch.truth,
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """The blender; its weights have the generator's keys less ``network.``."""
        return FAMILY, self.config.network, getattr(networks["generator"], "network")  # noqa: B009
