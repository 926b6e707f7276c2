"""What the recipes of keypoint networks share; `fomm` and `dagan` are configs of it ([FOMM], [DaGAN]).

A source is moved to where the keypoints of another frame of its clip lie, and the picture made must be that
frame. Keypoints must follow a known map of the frame (`losses.equivariance`) and keep apart
(`losses.keypoint_distance`). No face and no fit is needed. Where depth is looked at, its network comes
trained from a file and stays as it is: a frozen random one would tell nothing, and is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...geom.thin_plate import ThinPlate, ThinPlateConfig, random_thin_plate, warp_thin_plate
from ...warping.checkpoints import ANIMATOR, load_checkpoint, load_weights
from ...warping.generators import AttentionKind, resized_to
from ...warping.keypoint_network import KeypointNetworkConfig, KeypointOutput
from ..data.frames.batch import FrameBatch
from ..keypoint_discriminator import KeypointDiscriminator, KeypointDiscriminatorConfig
from ..losses import adversarial, matching, perceptual
from ..losses.equivariance import EquivarianceConfig, equivariance_jacobian, equivariance_value
from ..losses.keypoint_distance import KeypointDistanceConfig, keypoint_distance, keypoint_scale
from ..losses.pixel import pixel_l1
from ..losses.structure import StructureConfig
from ..losses.warped import WarpedLevel
from . import GENERATED, Needs
from ._game import judged, played, turns_of
from ._keypoint_networks import plugged, sized_network
from ._keypoint_training import KeypointTraining, TrainingOutput
from ._likeness import Likeness

Mode = Literal["own", "official", "official-adv", "paper", "baseline"]


@dataclass(frozen=True)
class KeypointRecipeConfig:
    """What is trained and on what; the defaults are ``fomm/own``'s.

    Attributes:
        mode: stands in the recipe's name.
        network: the animator's config.
        attention: in place of the network's: what asks the warped features. None: the network's own.
        depth_keypoints: in place of the network's: whether keypoints are found in RGB and disparity.
        depth_weights: file of the depth network, where one is needed; its size is the file's.
        start: checkpoint of the same animator that training begins with, as the public ``vox-adv-cpk`` does
            with ``vox-cpk``; None: fresh weights.
        vgg: file of VGG-19's weights; None: ``structure`` stands in for the perceptual loss.
        learning_rate: of Adam; 2e-4 in [FOMM] B.1 and in the public code.
        detector_rate: the keypoint detector's learning rate as a share of it; 0 freezes it, as the public
            taichi-adv config does.
        betas: of Adam; (0.5, 0.999) in the public code.
        pixel_weight: of the mean absolute difference of pixels; none as published.
        structure, structure_weight: of the loss that stands in.
        perceptual: the public code's, [FOMM] sec. 3.3 and [DaGAN] Eq. 11: weight 10, four sizes.
        adversarial: the game, least squares; None: no discriminator, as vox-256.
        discriminator: its size, and whether it sees the driving keypoints: any number above 0 stands for the
            network's.
        matching: of its features; weight 10 in the public code.
        maps: known maps that keypoints must follow.
        equivariance: weights 10 and 10 in the public code.
        distance: keypoints keep apart; None: they need not, as in [FOMM].
        scale_weight: of `losses.keypoint_distance.keypoint_scale` of the keypoints found in the picture made;
            0 in the public code of [DaGAN] (``kp_scale``).
        depth_weight: of the mean absolute difference of the disparities of the picture made and of the
            driving frame; 0 there (``depth_constraint``).
    """

    mode: Mode = "own"
    network: KeypointNetworkConfig = field(default_factory=KeypointNetworkConfig)
    attention: AttentionKind | None = None
    depth_keypoints: bool | None = None
    depth_weights: Path | None = None
    start: Path | None = None
    vgg: Path | None = None
    learning_rate: float = 2e-4
    detector_rate: float = 1.0
    betas: tuple[float, float] = (0.5, 0.999)
    pixel_weight: float = 10.0
    structure: StructureConfig = field(default_factory=StructureConfig)
    structure_weight: float = 10.0
    perceptual: perceptual.PerceptualConfig = perceptual.OFFICIAL
    adversarial: adversarial.AdversarialConfig | None = None
    discriminator: KeypointDiscriminatorConfig = field(default_factory=KeypointDiscriminatorConfig)
    matching: matching.MatchingConfig = matching.OFFICIAL
    maps: ThinPlateConfig = field(default_factory=ThinPlateConfig)
    equivariance: EquivarianceConfig = field(default_factory=EquivarianceConfig)
    distance: KeypointDistanceConfig | None = field(default_factory=KeypointDistanceConfig)
    scale_weight: float = 0.0
    depth_weight: float = 0.0


def sized(config: KeypointRecipeConfig, size: str) -> KeypointRecipeConfig:
    """A mode with networks of another size (`_keypoint_networks.sized_network`).

    Raises:
        HeadwarpError: no such size.
    """
    divisor = {"tiny": 8, "small": 2}.get(size, 1)
    network = sized_network(config.network, size)
    channels = tuple(count // divisor for count in KeypointDiscriminatorConfig().channels)
    discriminator = dataclasses.replace(config.discriminator, channels=channels)
    return dataclasses.replace(config, network=network, discriminator=discriminator)


@dataclass(frozen=True)
class Generated:
    """What a batch gives.

    Attributes:
        output: of the forward pass.
        spline: the maps by which its moved frames were moved; None where none were.
    """

    output: TrainingOutput
    spline: ThinPlate | None


class KeypointRecipe:
    """See the module.

    Args:
        config: what is trained and on what.

    Raises:
        HeadwarpError: depth is looked at and no file of a depth network is named.
        ModelFileError: a file that is missing or does not fit.
    """

    family: ClassVar[str]
    needs: Needs = "frames"
    frames = 2

    def __init__(self, config: KeypointRecipeConfig) -> None:
        self.config = config
        self._network, self._depth = plugged(
            config.network,
            attention=config.attention,
            depth_keypoints=config.depth_keypoints,
            depth_weights=config.depth_weights,
        )
        name = f"{self.family}/{config.mode}"
        self._alike = Likeness.of(config, by=name)
        self.name = f"{name}{self._alike.suffix}"
        self.stand_ins = self._alike.stand_ins
        self.turns = turns_of(config.adversarial)

    def networks(self) -> Mapping[str, nn.Module]:
        """The keypoint network, its depth network frozen, and the discriminator if there is a game."""
        config = self.config
        generator = KeypointTraining(
            self._network, keypoints_made=config.scale_weight > 0, depth_made=config.depth_weight > 0
        )
        if config.start is not None:
            begun = load_checkpoint(config.start, self.family, kind=ANIMATOR)
            load_weights(generator, begun.tensors, name=str(config.start))
        if self._depth is not None:
            assert generator.network.depth is not None
            generator.network.depth.load_state_dict(self._depth)
        if not config.detector_rate:
            generator.network.kp_detector.requires_grad_(False)
        networks: dict[str, nn.Module] = {"generator": generator}
        if config.adversarial is not None:
            networks["discriminator"] = KeypointDiscriminator(self._discriminator)
        return networks

    @property
    def _discriminator(self) -> KeypointDiscriminatorConfig:
        """Of the config, with the network's keypoints if it sees any."""
        chosen, keypoints = self.config.discriminator, self._network.keypoints
        return dataclasses.replace(
            chosen,
            keypoints=keypoints.count if chosen.keypoints else 0,
            align_corners=keypoints.align_corners,
        )

    def _told(self, pair: KeypointOutput) -> tuple[Tensor, ...]:
        """What the discriminator is told beside a picture: the driving keypoints, or nothing."""
        return (pair.keypoints_driving.points.detach(),) if self.config.discriminator.keypoints else ()

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        """Adam; one for detector and generator, whose steps do not depend on each other."""
        rate, detector = self.config.learning_rate, []
        if turn == "generator":
            assert isinstance(network, KeypointTraining)
            detector = [p for p in network.network.kp_detector.parameters() if p.requires_grad]
        own = {id(parameter) for parameter in detector}
        rest = [p for p in network.parameters() if p.requires_grad and id(p) not in own]
        groups: list[dict[str, Any]] = [
            {"params": rest},
            {"params": detector, "lr": rate * self.config.detector_rate},
        ]
        return torch.optim.Adam([group for group in groups if group["params"]], rate, self.config.betas)

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Generated:
        """The pictures, and the keypoints of the driving frames and of these moved by maps drawn by lot."""
        asked = self.config.equivariance
        if not (asked.value_weight or asked.jacobian_weight):
            return Generated(networks["generator"](batch.source, batch.driving), None)
        driving, motion = batch.driving, self._network.motion
        spline = random_thin_plate(len(driving), self.config.maps, device=driving.device)
        moved = warp_thin_plate(
            driving,
            spline,
            align_corners=motion.align_corners,
            sample_align_corners=motion.sample_align_corners,
        )
        return Generated(networks["generator"](batch.source, driving, moved), spline)

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Generated
    ) -> Mapping[str, Tensor]:
        """Terms of the generator or of the discriminator."""
        if turn == "discriminator":
            return self._judged(networks["discriminator"], batch, made.output.pair)
        config, pair = self.config, made.output.pair
        terms = {self._alike.term: self._alike([WarpedLevel(pair.image, batch.driving)])}
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * pixel_l1(pair.image, batch.driving)
        if config.adversarial is not None:
            terms |= self._played(networks["discriminator"], batch, pair)
        terms |= self._followed(made) | self._spread(pair) | self._looked_back(made.output)
        return terms

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, Any, nn.Module]:
        """The animator of the recipe's name; its weights have the generator's keys."""
        return self.family, self._network, networks["generator"]

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Mapping[str, Tensor]:
        """Source, driver, the source warped, where it shows what is needed, and the picture."""
        pair: KeypointOutput = networks["generator"](batch.source, batch.driving).pair
        shown = {"source": batch.source, "driving": batch.driving, "warped": pair.deformed.clamp(0, 1)}
        if pair.occlusion is not None:
            visible = resized_to(pair.occlusion, pair.image)
            shown["occlusion"] = visible.expand(-1, 3, -1, -1)  # (B, 3, H, W)
        return {**shown, GENERATED: pair.image}

    def _followed(self, made: Generated) -> dict[str, Tensor]:
        """Equivariance of places and Jacobians."""
        asked, moved, driving = (
            self.config.equivariance,
            made.output.moved,
            made.output.pair.keypoints_driving,
        )
        if made.spline is None or moved is None:
            return {}
        terms = {}
        if asked.value_weight:
            value = equivariance_value(driving.points, moved.points, made.spline, reduction=asked.reduction)
            terms["equivariance_value"] = asked.value_weight * value
        if asked.jacobian_weight and driving.jacobians is not None and moved.jacobians is not None:
            value = equivariance_jacobian(
                driving.jacobians,
                moved.jacobians,
                made.spline,
                moved.points,
                condition_guard=asked.condition_guard,
                reduction=asked.reduction,
            )
            terms["equivariance_jacobian"] = asked.jacobian_weight * value
        return terms

    def _spread(self, pair: KeypointOutput) -> dict[str, Tensor]:
        """Distances among the keypoints of both frames ([DaGAN] Eq. 10)."""
        if self.config.distance is None:
            return {}
        both = (pair.keypoints_source.points, pair.keypoints_driving.points)
        costs = [keypoint_distance(points, self.config.distance) for points in both]
        return {"distance": costs[0] + costs[1]}

    def _looked_back(self, output: TrainingOutput) -> dict[str, Tensor]:
        """Keypoints and depth of the picture made."""
        terms = {}
        if output.made is not None:
            scale = keypoint_scale(output.made.points, output.pair.keypoints_driving.points)
            terms["scale"] = self.config.scale_weight * scale
        if output.disparities is not None:
            terms["depth"] = self.config.depth_weight * pixel_l1(*output.disparities)
        return terms

    def _played(self, discriminator: nn.Module, batch: FrameBatch, pair: KeypointOutput) -> dict[str, Tensor]:
        """The game from the generator's side, and the discriminator's features as a measure."""
        config = self.config
        assert config.adversarial is not None
        return played(
            discriminator,
            batch.driving,
            pair.image,
            self._told(pair),
            game=config.adversarial,
            matching=config.matching,
        )

    def _judged(self, discriminator: nn.Module, batch: FrameBatch, pair: KeypointOutput) -> dict[str, Tensor]:
        """The game from the discriminator's side."""
        game = self.config.adversarial
        assert game is not None
        return judged(discriminator, batch.driving, pair.image, self._told(pair), game=game)
