"""Changes of a pair that leave it a pair: mirrored, and in other colours, with all that belongs to it.

Brightness, contrast, saturation and hue are one affine map of RGB, so that `compose` of changed layers is the
changed picture: colours, background and dark go through the map, the residual, a difference of colours,
through its linear part alone.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....geom.errors import HeadwarpError
from .batch import PairBatch
from .mirror import mirror_pairs

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class AugmentConfig:
    """How pairs are changed at random; the amounts are those of [FOMM]'s loader.

    Attributes:
        brightness: colours times 1 - amount to 1 + amount.
        contrast: distance from the source's mean grey, times as much.
        saturation: distance of each colour from its grey, times as much.
        hue: turn about the grey axis, in turns, up to so much either way.
        flip: share of pairs that are mirrored.
    """

    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue", "flip"):
            most = 0.5 if name == "hue" else 1.0
            if not 0 <= getattr(self, name) <= most:
                raise HeadwarpError(f"{name}: expected 0 to {most}, got {getattr(self, name)}")


@dataclass(frozen=True)
class ColourMap:
    """``colour -> matrix @ colour + shift``, RGB; ``matrix (3, 3)``, ``shift (3,)``."""

    matrix: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]

    def __call__(self, picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Of colours."""
        return self.difference(picture) + self.shift[:, None, None]

    def difference(self, picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Of differences of colours: the shift falls out."""
        return torch.einsum("ij,bjhw->bihw", self.matrix, picture)


@dataclass(frozen=True)
class Change:
    """What was drawn for a pair: factors, turns, and whether it is mirrored; see `AugmentConfig`."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    mirrored: bool

    def colours(self, grey: float) -> ColourMap:
        """Of a picture with this mean grey."""
        return colour_map(self.brightness, self.contrast, self.saturation, self.hue, grey=grey)


def drawn_change(config: AugmentConfig, draw: np.random.Generator) -> Change:
    """Equal generators give equal changes; takes five numbers of one."""
    amounts = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (1 + float(draw.uniform(-amount, amount)) for amount in amounts)
    turn = float(draw.uniform(-config.hue, config.hue))
    return Change(brightness, contrast, saturation, turn, bool(draw.random() < config.flip))


def augmented(
    pair: PairBatch,
    config: AugmentConfig,
    draw: np.random.Generator,
    *,
    twins: Int[Tensor, "V"] | None = None,
) -> PairBatch:
    """One pair changed at random; equal generators give equal changes. `changes.changed` does it for a batch.

    Args:
        pair: a batch of one.
        config: how much.
        draw: gives five numbers.
        twins: of `flame.mirror.mesh_mirror` for the pair's meshes; needed to mirror.

    Raises:
        HeadwarpError: pairs are to be mirrored and ``twins`` are missing.
    """
    change = drawn_change(config, draw)
    grey = float((pair.source.mean((0, 2, 3)) * pair.source.new_tensor(LUMA)).sum())
    changed = recoloured(pair, change.colours(grey))
    if not change.mirrored:
        return changed
    if twins is None:
        raise HeadwarpError("flip: expected the twins of the mesh, got none; see flame.mirror.mesh_mirror")
    return mirror_pairs(changed, twins)


def colour_map(
    brightness: float, contrast: float, saturation: float, hue: float, *, grey: float
) -> ColourMap:
    """Brightness, then contrast about a grey, then saturation, then hue, as one map.

    Departures from torchvision's jitter, which [FOMM] uses: the order is fixed, nothing is clamped between
    the steps, and hue turns RGB about the grey axis with luma kept instead of HSV's hexagon, as no affine map
    does that.

    Args:
        brightness, contrast, saturation: factors; 1 changes nothing.
        hue: in turns; 0 changes nothing.
        grey: mean of the picture before, 0..1.

    Example:
        >>> change = colour_map(1.1, 1.0, 1.0, 0.0, grey=0.5)
        >>> change.shift.tolist(), round(float(change.matrix.trace()), 3)
        ([0.0, 0.0, 0.0], 3.3)
    """
    luma = torch.tensor(LUMA, dtype=torch.float64).expand(3, 3)  # every row: a colour's grey, as RGB
    unit = torch.eye(3, dtype=torch.float64)
    coloured = luma + saturation * (unit - luma)
    turned = luma + _turn(hue) @ (unit - luma)
    matrix = turned @ coloured * (contrast * brightness)
    shift = (1 - contrast) * brightness * grey * torch.ones(3, dtype=torch.float64)  # grey stays grey
    return ColourMap(matrix.float(), shift.float())


def _turn(turns: float) -> Float[Tensor, "3 3"]:
    """Turn of colours without luma, sheared so that they stay without it."""
    half, root = math.pi * 2 * turns, math.sqrt(3.0)
    c, s = math.cos(half), math.sin(half)
    along = (1 - c) / 3 * torch.ones(3, 3, dtype=torch.float64)
    cross = s / root * torch.tensor([[0, -1.0, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64)
    turn = c * torch.eye(3, dtype=torch.float64) + along + cross
    luma = torch.tensor(LUMA, dtype=torch.float64).expand(3, 3)
    return turn - luma @ turn


def recoloured(pair: PairBatch, change: ColourMap) -> PairBatch:
    """The pair in other colours. Frames are clamped to [0, 1]; the layers are not, as `compose` is linear."""
    layers = dataclasses.replace(
        pair.layers,
        colours=change(pair.layers.colours),
        residual=change.difference(pair.layers.residual),
        background=change(pair.layers.background),
        dark=change(pair.layers.dark),
    )
    source, driving = (change(frame).clamp(0, 1) for frame in (pair.source, pair.driving))
    return dataclasses.replace(pair, source=source, driving=driving, layers=layers)
