"""Batches of heads to be blended, in the order of steps, made in this process or by workers ahead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ....flame.model import HeadModel
from ....geom.errors import HeadwarpError
from ..loading import LoadingConfig, made_or_told, numbered
from ..pairs.pack import Pack
from ..pairs.sampler import PairIndex, PairSampler
from .batch import BlendBatch, ByteBlends
from .changes import BlendChanges, moved, recoloured
from .maker import LabelledFrames


@dataclass(frozen=True)
class BlendLoaderConfig(LoadingConfig):
    """How batches are loaded, as `LoadingConfig` says, and what is done to their frames.

    Attributes:
        changes: what is done to frames at random, by seed, step and slot.
    """

    changes: BlendChanges = field(default_factory=BlendChanges)


class BlendLoader:
    """Iterates batches for ever; which samples a step holds depends on the sampler and the step alone.

    Args:
        packs: clips, of one head and size, in the order that the sampler knows them in.
        head: their model.
        sampler: draws pairs: the reference, should it be another frame, and the frame to be made.
        batch_size: samples of a step in this process.
        workers: processes that make batches ahead; 0 makes them in this one, bit for bit the same.
        start_step: the first step.
        config: see `BlendLoaderConfig`.

    Raises:
        HeadwarpError: a number out of range; in a loop: a worker died.
        ModelFileError: packs of another head; in a loop: a damaged pack.
    """

    def __init__(
        self,
        packs: Sequence[Pack],
        head: HeadModel,
        sampler: PairSampler,
        *,
        batch_size: int,
        workers: int = 0,
        start_step: int = 0,
        config: BlendLoaderConfig | None = None,
    ) -> None:
        self.config = config or BlendLoaderConfig()
        self.ahead = self.config.from_step(start_step, batch_size=batch_size, workers=workers)
        self.steps = StepBlends(LabelledFrames(packs, head), sampler, batch_size, self.config)

    def __iter__(self) -> Iterator[BlendBatch]:
        """A fresh pass from ``start_step``."""
        return (made.batch() for made in numbered(self.steps, self.ahead))


class StepBlends:
    """The batch of a step, by its number; an error that a user can mend comes back as it is."""

    def __init__(
        self, frames: LabelledFrames, sampler: PairSampler, batch_size: int, config: BlendLoaderConfig
    ) -> None:
        self.frames, self.sampler = frames, sampler
        self.batch_size, self.config = batch_size, config

    def __getitem__(self, step: int) -> ByteBlends | HeadwarpError:
        return made_or_told(self._made, step)

    def _made(self, step: int) -> ByteBlends:
        return stacked([self._sample(step, slot) for slot in self.config.slots(self.batch_size)])

    def _sample(self, step: int, slot: int) -> ByteBlends:
        pair, draw = self.sampler.pair(step, slot), self.sampler.draw(step, slot, stream=2)
        return blend_sample(self.frames, pair, self.config.changes, draw)


def blend_sample(
    frames: LabelledFrames, pair: PairIndex, changes: BlendChanges, draw: np.random.Generator
) -> ByteBlends:
    """One sample; equal generators give equal samples.

    Args:
        frames: labels frames.
        pair: the driving frame is to be made; the source frame is the reference if another one is drawn.
        changes: how much is changed.
        draw: takes nine numbers.
    """
    truth = frames.frame(pair.driving_pack, pair.driving)
    animated, mirrored = recoloured(truth.image, changes, draw)
    other = draw.random() < changes.other
    shown = frames.frame(pair.source_pack, pair.source) if other else truth
    reference = moved(shown, changes, draw, mirrored=mirrored)
    return ByteBlends(
        torch.stack([truth.image, animated, reference.image])[None],
        torch.stack([truth.labels, reference.labels])[None],
        torch.stack([truth.places, reference.places])[None],
        (frames.name(pair.driving_pack, pair.driving),),
    )


def stacked(samples: Sequence[ByteBlends]) -> ByteBlends:
    """Samples of one size as one batch."""
    return ByteBlends(
        torch.cat([sample.images for sample in samples]),
        torch.cat([sample.labels for sample in samples]),
        torch.cat([sample.places for sample in samples]),
        tuple(name for sample in samples for name in sample.names),
    )
