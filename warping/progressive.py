"""The progressive-warping network [PWM]: features are warped, displacements estimated, level by level.

An encoder makes features of the source at x1 .. x32 (once a source). The decoder goes back from x32 to x1;
at every level guidance modulates it (`SpadeResBlock`), a displacement for the next finer level is read off,
and that level's source features, warped by it, join. The first warp, at x32, is geometry's.

What the public code leaves out of the paper, adds to it or does by accident is a field of
`ProgressiveConfig`: `paper` and `official` set them.

**Displacements.** Ours are backward, in pixels, half-pixel centres: output pixel p shows the source at
``p + flow(p)`` (`geom.flow`). The public code adds ``2 f / (w - 1)`` to a grid ``2 i / (w - 1) - 1`` of
pixel indices i, which is right for ``grid_sample(align_corners=True)``: there f is our flow. But it leaves
that flag to its default, which is False since torch 1.3; then index i + f is read at ``(i + f) w / (w - 1)``
in our pixels, and even f = 0 moves the picture by up to half a pixel. Weights trained so need the same:
``legacy_grid=True, align_corners=False``, which `official` and the importer set, and
``padding_mode="zeros"``, ``grid_sample``'s default. The flows that come out are ours in every case
(`legacy_flow`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ShapeError
from ..geom.flow import pixel_grid, warp
from ..geom.nets.blocks import DownBlock, SameBlock, SpadeResBlock, UpBlock
from ..geom.pyramid import guidance_pyramid

GuidanceKind = Literal["displacement", "codes", "both"]


@dataclass(frozen=True)
class ProgressiveConfig:
    """Size and mode of a `ProgressiveWarping`; the defaults are those of `paper`.

    Attributes:
        guidance: what modulates the decoder ([PWM] sec. 2): the rendered ``displacement``, with the source
            picture alone in the encoder and geometry's flow in the first warp; posed neural ``codes``, with
            the codes in the source's pose beside the picture and an identity as first warp; or ``both``
            (public code only), codes first.
        code_channels: of the neural codes; 16 in the public code ("embed_dim").
        levels: resolutions x1, x2, x4, ..; 6 in [PWM] Fig. 1. Frames are multiples of ``2^(levels - 1)``.
        width: channels at x1; a level of stride s has ``width * s``. 32 in the public code
            ("base_chns * SHRINK_RATIO").
        max_channels, min_channels: limits of that; 1024 and 16 in the public code.
        spectral_norm: on every convolution but the heads (public code; [PWM] is silent).
        alpha: a fourth output channel. ``none``: [PWM] knows one picture. ``ignored``: the public code's
            default computes it and leaves it out of the picture. ``blended``: over the warped source
            (its "USE_ALPHA_BLEND").
        legacy_grid: sampling grids as in the public code instead of exact ones; see the module.
        align_corners: the flag ``grid_sample`` would get; read only with ``legacy_grid``. False for weights
            trained with torch 1.3 or later.
        padding_mode: beyond the source ``border`` repeats its edge, ``zeros`` blends into 0 (public code).
    """

    guidance: GuidanceKind = "displacement"
    code_channels: int = 16
    levels: int = 6
    width: int = 32
    max_channels: int = 1024
    min_channels: int = 16
    spectral_norm: bool = True
    alpha: Literal["none", "ignored", "blended"] = "none"
    legacy_grid: bool = False
    align_corners: bool = False
    padding_mode: Literal["border", "zeros"] = "border"

    def __post_init__(self) -> None:
        if self.guidance not in ("displacement", "codes", "both"):
            raise HeadwarpError(
                f"guidance: expected 'displacement', 'codes' or 'both', got {self.guidance!r}"
            )
        if self.levels < 2 or min(self.code_channels, self.width, self.min_channels) < 1:
            raise HeadwarpError(
                "levels, code_channels, width, min_channels: expected at least 2, 1, 1, 1, got "
                f"{(self.levels, self.code_channels, self.width, self.min_channels)}"
            )
        if self.max_channels < self.min_channels:
            raise HeadwarpError(
                f"max_channels: expected at least min_channels {self.min_channels}, got {self.max_channels}"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """1, 2, 4, .. of the levels."""
        return tuple(1 << level for level in range(self.levels))

    @property
    def multiple(self) -> int:
        """Both sides of a frame are multiples of this."""
        return 1 << (self.levels - 1)

    @property
    def source_channels(self) -> int:
        """Channels of the encoder's input: the picture, and the codes in its pose."""
        return 3 if self.guidance == "displacement" else 3 + self.code_channels

    @property
    def guidance_channels(self) -> int:
        """Channels of the decoder's guidance: codes, then displacement."""
        codes = 0 if self.guidance == "displacement" else self.code_channels
        return codes + (0 if self.guidance == "codes" else 2)

    def channels(self, stride: int) -> int:
        """Channels at one level.

        Example:
            >>> [ProgressiveConfig().channels(stride) for stride in (1, 2, 4, 8, 16, 32)]
            [32, 64, 128, 256, 512, 1024]
        """
        return min(self.max_channels, max(self.width * stride, self.min_channels))


