"""Changes of a sample at random, alike for all its frames: mirrored, backwards, zoomed, in other colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ....geom.errors import HeadwarpError
from ..pairs.augment import LUMA, AugmentConfig, colour_map

SMALLEST, LARGEST = 0.25, 4.0  # of a zoom


@dataclass(frozen=True)
class FrameAugment(AugmentConfig):
    """How samples are changed at random; the amounts are those of [FOMM]'s loader.

    Attributes:
        brightness, contrast, saturation, hue: as in `AugmentConfig`.
        flip: share of samples that are mirrored.
        time_flip: share of samples whose order is turned round.
        exclusive: what is turned round is not mirrored, as in [FOMM]'s public code, where for 0.5 and 0.5
            only a quarter is mirrored.
        zoom: least and largest factor by which frames are resized; then a window of the old size is taken
            anywhere in them, or around them with their border repeated. (1, 1) leaves them.
    """

    time_flip: float = 0.5
    exclusive: bool = False
    zoom: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.time_flip <= 1:
            raise HeadwarpError(f"time_flip: expected 0 to 1, got {self.time_flip}")
        low, high = self.zoom
        if not SMALLEST <= low <= high <= LARGEST:
            raise HeadwarpError(f"zoom: expected {SMALLEST} <= LEAST <= MOST <= {LARGEST}, got {self.zoom}")


def augmented_frames(
    frames: UInt8[Tensor, "N 3 H W"], config: FrameAugment, draw: np.random.Generator
) -> UInt8[Tensor, "N 3 H W"]:
    """One sample changed at random; equal generators give equal changes.

    Resampled and coloured frames are rounded to bytes again. What nothing is asked of stays as it is.

    Args:
        frames: of one sample.
        config: how much.
        draw: gives nine numbers.
    """
    amounts = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (1 + float(draw.uniform(-amount, amount)) for amount in amounts)
    turn = float(draw.uniform(-config.hue, config.hue))
    backwards, mirrored = draw.random() < config.time_flip, draw.random() < config.flip
    factor = float(draw.uniform(*config.zoom))
    corner = (float(draw.random()), float(draw.random()))
    if backwards:
        frames = frames.flip(0)
    if mirrored and not (backwards and config.exclusive):
        frames = frames.flip(-1)
    coloured = any((*amounts, config.hue))
    if factor == 1 and not coloured:
        return frames
    pictures = frames.float() / 255
    if factor != 1:
        pictures = zoomed(pictures, factor, corner)
    if coloured:
        grey = float((pictures[0].mean((1, 2)) * pictures.new_tensor(LUMA)).sum())
        pictures = colour_map(brightness, contrast, saturation, turn, grey=grey)(pictures)
    return pictures.clamp(0, 1).mul(255).round().to(torch.uint8)


def zoomed(
    pictures: Float[Tensor, "N 3 H W"], factor: float, corner: tuple[float, float]
) -> Float[Tensor, "N 3 H W"]:
    """Pictures resized by a factor and cut, or filled up with their border on all sides, to their old size.

    Args:
        pictures: of one size.
        factor: of the resizing.
        corner: where the cut lies in what there is to choose from, x and y in 0..1.
    """
    height, width = pictures.shape[2:]
    new = (max(1, int(height * factor)), max(1, int(width * factor)))
    drawn = F.interpolate(pictures, new, mode="bilinear", align_corners=False, antialias=True)
    missing = [max(0, width - new[1]), max(0, height - new[0])]
    sides = [
        part for total in missing for part in (total // 2, total - total // 2)
    ]  # left, right, top, bottom
    drawn = F.pad(drawn, sides, mode="replicate")
    room = (drawn.shape[3] - width, drawn.shape[2] - height)
    x, y = (min(int(share * (free + 1)), free) for share, free in zip(corner, room, strict=True))
    return drawn[:, :, y : y + height, x : x + width]
