"""How long a training waits for its data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class WaitReport:
    """Where the time of a loop went.

    Attributes:
        steps: items taken.
        waited: seconds in which the loop waited for the next item.
        worked: seconds in which the loop did something with them.
        median_wait_ms: of one item.
    """

    steps: int
    waited: float
    worked: float
    median_wait_ms: float

    @property
    def share(self) -> float:
        """Of the time that was spent waiting, 0..1."""
        total = self.waited + self.worked
        return self.waited / total if total else 0.0


class Waiting(Generic[Item]):
    """Passes items on and clocks how long each was waited for; work queued on a device is not waited for.

    Args:
        items: such as ``iter(PairLoader(...))``.
        warmup: so many items do not count: workers start, kernels compile.
        clock: seconds since anything; another one for tests.

    Example:
        >>> times = iter([0.0, 1.0, 4.0, 5.0, 8.0])
        >>> waiting = Waiting(iter("ab"), clock=lambda: next(times))
        >>> "".join(waiting), waiting.report().waited, waiting.report().worked
        ('ab', 2.0, 3.0)
    """

    def __init__(
        self, items: Iterator[Item], *, warmup: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._items, self._clock, self._warmup = items, clock, warmup
        self._waits: list[float] = []
        self._works: list[float] = []
        self._given: float | None = None

    def __iter__(self) -> Waiting[Item]:
        return self

    def __next__(self) -> Item:
        asked = self._clock()
        item = next(self._items)
        if self._given is not None:
            self._works.append(asked - self._given)
        self._given = self._clock()
        self._waits.append(self._given - asked)
        return item

    def report(self) -> WaitReport:
        """Of what was taken so far after the warm-up; the work on the last item is not over and left out."""
        waits, works = self._waits[self._warmup :], self._works[self._warmup :]
        return WaitReport(len(waits), sum(waits), sum(works), 1000 * statistics.median(waits or [0.0]))