def paper(guidance: GuidanceKind = "displacement") -> ProgressiveConfig:
    """``pwm/paper``: [PWM] as written; grids exact, one picture."""
    return ProgressiveConfig(guidance=guidance)


def official(guidance: GuidanceKind = "displacement") -> ProgressiveConfig:
    """``pwm/official``: what the public code computes, number by number.

    Left out is its shortcut block at x32 (9.4 million parameters), which it makes and never calls.
    """
    return ProgressiveConfig(guidance=guidance, alpha="ignored", legacy_grid=True, padding_mode="zeros")


def tiny(guidance: GuidanceKind = "displacement") -> ProgressiveConfig:
    """``paper`` with a quarter of the channels and at most 80: in real time at 256 px on a CPU."""
    return ProgressiveConfig(guidance=guidance, width=8, max_channels=80, min_channels=8)


class ProgressiveFeatures(NamedTuple):
    """What depends on the source alone.

    Attributes:
        image: the source, ``(B, 3, H, W)``.
        shortcuts: features at x1, x2, .., all but the coarsest level.
        bottleneck: features at the coarsest level.
    """

    image: Float[Tensor, "B 3 H W"]
    shortcuts: tuple[Float[Tensor, "B _ _ _"], ...]
    bottleneck: Float[Tensor, "B C h w"]


@dataclass(frozen=True)
class ProgressiveOutput:
    """The network's picture and what it did.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        alpha: the fourth channel in [0, 1], ``(B, 1, H, W)``; None where the config has none.
        flows: estimated backward flows, coarse to fine, each in pixels of its own level; the last one is
            of the frame's size.
        warped: the source warped by the last flow: [PWM]'s I_w (sec. 1.4).
    """

    image: Float[Tensor, "B 3 H W"]
    alpha: Float[Tensor, "B 1 H W"] | None
    flows: tuple[Float[Tensor, "B 2 _ _"], ...]
    warped: Float[Tensor, "B 3 H W"]


def guidance_maps(
    config: ProgressiveConfig,
    displacement: Float[Tensor, "#B 2 H W"] | None = None,
    codes: Float[Tensor, "#B C H W"] | None = None,
) -> Float[Tensor, "B G H W"]:
    """The decoder's guidance from what geometry renders, in the order and units that the network knows.

    Args:
        config: says which of the two are needed.
        displacement: rendered backward flow in pixels, 0 where the mesh is not. The network sees it in half
            frames, ``2 d / (W, H)``, as in the public code, so that it does not depend on the size. (There it
            is 0 also where the nearest surface shows its back, and blended at silhouettes.)
        codes: posed codes rendered in the target's pose.

    Raises:
        HeadwarpError: one that is needed is None.
        ShapeError: the codes have another number of channels.
    """
    maps = []
    if config.guidance != "displacement":
        if codes is None:
            raise HeadwarpError(
                f"codes: guidance {config.guidance!r} needs them; render them with geom.codes"
            )
        if codes.shape[1] != config.code_channels:
            raise ShapeError(f"codes: expected {config.code_channels} channels, got {tuple(codes.shape)}")
        maps.append(codes)
    if config.guidance != "codes":
        if displacement is None:
            raise HeadwarpError(
                f"displacement: guidance {config.guidance!r} needs it; "
                "it is the flow of geom.displacement.mesh_flow"
            )
        height, width = displacement.shape[2:]
        maps.append(displacement * displacement.new_tensor([2 / width, 2 / height])[:, None, None])
    batch = max(map(len, maps))
    return torch.cat([each.expand(batch, -1, -1, -1) for each in maps], dim=1)  # (B, G, H, W)


