"""Numbered batches one after another, made in this process or by workers ahead of it."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
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


def check_numbers(batch_size: int, workers: int, start_step: int) -> None:
    """Raise HeadwarpError for numbers that no loader can work with."""
    if batch_size < 1 or workers < 0 or start_step < 0:
        raise HeadwarpError(
            "loader: expected batch_size >= 1, workers >= 0 and start_step >= 0, got "
            f"{batch_size}, {workers} and {start_step}"
        )


def check_rank(rank: int, world: int) -> None:
    """Raise HeadwarpError for a process that is none of ``world``."""
    if not 0 <= rank < world:
        raise HeadwarpError(f"rank: expected 0 to {world - 1}, got {rank}")


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
