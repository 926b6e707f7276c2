"""Batches of pairs in the order of steps, made in this process or by workers ahead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ....flame.mirror import mesh_mirror
from ....flame.model import HeadModel
from ....geom.errors import HeadwarpError
from ..loading import LoadingConfig, made_or_told, numbered
from .augment import AugmentConfig, augmented, drawn_change
from .batch import PairBatch
from .changes import Changes, changed, changes_of
from .compact import COLUMNS, compact_columns, compact_of, expanded
from .flat import FlatBatch, flat_columns, flattened, unflattened
from .guidance import MakerConfig, PairMaker
from .pack import Pack
from .sampler import PairSampler


@dataclass(frozen=True)
class LoaderConfig(LoadingConfig):
    """How batches are loaded, as `LoadingConfig` says, and how their pairs are made and changed.

    Attributes:
        maker: how pairs are made.
        augment: how they are changed at random, by seed, step and slot; None: not at all.
        compact: batches travel in the bytes that pairs are kept in (`compact`) and are made, and changed as
            it was drawn for them, where they arrive; values are the same to rounding. None: for CUDA devices;
            on a CPU workers do it pair by pair, which takes no longer there.
    """

    maker: MakerConfig = field(default_factory=MakerConfig)
    augment: AugmentConfig | None = None
    compact: bool | None = None

    @property
    def travels_compact(self) -> bool:
        """What ``compact`` comes to."""
        return torch.device(self.device).type == "cuda" if self.compact is None else self.compact


class PairLoader:
    """Iterates batches for ever; which pairs a step holds depends on the sampler and the step alone.

    Workers are processes of their own, one thread each; they are started when a loop begins and end with it.
    A script that uses them needs the usual ``if __name__ == "__main__":``. The global random state is neither
    read nor changed.

    Args:
        packs: clips, of one head and size, in the order that the sampler knows them in.
        head: their model.
        sampler: draws pairs.
        batch_size: pairs of a step in this process.
        workers: processes that make batches ahead; 0 makes them in this one, bit for bit the same.
        start_step: the first step.
        config: see `LoaderConfig`.

    Raises:
        HeadwarpError: a number out of range, or pairs of a head without symmetry are to be mirrored; in a
            loop: a worker died.
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
        config: LoaderConfig | None = None,
    ) -> None:
        self.config = config or LoaderConfig()
        self.ahead = self.config.from_step(start_step, batch_size=batch_size, workers=workers)
        self.steps = StepPairs(packs, head, sampler, batch_size, self.config)

    def __iter__(self) -> Iterator[PairBatch]:
        """A fresh pass from ``start_step``."""
        twins = self.steps.twins
        for flat in numbered(self.steps, self.ahead):
            if not self.config.travels_compact:
                yield unflattened(flat)
                continue
            if twins is not None and twins.device != flat.data.device:  # once: this waits for the device
                twins = twins.to(flat.data.device)
            yield arrived(flat, twins)


def arrived(flat: FlatBatch, twins: Int[Tensor, "V"] | None) -> PairBatch:
    """The batch that travelled compact, made and changed where it is; see `StepPairs`."""
    tensors = flat.tensors()
    batch = expanded(compact_of(tensors[:COLUMNS], flat.names))
    drawn = tensors[COLUMNS:]
    return changed(batch, Changes(*drawn), twins=twins) if drawn else batch


class StepPairs:
    """The batch of a step, by its number; an error that a user can mend comes back as it is."""

    def __init__(
        self,
        packs: Sequence[Pack],
        head: HeadModel,
        sampler: PairSampler,
        batch_size: int,
        config: LoaderConfig,
    ) -> None:
        self.sampler, self.batch_size, self.config = sampler, batch_size, config
        self._maker = PairMaker(packs, head, config=config.maker)
        flips = config.augment is not None and config.augment.flip > 0
        self.twins = mesh_mirror(head, self._maker.vertices()) if flips else None

    def __getitem__(self, step: int) -> FlatBatch | HeadwarpError:
        return made_or_told(self._compact if self.config.travels_compact else self._flat, step)

    def _flat(self, step: int) -> FlatBatch:
        return flattened([self._pair(step, slot) for slot in self.config.slots(self.batch_size)])

    def _pair(self, step: int, slot: int) -> PairBatch:
        pair = self._maker.make(self.sampler.pair(step, slot))
        if self.config.augment is None:
            return pair
        return augmented(pair, self.config.augment, self._draw(step, slot), twins=self.twins)

    def _compact(self, step: int) -> FlatBatch:
        """The pairs as they are kept, behind them what was drawn for them."""
        slots = self.config.slots(self.batch_size)
        pairs = [self._maker.compact(self.sampler.pair(step, slot)) for slot in slots]
        columns, augment = compact_columns(pairs), self.config.augment
        if augment is not None:
            drawn = changes_of([drawn_change(augment, self._draw(step, slot)) for slot in slots])
            columns += [[drawn.matrix], [drawn.lift], [drawn.mirrored]]
        return flat_columns(columns, tuple(name for pair in pairs for name in pair.names))

    def _draw(self, step: int, slot: int) -> np.random.Generator:
        return self.sampler.draw(step, slot, stream=2)
