"""A lock that ends with the last process that holds it, however that process ends."""

from __future__ import annotations

import errno
import os
import time
from multiprocessing import reduction
from typing import Any

_UNKNOWN = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_INTERVAL = 0.05


def try_lock(descriptor: int, *, wait: float) -> bool:
    """Lock an open file for this process and those that inherit the descriptor; False if others hold it.

    Waits for workers of a killed run, which end within moments. On a file system, or a system, without such
    locks the answer is True.

    Args:
        descriptor: open for writing (network file systems want that).
        wait: seconds to wait for the holder to end.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_INTERVAL)
        except OSError as error:
            if error.errno in _UNKNOWN:
                return True
            raise
        else:
            return True


class Inherited:
    """An open file that a spawned process holds open too: with it, the lock.

    Pickled only while a process is being started.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherit, (reduction.DupFd(self.descriptor),)


def _inherit(passed: Any) -> Inherited:
    descriptor = passed.detach()
    os.set_inheritable(descriptor, False)
    return Inherited(descriptor)
