"""`pwm/residual`: progressive warping over what geometry knows already.

The decoder of [PWM] predicts absolute displacements from nothing. Here every level predicts what is missing
to the geometric displacement (gated by the source's visibility, filled harmonically), the two layers of
`posed_layers.compose` are warped by the sum, and paint is added where the source has nothing to show. All
heads start at zero, so that the untrained network is the `geometry` animator, bit for bit.

Frames of any size are taken: inside, sides are continued by their edge to multiples of 32.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..geom.errors import HeadwarpError
from ..geom.flow import resize_flow, warp
from .posed_layers import Composed, PosedLayers, compose

SLOPE = 0.1  # of the leaky ReLU, as in [PWM]'s public code
DEEPEST = 32
FLOW_UNIT = 8.0  # flow in the guidance map is in eighths of the frame's side
UNSEEN = (
    2.0  # logit of the paint's opacity before training: 0.88 where the source shows nothing, 0.12 elsewhere
)
EDGE = 4  # pixels over which trust begins: flow must not tear
GUIDANCE_CHANNELS = 12
PAINTED_ON = 6  # picture, matte, known, hollow


@dataclass(frozen=True)
class ResidualConfig:
    """Settings of the residual network.

    Attributes:
        channels: of the feature maps at strides ``stem``, ``2 stem``, ... 32: one number a level.
        stem: stride of the finest feature map, 1, 2, 4 or 8; the picture is folded into it.
        detail: channels of the painter at full resolution.
        base: the flow that the network adds to: ``"gated"`` (gated and filled displacement), ``"rendered"``
            (the mesh's own, 0 elsewhere) or ``"none"`` (0: the network finds the whole flow).
        guidance: what guides the decoder: ``"displacement"`` (flow and masks), ``"codes"`` (posed neural
            codes), ``"both"``, or ``"none"`` (nothing, for ablations).
        code_channels: of the neural codes, where they guide.
        move: whether the heads of flow and matte act; without them the network only paints.
        trust: how far geometry is trusted where the source is seen, 0..1: there the learned change of flow
            and matte is multiplied by 1 - trust. With 1 the face moves as the driver's fit says, and the
            network moves only what was filled in. Pixels alone teach faces to hover between likely places.
        shade: where the source is seen, paint is smoothed over so many pixels, so that it may shade but the
            detail stays the source's own: pictures keep their sharpness where pixels alone are compared. 0:
            paint is free everywhere, which one person's own footage can teach.
    """

    channels: tuple[int, ...] = (48, 64, 96, 128)
    stem: int = 4
    detail: int = 16
    base: Literal["gated", "rendered", "none"] = "gated"
    guidance: Literal["displacement", "codes", "both", "none"] = "displacement"
    code_channels: int = 16
    move: bool = True
    trust: float = 1.0
    shade: int = 8

    def __post_init__(self) -> None:
        levels = round(math.log2(DEEPEST / self.stem)) + 1 if self.stem in (1, 2, 4, 8) else 0
        if len(self.channels) != levels:
            raise HeadwarpError(
                f"channels: expected one number for each stride from stem (1, 2, 4 or 8) to {DEEPEST}, got "
                f"stem {self.stem} and {len(self.channels)} numbers"
            )

    @property
    def coded(self) -> bool:
        """Whether neural codes guide."""
        return self.guidance in ("codes", "both")


@dataclass(frozen=True)
class ResidualOutput:
    """What the network makes of a pair.

    Attributes:
        image: RGB in [0, 1], ``(B, 3, H, W)``.
        warped: the two layers moved by ``flow``, before paint, not clamped.
        flow: of the person layer, in pixels.
        flows: base flow and what the levels so far have added to it, coarse to fine, in pixels of each level.
        matte: opacity of the person layer.
        paint: opacity of what is made up, ``(B, 1, H, W)``.
    """

    image: Float[Tensor, "B 3 H W"]
    warped: Float[Tensor, "B 3 H W"]
    flow: Float[Tensor, "B 2 H W"]
    flows: tuple[Float[Tensor, "B 2 _ _"], ...]
    matte: Float[Tensor, "B 1 H W"]
    paint: Float[Tensor, "B 1 H W"]


class _Block(nn.Module):
    """Two convolutions beside a 1 x 1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        inner = F.leaky_relu(self.first(features), SLOPE)
        return F.leaky_relu(self.second(inner) + self.shortcut(features), SLOPE)


class ResidualWarping(nn.Module):
    """See the module."""

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.config = config
        sizes, codes = config.channels, config.code_channels if config.coded else 0
        folded = config.stem**2
        self.first = nn.Conv2d(folded * (4 + codes), sizes[0], 3, padding=1)
        self.down = nn.ModuleList(_Block(a, b) for a, b in itertools.pairwise(sizes))
        guided = GUIDANCE_CHANNELS + codes
        self.guide = nn.ModuleList(
            nn.Conv2d(guided * (folded if level == 0 else 1), size // 2, 3, padding=1)
            for level, size in enumerate(sizes)
        )
        above = (*sizes[1:], 0)
        self.up = nn.ModuleList(
            _Block(size + size // 2 + coarser, size) for size, coarser in zip(sizes, above, strict=True)
        )
        self.moves = nn.ModuleList(nn.Conv2d(size, 3, 3, padding=1) for size in sizes)
        self.unfold = nn.Conv2d(sizes[0], folded * config.detail // 2, 3, padding=1)
        self.detail = nn.Conv2d(config.detail // 2 + PAINTED_ON, config.detail, 3, padding=1)
        self.paint = nn.Conv2d(config.detail, 4, 3, padding=1)
        for head in (*self.moves, self.paint):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def encode(
        self,
        source: Float[Tensor, "B 3 H W"],
        matte: Float[Tensor, "#B 1 H W"],
        codes: Float[Tensor, "B C H W"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Features of the source, finest first: once per source.

        Args:
            source: RGB in [0, 1].
            matte: opacity of the person; its batch may be 1.
            codes: posed codes of the source, where the config has them.

        Raises:
            HeadwarpError: neural codes are needed or not wanted.
        """
        self._check_codes(codes)
        opacity = matte.expand(len(source), -1, -1, -1)
        picture = torch.cat([source, opacity, *([] if codes is None else [codes])], dim=1)
        features = [F.leaky_relu(self.first(F.pixel_unshuffle(_padded(picture), self.config.stem)), SLOPE)]
        for block in self.down:
            features.append(block(F.avg_pool2d(features[-1], 2)))
        return tuple(features)

    def decode(
        self,
        features: tuple[Tensor, ...],
        layers: PosedLayers,
        codes: Float[Tensor, "B C H W"] | None = None,
    ) -> ResidualOutput:
        """The picture in one driving pose.

        Args:
            features: of `encode`; a batch of 1 serves every driving frame.
            layers: what geometry knows of the pair.
            codes: posed neural codes in the driving pose.
        """
        self._check_codes(codes)
        base = base_flow(layers, self.config.base)
        before = compose(layers, flow=base)
        guidance = guidance_map(layers, base, before)
        if self.config.guidance in ("codes", "none"):
            guidance = torch.zeros_like(guidance)
        if codes is not None:
            guidance = torch.cat([guidance, codes], dim=1)
        top, flows, change = self._climb(features, _padded(base), _padded(guidance))
        flow, moved = base, before
        if self.config.move:
            change = _doubled(change, self.config.stem)[:, :, : base.shape[2], : base.shape[3]]
            if self.config.trust:
                change = change * (1 - self.config.trust * _smoothed(layers.known, EDGE))
            flow = base + change[:, :2]
            moved = compose(layers, flow=flow, matte_change=change[:, 2:])
        image, paint = self._painted(top, layers, moved)
        return ResidualOutput(image.clamp(0, 1), moved.image, flow, tuple(flows), moved.matte, paint)

    def forward(
        self,
        source: Float[Tensor, "B 3 H W"],
        layers: PosedLayers,
        codes: Float[Tensor, "B C H W"] | None = None,
        source_codes: Float[Tensor, "B C H W"] | None = None,
    ) -> ResidualOutput:
        """`encode`, then `decode`: for training, a source of its own for every pair.

        Args:
            source: RGB in [0, 1].
            layers: of the pairs.
            codes: posed codes of the target, where the config has them.
            source_codes: those of the source.
        """
        return self.decode(self.encode(source, layers.matte, source_codes), layers, codes)

    def _climb(
        self, features: tuple[Tensor, ...], base: Tensor, guidance: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Warp, estimate, double: from stride 32 to the stem.

        Returns:
            The features at the stem, the flow of each level, and what all levels add to flow and matte.
        """
        maps = self._guides(guidance)
        below, change = features[-1], None
        flows: list[Tensor] = []
        for level in reversed(range(len(features))):
            stride = self.config.stem * 2**level
            flow = resize_flow(base, (base.shape[2] // stride, base.shape[3] // stride))
            if change is not None:
                change = _doubled(change, 2)
                flow = flow + change[:, :2] if self.config.move else flow
            seen = warp(features[level].expand(len(base), -1, -1, -1), flow)
            inputs = [seen, F.leaky_relu(self.guide[level](maps[level]), SLOPE)]
            if level + 1 < len(features):
                inputs.append(F.interpolate(below, scale_factor=2, mode="nearest"))
            below = self.up[level](torch.cat(inputs, dim=1))
            step = _in_float32(self.moves[level], below)
            change = step if change is None else change + step
            flows.append(flow + step[:, :2] if self.config.move else flow)
        assert change is not None
        return below, flows, change

    def _guides(self, guidance: Tensor) -> list[Tensor]:
        """Guidance at every level, finest first: folded into channels at the stem, averaged below it."""
        coarser = F.avg_pool2d(guidance, self.config.stem)
        maps = [F.pixel_unshuffle(guidance, self.config.stem)]
        for _ in self.config.channels[1:]:
            coarser = F.avg_pool2d(coarser, 2)
            maps.append(coarser)
        return maps

    def _painted(self, top: Tensor, layers: PosedLayers, moved: Composed) -> tuple[Tensor, Tensor]:
        """Paint over the moved layers, most where the source shows nothing; and its opacity."""
        height, width = layers.flow.shape[2:]
        detail = F.pixel_shuffle(self.unfold(top), self.config.stem)[:, :, :height, :width]
        on = torch.cat([moved.image, moved.matte, layers.known, layers.hollow], dim=1)
        detail = F.leaky_relu(self.detail(torch.cat([detail, on.to(detail.dtype)], dim=1)), SLOPE)
        paint = _in_float32(self.paint, detail)
        opacity = torch.sigmoid(paint[:, 3:] + UNSEEN * (1 - 2 * layers.known))
        added = opacity * paint[:, :3]
        if self.config.shade:
            added = added + layers.known * (_smoothed(added, self.config.shade) - added)
        return moved.image + added, opacity

    def _check_codes(self, codes: Tensor | None) -> None:
        if (codes is not None) != self.config.coded:
            wanted = "posed neural codes" if self.config.coded else "no neural codes"
            raise HeadwarpError(
                f"pwm/residual: guidance {self.config.guidance!r}: expected {wanted}, got "
                f"{'none' if codes is None else 'some'}; geom.codes makes them"
            )


def base_flow(layers: PosedLayers, base: str) -> Float[Tensor, "B 2 H W"]:
    """The flow that the network adds to; see `ResidualConfig.base`.

    Args:
        layers: of the pairs.
        base: its name.
    """
    if base == "gated":
        return layers.flow
    return layers.displacement if base == "rendered" else torch.zeros_like(layers.flow)


def guidance_map(
    layers: PosedLayers, base: Float[Tensor, "B 2 H W"], made: Composed
) -> Float[Tensor, "B 12 H W"]:
    """Everything geometry says of the target at full resolution.

    Filled and rendered displacement, where the mesh lies, is known and surely shows the person, the mouth's
    inside, and matte and picture that the base flow makes.

    Args:
        layers: of the pairs.
        base: the flow that the network begins with, in pixels.
        made: what `compose` makes with it.
    """
    side = max(base.shape[2:]) / FLOW_UNIT
    parts = [layers.flow / side, layers.displacement / side]
    parts += [layers.covered, layers.known, layers.person, layers.hollow, made.matte, made.image]
    return torch.cat(parts, dim=1)


def _doubled(change: Float[Tensor, "B 3 h w"], factor: int) -> Float[Tensor, "B 3 H W"]:
    """A change of flow and matte for a frame ``factor`` times as large, bilinearly."""
    if factor == 1:
        return change
    large = F.interpolate(change, scale_factor=factor, mode="bilinear", align_corners=False)
    return torch.cat([large[:, :2] * factor, large[:, 2:]], dim=1)


def _smoothed(image: Float[Tensor, "B C H W"], pixels: int) -> Float[Tensor, "B C H W"]:
    """Means over squares of so many pixels, joined bilinearly."""
    small = F.avg_pool2d(image, pixels, ceil_mode=True, count_include_pad=False)
    large = F.interpolate(small, scale_factor=pixels, mode="bilinear", align_corners=False)
    return large[:, :, : image.shape[2], : image.shape[3]]


def _in_float32(head: nn.Module, features: Tensor) -> Tensor:
    """A head outside autocast: bfloat16 has steps of half a pixel at 100 pixels."""
    with torch.autocast(features.device.type, enabled=False):
        return head(features.float())


def _padded(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Continued by its right and lower edge to sides that are multiples of 32."""
    height, width = image.shape[2:]
    if height % DEEPEST == 0 and width % DEEPEST == 0:
        return image
    return F.pad(image, (0, -width % DEEPEST, 0, -height % DEEPEST), mode="replicate")
