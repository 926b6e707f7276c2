"""`pwm`: geometry driven progressive warping [PWM].

Modes: ``pwm/paper`` is the paper as written, ``pwm/official`` its public code, ``pwm/residual`` our own
network over geometry's picture, ``pwm/personal`` the same for one person's footage, where paint is free:
mouth and eyes can be learned. Each difference is a field of `PwmRecipeConfig`. Without VGG-19's weights the
perceptual loss is not to be had: the fixed `losses.structure` stands in, and the recipe's name ends in
``+structure``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...warping.guide_record import record_of
from ...warping.guides import GuideConfig, load_guide
from ...warping.posed_layers import compose
from ...warping.progressive import ProgressiveConfig, official, paper, tiny
from ...warping.pwm import CodesConfig, PwmConfig, PwmNetwork, PwmOutput, coded, with_texture
from ...warping.residual import ResidualConfig
from ..data.pairs.batch import PairBatch
from ..discriminators import OFFICIAL as ONE_SCALE
from ..discriminators import Discriminator, DiscriminatorConfig, Judgement
from ..losses import adversarial, matching, perceptual
from ..losses.pixel import pixel_l1
from ..losses.structure import StructureConfig
from ..losses.warped import WarpedLevel, warped_levels
from . import GENERATED, Needs, register
from ._game import turns_of
from ._guides import PointsOf, guided_batch
from ._likeness import Likeness

Guides = Literal["displacement", "codes", "both"]
SIZES = ("tiny", "small", "paper")
RESIDUAL_SIZES = {
    "tiny": ResidualConfig(),
    "small": ResidualConfig(channels=(32, 64, 96, 128, 192), stem=2, detail=24),
    "paper": ResidualConfig(channels=(32, 64, 128, 256, 512, 1024), stem=1, detail=32),
}


@dataclass(frozen=True)
class PwmRecipeConfig:
    """What is trained and on what; the defaults are ``pwm/residual``'s.

    Attributes:
        mode: which of the four this is; it stands in the recipe's name.
        network: the animator's config.
        vgg: file of VGG-19's weights; None: ``structure`` stands in for the perceptual loss.
        learning_rate: of Adam. 2e-4 in the public code; the paper gives no optimizer.
        betas: of Adam. (0.9, 0.999) in the public code.
        weight_decay: decoupled; 0 in the public code.
        pixel_weight: of the mean absolute difference of pixels: 10 in the public code, none in the paper.
        structure: of the loss that stands in.
        structure_weight: of it. Where the perceptual loss is a sum over a sample ([PWM] Eq. 1), so is this:
            its mean times the sample's numbers, or the sums of Eq. 2 and 4 would drown it.
        perceptual: [PWM] Eq. 1.
        adversarial: [PWM] Eq. 2 and 3; None: no discriminator.
        discriminator: its size and scales.
        matching: [PWM] Eq. 4.
        guide: what moves the layers in place of the packed mesh, computed in the batch: by a frozen network,
            or from the head's landmarks; None: the mesh.
        warped: which warped pictures the losses see beside the generated one ([PWM] sec. 1.4): ``"last"``, by
            the last flow, all losses (paper); ``"every"``, by the flow of every level, the perceptual loss in
            one size each, and at full size the game and the matching, no pixels (public code); ``"none"``.
    """

    mode: Literal["residual", "personal", "paper", "official"] = "residual"
    network: PwmConfig = field(default_factory=PwmConfig)
    vgg: Path | None = None
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    pixel_weight: float = 1.0
    structure: StructureConfig = field(default_factory=StructureConfig)
    structure_weight: float = 0.1
    perceptual: perceptual.PerceptualConfig = perceptual.OFFICIAL
    adversarial: adversarial.AdversarialConfig | None = None
    discriminator: DiscriminatorConfig = ONE_SCALE
    matching: matching.MatchingConfig = matching.OFFICIAL
    guide: GuideConfig | None = None
    warped: Literal["last", "every", "none"] = "none"

    def __post_init__(self) -> None:
        if self.guide is not None and coded(self.network.network):
            raise HeadwarpError(
                f"guide: expected none with guidance {self.network.network.guidance!r}: codes lie on the "
                f"mesh, and {self.guide.kind} has none"
            )


_PUBLISHED: dict[str, Any] = {"learning_rate": 2e-4, "betas": (0.9, 0.999), "weight_decay": 0.0}
MODES = {
    "residual": PwmRecipeConfig(),
    "personal": PwmRecipeConfig(mode="personal", network=PwmConfig(ResidualConfig(shade=0))),
    "paper": PwmRecipeConfig(
        mode="paper",
        network=PwmConfig(paper()),
        pixel_weight=0.0,
        structure_weight=10.0,
        perceptual=perceptual.PAPER,
        adversarial=adversarial.PAPER,
        discriminator=DiscriminatorConfig(),
        matching=matching.PAPER,
        warped="last",
        **_PUBLISHED,
    ),
    "official": PwmRecipeConfig(
        mode="official",
        network=PwmConfig(official()),
        pixel_weight=10.0,
        structure_weight=10.0,
        adversarial=adversarial.OFFICIAL,
        warped="every",
        **_PUBLISHED,
    ),
}


def sized(
    config: PwmRecipeConfig, size: str, *, guidance: Guides = "displacement", codes: CodesConfig | None = None
) -> PwmRecipeConfig:
    """A mode in another size and with other guidance.

    Args:
        config: of a mode.
        size: ``tiny``, ``small`` or ``paper``.
        guidance: what guides the network.
        codes: of the mesh, where codes guide.

    Raises:
        HeadwarpError: no such size, or codes without guidance by them or the other way round.
    """
    if size not in SIZES:
        raise HeadwarpError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    network: ResidualConfig | ProgressiveConfig
    own = config.network.network
    if isinstance(own, ResidualConfig):
        like = RESIDUAL_SIZES[size]
        network = dataclasses.replace(
            own, channels=like.channels, stem=like.stem, detail=like.detail, guidance=guidance
        )
    else:
        whole = official(guidance) if config.mode == "official" else paper(guidance)
        narrow = {"tiny": tiny(guidance), "small": dataclasses.replace(whole, width=16, max_channels=256)}
        chosen = narrow.get(size, whole)
        network = dataclasses.replace(
            whole,
            width=chosen.width,
            max_channels=chosen.max_channels,
            min_channels=chosen.min_channels,
        )
    made = dataclasses.replace(config.network, network=network, codes=codes if coded(network) else None)
    return dataclasses.replace(config, network=made)


@dataclass(frozen=True)
class TextureLayout:
    """Where the texels of a head's codes lie.

    Attributes:
        uv: texture coordinates in [0, 1], v up.
        uv_faces: rows of ``uv`` at each triangle's corners.
        faces: triangles of the head.
    """

    uv: Float[Tensor, "N 2"]
    uv_faces: Int[Tensor, "F 3"]
    faces: Int[Tensor, "F 3"]


@register(MODES)
class PwmRecipe:
    """See the module.

    Args:
        config: what is trained and on what.
        texture: of the head, where the codes are texels. Without it they lie nowhere until weights are loaded
            that know their layout, as checkpoints do.
        points_of: landmarks of posed vertices, for a guide; see `_guides.guided_batch`.
    """

    needs: Needs = "geometry"
    frames = 2

    def __init__(
        self,
        config: PwmRecipeConfig,
        texture: TextureLayout | None = None,
        points_of: PointsOf | None = None,
    ) -> None:
        self.config, self._texture, self._points_of = config, texture, points_of
        self._alike = Likeness.of(config, by=f"pwm/{config.mode}")
        self.name = f"pwm/{config.mode}{self._alike.suffix}"
        self.stand_ins = self._alike.stand_ins
        self._guide = None if config.guide is None else load_guide(config.guide)
        self.guided_by = record_of(config.guide, config.network.network.guidance)
        self.turns = turns_of(config.adversarial)

    def networks(self) -> Mapping[str, nn.Module]:
        """The generator, and the discriminator if there is a game."""
        generator = PwmNetwork(self.config.network)
        if self._texture is not None:
            layout = self._texture
            with_texture(generator, layout.uv, layout.uv_faces, faces=layout.faces)
        networks: dict[str, nn.Module] = {"generator": generator}
        if self.config.adversarial is not None:
            networks["discriminator"] = Discriminator(self.config.discriminator)
        return networks

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay."""
        config = self.config
        return torch.optim.AdamW(
            network.parameters(), config.learning_rate, config.betas, weight_decay=config.weight_decay
        )

    def generate(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> PwmOutput:
        """The picture of every pair."""
        return self._drawn(networks, self._guided(batch))

    def _guided(self, batch: PairBatch) -> PairBatch:
        return guided_batch(self._guide, batch, self._points_of)

    def _drawn(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> PwmOutput:
        made = networks["generator"](
            batch.source, batch.layers, batch.source_verts, batch.driving_verts, batch.faces
        )
        assert isinstance(made, PwmOutput)
        return made

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: PairBatch, made: PwmOutput
    ) -> Mapping[str, Tensor]:
        """Terms of the generator or of the discriminator."""
        if turn == "discriminator":
            return self._judged(networks["discriminator"], batch, made)
        terms: dict[str, Tensor] = {}
        real = self._true_features(networks, batch)
        for suffix, image in self._pictures(made):
            if suffix == "" or self.config.warped == "last":
                if self.config.pixel_weight:
                    terms[f"pixel{suffix}"] = self.config.pixel_weight * pixel_l1(image, batch.driving)
                terms[self._alike.term + suffix] = self._alike([WarpedLevel(image, batch.driving)])
            if real is not None:
                terms |= self._played(networks["discriminator"], image, real, suffix)
        if self.config.warped == "every":
            network = self.config.network.network
            padding = network.padding_mode if isinstance(network, ProgressiveConfig) else "border"
            levels = warped_levels(batch.source, batch.driving, made.flows, padding_mode=padding)
            terms[f"{self._alike.term}_warped"] = self._alike(levels)
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Mapping[str, Tensor]:
        """Source, driver, what geometry alone makes, what is warped, and the picture."""
        guided = self._guided(batch)
        made = self._drawn(networks, guided)
        return {
            "source": batch.source,
            "driving": batch.driving,
            "geometry": compose(guided.layers).image.clamp(0, 1),
            "warped": made.warped.clamp(0, 1),
            GENERATED: made.image,
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """The animator `pwm` of the generator."""
        from ...warping.animators.pwm import PwmAnimator

        animator = PwmAnimator(self.config.network)
        animator.network.load_state_dict(networks["generator"].state_dict())
        return "pwm", self.config.network, animator

    def _pictures(self, made: PwmOutput) -> Iterator[tuple[str, Tensor]]:
        """What the losses see at full size, with the ending of their names."""
        yield "", made.image
        if self.config.warped != "none":
            yield "_warped", made.warped

    def _true_features(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Judgement | None:
        """What the discriminator makes of the true pictures, to be matched; None without a game.

        As in the public code it judges in training mode in the generator's turn too: its batch norms take
        the statistics of the pictures at hand. So every judgement moves running statistics and the vectors
        of the spectral norms: buffers, which a checkpoint holds, and which are the same on every process or
        averaged over them.
        """
        if self.config.adversarial is None:
            return None
        with torch.no_grad():
            judged: Judgement = networks["discriminator"](batch.driving)
        return judged

    def _played(
        self, discriminator: nn.Module, image: Tensor, real: Judgement, suffix: str
    ) -> dict[str, Tensor]:
        """The game from the generator's side, and the discriminator's features as a measure."""
        assert self.config.adversarial is not None
        fake: Judgement = discriminator(image)
        return {
            f"adversarial{suffix}": adversarial.generator_loss(fake.logits, self.config.adversarial),
            f"matching{suffix}": matching.feature_matching(
                real.features, fake.features, self.config.matching
            ),
        }

    def _judged(self, discriminator: nn.Module, batch: PairBatch, made: PwmOutput) -> dict[str, Tensor]:
        """The game from the discriminator's side."""
        assert self.config.adversarial is not None
        terms, real = {}, discriminator(batch.driving)
        for suffix, image in self._pictures(made):
            fake = discriminator(image.detach())
            terms[f"judged{suffix}"] = adversarial.discriminator_loss(
                real.logits, fake.logits, self.config.adversarial
            )
        return terms
