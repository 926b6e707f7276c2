"""Changes that were drawn pair by pair, applied to a whole batch where it is: `augmented` for devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ....geom.errors import HeadwarpError
from ....warping.posed_layers import PosedLayers
from .augment import LUMA, Change
from .batch import PER_PAIR, PairBatch
from .mirror import mirror_pairs

_LAYERS = tuple(field.name for field in dataclasses.fields(PosedLayers))


@dataclass(frozen=True)
class Changes:
    """What was drawn for B pairs, as tensors: a colour becomes ``matrix @ colour + lift * grey``.

    Attributes:
        matrix: of `augment.ColourMap`, ``(B, 3, 3)``.
        lift: its shift for a source whose mean grey is 1; the shift is proportional to that, ``(B,)``.
        mirrored: which pairs are, ``(B,)``.
    """

    matrix: Float[Tensor, "B 3 3"]
    lift: Float[Tensor, "B"]
    mirrored: Bool[Tensor, "B"]


def changes_of(drawn: Sequence[Change]) -> Changes:
    """The changes of pairs one after another."""
    maps = [change.colours(1.0) for change in drawn]
    return Changes(
        matrix=torch.stack([each.matrix for each in maps]),
        lift=torch.stack([each.shift[0] for each in maps]),
        mirrored=torch.tensor([change.mirrored for change in drawn]),
    )


def changed(batch: PairBatch, changes: Changes, *, twins: Int[Tensor, "V"] | None = None) -> PairBatch:
    """Every pair with its change, all of a batch at once; no number is looked at.

    Values are those of `augmented`, to rounding, whatever the batch. Products are summed one by one: a
    device's own matrix products may round their factors.

    Args:
        batch: pairs, as many as changes, on the changes' device.
        changes: what was drawn.
        twins: of `flame.mirror.mesh_mirror` for the pairs' meshes, on that device; None: none is mirrored.

    Raises:
        HeadwarpError: another number of pairs than of changes.
    """
    if len(batch.source) != len(changes.lift):
        raise HeadwarpError(f"changes: expected {len(batch.source)}, one a pair, got {len(changes.lift)}")
    recoloured = _recoloured(batch, changes)
    return recoloured if twins is None else _mirrored(recoloured, changes.mirrored, twins)


def _recoloured(batch: PairBatch, changes: Changes) -> PairBatch:
    layers, columns = batch.layers, changes.matrix[..., None, None].unbind(2)  # each (B, 3, 1, 1)
    means = batch.source.mean((2, 3))
    grey = sum(
        (part * means[:, channel] for channel, part in enumerate(LUMA)), torch.zeros_like(changes.lift)
    )
    shift = (changes.lift * grey)[:, None, None, None]

    def difference(picture: Tensor) -> Tensor:
        red, green, blue = picture[:, :1], picture[:, 1:2], picture[:, 2:]
        return (columns[0] * red).addcmul_(columns[1], green).addcmul_(columns[2], blue)

    def colours(picture: Tensor) -> Tensor:
        return difference(picture).add_(shift)

    changed_layers = dataclasses.replace(
        layers,
        colours=colours(layers.colours),
        residual=difference(layers.residual),
        background=colours(layers.background),
        dark=colours(layers.dark),
    )
    source, driving = (colours(frame).clamp_(0, 1) for frame in (batch.source, batch.driving))
    return dataclasses.replace(batch, source=source, driving=driving, layers=changed_layers)


def _mirrored(batch: PairBatch, which: Bool[Tensor, "B"], twins: Int[Tensor, "V"]) -> PairBatch:
    other = mirror_pairs(batch, twins)

    def chosen(name: str, mirrored: PairBatch | PosedLayers, plain: PairBatch | PosedLayers) -> Tensor:
        value = getattr(plain, name)
        return torch.where(which.view(-1, *(1,) * (value.ndim - 1)), getattr(mirrored, name), value)

    layers = PosedLayers(**{name: chosen(name, other.layers, batch.layers) for name in _LAYERS})
    own: dict[str, Any] = {name: chosen(name, other, batch) for name in PER_PAIR}
    return dataclasses.replace(batch, layers=layers, **own)
