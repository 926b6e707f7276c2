"""The whole of a keypoint-driven animator: detector, dense motion, generator, and depth where it is used.

[FOMM] and [DaGAN] are two configs of it. What the papers, their public code and we do differently are fields:
`fomm_official` and `dagan_official` are the public networks number by number, `fomm_paper` and `dagan_paper`
what is written, `fomm` and `dagan` ours, `baseline` is [DaGAN]'s Table 4's. Depth keypoints and attention
are switched on in any of them: `with_depth_keypoints`, `with_attention`.

Submodules carry the names of the public checkpoints: ``kp_detector``, ``generator`` (with its
``dense_motion_network``) and ``depth``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.depth import DepthConfig, DepthNetwork, disparity_to_depth
from ..geom.errors import HeadwarpError, ShapeError
from ..geom.grids import pixel_flow, resize_displacement
from ..geom.keypoints import KeypointConfig, KeypointDetector, Keypoints, check_picture
from ..geom.nets.hourglass import HourglassConfig
from .attention import OFFICIAL, PAPER, AttentionConfig
from .dense_motion import DenseMotionConfig
from .generators import AttentionKind, EncodedSource, Generator, GeneratorConfig


@dataclass(frozen=True)
class KeypointNetworkConfig:
    """Everything that makes a `KeypointNetwork`; the defaults are `fomm`.

    Attributes:
        keypoints, motion, generator: of the parts.
        attention: what asks the warped features; see `generators.Generator`.
        attention_form: of it; the paper's if None.
        depth_keypoints: whether the detector sees the depth map, beside RGB (4 channels; [DaGAN] Eq. 6) or
            alone (1, public "use_depth").
        depth: of the depth network; needed with depth keypoints or depth attention, None otherwise.
        depth_map: what of it they see: the network's ``disparity`` in (0, 1) (public code), or ``depth``
            between ``depth.min_depth`` and ``max_depth``, the "depth map" that [DaGAN] writes of.
    """

    keypoints: KeypointConfig = field(default_factory=KeypointConfig)
    motion: DenseMotionConfig = field(default_factory=DenseMotionConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    attention: AttentionKind = "none"
    attention_form: AttentionConfig | None = None
    depth_keypoints: bool = False
    depth: DepthConfig | None = None
    depth_map: Literal["disparity", "depth"] = "disparity"

    def __post_init__(self) -> None:
        if self.attention not in ("none", "depth", "self"):
            raise HeadwarpError(f"attention: expected 'none', 'depth' or 'self', got {self.attention!r}")
        if self.keypoints.count != self.motion.count:
            raise HeadwarpError(
                f"count: expected the same of keypoints and motion, got {self.keypoints.count} and "
                f"{self.motion.count}"
            )
        if self.keypoints.align_corners != self.motion.align_corners:
            raise HeadwarpError("align_corners: expected the same of keypoints and motion")
        channels = (1, 4) if self.depth_keypoints else (3,)
        if self.keypoints.channels not in channels:
            raise HeadwarpError(
                f"keypoints.channels: expected {' or '.join(map(str, channels))} with "
                f"depth_keypoints={self.depth_keypoints}, got {self.keypoints.channels}"
            )
        if self.needs_depth != (self.depth is not None):
            wanted = "a DepthConfig" if self.needs_depth else "None: nothing looks at depth"
            raise HeadwarpError(f"depth: expected {wanted}, got {self.depth}")
        if self.depth_map not in ("disparity", "depth"):
            raise HeadwarpError(f"depth_map: expected 'disparity' or 'depth', got {self.depth_map!r}")

    @property
    def needs_depth(self) -> bool:
        """Whether pictures' disparity is looked at."""
        return self.depth_keypoints or self.attention == "depth"

    @property
    def multiple(self) -> int:
        """Both sides of a picture are multiples of this."""
        parts = (self.keypoints.multiple, self.motion.multiple, self.generator.multiple)
        return math.lcm(*parts, 32 if self.needs_depth else 1)


def fomm() -> KeypointNetworkConfig:
    """``fomm/own``: half-pixel lattices, whole heat maps, guarded Jacobians; layers as published."""
    return KeypointNetworkConfig()


def fomm_paper() -> KeypointNetworkConfig:
    """``fomm/paper``: [FOMM] as written, without our guard; where it is silent, exact lattices."""
    return KeypointNetworkConfig(motion=DenseMotionConfig(condition_guard=None))


def fomm_official() -> KeypointNetworkConfig:
    """``fomm/official``: the public code with torch 1.0, as ``vox-cpk`` was trained.

    For weights trained under torch 1.3 or later set ``motion.sample_align_corners`` to False.
    """
    return _official(KeypointNetworkConfig())


def dagan() -> KeypointNetworkConfig:
    """``dagan/own``: the public network (Jacobians, attention added by a learned share) on our lattices, with
    guarded Jacobians.
    """
    fifteen = replace(baseline(), keypoints=KeypointConfig(count=15))
    return with_attention(with_depth_keypoints(fifteen))


