"""Batches of pairs in the order of steps, made in this process or by workers ahead of it."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ....flame.mirror import mesh_mirror
from ....flame.model import HeadModel
from ....geom.errors import HeadwarpError
from .augment import AugmentConfig, augmented
from .batch import PairBatch, stack_pairs
from .flat import FlatBatch, flattened, unflattened
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
        ahead: batches that each worker makes ahead.
        maker: how pairs are made.
        augment: how they are changed at random, by seed, step and slot; None: not at all.
    """

    device: str | torch.device = "cpu"
    rank: int = 0
    world: int = 1
    ahead: int = 2
    maker: MakerConfig = field(default_factory=MakerConfig)
    augment: AugmentConfig | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise HeadwarpError(f"rank: expected 0 to {self.world - 1}, got {self.rank}")
        if self.ahead < 1:
            raise HeadwarpError(f"ahead: expected at least one batch, got {self.ahead}")


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
        for made in self._from_workers(device) if self.workers else self._made_here():
            if isinstance(made, HeadwarpError):
                raise made
            yield unflattened(made if device.type == "cpu" else made.to(device))

    def _made_here(self) -> Iterator[FlatBatch | HeadwarpError]:
        pinned = torch.device(self.config.device).type == "cuda"
        for step in itertools.count(self.start_step):
            with _one_thread():
                made = self.steps[step]
            yield made.pin_memory() if pinned and isinstance(made, FlatBatch) else made

    def _from_workers(self, device: torch.device) -> Iterator[FlatBatch | HeadwarpError]:
        from torch.utils.data import DataLoader

        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            context.set_forkserver_preload([__name__])  # imported once, not by each worker
        loader: DataLoader[FlatBatch | HeadwarpError] = DataLoader(
            self.steps,  # type: ignore[arg-type]  # what has __getitem__ is a data set
            batch_size=None,
            sampler=_CountFrom(self.start_step),
            num_workers=self.workers,
            prefetch_factor=self.config.ahead,
            pin_memory=device.type == "cuda",
            multiprocessing_context=context,
            generator=torch.Generator(),
            worker_init_fn=_quiet_worker,
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise HeadwarpError(
                f"loader: one of {self.workers} workers died ({str(error).splitlines()[0]}); mostly memory "
                "runs out: take fewer workers, a smaller batch, or workers=0"
            ) from error


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
        self._twins = mesh_mirror(head, self._maker.vertices()) if flips else None

    def __getitem__(self, step: int) -> FlatBatch | HeadwarpError:
        first = self.config.rank * self.batch_size
        slots = range(first, first + self.batch_size)
        try:
            return flattened(stack_pairs([self._pair(step, slot) for slot in slots]))
        except HeadwarpError as error:
            return error

    def _pair(self, step: int, slot: int) -> PairBatch:
        pair = self._maker.make(self.sampler.pair(step, slot))
        if self.config.augment is None:
            return pair
        draw = self.sampler.draw(step, slot, stream=2)
        return augmented(pair, self.config.augment, draw, twins=self._twins)


@dataclass(frozen=True)
class _CountFrom:
    start: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def _quiet_worker(_: int) -> None:
    """One thread, also where numpy would take more; an interrupt is the main process's to answer."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker: sums over several threads differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
