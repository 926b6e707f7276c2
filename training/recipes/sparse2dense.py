"""`sparse2dense`: face landmarks that move a picture [S2D], learned from pairs of frames of fitted clips.

A source is moved to where the landmarks of another frame lie, and the picture made must be that frame. The
landmarks are the fitted heads' 68, projected, or the face mesh's 478 (``--set network.landmarks=478``, heads
that have them); no picture of the driver is looked at but by the losses.

Training has two phases ([S2D] sec. 2): ``MODE`` without a game, then ``MODE-adv``, which goes on from its
checkpoint (``--set start=FILE``) with one, its discriminator learning a hundred times slower. Modes:
``paper`` is what the supplement says; where it is silent (all losses but the game, their weights, Adam's
betas) it follows [FOMM]'s public code. ``own`` adds to it, each a field of its own:

| addition | field | ``paper`` |
|---|---|---|
| the flow takes driving landmarks to the source's | ``landmark_weight`` | 0 |
| colours count beside features | ``pixel_weight`` | 0 |
| flow beyond the person is smooth: the landmarks say nothing of it | ``background_weight`` | 0 |
| motion begins with the spline through the landmarks | ``network.initial_flow`` | ``zero`` |
| what the source shows is the warped source itself | ``network.blended`` | off |

The learning rate's drops after 60 and 80 epochs are not kept: the engine has constant and cosine.
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
from ...geom.flow import sample
from ...geom.keypoints import to_normalised
from ...warping.checkpoints import ANIMATOR, load_checkpoint, load_weights
from ...warping.sparse2dense import Sparse2DenseConfig, Sparse2DenseNetwork, Sparse2DenseOutput, small, tiny
from ..data.pairs.batch import PairBatch
from ..losses import adversarial, matching, perceptual
from ..losses.pixel import pixel_l1
from ..losses.structure import StructureConfig
from ..losses.warped import WarpedLevel
from ..plain_discriminator import PlainDiscriminator, PlainDiscriminatorConfig
from . import GENERATED, Needs, register
from ._game import judged, played, turns_of
from ._guides import PointsOf
from ._likeness import Likeness

SIZES = ("tiny", "small", "paper")
FAMILY = "sparse2dense"


@dataclass(frozen=True)
class Sparse2DenseRecipeConfig:
    """What is trained and on what; the defaults are ``sparse2dense/own``'s.

    Attributes:
        mode: stands in the recipe's name.
        network: the animator's config.
        start: checkpoint of the same animator that training begins with, for the second phase; None: fresh
            weights.
        vgg: file of VGG-19's weights; None: ``structure`` stands in for the perceptual loss.
        learning_rate: of Adam: 2e-4 in both phases ([S2D] sec. 2).
        discriminator_rate: of its Adam: 2e-6 ([S2D] sec. 2), as a share of ``learning_rate``.
        betas: of Adam; [S2D] does not say.
        pixel_weight: of the mean absolute difference of pixels.
        landmark_weight: of `landmark_flow_error`.
        background_weight: of `background_variation`.
        structure, structure_weight: of the loss that stands in.
        perceptual: [S2D]'s supplement names no loss of the first phase.
        adversarial: "the GAN loss" of the second phase, least squares here; None: the first phase.
        discriminator: its size ([S2D] sec. 1).
        matching: of its features.
    """

    mode: Literal["own", "own-adv", "paper", "paper-adv"] = "own"
    network: Sparse2DenseConfig = field(
        default_factory=lambda: Sparse2DenseConfig(initial_flow="thin_plate", blended=True)
    )
    start: Path | None = None
    vgg: Path | None = None
    learning_rate: float = 2e-4
    discriminator_rate: float = 0.01
    betas: tuple[float, float] = (0.5, 0.999)
    pixel_weight: float = 10.0
    landmark_weight: float = 10.0
    background_weight: float = 0.1
    structure: StructureConfig = field(default_factory=StructureConfig)
    structure_weight: float = 10.0
    perceptual: perceptual.PerceptualConfig = perceptual.OFFICIAL
    adversarial: adversarial.AdversarialConfig | None = None
    discriminator: PlainDiscriminatorConfig = field(default_factory=PlainDiscriminatorConfig)
    matching: matching.MatchingConfig = matching.OFFICIAL


def _second(
    config: Sparse2DenseRecipeConfig, mode: Literal["own-adv", "paper-adv"]
) -> Sparse2DenseRecipeConfig:
    return dataclasses.replace(config, mode=mode, adversarial=adversarial.OFFICIAL)


_OWN = Sparse2DenseRecipeConfig()
_PAPER = Sparse2DenseRecipeConfig(
    mode="paper", network=Sparse2DenseConfig(), pixel_weight=0.0, landmark_weight=0.0, background_weight=0.0
)
MODES = {
    "own": _OWN,
    "own-adv": _second(_OWN, "own-adv"),
    "paper": _PAPER,
    "paper-adv": _second(_PAPER, "paper-adv"),
}


def sized(config: Sparse2DenseRecipeConfig, size: str) -> Sparse2DenseRecipeConfig:
    """A mode with networks of another size: ``paper`` for frames of multiples of 128 px, ``small`` of 64,
    ``tiny`` of 32.

    Raises:
        HeadwarpError: no such size.
    """
    if size not in SIZES:
        raise HeadwarpError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    if size == "paper":
        return config
    make, divisor = (tiny, 16) if size == "tiny" else (small, 4)
    channels = tuple(count // divisor for count in PlainDiscriminatorConfig().channels)
    return dataclasses.replace(
        config, network=make(config.network), discriminator=PlainDiscriminatorConfig(channels)
    )


def landmark_flow_error(
    flow: Float[Tensor, "B 2 H W"], own: Float[Tensor, "B L 2"], driving: Float[Tensor, "B L 2"]
) -> Float[Tensor, ""]:
    """How far from the source's landmarks the flow takes the driver's: mean over coordinates, in shares of
    half the frame.

    Args:
        flow: backward, pixels.
        own, driving: landmarks in pixels; those of the driver that lie beyond the frame do not count.

    Returns:
        0 where the flow carries every landmark over, and where none lies in the frame.
    """
    size = flow.new_tensor([flow.shape[3], flow.shape[2]])
    there = sample(flow, driving.mT[..., None], padding_mode="border")[..., 0].mT  # (B, L, 2)
    inside = ((driving >= 0) & (driving < size)).all(-1, keepdim=True).to(flow)
    error = ((there - (own - driving)) / size * 2).abs() * inside
    return error.sum() / (2 * inside.sum()).clamp_min(1)


def background_variation(
    flow: Float[Tensor, "B 2 H W"], person: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, ""]:
    """Total variation of the flow beyond the person: how much it changes from pixel to pixel, in pixels, a
    mean over the frame.

    Args:
        flow: backward, pixels.
        person: probability in the driving frame.
    """
    beyond = 1 - person
    across = (flow.diff(dim=3).abs() * beyond[..., 1:]).sum(1).mean()
    return across + (flow.diff(dim=2).abs() * beyond[:, :, 1:]).sum(1).mean()


class Sparse2DenseTraining(nn.Module):
    """The network, called through ``forward`` alone, as the engine wants it.

    Args:
        config: of the network.
    """

    def __init__(self, config: Sparse2DenseConfig) -> None:
        super().__init__()
        self.network = Sparse2DenseNetwork(config)

    def forward(
        self, source: Float[Tensor, "B 3 H W"], own: Float[Tensor, "B L 2"], driving: Float[Tensor, "B L 2"]
    ) -> Sparse2DenseOutput:
        """`Sparse2DenseNetwork.forward` for landmarks in pixels.

        Args:
            source: RGB in [0, 1].
            own: the source's, in pixels.
            driving: the driver's, in pixels.
        """
        size = (source.shape[2], source.shape[3])
        return self.network(source, to_normalised(own, size), to_normalised(driving, size))


@dataclass(frozen=True)
class Generated:
    """What a batch gives.

    Attributes:
        output: of the network.
        own, driving: landmarks in pixels.
    """

    output: Sparse2DenseOutput
    own: Float[Tensor, "B L 2"]
    driving: Float[Tensor, "B L 2"]


@register(MODES)
class Sparse2DenseRecipe:
    """See the module.

    Args:
        config: what is trained and on what.
        points_of: landmarks of posed vertices; needed to train, not to build.
    """

    needs: Needs = "geometry"
    frames = 2

    def __init__(self, config: Sparse2DenseRecipeConfig, points_of: PointsOf | None = None) -> None:
        self.config, self._points_of = config, points_of
        name = f"{FAMILY}/{config.mode}"
        self._alike = Likeness.of(config, by=name)
        self.name = f"{name}{self._alike.suffix}"
        self.stand_ins = self._alike.stand_ins
        self.turns = turns_of(config.adversarial)

    def networks(self) -> Mapping[str, nn.Module]:
        """The network, begun with the weights of ``start``, and the discriminator if there is a game."""
        config, generator = self.config, Sparse2DenseTraining(self.config.network)
        if config.start is not None:
            begun = load_checkpoint(config.start, FAMILY, kind=ANIMATOR)
            load_weights(generator, begun.tensors, name=str(config.start))
        networks: dict[str, nn.Module] = {"generator": generator}
        if config.adversarial is not None:
            networks["discriminator"] = PlainDiscriminator(config.discriminator)
        return networks

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam, fresh in every phase."""
        config = self.config
        share = config.discriminator_rate if turn == "discriminator" else 1.0
        return torch.optim.Adam(network.parameters(), share * config.learning_rate, config.betas)

    def generate(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Generated:
        """The picture of every pair."""
        own, driving = self._points(batch.source_verts), self._points(batch.driving_verts)
        return Generated(networks["generator"](batch.source, own, driving), own, driving)

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: PairBatch, made: Generated
    ) -> Mapping[str, Tensor]:
        """Terms of the generator or of the discriminator."""
        config, image, game = self.config, made.output.image, self.config.adversarial
        if turn == "discriminator":
            assert game is not None
            return judged(networks["discriminator"], batch.driving, image, game=game)
        terms = {self._alike.term: self._alike([WarpedLevel(image, batch.driving)])}
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * pixel_l1(image, batch.driving)
        if config.landmark_weight:
            error = landmark_flow_error(made.output.flow, made.own, made.driving)
            terms["landmarks"] = config.landmark_weight * error
        if config.background_weight:
            varied = background_variation(made.output.flow, batch.driving_mask)
            terms["background"] = config.background_weight * varied
        if game is not None:
            judge, matched = networks["discriminator"], config.matching
            terms |= played(judge, batch.driving, image, game=game, matching=matched)
        return terms

    def pictures(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Mapping[str, Tensor]:
        """Source, driver, the source warped, where it shows what is needed, and the picture."""
        output = self.generate(networks, batch).output
        return {
            "source": batch.source,
            "driving": batch.driving,
            "warped": output.deformed.clamp(0, 1),
            "occlusion": output.motion.occlusion.expand(-1, 3, -1, -1),  # (B, 3, H, W)
            GENERATED: output.image,
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """The animator; its weights have the generator's keys."""
        return FAMILY, self.config.network, networks["generator"]

    def _points(self, verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B L 2"]:
        points = None if self._points_of is None else self._points_of(verts)
        if points is None:
            raise HeadwarpError(
                f"{self.name}: expected the {self.config.network.landmarks} landmarks of a head, got none; "
                "take a head whose landmarks hold them, such as builtin, which has 68 and 478"
            )
        return points
