"""A thread that does the latest of what it is asked for, and leaves out what is stale."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")


@dataclass(frozen=True)
class Count:
    """How many jobs were asked for, done, and dropped because a newer one came."""

    asked: int = 0
    done: int = 0
    dropped: int = 0


class LatestWins(Generic[Job]):
    """One thread, one job at a time; a job that waits is replaced by the next that is asked for.

    An error of a job goes to ``failed``, and the thread lives on.

    Example:
        >>> results = []
        >>> worker = LatestWins(results.append, failed=print)
        >>> worker.ask(1)
        >>> worker.wait()
        True
        >>> worker.close()
        >>> results
        [1]
    """

    def __init__(self, work: Callable[[Job], None], *, failed: Callable[[Exception], None]) -> None:
        self._work, self._failed = work, failed
        self._condition = threading.Condition()
        self._waiting: list[Job] = []  # none or one
        self._busy = self._closed = False
        self._count = Count()
        self._thread = threading.Thread(target=self._run, name="headwarp-view", daemon=True)
        self._thread.start()

    @property
    def count(self) -> Count:
        """What became of the jobs so far."""
        with self._condition:
            return self._count

    @property
    def idle(self) -> bool:
        """Whether no job waits; one may still be at work."""
        with self._condition:
            return not self._waiting

    def ask(self, job: Job) -> None:
        """Do this next, in place of what waits. After `close`, nothing."""
        with self._condition:
            if self._closed:
                return
            dropped = len(self._waiting)
            self._waiting[:] = [job]
            self._count = Count(self._count.asked + 1, self._count.done, self._count.dropped + dropped)
            self._condition.notify_all()

    def wait(self, seconds: float = 30.0) -> bool:
        """Until nothing waits or is at work; False if that takes longer."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._waiting or self._busy), seconds)

    def close(self) -> None:
        """Drop what waits, end the thread when its job is done, and let go of both."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.pop()
                self._busy = True
            try:
                self._work(job)
            except Exception as error:  # noqa: BLE001 (whatever a job raises is told, the editor lives on)
                self._failed(error)
            del job
            with self._condition:
                self._busy = False
                count = self._count
                self._count = Count(count.asked, count.done + 1, count.dropped)
                self._condition.notify_all()