def legacy_flow(offset: Float[Tensor, "B 2 H W"], *, align_corners: bool = False) -> Float[Tensor, "B 2 H W"]:
    """Our flow of what the public code adds, as ``2 offset / (w - 1)``, to its grid ``2 i / (w - 1) - 1``.

    Args:
        offset: in pixel steps of that grid.
        align_corners: the flag with which ``grid_sample`` reads the grid.

    Example:
        >>> legacy_flow(torch.zeros(1, 2, 2, 3))[0, 0, 0].tolist()  # an identity that is none
        [-0.5, 0.0, 0.5]
    """
    if align_corners:
        return offset
    height, width = offset.shape[2:]
    centres = pixel_grid((height, width), device=offset.device, dtype=offset.dtype)
    stretch = torch.stack(
        [offset.new_full((), width / (width - 1)), offset.new_full((), height / (height - 1))]
    )
    return (centres - 0.5 + offset) * stretch[:, None, None] - centres


class ProgressiveWarping(nn.Module):
    """[PWM]'s generator: `encode` once a source, `decode` once a frame.

    Layers carry the names of the public checkpoints. Sizes may change from call to call. Under autocast the
    displacement heads, the warps and the guidance pyramid stay in float32: half a pixel is beyond bfloat16 in
    a frame of 256.

    Args:
        config: size and mode.
    """

    def __init__(self, config: ProgressiveConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ProgressiveConfig()
        options = {"spectral_norm": config.spectral_norm}
        self.down_layers, self.shortcut_layers, self.up_layers = (nn.ModuleDict() for _ in range(3))
        for stride in config.strides:
            channels, finer = config.channels(stride), config.channels(max(stride // 2, 1))
            first = stride == 1
            self.down_layers[f"x{stride}"] = (
                SameBlock(config.source_channels, channels, **options)
                if first
                else DownBlock(finer, channels, **options)
            )
            if stride != config.multiple:
                self.shortcut_layers[f"x{stride}"] = SameBlock(channels, channels, **options)
        for stride in reversed(config.strides[1:]):
            channels, finer = config.channels(stride), config.channels(stride // 2)
            self.up_layers[f"x{stride}_spade"] = SpadeResBlock(
                2 * channels, channels, config.guidance_channels, **options
            )
            self.up_layers[f"x{stride}_flow"] = nn.Conv2d(channels, 2, 3, padding=1)
            self.up_layers[f"x{stride}_up"] = UpBlock(channels, finer, **options)
        outputs = 3 if config.alpha == "none" else 4
        self.up_layers["x1_out"] = nn.Conv2d(2 * config.channels(1), outputs, 3, padding=1)

    def forward(
        self,
        source: Float[Tensor, "#B S H W"],
        guidance: Float[Tensor, "#B G H W"],
        flow: Float[Tensor, "#B 2 H W"] | None = None,
    ) -> ProgressiveOutput:
        """`encode`, then `decode`: for training, where every pair has its own source."""
        return self.decode(self.encode(source), guidance, flow)

    def encode(self, source: Float[Tensor, "B S H W"]) -> ProgressiveFeatures:
        """Everything that depends on the source alone.

        Args:
            source: RGB in [0, 1]; with codes, those in the source's pose after it.

        Raises:
            ShapeError: wrong channels, or a size that the levels do not divide.
        """
        self._check(source, self.config.source_channels, "source")
        features, shortcuts = source, []
        for name, layer in self.down_layers.items():
            features = layer(features)
            if name in self.shortcut_layers:
                shortcuts.append(self.shortcut_layers[name](features))
        return ProgressiveFeatures(source[:, :3], tuple(shortcuts), features)

    def decode(
        self,
        features: ProgressiveFeatures,
        guidance: Float[Tensor, "#B G H W"],
        flow: Float[Tensor, "#B 2 H W"] | None = None,
    ) -> ProgressiveOutput:
        """The picture of one driving frame or a batch of them; a batch of 1 goes with any other.

        Args:
            features: of `encode`.
            guidance: of `guidance_maps`.
            flow: backward flow in pixels for the first warp; not read with ``codes``.

        Raises:
            ShapeError: shapes do not fit each other or the config.
            HeadwarpError: no flow where the first warp needs one.
        """
        self._check(guidance, self.config.guidance_channels, "guidance", features.image)
        levels = guidance_pyramid(guidance, self.config.strides[1:])
        warped = self._warp(features.bottleneck, self._first_offset(features, guidance, flow))
        hidden, flows = _joined(features.bottleneck, warped), []
        for stride, level in zip(reversed(self.config.strides[1:]), reversed(levels), strict=True):
            hidden = self.up_layers[f"x{stride}_spade"](hidden, level)
            offset = self._offset(hidden, stride)
            hidden = self.up_layers[f"x{stride}_up"](hidden)
            shortcut = features.shortcuts[stride.bit_length() - 2]  # of the next finer level
            hidden = _joined(hidden, self._warp(shortcut, offset))
            flows.append(self._flow(offset))
        warped = warp(features.image, flows[-1], padding_mode=self.config.padding_mode)
        output = torch.sigmoid(self.up_layers["x1_out"](hidden).float())
        image, alpha = output[:, :3], output[:, 3:] if self.config.alpha != "none" else None
        if alpha is not None and self.config.alpha == "blended":
            image = alpha * image + (1 - alpha) * warped
        return ProgressiveOutput(image=image, alpha=alpha, flows=tuple(flows), warped=warped)

    def _offset(self, hidden: Tensor, stride: int) -> Tensor:
        """The displacement that one level estimates for the next finer one, in that one's grid steps."""
        with torch.autocast(hidden.device.type, enabled=False):
            offset = self.up_layers[f"x{stride}_flow"](hidden.float())
            return F.interpolate(offset, scale_factor=2, mode="bilinear", align_corners=False)

    def _first_offset(self, features: ProgressiveFeatures, guidance: Tensor, flow: Tensor | None) -> Tensor:
        """Of the warp at the coarsest level, in its grid steps: geometry's flow, or zero with codes alone."""
        height, width = features.bottleneck.shape[2:]
        if self.config.guidance == "codes":
            return guidance.new_zeros(len(guidance), 2, height, width)
        if flow is None:
            raise HeadwarpError(
                f"flow: guidance {self.config.guidance!r} needs it for the first warp; "
                "it is geom.displacement.mesh_flow's flow, or a filled one"
            )
        self._check(flow, 2, "flow", features.image)
        (offset,) = guidance_pyramid(flow / self.config.multiple, self.config.strides[-1:])
        if self.config.legacy_grid:  # there a whole frame is w, a grid step w - 1 of it
            offset = offset * offset.new_tensor([1 - 1 / width, 1 - 1 / height])[:, None, None]
        return offset

    def _flow(self, offset: Tensor) -> Tensor:
        """Our flow of an offset in grid steps."""
        if not self.config.legacy_grid:
            return offset
        return legacy_flow(offset, align_corners=self.config.align_corners)

    def _warp(self, features: Tensor, offset: Tensor) -> Tensor:
        return warp(features, self._flow(offset), padding_mode=self.config.padding_mode)

    def _check(self, tensor: Tensor, channels: int, name: str, like: Tensor | None = None) -> None:
        if tensor.ndim != 4 or tensor.shape[1] != channels:
            raise ShapeError(
                f"{name}: expected (B, {channels}, H, W) with guidance {self.config.guidance!r}, "
                f"got {tuple(tensor.shape)}"
            )
        height, width = tensor.shape[2:]
        multiple = self.config.multiple
        if not height or not width or height % multiple or width % multiple:
            raise ShapeError(
                f"{name}: expected sides that are multiples of {multiple}, got {height} x {width}; "
                "pad or resize the frame"
            )
        if self.config.legacy_grid and min(height, width) < 2 * multiple:
            raise ShapeError(
                f"{name}: expected at least {2 * multiple} px a side with legacy_grid, got {height} x {width}"
            )
        if like is not None and tensor.shape[2:] != like.shape[2:]:
            raise ShapeError(
                f"{name}: expected the source's {tuple(like.shape[2:])}, got {(height, width)}; resize it"
            )
        if like is not None and len(tensor) != len(like) and 1 not in (len(tensor), len(like)):
            raise ShapeError(
                f"{name}: expected a batch of {len(like)} (the source's) or 1, got {len(tensor)}"
            )


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Both along the channels, in the type and layout of the first; a batch of 1 is repeated."""
    batch, layout = max(len(first), len(second)), torch.contiguous_format
    if first.is_contiguous(memory_format=torch.channels_last):
        layout = torch.channels_last
    laid = second.to(first.dtype).contiguous(memory_format=layout)  # or the next convolution copies all of it
    return torch.cat([each.expand(batch, -1, -1, -1) for each in (first, laid)], dim=1)
