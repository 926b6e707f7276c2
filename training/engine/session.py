"""One session of a run in its folder: the lock, what is written where, when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...geom.errors import HeadwarpError
from ..data.jobs._lock import try_lock

LOCK_SECONDS = 10.0
"""Workers of a killed run hold its lock until they notice: some seconds."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopSign:
    """Set by a signal; looked at between steps."""

    reason: str | None = None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopSign]:
    """The first SIGINT or SIGTERM asks for an end after the step; another one interrupts at once.

    Outside of the main thread signals are left as they are.
    """
    sign = StopSign()
    if threading.current_thread() is not threading.main_thread():
        yield sign
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: int, frame: object) -> None:
        if sign.reason is not None:
            raise KeyboardInterrupt
        sign.reason = signal.Signals(number).name

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield sign
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The run's folder, made if it is missing, for this process alone.

    Raises:
        HeadwarpError: another process trains there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_WRONLY, 0o666)
    except OSError as error:
        raise HeadwarpError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        if not try_lock(descriptor, wait=LOCK_SECONDS):
            raise HeadwarpError(
                f"{folder}: another training runs there; wait for its end or give another --output"
            )
        yield
    finally:
        os.close(descriptor)


def set_aside(folder: Path) -> Path | None:
    """Move an old run's files into ``before-N``; None where there is no run."""
    names = ["checkpoints", "log.jsonl", "tensorboard", "pictures", "nonfinite", "report.json"]
    names += [path.name for path in folder.glob("*.safetensors")]
    old = [folder / name for name in names if (folder / name).exists()]
    if not old:
        return None
    number = next(n for n in range(1, 10**6) if not (folder / f"before-{n}").exists())
    target = folder / f"before-{number}"
    target.mkdir()
    for path in old:
        path.rename(target / path.name)
    return target


class Clock:
    """Seconds of a session: all of them, and those spent waiting for batches."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first = 0.0
        self.waited = 0.0
        self.steps = 0
        self.stepping = 0.0

    @property
    def seconds(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self._started

    def add(self, seconds: float, waited: float) -> None:
        """Count a step; the first one of a session (compilation, start of workers) is kept apart."""
        self.steps += 1
        if self.steps == 1:
            self._first = seconds
            return
        self.stepping += seconds
        self.waited += waited

    def summary(self) -> dict[str, float | int | None]:
        """What the report says of the session's times."""
        counted = self.steps - 1
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "first_step_seconds": self._first,
            "seconds_per_step": self.stepping / counted if counted > 0 else None,
            "starvation": self.waited / self.stepping if counted > 0 else None,
        }
