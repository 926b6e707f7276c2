"""Workers of a Ray cluster whose machines see the same files: one actor each, replaced when it dies."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....geom.errors import HeadwarpError, MissingDependencyError
from ._attempt import attempt
from ._starts import START_ATTEMPTS, Starts
from ._worker import open_work
from .types import Call, Event, Job, Outcome, Work

_KNOCK_SECONDS = 10.0


@dataclass
class _Worker:
    actor: Any
    pending: Any  # reference to what it is doing: becoming ready, or its job
    ready: bool = False
    job: Job | None = None

    @property
    def idle(self) -> bool:
        return self.ready and self.job is None


class RayPool:
    """Up to ``size`` actors with a CPU each, on whatever machines have room.

    The driver alone writes records. A job whose machine is lost is given to another actor; should the lost
    one still be at it, both make the same files and each file is moved into place whole.

    Args:
        work: pickled, stored once in the cluster, and opened in every actor.
        size: number of actors; None for one on every CPU.
        staging: hidden folder of the run; every machine must see it under this path.
        address: of the cluster; None for the one this process is connected to, then ``$RAY_ADDRESS``, then a
            new one on this machine, which ends with the pool.

    Raises:
        MissingDependencyError: Ray is not installed.
        HeadwarpError: there is no cluster at the address.
    """

    def __init__(self, work: Work, *, size: int | None, staging: Path, address: str | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "--engine ray: needs the package ray; pip install 'headwarp[cluster]'"
            ) from error
        self._ray = ray
        self._connected_here = not ray.is_initialized()
        if self._connected_here:
            _connect(ray, address or os.environ.get("RAY_ADDRESS"), size)
        self._size = size or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._actor: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._arguments = (ray.put(pickle.dumps(work)), os.path.abspath(staging), os.getcwd())
        self._workers: list[_Worker] = []
        self._starts = Starts()

    @property
    def idle(self) -> bool:
        """Whether an actor waits for a job."""
        return any(worker.idle for worker in self._workers)

    def fill(self) -> None:
        """Ask for the actors that are missing; they come when the cluster has room."""
        while len(self._workers) < self._size:
            actor = self._actor.remote(*self._arguments)
            self._workers.append(_Worker(actor, actor.open.remote()))

    def submit(self, job: Job) -> None:
        """Give a job to an idle actor."""
        worker = next(worker for worker in self._workers if worker.idle)
        worker.job, worker.pending = job, worker.actor.attempt.remote(job)

    def wait(self) -> Event:
        """Wait until an actor is ready, has done its job, or has died.

        Raises:
            HeadwarpError: the work cannot be opened, or actors die at the start again and again.
        """
        by_reference = {worker.pending: worker for worker in self._workers if not worker.idle}
        (reference,), _ = self._ray.wait(list(by_reference), num_returns=1)
        worker = by_reference[reference]
        try:
            message = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            return self._bury(worker, error)
        if isinstance(message, Outcome):
            job, worker.job = worker.job, None
            return Event(job, outcome=message)
        if message is not None:
            raise HeadwarpError(message)
        worker.ready = True
        self._starts.succeeded()
        return Event()

    def close(self) -> None:
        """End the actors, and the cluster if it was made here."""
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers.clear()
        if self._connected_here:
            self._ray.shutdown()

    def _bury(self, worker: _Worker, error: Exception) -> Event:
        self._workers.remove(worker)
        reason = type(error).__name__
        if not worker.ready:
            first = next(iter(str(error).splitlines()), reason)
            self._starts.failed(f"--engine ray: {START_ATTEMPTS} actors in a row did not start ({first})")
        return Event(worker.job, death=reason)


def _connect(ray: Any, address: str | None, size: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            _knock(address)
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=max(size or 1, os.cpu_count() or 1), include_dashboard=False, **quiet)
    except Exception as error:  # of a node that is too slow to start Ray raises a bare one
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if address:
            told = f"--address {address}: no Ray cluster answers ({reason}); `ray start --head` starts one"
        else:
            told = f"--engine ray: no cluster starts on this machine ({reason}); --engine local needs none"
        raise HeadwarpError(told) from error


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at ``host:port``; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


class _Actor:
    """The life of a worker in the cluster."""

    def __init__(self, pickled: bytes, staging: str, folder: str) -> None:
        self._pickled, self._staging, self._folder = pickled, Path(staging), folder
        self._call: Call | None = None

    def open(self) -> str | None:
        """Open the work; what went wrong in one sentence, or None."""
        try:
            os.chdir(self._folder)  # paths are as they were typed
        except OSError as error:
            return f"{self._folder}: is not there on machine {os.uname().nodename} ({error.strerror})"
        opened = open_work(self._pickled)
        if isinstance(opened, str):
            return opened
        self._call = opened
        return None

    def attempt(self, job: Job) -> Outcome:
        """Do a job."""
        if self._call is None:
            raise RuntimeError("attempt: expected an opened actor, got a new one")
        return attempt(self._call, job, self._staging)
