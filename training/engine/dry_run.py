"""One step on a made-up sample before any long work: does it run, how long does it take, does it fit?"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ..data.batch import Batch
from ..recipes import Recipe
from .config import EngineConfig
from .guard import batch_tensors
from .parallel import connected
from .state import Machinery, Progress, build
from .step import update

PROCESS_BYTES = 700_000_000
"""Of a process with torch and this package loaded."""
WORKSPACE = 1.6
"""Bytes that a step takes on a CPU for every byte that it keeps for its backward passes: gradients of what is
kept, and the kernels' own buffers.
"""
_GB = 1e9


@dataclass(frozen=True)
class DryRun:
    """What one step took.

    Attributes:
        losses: terms by name.
        seconds: of the step with its optimizers, on one pair.
        fixed_bytes: weights, gradients, optimizers' state and average, whatever the batch.
        pair_bytes: for every pair of a batch.
        device: where.
    """

    losses: dict[str, float]
    seconds: float
    fixed_bytes: int
    pair_bytes: int
    device: str

    def needed(self, batch: int, *, workers: int = 0) -> int:
        """Bytes of the device's memory that a training with this batch takes, about."""
        host = (1 + workers) * PROCESS_BYTES if self.device == "cpu" else 0
        return self.fixed_bytes + batch * self.pair_bytes + host


def dry_run(recipe: Recipe, pair: Batch, config: EngineConfig) -> DryRun:
    """Train a fresh copy of the recipe's networks for a step; nothing is written.

    On a CPU the memory is counted from what is kept for the backward passes, on CUDA it is measured with one
    pair and with two.

    Args:
        recipe: what is to be trained.
        pair: a batch of one, of the size that is to be trained.
        config: how.

    Raises:
        HeadwarpError: the memory is too small even for this, or the recipe's files are wrong.
        NonFiniteError: a loss is not finite at the very beginning.
    """
    once = dataclasses.replace(config, accumulate=1, compile=False)
    with connected(once) as fabric, tempfile.TemporaryDirectory() as left:
        machinery = build(fabric, recipe, once)
        saved = Saved(p.shape for n in machinery.networks.values() for p in n.parameters())
        if fabric.device.type == "cuda":
            first, _ = _peak(machinery, once, pair, Path(left))
            second, _ = _peak(machinery, once, pair.joined(pair), Path(left))
        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
            made = update(machinery, once, _forever(pair), Progress(), left=Path(left))
        losses = {name: float(value) for name, value in made.terms.items()}
        seconds = time.perf_counter() - began
        if fabric.device.type == "cuda":
            fixed, each = 2 * first - second, second - first
        else:
            fixed = _fixed_bytes(machinery) + saved.weights
            each = round(WORKSPACE * saved.peak) + sum(t.nbytes for _, t in batch_tensors(pair))
        return DryRun(losses, seconds, fixed, each, fabric.device.type)


def check_memory(found: DryRun, batch: int, *, workers: int, free: int | None = None) -> dict[str, float]:
    """What is needed and what is free, in GB.

    Args:
        found: of `dry_run`.
        batch: pairs of a step.
        workers: loader processes.
        free: bytes; None: those of this machine.

    Raises:
        HeadwarpError: too little; the text says how much is needed and which batch fits.
    """
    free = free_bytes(found.device) if free is None else free
    needed = found.needed(batch, workers=workers)
    if needed > free:
        fits = int((free - found.needed(0, workers=workers)) // found.pair_bytes)
        remedy = (
            f"--batch {fits} fits"
            if fits >= 1
            else "not even one pair fits: take a smaller --model-size or --size"
        )
        raise HeadwarpError(
            f"memory: a batch of {batch} needs about {needed / _GB:.1f} GB on the {found.device}, "
            f"{free / _GB:.1f} GB are free; {remedy}"
        )
    return {"needed_gb": needed / _GB, "free_gb": free / _GB}


def free_bytes(device: str) -> int:
    """Free memory of a CUDA device, or of this machine within the limit of its control group."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0]) + torch.cuda.memory_reserved()
    found = [_available(Path("/proc/meminfo"))]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdecimal():
        found.append(int(text) - int(used.read_text()))
    return min(found)


def _available(path: Path) -> int:
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Saved:
    """Bytes that autograd keeps for backward passes, each storage once: now, and at most so far.

    Args:
        shapes: of the weights: what has such a shape is a weight that was normalised, the same for any batch,
            and counts apart, as ``weights``.
    """

    def __init__(self, shapes: Iterable[torch.Size] = ()) -> None:
        self.now = self.peak = self.weights = 0
        self._shapes = {shape for shape in shapes if len(shape) > 1}
        self._holders: Counter[int] = Counter()

    def pack(self, tensor: Tensor) -> Any:
        """Note a tensor that is kept; weights are counted elsewhere."""
        if isinstance(tensor, nn.Parameter):
            return tensor
        held = _Held(tensor)
        if tensor.shape in self._shapes:
            self.weights += tensor.nbytes
            return held
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        self._holders[key] += 1
        if self._holders[key] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)
        weakref.finalize(held, self._let_go, key, size)
        return held

    @staticmethod
    def unpack(held: Any) -> Tensor:
        """The tensor."""
        return held.tensor if isinstance(held, _Held) else held

    def _let_go(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            self.now -= size


class _Held:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _fixed_bytes(machinery: Machinery) -> int:
    weights = [t for n in machinery.networks.values() for t in (*n.parameters(), *n.buffers())]
    gradients = [p for trained in machinery.trained.values() for p in trained]
    state = [
        value
        for optimizer in machinery.optimizers.values()
        for values in optimizer.state.values()
        for value in values.values()
        if isinstance(value, Tensor)
    ]
    average = [] if machinery.average is None else list(machinery.average.parameters())
    return sum(tensor.nbytes for tensor in (*weights, *gradients, *state, *average))


def _peak(machinery: Machinery, config: EngineConfig, batch: Batch, left: Path) -> tuple[int, float]:
    """Most bytes allocated on the CUDA device during a step that is not the first, and its seconds."""
    update(machinery, config, _forever(batch), Progress(), left=left)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    update(machinery, config, _forever(batch), Progress(), left=left)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), time.perf_counter() - began


def _forever(batch: Batch) -> Iterator[Batch]:
    while True:
        yield batch
