"""Clips without faces as the data of a training, see `supply`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..training.data.batch import Batch
from ..training.data.frames.augment import FrameAugment
from ..training.data.frames.batch import ByteFrames, FrameBatch, blank_frames
from ..training.data.frames.loader import FrameLoader, FrameLoaderConfig, name_of, read_sample
from ..training.data.frames.pack import FramePack
from ..training.data.frames.sampler import PAIR, FrameConfig, FrameSample, FrameSampler, clip_samples
from .frame_packs import FrameDataConfig, FramePlan, plan_frames, prepare_frames
from .supply import Planned, Ready, measured_share
from .training_data import HELD_OUT_BATCH, alone, device_of, digest_of, evenly


@dataclass(frozen=True)
class FrameOptions:
    """How packs of frames become batches.

    Attributes:
        batch: samples of a batch, for each process.
        workers: processes that make batches ahead.
        seed: of the draw.
        sampling: which frames.
        augment: how samples are changed at random; None: not at all.
        device: that batches are meant for.
    """

    batch: int = 4
    workers: int = 0
    seed: int = 0
    sampling: FrameConfig = field(default_factory=FrameConfig)
    augment: FrameAugment | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class PackedFrames:
    """`training.engine.loop.Batches` of packs of frames."""

    packs: Sequence[FramePack]
    options: FrameOptions

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[FrameBatch]:
        """Batch number ``first`` and all after it."""
        options = self.options
        sampler = FrameSampler([p.index for p in self.packs], seed=options.seed, config=options.sampling)
        device = device_of(options.device, world)
        config = FrameLoaderConfig(device, rank, world, augment=options.augment)
        return iter(
            FrameLoader(
                self.packs,
                sampler,
                batch_size=options.batch,
                workers=options.workers,
                start_step=first,
                config=config,
            )
        )


@dataclass(frozen=True)
class FrameSupply:
    """Frames of clips, whatever they show.

    Attributes:
        asked: the data.
        held_out: data to measure on, or None.
        options: how packs become batches.
        count: samples that are measured.
    """

    asked: FrameDataConfig
    held_out: FrameDataConfig | None
    options: FrameOptions
    count: int = 16

    def planned(self) -> Planned:
        """See `Supply`."""
        other = None if self.held_out is None else plan_frames(self.held_out).report()
        return Planned(plan_frames(self.asked).report(), other)

    def blank(self) -> Batch:
        """See `Supply`."""
        return blank_frames(self.asked.packing.size, self.options.sampling.count)

    def ready(self) -> Ready:
        """See `Supply`."""
        made = _prepared(self.asked)
        facts = frame_facts(made.packed, self.options)
        batches = PackedFrames(made.packed, self.options)
        return Ready(batches, self._measured(made.packed), facts, made.left_out)

    def _measured(self, packs: Sequence[FramePack]) -> Sequence[Batch]:
        share = measured_share(self.options.sampling.share, named=self.held_out is not None)
        if share is None:
            return []
        chosen = packs if self.held_out is None else _prepared(self.held_out).packed
        sampling = dataclasses.replace(self.options.sampling, share=share)
        return held_out_frames(chosen, sampling, count=self.count)


def _prepared(asked: FrameDataConfig) -> FramePlan:
    """`prepare_frames` by one process at a time: the others find the packs made."""
    with alone(asked.cache):
        return prepare_frames(asked)


def frame_facts(packs: Sequence[FramePack], options: FrameOptions) -> Mapping[str, Any]:
    """What a run must have in common with the one that it goes on from."""
    return {
        "size": packs[0].index.size,
        "clips": len(packs),
        "packs": digest_of(packs),
        "batch": options.batch,
        "sampling": dataclasses.asdict(options.sampling),
        "augment": None if options.augment is None else dataclasses.asdict(options.augment),
    }


def held_out_frames(packs: Sequence[FramePack], sampling: FrameConfig, *, count: int) -> list[FrameBatch]:
    """Samples to measure on: from a clip's first frame to frames spread evenly over a part of it; of three
    frames, triplets spread evenly.

    Args:
        packs: clips; if there are more than ``count``, so many of them, spread evenly.
        sampling: how many frames, how far apart, and the part of every clip.
        count: samples in all, about.
    """
    if sampling.count == PAIR:
        sampling = FrameConfig(order="first", share=sampling.share)
    chosen = evenly(len(packs), count)
    each = math.ceil(count / len(chosen))
    samples: list[FrameSample] = []
    for number in chosen:
        own = clip_samples(packs[number].index, sampling)
        rows = sorted(own.pick(place) for place in evenly(own.count, each))
        samples += [FrameSample(number, row) for row in rows]
    parts = [samples[n : n + HELD_OUT_BATCH] for n in range(0, len(samples), HELD_OUT_BATCH)]
    return [_batch(packs, part) for part in parts]


def _batch(packs: Sequence[FramePack], samples: Sequence[FrameSample]) -> FrameBatch:
    frames = torch.stack([read_sample(packs, sample) for sample in samples])
    return ByteFrames(frames, tuple(name_of(packs, sample) for sample in samples)).batch()
