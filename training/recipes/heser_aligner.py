"""`heser_aligner`: a head in the pose and expression of another picture [HeSer], learned from clips.

A sample is K frames of a clip as sources and one as the target, which is to be made; mirrored and coloured
they are alike. No face is sought and nothing is fitted: clips show a head in the middle of a square.

Modes: ``paper`` is the supplement's text, with its open weights chosen here (`HeserAlignerRecipeConfig`);
``unofficial`` the public code of others, where it differs; ``own`` ours, for few clips and short trainings;
``tune`` goes on from a checkpoint with one person's clips (sec. 4, "ft600": ``--steps 600 --batch 4``).

| what | ``paper`` | ``unofficial`` | ``own`` |
|---|---|---|---|
| perceptron | 768 | 1536 | 768 |
| game | hinge, residual blocks | least squares, patches | hinge x 0.1, residual blocks |
| features matched | VGG, ArcFace, discriminator | VGG | VGG, ArcFace, discriminator |
| rate | 1e-4, discriminator 4e-4 | 1e-3, 4e-3 | 4e-4, 4e-4 |
| fusion of K sources | mean | mean | weights by lot, so that any K and any weights work |
| driver as seen | colours, axes scaled, shifted with the truth | the same | colours, proportions |
| gain of norms | as it comes | as it comes | 1 plus it |

Where no ArcFace weights are given (``--set arcface=FILE``, an IR-SE-50), the identity encoder is trained from
scratch, nothing is matched in it, and the recipe's name ends in ``+identity``; where no VGG-19 is,
``structure`` stands in for the perceptual loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.nets.arcface import SIDE, IrSe50
from ...geom.nets.weights import load_backbone_file, require_pretrained
from ...warping._config_json import config_from_json
from ...warping.checkpoints import ANIMATOR, load_checkpoint, load_weights
from ...warping.heser_aligner import (
    HeserAligner,
    HeserAlignerConfig,
    middle,
    resized,
    small,
    tiny,
    unofficial,
)
from ..aligner_discriminator import UNOFFICIAL, AlignerDiscriminator, AlignerDiscriminatorConfig
from ..data.frames.batch import FrameBatch
from ..losses import adversarial, matching, perceptual
from ..losses.matching import feature_matching
from ..losses.pixel import pixel_l1
from ..losses.structure import StructureConfig
from ..losses.warped import WarpedLevel
from ..target_changes import ChangedTarget, TargetChanges, changed_target
from . import GENERATED, Needs, register
from ._game import judged, played, turns_of
from ._likeness import Likeness

SIZES = ("tiny", "small", "paper")
ANIMATOR_NAME = "heser"
FAMILY = "heser_aligner"
_SCRATCH = (
    "the identity encoder is trained from scratch and the identity loss is off; they need an IR-SE-50 "
    "trained as [ArcFace]: name it with --set arcface=FILE (headwarp weights list says where it is to be had)"
)
_HINGE = adversarial.AdversarialConfig(reduction="mean")


@dataclass(frozen=True)
class HeserAlignerRecipeConfig:
    """What is trained and on what; the defaults are ``heser_aligner/paper``'s.

    The supplement gives no weight of a loss. Those of pixels and identity are the public code's (10 on values
    in [-1, 1] are 20 on [0, 1]); the others were chosen so that terms of an untrained network are alike.

    Attributes:
        mode: stands in the recipe's name.
        network: the animator's config; its identity encoder follows ``arcface``, its size the frames.
        start: checkpoint of the same animator that training begins with; ``tune`` needs one.
        shots: K, sources of a sample: 1, 2, 4, 6 or 8. 1 to 32 in [HeSer] sec. 4, 4 in the public code.
        fusion: ``mean`` of the sources' codes; or weights ``drawn`` by lot: of how many sources is drawn,
            then theirs, uniform among all that sum to 1. So a network learns to take one source, any mean and
            the animator's weights by visibility.
        arcface: file of an IR-SE-50; None: see the module.
        vgg: file of VGG-19's weights; None: ``structure`` stands in for the perceptual loss.
        learning_rate: of Adam, 1e-4 ([HeSer] sec. 3.2).
        discriminator_rate: of its Adam, as a share of ``learning_rate``; 4 in the paper.
        betas: of Adam ([HeSer] sec. 3.2).
        pixel_weight: of [HeSer] Eq. 1.
        structure, structure_weight: of the loss that stands in.
        perceptual: [HeSer] Eq. 2, its part by VGG-19.
        arcface_matching: its part by ArcFace: features after the four stages; None: not compared.
        matching: its part by the discriminator; None: not compared.
        identity_weight: of [HeSer] Eq. 3.
        adversarial: [HeSer] Eq. 4 and 5; None: no discriminator.
        discriminator: its size.
        changes: of what pose and expression encoder see of the target.
    """

    mode: Literal["own", "paper", "unofficial", "tune"] = "paper"
    network: HeserAlignerConfig = field(default_factory=HeserAlignerConfig)
    start: Path | None = None
    shots: int = 4
    fusion: Literal["mean", "drawn"] = "mean"
    arcface: Path | None = None
    vgg: Path | None = None
    learning_rate: float = 1e-4
    discriminator_rate: float = 4.0
    betas: tuple[float, float] = (0.9, 0.999)
    pixel_weight: float = 20.0
    structure: StructureConfig = field(default_factory=StructureConfig)
    structure_weight: float = 10.0
    perceptual: perceptual.PerceptualConfig = perceptual.OFFICIAL
    arcface_matching: matching.MatchingConfig | None = matching.OFFICIAL
    matching: matching.MatchingConfig | None = matching.OFFICIAL
    identity_weight: float = 2.0
    adversarial: adversarial.AdversarialConfig | None = _HINGE
    discriminator: AlignerDiscriminatorConfig = field(default_factory=AlignerDiscriminatorConfig)
    changes: TargetChanges = field(default_factory=TargetChanges)

    def __post_init__(self) -> None:
        if self.shots not in (1, 2, 4, 6, 8):
            raise HeadwarpError(f"shots: expected 1, 2, 4, 6 or 8 sources a sample, got {self.shots}")


def _unit_gain(network: HeserAlignerConfig) -> HeserAlignerConfig:
    pose = dataclasses.replace(network.pose, dropout=0.0)
    return dataclasses.replace(
        network, pose=pose, generator=dataclasses.replace(network.generator, gain="unit")
    )


_OWN = HeserAlignerRecipeConfig(
    mode="own",
    network=_unit_gain(HeserAlignerConfig()),
    fusion="drawn",
    learning_rate=4e-4,
    discriminator_rate=1.0,
    adversarial=dataclasses.replace(_HINGE, weight=0.1),
    changes=TargetChanges(pixelwise=0.5, scale=0.15, keep_area=True, shift=0.0),
)
MODES = {
    "own": _OWN,
    "paper": HeserAlignerRecipeConfig(),
    "unofficial": HeserAlignerRecipeConfig(
        mode="unofficial",
        network=unofficial(),
        learning_rate=1e-3,
        arcface_matching=None,
        matching=None,
        adversarial=dataclasses.replace(adversarial.OFFICIAL, weight=2.0),
        discriminator=UNOFFICIAL,
    ),
    "tune": dataclasses.replace(_OWN, mode="tune", learning_rate=5e-5),
}


def sized(config: HeserAlignerRecipeConfig, size: str) -> HeserAlignerRecipeConfig:
    """A mode with networks of another size.

    Raises:
        HeadwarpError: no such size.
    """
    if size not in SIZES:
        raise HeadwarpError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    if size == "paper":
        return config
    make, divisor = (tiny, 4) if size == "tiny" else (small, 2)
    judge = config.discriminator
    return dataclasses.replace(
        config,
        network=make(config.network),
        discriminator=dataclasses.replace(
            judge, channels=judge.channels // divisor, most_channels=judge.most_channels // divisor
        ),
    )


def framed(config: HeserAlignerRecipeConfig, side: int) -> HeserAlignerRecipeConfig:
    """A mode for frames of this side: the generator makes pictures of it.

    Raises:
        HeadwarpError: no power of two.
    """
    generator = dataclasses.replace(config.network.generator, size=side)
    return dataclasses.replace(config, network=dataclasses.replace(config.network, generator=generator))


class AlignerTraining(nn.Module):
    """The network under the animator's keys.

    Args:
        config: of the network.
    """

    def __init__(self, config: HeserAlignerConfig) -> None:
        super().__init__()
        self.network = HeserAligner(config)

    def forward(
        self,
        sources: Float[Tensor, "B K 3 H W"],
        driving: Float[Tensor, "B 3 H W"],
        weights: Float[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B 3 S S"]:
        """See `HeserAligner.forward`."""
        return self.network(sources, driving, weights)


@dataclass(frozen=True)
class Generated:
    """What a batch gives.

    Attributes:
        image: that was made.
        target: as the encoders saw it, and as it was to be made.
    """

    image: Float[Tensor, "B 3 H W"]
    target: ChangedTarget


@register(MODES)
class HeserAlignerRecipe:
    """See the module.

    Args:
        config: what is trained and on what.

    Raises:
        ModelFileError: a file of weights is missing, damaged, or another network's.
        HeadwarpError: the checkpoint to start from makes pictures of another size than the frames.
    """

    needs: Needs = "frames"

    def __init__(self, config: HeserAlignerRecipeConfig) -> None:
        self.config = config = _settled(config)
        name = f"{FAMILY}/{config.mode}"
        self._alike = Likeness.of(config, by=name)
        scratch = config.network.identity == "trained"
        self.name = f"{name}{self._alike.suffix}{'+identity' if scratch else ''}"
        self.stand_ins = (*self._alike.stand_ins, *((_SCRATCH,) if scratch else ()))
        self.frames = config.shots + 1
        self.turns = turns_of(config.adversarial)

    def networks(self) -> Mapping[str, nn.Module]:
        """The aligner, begun with the weights of ``start`` and ``arcface``, and the discriminator.

        Raises:
            HeadwarpError: ``tune`` without a start, or ArcFace's weights are nowhere.
        """
        config, generator = self.config, AlignerTraining(self.config.network)
        if config.start is not None:
            _begin(generator, config)
        elif config.mode == "tune":
            raise HeadwarpError(
                f"{self.name}: expected a checkpoint to tune, got none; name it with --set start=FILE, and "
                "its size with --size"
            )
        if config.arcface is not None:
            backbone = load_backbone_file(config.arcface, ("ir_se50",))
            pretrained = require_pretrained(backbone, by=self.name)
            generator.network.identity.load_state_dict(pretrained.state_dict())
        elif config.network.identity == "arcface" and config.start is None:
            raise HeadwarpError(f"{self.name}: expected ArcFace's weights, got none; {_SCRATCH}")
        if config.mode == "tune":
            generator.network.freeze_("portrait", "identity", "pose", "expression")
        networks: dict[str, nn.Module] = {"generator": generator}
        if config.adversarial is not None:
            networks["discriminator"] = AlignerDiscriminator(config.discriminator)
        return networks

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam of what is not frozen."""
        config = self.config
        share = config.discriminator_rate if turn == "discriminator" else 1.0
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, share * config.learning_rate, config.betas)

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Generated:
        """The target of every sample, made of its sources and of what is seen of itself."""
        sources, target = split(batch.frames)
        changed = changed_target(target, self.config.changes)
        weights = drawn_weights(sources) if self.config.fusion == "drawn" else None
        return Generated(networks["generator"](sources, changed.seen, weights), changed)

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Generated
    ) -> Mapping[str, Tensor]:
        """Terms of the generator or of the discriminator."""
        config, image, wanted, game = self.config, made.image, made.target.wanted, self.config.adversarial
        if turn == "discriminator":
            assert game is not None
            return judged(networks["discriminator"], wanted, image, game=game)
        terms = {
            "pixel": config.pixel_weight * pixel_l1(image, wanted),
            self._alike.term: self._alike([WarpedLevel(image, wanted)]),
        }
        if config.network.identity == "arcface":
            own: Any = networks["generator"]
            terms |= self._identity(own.network.identity, image, wanted)
        if game is not None:
            judge, matched = networks["discriminator"], config.matching or matching.OFFICIAL
            parts = played(judge, wanted, image, game=game, matching=matched)
            terms |= parts if config.matching is not None else {"adversarial": parts["adversarial"]}
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Mapping[str, Tensor]:
        """A source, the target, what is made of that source alone, and of all."""
        sources, target = split(batch.frames)
        network = networks["generator"]
        return {
            "source": sources[:, 0],
            "driving": target,
            "one_shot": network(sources[:, :1], target),
            GENERATED: network(sources, target),
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """The animator `heser`; its weights have the generator's keys."""
        return ANIMATOR_NAME, self.config.network, networks["generator"]

    def _identity(self, network: nn.Module, image: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """[HeSer] Eq. 3, and ArcFace's part of Eq. 2, in the middle of the pictures at 112 px."""
        assert isinstance(network, IrSe50)
        made = network.stages(resized(middle(image), SIDE))
        with torch.no_grad():
            true = network.stages(resized(middle(wanted), SIDE))
            real = network.embedded(true[-1])
        cosine = (network.embedded(made[-1]) * real).sum(1)
        terms = {"identity": self.config.identity_weight * (1 - cosine).mean()}
        if self.config.arcface_matching is not None:
            terms["arcface"] = feature_matching([true], [made], self.config.arcface_matching)
        return terms


def split(
    frames: Float[Tensor, "B N 3 H W"],
) -> tuple[Float[Tensor, "B K 3 H W"], Float[Tensor, "B 3 H W"]]:
    """Sources and target of samples: the frame in the middle is the target, the second of two.

    Example:
        >>> frames = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, 3, 2, 2)
        >>> [part[..., 0, 0, 0].flatten().tolist() for part in split(frames)]
        [[0.0, 1.0, 3.0, 4.0], [2.0]]
    """
    place = frames.shape[1] // 2
    return torch.cat([frames[:, :place], frames[:, place + 1 :]], 1), frames[:, place]


def drawn_weights(sources: Float[Tensor, "B K 3 H W"]) -> Float[Tensor, "B K"]:
    """Weights by lot: of one source, of two, .., of all as often; uniform among all that sum to 1."""
    batch, count = sources.shape[:2]
    kept = torch.randint(1, count + 1, (batch, 1), device=sources.device)
    order = torch.rand(batch, count, device=sources.device).argsort(1)
    drawn = -torch.rand(batch, count, device=sources.device).clamp_min(1e-6).log() * (order < kept)
    return drawn / drawn.sum(1, keepdim=True)


def _settled(config: HeserAlignerRecipeConfig) -> HeserAlignerRecipeConfig:
    """The network as the files decide it: the start's own, or with the identity encoder that there is."""
    network = config.network
    if config.start is None:
        identity: Literal["arcface", "trained"] = "trained" if config.arcface is None else "arcface"
        return dataclasses.replace(config, network=dataclasses.replace(network, identity=identity))
    begun = load_checkpoint(config.start, ANIMATOR_NAME, kind=ANIMATOR)
    own = config_from_json(HeserAlignerConfig, begun.config)
    if own.generator.size != network.generator.size:
        raise HeadwarpError(
            f"{config.start}: makes pictures of {own.generator.size} px, the frames have "
            f"{network.generator.size}; pass --size {own.generator.size}"
        )
    subject = own.subject or config.mode == "tune"
    return dataclasses.replace(config, network=dataclasses.replace(own, subject=subject))


def _begin(generator: AlignerTraining, config: HeserAlignerRecipeConfig) -> None:
    """The weights of the start; a person's vector begins at 0, which is the sources' mean."""
    assert config.start is not None
    begun = load_checkpoint(config.start, ANIMATOR_NAME, kind=ANIMATOR)
    tensors = dict(begun.tensors)
    if generator.network.offset is not None:
        tensors.setdefault("network.offset", torch.zeros_like(generator.network.offset))
    load_weights(generator, tensors, name=str(config.start))
