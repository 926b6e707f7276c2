"""Time that runs while a film is played in a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEP = 0.04  # seconds between two moments


class Player:
    """Counts time in a thread of its own, at most one of them at a time.

    Example:
        >>> moments, over = [], threading.Event()
        >>> player = Player(moments.append, ended=over.set)
        >>> player.start(0.5, length=lambda: 1.0)
        True
        >>> while not moments:
        ...     time.sleep(0.01)
        >>> player.stop(), over.wait(5), moments[0] >= 0.5
        (True, True, True)
    """

    def __init__(self, moved: Callable[[float], None], *, ended: Callable[[], None]) -> None:
        """Nothing runs yet.

        Args:
            moved: takes every moment in seconds, in the player's thread.
            ended: called there after the last one, when no other run has begun since.
        """
        self._moved, self._ended = moved, ended
        self._lock = threading.Lock()
        self._stopped: threading.Event | None = None  # of the present run

    @property
    def playing(self) -> bool:
        """Whether time runs."""
        return self._stopped is not None

    def start(self, moment: float, *, length: Callable[[], float]) -> bool:
        """Run from a moment on, until `stop` or until the length is 0; False if it runs already."""
        with self._lock:
            if self._stopped is not None:
                return False
            stopped = self._stopped = threading.Event()
        run = threading.Thread(
            target=self._run, args=(stopped, moment, length), name="headwarp-view-film", daemon=True
        )
        run.start()
        return True

    def stop(self) -> bool:
        """Let the present run end; False if there is none."""
        with self._lock:
            stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.set()
        return stopped is not None

    def _run(self, stopped: threading.Event, start: float, length: Callable[[], float]) -> None:
        began = time.monotonic()
        while not stopped.is_set() and (seconds := length()) > 0:
            self._moved((start + time.monotonic() - began) % (seconds + STEP))
            stopped.wait(STEP)
        with self._lock:
            if self._stopped is stopped:
                self._stopped = None
            last = self._stopped is None
        if last:
            self._ended()
