"""Worker processes on this machine, watched: one that dies is told of and replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from ....geom.errors import HeadwarpError
from ._attempt import attempt
from ._lock import Inherited
from ._starts import START_ATTEMPTS, Starts
from ._worker import open_work
from .types import Event, Job, Outcome, Work

RENEW_AFTER = 1000  # jobs; what libraries leak (decoders, detectors: 20 kB a clip) stays below 20 MB
_JOIN_SECONDS = 5.0


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    ready: bool = False
    job: Job | None = None
    done: int = 0


class ProcessPool:
    """Up to ``size`` processes, each with one job at a time.

    Args:
        work: pickled and opened once in every process.
        size: number of processes.
        staging: hidden folder of the run.
        lock: descriptor of the locked manifest. The workers hold it open too: the lock of a killed run lasts
            until its last worker has noticed and ended.
    """

    def __init__(self, work: Work, *, size: int, staging: Path, lock: int) -> None:
        self._pickled, self._size, self._staging, self._lock = pickle.dumps(work), size, staging, lock
        self._workers: list[_Worker] = []
        self._starts = Starts()

    @property
    def idle(self) -> bool:
        """Whether a worker waits for a job."""
        return any(worker.ready and worker.job is None for worker in self._workers)

    def fill(self) -> None:
        """Start what is missing."""
        fresh = [self._start() for _ in range(self._size - len(self._workers))]
        self._workers += fresh
        for worker in fresh:  # each reads it when it has come up; by then all are on their way
            with contextlib.suppress(OSError):  # it died already: `wait` finds out
                worker.connection.send_bytes(self._pickled)

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker."""
        worker = next(worker for worker in self._workers if worker.ready and worker.job is None)
        worker.job = job
        with contextlib.suppress(OSError):  # it died while idle: `wait` finds it dead and gives the job back
            worker.connection.send(job)

    def wait(self) -> Event:
        """Wait until a worker is ready, has done its job, or has died.

        Raises:
            HeadwarpError: the work cannot be opened, or workers die at the start again and again.
        """
        by_handle = {worker.connection: worker for worker in self._workers}
        handle = wait(list(by_handle))[0]
        worker = by_handle[handle]  # type: ignore[index]
        try:
            message = worker.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # closed by its death, maybe amid a message
            return self._bury(worker)
        if isinstance(message, Outcome):
            job, worker.job, worker.done = worker.job, None, worker.done + 1
            if worker.done == RENEW_AFTER:
                self._end(worker)
                self.fill()
            return Event(job, outcome=message)
        if message is not None:
            raise HeadwarpError(message)
        worker.ready = True
        self._starts.succeeded()
        return Event()

    def close(self) -> None:
        """End the workers at once; what they were at is lost, and they leave nothing but hidden files."""
        for worker in self._workers:
            worker.process.kill()
        for worker in [*self._workers]:
            self._end(worker)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, Inherited(self._lock), self._staging)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        with _short_command_line():
            process.start()
        theirs.close()  # so that the death of the worker closes the pipe
        return _Worker(process, ours)

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _bury(self, worker: _Worker) -> Event:
        worker.process.join(_JOIN_SECONDS)  # its pipe may close before it ends
        self._end(worker)
        reason = _how_it_ended(worker.process.exitcode)
        if not worker.ready:
            self._starts.failed(
                f"workers: {START_ATTEMPTS} in a row ended before they were ready ({reason}); "
                "--workers 1 works in this process and shows why"
            )
        return Event(worker.job, death=reason)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}; out of memory?" if name == "SIGKILL" else f"killed by {name}"
    return f"exit code {code}"


@contextlib.contextmanager
def _short_command_line() -> Iterator[None]:
    """Without the words on the command line, which may be a hundred thousand files.

    `Process.start` writes them, and all arguments, to a pipe whose reading end it holds open itself. What is
    larger than the pipe's buffer blocks it for ever if the new process is killed before it has read all.
    """
    words = sys.argv
    sys.argv = words[:1]
    try:
        yield
    finally:
        sys.argv = words


def _serve(connection: Connection, lock: Inherited, staging: Path) -> None:
    """The life of a worker: open the work, do jobs, end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        opened = open_work(connection.recv_bytes())
        connection.send(opened if isinstance(opened, str) else None)
        while not isinstance(opened, str):
            connection.send(attempt(opened, connection.recv(), staging))


def _end_with_parent() -> None:
    """A worker whose parent was killed ends at once: nobody would write down what it does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