def dagan_paper() -> KeypointNetworkConfig:
    """``dagan/paper``: [DaGAN] as written: keypoints are offsets only (Eq. 7), attention replaces
    features (Eq. 9), both see depth and not disparity.
    """
    return replace(with_attention(with_depth_keypoints(baseline()), form=PAPER), depth_map="depth")


def dagan_official() -> KeypointNetworkConfig:
    """``dagan/official``: the public code, with the demo's depth network."""
    return _official(dagan())


def baseline() -> KeypointNetworkConfig:
    """[DaGAN]'s Table 4 "Baseline": fifteen keypoints as offsets, no depth, no attention."""
    return KeypointNetworkConfig(
        keypoints=KeypointConfig(count=15, jacobians="none"), motion=DenseMotionConfig(count=15)
    )


def with_depth_keypoints(config: KeypointNetworkConfig, *, alone: bool = False) -> KeypointNetworkConfig:
    """The config with keypoints found in colour and depth: "w/ FDN" of [DaGAN] Table 4.

    Args:
        config: any.
        alone: in depth without colours.

    Example:
        >>> with_depth_keypoints(fomm()).keypoints.channels
        4
    """
    keypoints = replace(config.keypoints, channels=1 if alone else 4)
    return replace(config, keypoints=keypoints, depth_keypoints=True, depth=config.depth or DepthConfig())


def with_attention(
    config: KeypointNetworkConfig, kind: AttentionKind = "depth", *, form: AttentionConfig = OFFICIAL
) -> KeypointNetworkConfig:
    """The config with attention after the warp: "w/ CAM" of [DaGAN] Table 4, "(SA)" with ``self``.

    Args:
        config: any; its depth keypoints stay as they are.
        kind: who asks; ``none`` takes attention away.
        form: the public code's by default, which starts as if there were none.

    Example:
        >>> with_attention(dagan(), "self").depth_keypoints
        True
    """
    needs_depth = kind == "depth" or config.depth_keypoints
    depth = (config.depth or DepthConfig()) if needs_depth else None
    chosen = None if kind == "none" else form
    return replace(config, attention=kind, attention_form=chosen, depth=depth)


def tiny(config: KeypointNetworkConfig, *, width: int = 4) -> KeypointNetworkConfig:
    """The same network with few channels and three halvings, for tests and short trainings; any multiple of
    32 px.
    """
    glass, depth = HourglassConfig(width, blocks=3, max_channels=4 * width), config.depth
    return replace(
        config,
        keypoints=replace(config.keypoints, hourglass=glass),
        motion=replace(config.motion, hourglass=glass),
        generator=replace(config.generator, bottleneck=2, width=width, max_channels=4 * width),
        depth=None if depth is None else replace(depth, width=2 * width),
    )


def _official(config: KeypointNetworkConfig) -> KeypointNetworkConfig:
    return replace(
        config,
        keypoints=replace(config.keypoints, padding=0, align_corners=True),
        motion=replace(
            config.motion,
            condition_guard=None,
            align_corners=True,
            sample_align_corners=True,
            padding_mode="zeros",
        ),
    )


@dataclass(frozen=True)
class SourceFeatures:
    """Everything that depends on the source alone.

    Attributes:
        encoded: of the generator.
        small: the picture that motion is estimated over, ``(B, 3, h, w)``.
        keypoints: of the source.
        disparity: of it where the network looks at depth, ``(B, 1, H, W)``.
    """

    encoded: EncodedSource
    small: Float[Tensor, "B 3 h w"]
    keypoints: Keypoints
    disparity: Float[Tensor, "B 1 H W"] | None = None


@dataclass(frozen=True)
class KeypointOutput:
    """What the network makes of a pair; K + 1 motions, the background's first.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        deformed: the source picture warped by the flow.
        flow: backward flow in pixels of the frame (`geom.flow`), ``(B, 2, H, W)``.
        masks: share of each motion, ``(B, K + 1, h, w)``, at the size at which motion is estimated.
        occlusion: 1 where the source shows what is needed, ``(B, 1, h, w)``; None: not estimated.
        sparse_flows: each motion alone, in pixels of h x w, ``(B, K + 1, 2, h, w)``.
        sparse_deformed: the small source moved by each, ``(B, K + 1, 3, h, w)``.
        keypoints_source, keypoints_driving: what moved it.
    """

    image: Float[Tensor, "B 3 H W"]
    deformed: Float[Tensor, "B 3 H W"]
    flow: Float[Tensor, "B 2 H W"]
    masks: Float[Tensor, "B M h w"]
    occlusion: Float[Tensor, "B 1 h w"] | None
    sparse_flows: Float[Tensor, "B M 2 h w"]
    sparse_deformed: Float[Tensor, "B M 3 h w"]
    keypoints_source: Keypoints
    keypoints_driving: Keypoints


