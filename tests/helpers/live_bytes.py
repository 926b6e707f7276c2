"""How much memory the tensors of a computation take at once; on the device ``meta`` of one never run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.seen:
            return
        self.seen.add(key)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.bytes -= size


def peak_bytes(function: Callable[[], Any], given: Sequence[torch.Tensor] = ()) -> int:
    """The most bytes alive at once of tensors that the function makes, its result among them.

    Args:
        function: what computes.
        given: tensors that it reads, which are not counted.
    """
    with _Live() as live:
        live.seen.update(tensor.untyped_storage()._cdata for tensor in given)
        result = function()
        del result
    return live.peak
