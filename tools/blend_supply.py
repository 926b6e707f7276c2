"""Fitted clips as heads to be blended, the data of `training.recipes.heser_blender`; see `supply`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..flame.model import HeadModel
from ..training.data.batch import Batch
from ..training.data.blends.batch import BlendBatch, blank_blends
from ..training.data.blends.changes import BlendChanges
from ..training.data.blends.loader import BlendLoader, BlendLoaderConfig, blend_sample, stacked
from ..training.data.blends.maker import LabelledFrames
from ..training.data.pairs.pack import Pack
from ..training.data.pairs.sampler import PairConfig, PairIndex, PairSampler
from ..training.data.pairs.thin import spread
from .pack import DataConfig
from .supply import Planned, Ready, measured_packs, planned_packs
from .training_data import HELD_OUT_BATCH, BatchOptions, device_of, evenly, facts_of, locked_packs


@dataclass(frozen=True)
class BlendOptions:
    """How packs become batches.

    Attributes:
        batch: samples of a batch, for each process.
        workers: processes that make batches ahead.
        seed: of the draw.
        pairs: which frames: the reference and the one that is made.
        changes: what is done to them.
        device: that batches are meant for.
    """

    batch: int = 4
    workers: int = 0
    seed: int = 0
    pairs: PairConfig = field(default_factory=PairConfig)
    changes: BlendChanges = field(default_factory=BlendChanges)
    device: str = "cpu"


@dataclass(frozen=True)
class PackedBlends:
    """`training.engine.loop.Batches` of packs."""

    packs: Sequence[Pack]
    head: HeadModel
    options: BlendOptions

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[BlendBatch]:
        """Batch number ``first`` and all after it."""
        options = self.options
        sampler = PairSampler([p.index for p in self.packs], seed=options.seed, config=options.pairs)
        config = BlendLoaderConfig(device_of(options.device, world), rank, world, changes=options.changes)
        return iter(
            BlendLoader(
                self.packs,
                self.head,
                sampler,
                batch_size=options.batch,
                workers=options.workers,
                start_step=first,
                config=config,
            )
        )


@dataclass(frozen=True)
class BlendSupply:
    """Recoloured heads of fitted clips.

    Attributes:
        head: of the fits.
        asked: the data.
        held_out: data to measure on, or None.
        options: how packs become batches.
        count: samples that are measured.
    """

    head: HeadModel
    asked: DataConfig
    held_out: DataConfig | None
    options: BlendOptions
    count: int = 16

    def planned(self) -> Planned:
        """See `Supply`."""
        return planned_packs(self.asked, self.held_out, self.head)

    def blank(self) -> Batch:
        """See `Supply`."""
        return blank_blends(self.asked.packing.size)

    def ready(self) -> Ready:
        """See `Supply`."""
        packs, data = locked_packs(self.asked, self.head)
        batches = PackedBlends(packs, self.head, self.options)
        return Ready(batches, self._measured(packs), blend_facts(packs, self.options), data["left_out"])

    def _measured(self, packs: Sequence[Pack]) -> Sequence[Batch]:
        part = measured_packs(packs, self.held_out, self.head, self.options.pairs.share)
        if part is None:
            return []
        chosen, share = part
        return held_out_blends(chosen, self.head, share=share, count=self.count, changes=self.options.changes)


def blend_facts(packs: Sequence[Pack], options: BlendOptions) -> dict[str, Any]:
    """What a run must have in common with the one that it goes on from; its recipe's config has the rest."""
    whole = facts_of(packs, BatchOptions(batch=options.batch, pairs=options.pairs))
    return {key: whole[key] for key in ("head", "size", "clips", "packs", "batch", "pairs")}


def held_out_blends(
    packs: Sequence[Pack], head: HeadModel, *, share: tuple[float, float], count: int, changes: BlendChanges
) -> list[BlendBatch]:
    """Samples to measure on: frames spread evenly over a part of every clip, the references the clip's first
    usable frame or they themselves, changed as in training but by the same lot every time.

    Args:
        packs: clips; if there are more than ``count``, so many of them, spread evenly.
        head: their model.
        share: part of every clip, START and END in 0..1.
        count: samples in all, about.
        changes: what is done to them.
    """
    chosen = evenly(len(packs), count)
    each = math.ceil(count / len(chosen))
    frames = LabelledFrames(packs, head)
    samples = []
    for number in chosen:
        places = spread(packs[number].index, share, None)
        for place in evenly(len(places), each):
            position = places[place]
            draw = np.random.Generator(np.random.Philox(key=[number, position]))
            samples.append(blend_sample(frames, PairIndex(number, 0, number, position), changes, draw))
    parts = [samples[n : n + HELD_OUT_BATCH] for n in range(0, len(samples), HELD_OUT_BATCH)]
    return [stacked(part).batch() for part in parts]