class KeypointNetwork(nn.Module):
    """`detect` and `encode` once a source, `detect` and `decode` once a frame; `forward` is all of them.

    Args:
        config: of all parts.
    """

    def __init__(self, config: KeypointNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or KeypointNetworkConfig()
        self.kp_detector = KeypointDetector(config.keypoints)
        self.generator = Generator(
            config.generator, config.motion, attention=config.attention, form=config.attention_form
        )
        self.depth: DepthNetwork | None = None
        if config.depth is not None:
            self.depth = DepthNetwork(config.depth).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> KeypointNetwork:
        """As every module's, but depth stays in evaluation: it is trained before and fixed ([DaGAN] 4.2)."""
        super().train(mode)
        if self.depth is not None:
            self.depth.eval()
        return self

    def disparity(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        """Disparity in (0, 1) of pictures, larger where nearer; without gradients, see `train`.

        Raises:
            HeadwarpError: a network without depth.
        """
        if self.depth is None:
            raise HeadwarpError("disparity: this network has no depth network; set depth in its config")
        self._check(image)
        with torch.no_grad():
            return self.depth(image)[0]

    def detect(
        self, image: Float[Tensor, "B 3 H W"], *, disparity: Float[Tensor, "B 1 H W"] | None = None
    ) -> Keypoints:
        """Keypoints of pictures.

        Args:
            image: RGB in [0, 1]; sides are multiples of ``config.multiple``.
            disparity: of them, where it is known already; computed where it is needed.

        Raises:
            ShapeError: channels or a size that do not fit.
        """
        self._check(image)
        if not self.config.depth_keypoints:
            return self.kp_detector(image)
        seen = self.disparity(image) if disparity is None else disparity
        if seen.shape != (len(image), 1, *image.shape[2:]):
            raise ShapeError(
                f"disparity: expected {(len(image), 1, *image.shape[2:])}, got {tuple(seen.shape)}"
            )
        seen = self._depth_map(seen).to(image.dtype)
        alone = self.config.keypoints.channels == 1
        return self.kp_detector(seen if alone else torch.cat([image, seen], dim=1))

    def encode(
        self, source: Float[Tensor, "B 3 H W"], *, keypoints: Keypoints | None = None
    ) -> SourceFeatures:
        """Everything that depends on the source alone.

        Args:
            source: RGB in [0, 1].
            keypoints: of it, where they are known; detected otherwise.
        """
        self._check(source)
        disparity = self.disparity(source) if self.config.needs_depth else None
        found = self.detect(source, disparity=disparity) if keypoints is None else keypoints
        depth_map = None if disparity is None else self._depth_map(disparity)
        encoded = self.generator.encode(source, depth_map)
        return SourceFeatures(encoded, self.generator.dense_motion_network.reduce(source), found, disparity)

    def decode(self, features: SourceFeatures, keypoints_driving: Keypoints) -> KeypointOutput:
        """The picture in one driving frame's pose, or a batch of them.

        Args:
            features: of `encode`; a batch of 1 serves every driving frame.
            keypoints_driving: of the driving frame, or moved (`relative_motion`).
        """
        motion = self.generator.dense_motion_network.estimate(
            features.small, features.keypoints, keypoints_driving
        )
        made = self.generator.decode(features.encoded, motion)
        size = (made.image.shape[2], made.image.shape[3])
        whole = resize_displacement(motion.displacement, size, motion.convention)
        sparse = pixel_flow(motion.sparse.flatten(0, 1), motion.convention)  # (B (K + 1), 2, h, w)
        return KeypointOutput(
            image=made.image,
            deformed=made.deformed,
            flow=pixel_flow(whole, motion.convention),
            masks=motion.masks,
            occlusion=motion.occlusion,
            sparse_flows=sparse.unflatten(0, motion.sparse.shape[:2]),
            sparse_deformed=motion.deformed,
            keypoints_source=features.keypoints,
            keypoints_driving=keypoints_driving,
        )

    def forward(self, source: Float[Tensor, "B 3 H W"], driving: Float[Tensor, "B 3 H W"]) -> KeypointOutput:
        """A source of its own for every driving frame."""
        return self.decode(self.encode(source), self.detect(driving))

    def attention_map(
        self,
        features: SourceFeatures,
        keypoints_driving: Keypoints,
        points: Float[Tensor, "#B P 2"],
    ) -> Float[Tensor, "B P h w"]:
        """Where single positions look in the warped features; see `attention.CrossModalAttention`.

        Args:
            features, keypoints_driving: as in `decode`.
            points: x, y in [-1, 1], the frame's outer edges.

        Raises:
            HeadwarpError: a network without attention.
        """
        if self.config.attention == "none":
            raise HeadwarpError("attention_map: this network has no attention; set attention in its config")
        motion = self.generator.dense_motion_network.estimate(
            features.small, features.keypoints, keypoints_driving
        )
        warped = self.generator.warped(features.encoded, motion)
        return self.generator.AttnModule.attention_map(warped, points, features.encoded.queries)

    def _depth_map(self, disparity: Tensor) -> Float[Tensor, "B 1 H W"]:
        """What keypoints and attention see of it."""
        if self.config.depth_map == "disparity":
            return disparity
        unit = disparity.new_ones(len(disparity))  # relief alone is known, no camera
        return disparity_to_depth(disparity, self.config.depth, focal=unit)

    def _check(self, image: Tensor) -> None:
        check_picture(image, 3, self.config.multiple, "image")
