"""What takes long, one thing at a time in a thread of its own; the person sees that it is going on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Told = Callable[[str | None], None]


class Tasks:
    """One thread for opening, preparing and saving, in the order in which they were asked for.

    An error of a task goes to ``failed``, and the thread lives on.

    Example:
        >>> done = []
        >>> tasks = Tasks(lambda title, text: done.append, failed=print)
        >>> tasks.do("Opening", "the head is fitted", lambda told: told("nearly there"))
        >>> tasks.wait(5)
        >>> tasks.close()
        >>> done
        ['nearly there', None]
    """

    def __init__(self, busy: Callable[[str, str], Told], *, failed: Callable[[Exception], None]) -> None:
        """Start.

        Args:
            busy: shows a title and a text until its result is called with None; other words replace the text.
            failed: takes what a task raised.
        """
        self._busy, self._failed = busy, failed
        self._lock, self._closed = threading.Lock(), False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="headwarp-view-task")

    def do(self, title: str, text: str, work: Callable[[Told], None]) -> None:
        """Do this after what waits. After `close`, nothing.

        Args:
            title: a few words.
            text: what is done, for a person.
            work: gets a function that tells how far it is.
        """
        with self._lock:
            if not self._closed:
                self._pool.submit(self._run, title, text, work)

    def wait(self, seconds: float) -> None:
        """Until everything is done that was asked for.

        Raises:
            TimeoutError: that takes longer.
        """
        with self._lock:
            last = None if self._closed else self._pool.submit(lambda: None)
        if last is not None:
            last.result(seconds)

    def close(self) -> None:
        """Drop what waits; what is at work ends by itself."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, title: str, text: str, work: Callable[[Told], None]) -> None:
        told = self._busy(title, text)
        try:
            work(told)
        except Exception as error:  # noqa: BLE001 (whatever it is, the person is told and the editor lives on)
            self._failed(error)
        finally:
            told(None)
