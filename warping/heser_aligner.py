"""[HeSer]'s Head2Head aligner: a head seen in K pictures, made in the pose and expression of another picture.

Four encoders and a generator (sec. 3.2): portrait (ResNeXt-50) and identity of the sources, pose and
expression (MobileNetV2) of the driver. Codes of several sources are averaged, with weights if there are any.
Nothing is warped: every pixel is made of 1536 numbers.

Pictures are squares with the head in the middle; identity and expression look at the middle 1 / 1.8 of them,
as the public code does: its crop is the landmarks' box times 1.8.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.nets.arcface import SIDE, IrSe50
from ..geom.nets.mobilenet import MobileNetConfig, MobileNetV2
from ..geom.nets.resnext import LEAST_SIDE, ResNext, ResNextConfig
from .heser_generator import CodeGenerator, GeneratorSize

ARCFACE_CODE = 512
MIDDLE = 1.8
"""Identity and expression see the middle of a picture, one over this of its side."""

Identity = Literal["arcface", "trained"]


@dataclass(frozen=True)
class HeserAlignerConfig:
    """Size of the aligner; the defaults are the paper's (sec. 3.2).

    Attributes:
        portrait: E_por; its ``outputs`` are d_por, 512.
        identity: E_id: ``arcface``, a frozen IR-SE-50 with weights of a file, d_id 512; or ``trained``, a
            MobileNetV2 that is trained with the rest, which stands in where there is no such file.
        identity_outputs: d_id of the trained one.
        pose: E_pose and E_exp; their ``outputs`` are d_pose and d_exp, 256 each.
        generator: its size.
        side: pictures are brought to this side for portrait, pose and expression encoder. The paper does not
            say; 256 in the public code. A smaller picture's own side counts.
        subject: a free vector is added to the sources' codes, which fine-tuning to one person learns.
    """

    portrait: ResNextConfig = field(default_factory=lambda: ResNextConfig(outputs=512))
    identity: Identity = "arcface"
    identity_outputs: int = 512
    pose: MobileNetConfig = field(default_factory=lambda: MobileNetConfig(outputs=256))
    generator: GeneratorSize = field(default_factory=GeneratorSize)
    side: int = 256
    subject: bool = False

    def __post_init__(self) -> None:
        if self.identity not in ("arcface", "trained") or self.identity_outputs < 1:
            raise HeadwarpError(f"identity: expected arcface or trained, got {self.identity!r}")
        if self.side < LEAST_SIDE:
            raise HeadwarpError(f"side: expected at least {LEAST_SIDE} pixels, got {self.side}")

    @property
    def source_numbers(self) -> int:
        """Length of the sources' code: portrait, then identity."""
        identity = ARCFACE_CODE if self.identity == "arcface" else self.identity_outputs
        return self.portrait.outputs + identity


def unofficial() -> HeserAlignerConfig:
    """The public code's: its perceptron is 1536 wide, where the paper says 768."""
    return HeserAlignerConfig(generator=GeneratorSize(hidden=1536))


def small(config: HeserAlignerConfig) -> HeserAlignerConfig:
    """Half the channels and numbers, about a quarter of the arithmetic."""
    return _narrowed(config, 2, ResNextConfig().blocks)


def tiny(config: HeserAlignerConfig) -> HeserAlignerConfig:
    """A quarter of the channels and one block a stage, for a CPU."""
    return _narrowed(config, 4, (1, 1, 1, 1))


