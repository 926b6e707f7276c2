"""Numbered batches one after another, made in this process or by workers ahead of it."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from ...geom.errors import HeadwarpError


class Portable(Protocol):
    """A batch as it travels between processes and to a device."""

    def pin_memory(self) -> Any:
        """In memory from which a device copies while the program goes on."""

    def to(self, device: torch.device) -> Any:
        """There; from pinned memory without waiting."""


Made = TypeVar("Made", bound=Portable)
Made_co = TypeVar("Made_co", bound=Portable, covariant=True)


class Steps(Protocol[Made_co]):
    """Makes the batch of a step; an error that a user can mend comes back as it is. Goes to workers whole."""

    def __getitem__(self, step: int) -> Made_co | HeadwarpError:
        """The batch of a step, from its number alone."""


@dataclass(frozen=True)
class Ahead:
    """How numbered batches are made.

    Attributes:
        device: where they go; copies to a CUDA device are made while the program goes on.
        workers: processes that make batches ahead; 0 makes them in this one, bit for bit the same.
        start: the first step.
        each: batches that each worker makes ahead.
    """

    device: torch.device
    workers: int = 0
    start: int = 0
    each: int = 2

    def __post_init__(self) -> None:
        if self.each < 1:
            raise HeadwarpError(f"ahead: expected at least one batch, got {self.each}")


@dataclass(frozen=True)
class LoadingConfig:
    """How batches are loaded, whatever they hold.

    Attributes:
        device: where batches go; copies to a CUDA device are made while the program goes on.
        rank: of this process; the samples of a step go on over the ``world`` processes.
        world: how many processes there are.
        ahead: batches that each worker makes ahead.

    Raises:
        HeadwarpError: a rank that is none of ``world``.
    """

    device: str | torch.device = "cpu"
    rank: int = 0
    world: int = 1
    ahead: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise HeadwarpError(f"rank: expected 0 to {self.world - 1}, got {self.rank}")

    def slots(self, batch_size: int) -> range:
        """This process's places among the samples of a step, ``batch_size`` for each process."""
        return range(self.rank * batch_size, (self.rank + 1) * batch_size)

    def from_step(self, start_step: int, *, batch_size: int, workers: int) -> Ahead:
        """How `numbered` makes the batches from a step on.

        Args:
            start_step: of the first batch.
            batch_size: at least 1.
            workers: processes that make batches; 0: none but this.

        Raises:
            HeadwarpError: a number out of range.
        """
        if batch_size < 1 or workers < 0 or start_step < 0:
            raise HeadwarpError(
                "loader: expected batch_size >= 1, workers >= 0 and start_step >= 0, got "
                f"{batch_size}, {workers} and {start_step}"
            )
        return Ahead(torch.device(self.device), workers, start_step, self.ahead)


def made_or_told(make: Callable[[int], Made], step: int) -> Made | HeadwarpError:
    """What `Steps` answers: the batch of a step, or the error that a user can mend, as it is."""
    try:
        return make(step)
    except HeadwarpError as error:
        return error


def numbered(steps: Steps[Made], config: Ahead) -> Iterator[Made]:
    """Batches for ever, from the first step on, on their device.

    Workers are processes of their own, one thread each; they are started when the first batch is asked for
    and end with the iterator. A script that uses them needs the usual ``if __name__ == "__main__":``. The
    global random state is neither read nor changed.

    Raises:
        HeadwarpError: what a step says, or a worker died.
    """
    for made in _from_workers(steps, config) if config.workers else _made_here(steps, config):
        if isinstance(made, HeadwarpError):
            raise made
        yield made if config.device.type == "cpu" else made.to(config.device)


def _made_here(steps: Steps[Made], config: Ahead) -> Iterator[Made | HeadwarpError]:
    pinned = config.device.type == "cuda"
    for step in itertools.count(config.start):
        with _one_thread():
            made = steps[step]
        yield made.pin_memory() if pinned and not isinstance(made, HeadwarpError) else made


def _from_workers(steps: Steps[Made], config: Ahead) -> Iterator[Made | HeadwarpError]:
    from torch.utils.data import DataLoader

    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([type(steps).__module__])  # imported once, not by each worker
    loader: DataLoader[Made | HeadwarpError] = DataLoader(
        steps,  # type: ignore[arg-type]  # what has __getitem__ is a data set
        batch_size=None,
        sampler=_CountFrom(config.start),
        num_workers=config.workers,
        prefetch_factor=config.each,
        pin_memory=config.device.type == "cuda",
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
            f"loader: one of {config.workers} workers died ({str(error).splitlines()[0]}); mostly memory "
            "runs out: take fewer workers, a smaller batch, or workers=0"
        ) from error


@dataclass(frozen=True)
class _CountFrom:
    start: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def _quiet_worker(_: int) -> None:
    """One thread, also where numpy would take more; an interrupt is the main process's to answer, and its
    death is this one's end: torch looks at the parent's number alone, which is the fork server's.
    """
    from threadpoolctl import threadpool_limits

    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker: sums over several threads differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
