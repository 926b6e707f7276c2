"""Colours of one picture brought to those of another by statistics of corresponding regions.

The mean colour of a region is matched by a curve a channel, ``x ** gamma``, which leaves black black and
white white; then the spread of brightness is matched about the mean, within bounds. The idea is
[Reinhard 2001]'s: match mean and spread of corresponding regions channel by channel. Departures: their
shifts and gains, in any space, lift the black of a beard or of pupils where the target is brighter, which
curves do not; and colour spread is left alone, since a portrait's hardly differs but for make-up. All is
in gamma-encoded RGB, where skin of every tone spreads evenly and a curve is a stop of exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, 0.0, -0.5), (-0.25, 0.5, -0.25))
"""Brightness, red against blue, green against magenta: nearly independent in pictures (Ohta et al. 1980)."""
_FLAT = 0.012  # spread below which a region counts as flat
_GAMMA = (0.35, 2.8)
_TINT = (0.55, 1.8)  # of a channel's curve against that of all: beyond, shadows take a colour of their own
_DARKEST = 1e-3


@dataclass(frozen=True)
class ColourStatistics:
    """A region's colours.

    Attributes:
        mean: RGB in [0, 1], ``(B, 3)``.
        deviation: standard deviation along the `OPPONENT` axes, ``(B, 3)``.
        weight: sum of the weights it rests on, in pixels, ``(B,)``; 0 where the region is empty.
    """

    mean: Float[Tensor, "B 3"]
    deviation: Float[Tensor, "B 3"]
    weight: Float[Tensor, "B"]


@dataclass(frozen=True)
class ColourMap:
    """``mean + contrast (x ** gamma - mean)``; fields ``(B, 3)`` and ``(B, 1)``."""

    gamma: Float[Tensor, "B 3"]
    mean: Float[Tensor, "B 3"]
    contrast: Float[Tensor, "B 1"]

    def __call__(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """RGB in [0, 1] mapped, in [0, 1]."""
        at = lambda values: values[..., None, None]  # noqa: E731
        curved = image.clamp(_DARKEST, 1).pow(at(self.gamma))
        return torch.lerp(at(self.mean).expand_as(curved), curved, at(self.contrast)).clamp(0, 1)


def region_statistics(
    image: Float[Tensor, "B 3 H W"], weight: Float[Tensor, "B 1 H W"], *, trim: float = 2.0, passes: int = 2
) -> ColourStatistics:
    """Statistics of a region, without what does not look like the rest of it.

    Args:
        image: RGB in [0, 1].
        weight: how much each pixel belongs to the region, not negative.
        trim: pixels further from the mean than so many deviations, along any opponent axis, are left out (a
            fringe, a highlight, a beard); the statistics are then taken anew.
        passes: how often.

    Example:
        >>> grey = torch.full((1, 3, 4, 4), 0.5)
        >>> region_statistics(grey, torch.ones(1, 1, 4, 4)).mean
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    rgb, weights = image.flatten(2), weight.flatten(2)  # (B, 3, N), (B, 1, N)
    values = _opponent(rgb)
    kept = weights
    mean, spread = _moments(values, kept)
    for _ in range(passes):
        off = (values - mean[..., None]).abs() > trim * spread[..., None].clamp(min=_FLAT)
        kept = weights * (~off.any(1, keepdim=True))
        mean, spread = _moments(values, kept)
    colour, _ = _moments(rgb, kept)
    return ColourStatistics(colour, spread, weights.sum((1, 2)))


def _opponent(rgb: Float[Tensor, "B 3 N"]) -> Float[Tensor, "B 3 N"]:
    return rgb.new_tensor(OPPONENT) @ rgb


def _moments(values: Tensor, weights: Tensor) -> tuple[Float[Tensor, "B 3"], Float[Tensor, "B 3"]]:
    total = weights.sum(2).clamp(min=1e-6)  # (B, 1)
    mean = (values * weights).sum(2) / total
    spread = ((values - mean[..., None]).square() * weights).sum(2) / total
    return mean, spread.sqrt()


def mixed_statistics(old: ColourStatistics | None, new: ColourStatistics, share: float) -> ColourStatistics:
    """``share`` of the new statistics and the rest of the old ones: smoothing in time.

    New ones of an empty region change nothing.

    Args:
        old: of the frames before; None at the first.
        new: of this frame.
        share: of the new ones, 0..1.
    """
    if old is None or bool((new.weight < 1).any()):
        return new if old is None else old
    mix = lambda name: torch.lerp(getattr(old, name), getattr(new, name), share)  # noqa: E731
    return ColourStatistics(mix("mean"), mix("deviation"), mix("weight"))


def colour_map(
    source: ColourStatistics, target: ColourStatistics, *, contrast: tuple[float, float] = (0.95, 1.25)
) -> ColourMap:
    """The map that gives a source region the target's mean colour and, within bounds, its contrast.

    Args:
        source, target: of corresponding regions; the identity where either is empty.
        contrast: bounds of the gain about the mean.

    Example:
        >>> image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> own = region_statistics(image, torch.ones(1, 1, 8, 8))
        >>> bool(torch.allclose(colour_map(own, own)(image), image, atol=1e-3))
        True
    """
    first, second = source.mean.clamp(0.02, 0.97), target.mean.clamp(0.02, 0.97)
    gamma = (second.log() / first.log()).clamp(*_GAMMA)
    common = gamma.log().mean(1, keepdim=True).exp()
    gamma = common * (gamma / common).clamp(*_TINT)
    # the curve's slope at the mean has changed the spread already
    slope = (gamma * first.pow(gamma - 1)).mean(1, keepdim=True)
    wanted = target.deviation[:, :1].clamp(min=_FLAT) / (slope * source.deviation[:, :1].clamp(min=_FLAT))
    gain = wanted.clamp(*contrast)
    known = ((source.weight >= 1) & (target.weight >= 1))[:, None]
    one = torch.ones_like(gain)
    return ColourMap(torch.where(known, gamma, torch.ones_like(gamma)), second, torch.where(known, gain, one))


def light_map(
    source: ColourStatistics, target: ColourStatistics, *, share: float, bounds: tuple[float, float]
) -> ColourMap:
    """A curve of brightness alone, for what is lit like the skin but has a colour of its own (hair).

    Args:
        source, target: of the skin.
        share: exponent of the skin's own curve: 0 changes nothing, 1 follows the skin's brightness.
        bounds: of the curve's gamma.
    """
    whole = colour_map(source, target)
    gamma = whole.gamma.log().mean(1, keepdim=True).mul(share).exp().clamp(*bounds)
    return ColourMap(gamma.expand_as(whole.gamma), whole.mean, torch.ones_like(whole.contrast))


def colour_likeness(
    image: Float[Tensor, "B 3 H W"], statistics: ColourStatistics, *, within: float = 2.5
) -> Float[Tensor, "B 1 H W"]:
    """1 where a pixel's colour lies within so many deviations of a region's, falling to 0 at twice that.

    Args:
        image: RGB in [0, 1].
        statistics: the region's.
        within: standard deviations that count as the same colour.
    """
    values = _opponent(image.flatten(2))
    middle = _opponent(statistics.mean[..., None])
    off = (values - middle) / statistics.deviation[..., None].clamp(min=_FLAT)
    distance = off.square().sum(1, keepdim=True).sqrt().unflatten(2, image.shape[2:])
    return (2 - distance / within).clamp(0, 1)
