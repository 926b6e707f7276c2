"""A thread that does the latest of what it is asked for, and leaves out what is stale."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

    ``rested`` is called once when nothing was asked for ``pause`` seconds after a job: for what would only be
    in the way of the next one. An error of either goes to ``failed``, and the thread lives on.

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

    def __init__(
        self,
        work: Callable[[Job], None],
        *,
        failed: Callable[[Exception], None],
        rested: Callable[[], None] = lambda: None,
        pause: float = 0.0,
    ) -> None:
        self._work, self._failed = work, failed
        self._rested, self._pause = rested, pause
        self._rest_due, self._waited_for = False, 0  # whether a rest is due; who waits for it
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
        """Until nothing waits or is at work, and a rest that is due is over, which then comes without the
        pause; False if that takes longer.
        """
        with self._condition:
            self._waited_for += 1
            self._condition.notify_all()
            try:
                return self._condition.wait_for(
                    lambda: not (self._waiting or self._busy or (self._rest_due and not self._closed)),
                    seconds,
                )
            finally:
                self._waited_for -= 1

    def close(self) -> None:
        """Drop what waits, end the thread when its job is done, and let go of both."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while (step := self._next()) is not None:
            try:
                step()
            except Exception as error:  # noqa: BLE001 (whatever a job raises is told, the editor lives on)
                self._failed(error)
            del step  # and what it holds
            with self._condition:
                self._busy = False
                self._condition.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """What is to be done: the job that waits or, when none comes, the rest; None after `close`."""
        with self._condition:
            if self._rest_due:
                self._condition.wait_for(
                    lambda: self._waiting or self._closed or self._waited_for, self._pause
                )
            else:
                self._condition.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._busy, self._rest_due = True, bool(self._waiting)
            return partial(self._do, self._waiting.pop()) if self._waiting else self._rested

    def _do(self, job: Job) -> None:
        try:
            self._work(job)
        finally:
            with self._condition:
                count = self._count
                self._count = Count(count.asked, count.done + 1, count.dropped)
