"""Kernels compiled by numba: bands of rows of pictures, in parallel where torch has threads.

Each kernel works on a band of rows of one picture; a parallel wrapper runs all bands on as many threads as
torch uses. With one thread the kernels are called directly, without numba's thread pool: safe in forked
data-loader workers, where that pool would abort. Kernels compile once per installation (numba's cache, beside
their file or in the user's cache folder or $NUMBA_CACHE_DIR); where none can be written they compile anew in
each process.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import numba
import torch

_PARALLEL_CALL = threading.Lock()  # one of numba's pools (workqueue) aborts when two threads call at once


def compiled(function: Callable, *, parallel: bool = False, fastmath: bool | set[str] = False) -> Any:
    """A decorator: a kernel, or what a kernel calls.

    ``fastmath`` names what of IEEE arithmetic is given up: nothing where fill rules need edge functions of
    exactly opposite sign.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "parallel": parallel}
    options["fastmath"] = fastmath
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(**options)(function)


compiled_parallel = functools.partial(compiled, parallel=True)
"""A decorator: the wrapper that `run` takes, a `numba.prange` over ``bands`` times the pictures."""


@compiled
def band_rows(job, bands, height):
    """The picture, the band and its rows, first and one after the last."""
    picture = job // bands
    band = job - picture * bands
    return picture, band, (height * band // bands, height * (band + 1) // bands)


def band_count(batch: int) -> int:
    """Bands a picture, so that all threads are busy to the end."""
    threads = torch.get_num_threads()
    return threads // math.gcd(batch, threads)


def run(kernel: Any, *arguments: object) -> None:
    """Run a parallel wrapper over all bands on as many threads as torch uses."""
    threads = torch.get_num_threads()
    if threads == 1:
        kernel.py_func(*arguments)  # the loop over the bands in Python, what it calls is compiled
        return
    with _PARALLEL_CALL:
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, before))
        try:
            kernel(*arguments)
        finally:
            numba.set_num_threads(before)
