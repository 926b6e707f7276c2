"""Time of a function, and what the machine could do in the same minute."""

from __future__ import annotations

import gc
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_MIN_RUNS = 5
_PACKAGES = ("torch", "numpy", "numba", "scipy", "mediapipe", "av")


@dataclass(frozen=True)
class Timing:
    """How long one call takes, in milliseconds of wall time.

    Attributes:
        median_ms: the middle of all runs.
        p10_ms, p90_ms: a tenth of the runs were faster, a tenth slower.
        runs: number of timed calls.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int


def measure(
    function: Callable[[], object],
    warmup: int = 2,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Call a function again and again for about so many seconds, at least five times.

    Garbage collection waits outside the timed calls, as in `timeit`. Work queued on a CUDA device is waited
    for within each call's time.

    Args:
        function: what is timed; it takes nothing, its result is dropped.
        warmup: calls beforehand that do not count (compilation, caches).
        seconds: when to stop.
        clock: seconds since anything; another one for tests.

    Example:
        >>> measure(lambda: sum(range(100)), seconds=0.01).runs >= 5
        True
    """
    for _ in range(warmup):
        function()
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else _nothing
    times: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        synchronize()
        end = clock() + seconds
        while len(times) < _MIN_RUNS or clock() < end:
            start = clock()
            function()
            synchronize()
            times.append(1000 * (clock() - start))
    finally:
        if collecting:
            gc.enable()
    return summarise(times)


def _nothing() -> None:
    return None


def summarise(times_ms: list[float]) -> Timing:
    """Median and deciles of at least two times.

    Example:
        >>> summarise([float(n) for n in range(1, 12)])
        Timing(median_ms=6.0, p10_ms=2.0, p90_ms=10.0, runs=11)
    """
    deciles = statistics.quantiles(times_ms, n=10, method="inclusive")
    return Timing(statistics.median(times_ms), deciles[0], deciles[8], len(times_ms))


def probe_machine(seconds: float = 0.5) -> dict[str, float]:
    """What the machine reaches right now: every time is to be read beside these two numbers.

    Returns:
        ``convolution_gmac_per_s``: 10^9 multiply-adds a second of a 3 x 3 convolution, 64 -> 64 channels at
        128 x 128, float32, channels last. ``memory_copy_gb_per_s``: 10^9 bytes a second, read plus written,
        of a 64 MB copy.
    """
    weight = torch.rand(64, 64, 3, 3).to(memory_format=torch.channels_last)
    picture = torch.rand(1, 64, 128, 128).to(memory_format=torch.channels_last)
    block = torch.rand(16_000_000)
    target = torch.empty_like(block)
    multiplications = 64 * 64 * 9 * 128 * 128
    with torch.inference_mode():
        one_convolution = measure(lambda: torch.conv2d(picture, weight, padding=1), seconds=seconds)
        one_copy = measure(lambda: target.copy_(block), seconds=seconds)
    return {
        "convolution_gmac_per_s": multiplications / one_convolution.median_ms / 1e6,
        "memory_copy_gb_per_s": 2 * _bytes(block) / one_copy.median_ms / 1e6,
    }


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def versions() -> dict[str, str]:
    """Versions of Python, the machine's architecture and the packages that times depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
