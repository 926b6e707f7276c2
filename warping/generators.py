"""The generator of first-order motion models ([FOMM] B.1, after Johnson): encode, warp, refine, decode.

`Generator.encode` sees the source alone and runs once a source; `Generator.decode` runs once a driving frame.
Parameters have the names of the public checkpoints, where the dense motion network is part of the generator.

Between warping and refining [DaGAN] attends (`attention`), and its public code has a second decoder
(`spade_generator`); both join by config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.grids import GridConvention, warp_displaced
from ..geom.keypoints import TAPS, check_picture
from ..geom.nets.plain import DownBlock, ResidualBlock, SameBlock, UpBlock
from .attention import AttentionConfig, CrossModalAttention
from .dense_motion import DenseMotion, DenseMotionConfig
from .spade_generator import SpadeDecoder, SpadeDecoderConfig

AttentionKind = Literal["none", "depth", "self"]


@dataclass(frozen=True)
class GeneratorConfig:
    """Size of a `Generator`.

    Attributes:
        width: channels at full size ("block_expansion").
        max_channels: limit of the channels ("max_features").
        down_blocks: halvings before the warp, and doublings after it.
        bottleneck: residual blocks between ("num_bottleneck_blocks").
        decoder: what follows the warp: ``johnson`` ([FOMM], [DaGAN]) or ``spade`` (DaGAN's public code).
    """

    width: int = 64
    max_channels: int = 512
    down_blocks: int = 2
    bottleneck: int = 6
    decoder: Literal["johnson", "spade"] = "johnson"

    def __post_init__(self) -> None:
        if min(self.width, self.max_channels, self.down_blocks) < 1 or self.bottleneck < 0:
            raise HeadwarpError(
                "width, max_channels, down_blocks, bottleneck: expected at least 1, 1, 1, 0, got "
                f"{(self.width, self.max_channels, self.down_blocks, self.bottleneck)}"
            )
        if self.decoder not in ("johnson", "spade"):
            raise HeadwarpError(f"decoder: expected 'johnson' or 'spade', got {self.decoder!r}")

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        return 1 << self.down_blocks

    def channels(self, level: int) -> int:
        """Channels after so many halvings."""
        return min(self.max_channels, self.width << level)

    @property
    def deepest(self) -> int:
        """Channels of the features that are warped."""
        return self.channels(self.down_blocks)

    @property
    def spade(self) -> SpadeDecoderConfig:
        """Size of the ``spade`` decoder; the public code has one, of the default width."""
        doublings = (*[self.deepest] * (self.down_blocks - 1), self.width)
        return SpadeDecoderConfig(
            self.deepest, hidden=2 * self.width, middle=2 * self.deepest, doublings=doublings
        )


class DenseFlow(Protocol):
    """Motion that a `Generator` decodes by, whoever estimated it; see `dense_motion.MotionOutput`."""

    @property
    def displacement(self) -> Float[Tensor, "B 2 h w"]:
        """Normalised, added to the lattice."""

    @property
    def occlusion(self) -> Float[Tensor, "B 1 h w"] | None:
        """1 where the source shows what is needed; None: not estimated."""

    @property
    def convention(self) -> GridConvention:
        """Of the displacement."""


@dataclass(frozen=True)
class EncodedSource:
    """What the generator knows of a source.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        features: of it, ``(B, C, h, w)``.
        queries: of attention, from features of its disparity map, ``(B, N, E)``; None unless depth asks.
    """

    image: Float[Tensor, "B 3 H W"]
    features: Float[Tensor, "B C h w"]
    queries: Float[Tensor, "B N E"] | None = None


@dataclass(frozen=True)
class GeneratorOutput:
    """What the generator makes.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        deformed: the source picture warped by the motion, ``(B, 3, H, W)``.
        warped: the features after warp and occlusion, before attention, ``(B, C, h, w)``.
    """

    image: Float[Tensor, "B 3 H W"]
    deformed: Float[Tensor, "B 3 H W"]
    warped: Float[Tensor, "B C h w"]


class Generator(nn.Module):
    """See the module.

    Args:
        config: its size.
        motion: of its dense motion network; None: motion is estimated elsewhere, and pictures are RGB.
        attention: what asks the warped features: ``depth`` ([DaGAN] Eq. 9), they themselves (``self``) or
            ``none``.
        form: of the attention; the paper's if None.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        motion: DenseMotionConfig | None = None,
        *,
        attention: AttentionKind = "none",
        form: AttentionConfig | None = None,
    ) -> None:
        super().__init__()
        self.config, self.attention = config, attention
        self._channels = 3
        if motion is not None:
            self._channels = motion.channels
            self.dense_motion_network = DenseMotion(motion)
        self.first, self.down_blocks = _encoder(config, self._channels)
        if attention == "depth":
            self.src_first, self.src_down_blocks = _encoder(config, 1)
        if attention != "none":
            self.AttnModule = CrossModalAttention(config.deepest, form)
        if config.decoder == "spade":
            self.decoder = SpadeDecoder(config.spade)
        else:
            self._add_johnson_decoder()

    def _add_johnson_decoder(self) -> None:
        config = self.config
        self.bottleneck = nn.Sequential()
        for number in range(config.bottleneck):
            self.bottleneck.add_module(f"r{number}", ResidualBlock(config.deepest))
        self.up_blocks = nn.ModuleList(
            UpBlock(config.channels(level + 1), config.channels(level))
            for level in reversed(range(config.down_blocks))
        )
        self.final = nn.Conv2d(config.width, 3, TAPS, padding=TAPS // 2)

    def encode(
        self, source: Float[Tensor, "B C H W"], depth_map: Float[Tensor, "B 1 H W"] | None = None
    ) -> EncodedSource:
        """Features of the source.

        Args:
            source: RGB in [0, 1].
            depth_map: of it, disparity or depth; needed with depth attention.

        Raises:
            ShapeError: channels or a size that do not fit.
            HeadwarpError: no depth map where one is needed.
        """
        check_picture(source, self._channels, self.config.multiple, "source")
        features = _through(self.first, self.down_blocks, source)
        if self.attention != "depth":
            return EncodedSource(source, features)
        if depth_map is None:
            raise HeadwarpError("depth_map: depth attention needs the source's; it is made by geom.depth")
        check_picture(depth_map, 1, self.config.multiple, "depth_map")
        depth = _through(self.src_first, self.src_down_blocks, depth_map)  # F_d
        return EncodedSource(source, features, self.AttnModule.queries(depth))

    def decode(self, source: EncodedSource, motion: DenseFlow) -> GeneratorOutput:
        """The picture in one driving pose, or a batch of them; a source of batch 1 serves all.

        Args:
            source: what `encode` returned.
            motion: dense motion of B frames.
        """
        warped, occlusion = self.warped(source, motion), motion.occlusion
        deformed = warp_displaced(source.image, motion.displacement, motion.convention)
        attended = warped
        if self.attention != "none":
            attended = self.AttnModule(warped, source.queries)
        if self.config.decoder == "spade":
            shown = deformed if occlusion is None else deformed * resized_to(occlusion, deformed)
            image = self.decoder(attended, shown)
        else:
            image = self._johnson(attended)
        return GeneratorOutput(image, deformed, warped)

    def warped(self, source: EncodedSource, motion: DenseFlow) -> Float[Tensor, "B C h w"]:
        """Features of the source moved, and faded where it does not show them: F_w of [DaGAN] Eq. 8.

        Args:
            source: what `encode` returned.
            motion: dense motion of B frames.
        """
        moved = warp_displaced(source.features, motion.displacement, motion.convention)
        if motion.occlusion is None:
            return moved
        return moved * resized_to(motion.occlusion, moved).to(moved.dtype)

    def _johnson(self, features: Tensor) -> Tensor:
        hidden = self.bottleneck(features)
        for block in self.up_blocks:
            hidden = block(hidden)
        return torch.sigmoid(self.final(hidden).to(torch.promote_types(hidden.dtype, torch.float32)))


def resized_to(maps: Float[Tensor, "B C h w"], like: Tensor) -> Float[Tensor, "B C H W"]:
    """Maps brought to another's size, bilinear by half-pixel centres.

    Args:
        maps: any.
        like: a tensor ``(B, C, H, W)`` of that size.
    """
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


def _encoder(config: GeneratorConfig, inputs: int) -> tuple[SameBlock, nn.ModuleList]:
    levels = range(config.down_blocks)
    blocks = (DownBlock(config.channels(level), config.channels(level + 1)) for level in levels)
    return SameBlock(inputs, config.width, TAPS), nn.ModuleList(blocks)


def _through(first: nn.Module, blocks: nn.ModuleList, picture: Tensor) -> Tensor:
    features = first(picture)
    for block in blocks:
        features = block(features)
    return features
