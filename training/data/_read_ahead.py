"""Frames decoded in a thread of their own while the caller works on those before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """Put last into the queue: the iterable has ended, or failed with ``error``."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Producer(Generic[Item]):
    """The thread: runs through the iterable until that ends or the consumer leaves, and says so by `_End`."""

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self.queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._items = items
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headwarp-read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._pass_on()
        except BaseException as caught:  # noqa: BLE001 (raised again where the items are wanted)
            error = caught
        self.queue.put(_End(error))

    def _pass_on(self) -> None:
        items = iter(self._items)
        try:
            for item in items:
                if self._left.is_set():
                    return
                self.queue.put(item)
                del item  # else it would live until the next one is there
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def stop(self, *, ended: bool) -> None:
        """Let the thread end, whatever it waits for, and wait for it; ``ended`` if its end was heard."""
        self._left.set()
        while not ended:
            ended = isinstance(self.queue.get(), _End)
        self._thread.join()


def read_ahead(items: Iterable[Item], *, depth: int = 3) -> Generator[Item, None, None]:
    """The same items in the same order, made ahead in a thread; an error comes after the items before it.

    Decoding releases the interpreter's lock, so that on two cores it costs no time beside detection. At most
    ``depth`` + 2 items are in memory. Close the generator, or run it to its end, before what it reads from
    is closed: then the thread has ended.

    Args:
        items: iterated over in the other thread alone, and closed there if it is a generator.
        depth: how many wait at most.

    Example:
        >>> list(read_ahead("abc"))
        ['a', 'b', 'c']
    """
    producer = _Producer(items, depth)
    ended = False
    try:
        while True:
            item = producer.queue.get()
            if isinstance(item, _End):
                ended = True
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item
    finally:
        producer.stop(ended=ended)