def _narrowed(config: HeserAlignerConfig, by: int, blocks: tuple[int, int, int, int]) -> HeserAlignerConfig:
    portrait, pose, generator = config.portrait, config.pose, config.generator
    return dataclasses.replace(
        config,
        portrait=dataclasses.replace(
            portrait,
            blocks=blocks,
            width=portrait.width // by,
            groups=portrait.groups // by,
            group_width=portrait.group_width * by,
            outputs=portrait.outputs // by,
        ),
        identity_outputs=config.identity_outputs // by,
        pose=dataclasses.replace(pose, multiplier=pose.multiplier / by, outputs=pose.outputs // by),
        generator=dataclasses.replace(
            generator,
            channels=generator.channels // by,
            most_channels=generator.most_channels // by,
            hidden=generator.hidden // by,
        ),
    )


class HeserAligner(nn.Module):
    """See the module.

    Args:
        config: its size.
    """

    def __init__(self, config: HeserAlignerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HeserAlignerConfig()
        self.portrait = ResNext(config.portrait)
        self.identity: nn.Module
        if config.identity == "arcface":
            self.identity = IrSe50()
        else:
            self.identity = MobileNetV2(dataclasses.replace(config.pose, outputs=config.identity_outputs))
        self.pose, self.expression = MobileNetV2(config.pose), MobileNetV2(config.pose)
        self.generator = CodeGenerator(config.source_numbers + 2 * config.pose.outputs, config.generator)
        self.offset = nn.Parameter(torch.zeros(1, config.source_numbers)) if config.subject else None
        self.frozen: tuple[str, ...] = ()
        if config.identity == "arcface":
            self.freeze_("identity")

    def freeze_(self, *names: str) -> None:
        """Parts that are never trained: no gradients, and evaluation mode for good."""
        self.frozen = tuple(dict.fromkeys((*self.frozen, *names)))
        for name in names:
            self.get_submodule(name).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> HeserAligner:
        """As `torch.nn.Module.train`; what is frozen stays in evaluation."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def forward(
        self,
        sources: Float[Tensor, "B K 3 H W"],
        driving: Float[Tensor, "B 3 H W"],
        weights: Float[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B 3 S S"]:
        """The sources' heads as the drivers pose them, RGB in [0, 1], of the config's size.

        Args:
            sources: K pictures of each person, RGB in [0, 1].
            driving: one picture each.
            weights: of the sources, summing to 1; None for their mean (the paper).
        """
        batch, count = sources.shape[:2]
        codes = self.encode(sources.flatten(0, 1)).unflatten(0, (batch, count))
        return self.decode(fused(codes, weights), self.encode_driving(driving))

    def encode(self, image: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Portrait and identity of source pictures, before they are fused.

        Raises:
            ShapeError: no square colour pictures of at least 32 px.
        """
        check_square(image)
        portrait = self.portrait(normalised(resized(image, min(self.config.side, image.shape[3]))))
        if self.config.identity == "arcface":
            identity = arcface_code(self.identity, image)
        else:
            side = max(LEAST_SIDE, min(SIDE, image.shape[3]))
            identity = self.identity(normalised(resized(middle(image), side)))
        return torch.cat([portrait, identity.to(portrait.dtype)], dim=1)

    def encode_driving(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Pose and expression of driving pictures.

        Raises:
            ShapeError: no square colour pictures of at least 32 px.
        """
        check_square(image)
        side = min(self.config.side, image.shape[3])
        pose = self.pose(normalised(resized(image, side)))
        return torch.cat([pose, self.expression(normalised(resized(middle(image), side)))], dim=1)

    def decode(
        self, source: Float[Tensor, "#B D"], driving: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B 3 S S"]:
        """Pictures of fused sources and drivers."""
        if self.offset is not None:
            source = source + self.offset
        return self.generator(torch.cat([source.expand(len(driving), -1), driving], dim=1))


def fused(
    codes: Float[Tensor, "#B K D"], weights: Float[Tensor, "#B K"] | None = None
) -> Float[Tensor, "B D"]:
    """Codes of K sources as one: their mean, or weighted.

    Args:
        codes: of K sources.
        weights: of each, summing to 1; None: all alike.

    Example:
        >>> codes = torch.tensor([[[0.0], [4.0]]])
        >>> fused(codes).item(), fused(codes, torch.tensor([[0.75, 0.25]])).item()
        (2.0, 1.0)
    """
    if weights is None:
        return codes.mean(1)
    return (codes * weights[..., None]).sum(1)


def arcface_code(network: nn.Module, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 512"]:
    """Identity of whole pictures, of unit length: their middle, by areas at 112 px, as the public code does.

    No five points are sought; `training.metrics.identity` does that for measuring.

    Args:
        network: of face recognition.
        image: RGB in [0, 1].
    """
    return network(resized(middle(image), SIDE))


def middle(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
    """The middle of pictures, 1 / 1.8 of their sides; whole pixels."""
    height, width = image.shape[2:]
    share = (1 - 1 / MIDDLE) / 2
    top, left = int(height * share), int(width * share)
    return image[:, :, top : height - top, left : width - left]


def resized(image: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B 3 S S"]:
    """Pictures of another size: means over areas where they shrink, bilinear where they grow.

    Args:
        image: any values.
        side: of the result in pixels.
    """
    if image.shape[2] == image.shape[3] == side:
        return image
    if min(image.shape[2:]) >= side:
        return F.adaptive_avg_pool2d(image, side)
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False)


def normalised(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """[0, 1] to [-1, 1], what all encoders read."""
    return image * 2 - 1


def check_square(image: Tensor) -> None:
    """Raise ShapeError for what is no batch of square colour pictures of at least 32 px."""
    square = image.ndim == 4 and image.shape[1] == 3 and image.shape[2] == image.shape[3] >= LEAST_SIDE
    if not square:
        raise ShapeError(
            f"image: expected square pictures (B, 3, S, S) of at least {LEAST_SIDE} px, got "
            f"{tuple(image.shape)}; cut the head's square out"
        )
