"""The data of a training: planned in seconds, then made ready and given as numbered batches."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..flame.model import HeadModel
from ..training.data.batch import Batch
from ..training.data.pairs.blank import blank_pair
from ..training.data.pairs.pack import Pack
from ..training.engine.loop import Batches
from .pack import DataConfig, packs_at, plan_packs
from .training_data import BatchOptions, PackedBatches, facts_of, held_out_batches, keep_of, locked_packs


@dataclass(frozen=True)
class Ready:
    """Data to train on.

    Attributes:
        batches: numbered.
        held_out: batches to measure on.
        facts: what a run must have in common with the one that it goes on from.
        left_out: clip -> why it is not trained on.
    """

    batches: Batches
    held_out: Sequence[Batch]
    facts: Mapping[str, Any]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Planned:
    """What will be trained on, and measured on: reports of `PackPlan`; None where no clips are held out."""

    clips: Mapping[str, Any]
    held_out: Mapping[str, Any] | None


class Supply(Protocol):
    """Where batches come from."""

    def planned(self) -> Planned:
        """Check what can be checked in seconds.

        Raises:
            HeadwarpError: nothing can be trained on, or the disk is too small.
        """

    def blank(self) -> Batch:
        """A made-up batch of one with the shapes of a real one."""

    def ready(self) -> Ready:
        """Make what is missing."""


def measured_share(trained: tuple[float, float], *, named: bool) -> tuple[float, float] | None:
    """The part of every clip that is measured on: all of those that are named for it, else what training
    leaves at the end, or at the beginning. None: no part, or another process measures.
    """
    start, end = trained
    share = (0.0, 1.0) if named else (end, 1.0) if end < 1 else (0.0, start)
    return None if share[0] >= share[1] or int(os.environ.get("RANK", "0")) else share


def planned_packs(asked: DataConfig, held_out: DataConfig | None, head: HeadModel) -> Planned:
    """Packs of a head's fits that will be trained on, and measured on, made already or not.

    Args:
        asked: what is trained on.
        held_out: what is measured on, or None.
        head: the head of the fits.
    """

    def report(each: DataConfig) -> Mapping[str, Any]:
        return (packs_at(each, head) or plan_packs(each, head)).report()

    other = None if held_out is None else report(held_out)
    return Planned(report(asked), other)


def measured_packs(
    packs: Sequence[Pack], held_out: DataConfig | None, head: HeadModel, trained: tuple[float, float]
) -> tuple[Sequence[Pack], tuple[float, float]] | None:
    """Packs to measure on, those that are trained on where none are held out, and which part of each clip;
    see `measured_share`.

    Args:
        packs: what is trained on.
        held_out: what is measured on, or None.
        head: the head of the fits.
        trained: part of each clip that is trained on, start and end in 0..1.
    """
    share = measured_share(trained, named=held_out is not None)
    if share is None:
        return None
    return (packs if held_out is None else locked_packs(held_out, head)[0]), share


@dataclass(frozen=True)
class PairSupply:
    """Pairs of fitted clips.

    Attributes:
        head: of the fits.
        asked: the data.
        held_out: data to measure on, or None.
        options: how packs become batches.
        auto_keep: choose what is kept by what comes again, in place of ``options.keep``.
        count: pairs that are measured.
    """

    head: HeadModel
    asked: DataConfig
    held_out: DataConfig | None
    options: BatchOptions
    auto_keep: bool = True
    count: int = 16

    def planned(self) -> Planned:
        """See `Supply`."""
        return planned_packs(self.asked, self.held_out, self.head)

    def blank(self) -> Batch:
        """See `Supply`."""
        return blank_pair(self.head, self.asked.packing.size)

    def ready(self) -> Ready:
        """See `Supply`."""
        packs, data = locked_packs(self.asked, self.head)
        keep = keep_of(packs, self.options.pairs) if self.auto_keep else self.options.keep
        options = dataclasses.replace(self.options, keep=keep)
        batches = PackedBatches(packs, self.head, options)
        return Ready(batches, self._measured(packs), facts_of(packs, options), data["left_out"])

    def _measured(self, packs: Sequence[Pack]) -> Sequence[Batch]:
        part = measured_packs(packs, self.held_out, self.head, self.options.pairs.share)
        if part is None:
            return []
        (chosen, share), still = part, self.options.still_camera
        return held_out_batches(chosen, self.head, share=share, count=self.count, still_camera=still)
