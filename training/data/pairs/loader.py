"""Batches of pairs in the order of steps, made in this process or by workers ahead of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....flame.model import HeadModel
from ....geom.errors import HeadwarpError
from .batch import PairBatch, stack_pairs
from .guidance import MakerConfig, PairMaker
from .pack import Pack
from .sampler import PairSampler


@dataclass(frozen=True)
class LoaderConfig:
    """How batches are loaded.

    Attributes:
        device: where batches go; copies to a CUDA device are made while the program goes on.
        rank: of this process; the pairs of a step go on over the ``world`` processes.
        world: how many processes there are.
        maker: how pairs are made.
    """

    device: str | torch.device = "cpu"
    rank: int = 0
    world: int = 1
    maker: MakerConfig = field(default_factory=MakerConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise HeadwarpError(f"rank: expected 0 to {self.world - 1}, got {self.rank}")


class PairLoader:
    """Iterates batches for ever; which pairs a step holds depends on the sampler and the step alone.

    Args:
        packs: clips, of one head and size, in the order that the sampler knows them in.
        head: their model.
        sampler: draws pairs.
        batch_size: pairs of a step in this process.
        workers: processes that make batches ahead; 0 makes them in this one, bit for bit the same.
        start_step: the first step.
        config: see `LoaderConfig`.

    Raises:
        HeadwarpError: a number out of range.
        ModelFileError: packs of another head.
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
        if batch_size < 1 or workers < 0 or start_step < 0:
            raise HeadwarpError(
                "loader: expected batch_size >= 1, workers >= 0 and start_step >= 0, got "
                f"{batch_size}, {workers} and {start_step}"
            )
        self.config = config or LoaderConfig()
        self.steps = StepPairs(packs, head, sampler, batch_size, self.config)
        self.workers, self.start_step = workers, start_step

    def __iter__(self) -> Iterator[PairBatch]:
        """A fresh pass from ``start_step``."""
        device = torch.device(self.config.device)
        if self.workers:
            raise HeadwarpError("loader: workers are not there yet; pass workers=0")
        for step in itertools.count(self.start_step):
            yield to_device(self.steps[step], device)


def to_device(batch: PairBatch, device: torch.device) -> PairBatch:
    """The batch there; from pinned memory without waiting."""

    def moved(value: Tensor) -> Tensor:
        return value.to(device, non_blocking=True)

    return batch if device.type == "cpu" else batch.map(moved)


class StepPairs:
    """The batch of a step, by its number; what is made once per process is made at the first step."""

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

    def __getitem__(self, step: int) -> PairBatch:
        first = self.config.rank * self.batch_size
        slots = range(first, first + self.batch_size)
        return stack_pairs([self._maker.make(self.sampler.pair(step, slot)) for slot in slots])
