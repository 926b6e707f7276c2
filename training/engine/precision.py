"""Networks in the precision of the run: low inside a forward pass, single outside of it.

Warps, grids and losses are in single precision by two rules. Whatever a recipe computes outside of a
network's forward pass runs without autocast on single-precision results. Inside of it the network's own
fragile parts leave autocast, and `geom.flow` computes positions in single precision whatever it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

LOW = (torch.bfloat16, torch.float16)


class InPrecision(nn.Module):
    """A network whose forward pass runs inside a context and returns no low-precision tensors.

    Not Fabric's own wrapper, which refuses frozen dataclasses and rounds the arguments, flows among them.
    Other attributes are the network's.
    """

    def __init__(self, network: nn.Module, context: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.network = network
        self._context = context

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """The network's forward pass."""
        with self._context():
            made = self.network(*arguments, **named)
        return in_full(made)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


def in_full(value: Any) -> Any:
    """The same with every half-precision tensor in single precision; looks into dataclasses, tuples, lists
    and mappings.
    """
    if isinstance(value, Tensor):
        return value.float() if value.dtype in LOW else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: in_full(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(in_full, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(in_full, value))
    if isinstance(value, Mapping):
        return {key: in_full(item) for key, item in value.items()}
    return value


def channels_last(tensor: Tensor) -> Tensor:
    """Pictures with their channels innermost in memory; anything else as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
