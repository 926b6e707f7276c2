"""What every worker process does first, whoever started it."""

from __future__ import annotations

import os
import pickle
import sys
import threading

from tqdm import tqdm

from ....geom.errors import HeadwarpError
from .types import Call

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",  # the parent shows the progress
}


def open_work(pickled: bytes) -> Call | str:
    """The opened work, in a process that keeps to one thread; or a sentence on why it cannot be opened.

    Sixteen workers of sixteen threads each would spend their time waiting for one another.
    """
    os.environ.update(ONE_THREAD)  # before anything that reads them is imported
    tqdm.set_lock(threading.RLock())  # its own is a system-wide one, which the killed leave
    try:
        call = pickle.loads(pickled).open()
    except HeadwarpError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (told by the parent, in one sentence)
        return f"workers: cannot be opened: {type(error).__name__}: {error}"
    torch = sys.modules.get("torch")
    if torch is not None:  # it may have been imported before, by the script that is started again here
        torch.set_num_threads(1)
    return call
