"""A batch as one block of memory: one shared file between processes, one copy to a device."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from ....warping.posed_layers import PosedLayers
from .batch import PairBatch

ALIGNMENT = 64  # bytes
_LAYERS = tuple(field.name for field in dataclasses.fields(PosedLayers))
_OWN = tuple(field.name for field in dataclasses.fields(PairBatch) if field.name not in ("layers", "names"))


@dataclass(frozen=True)
class FlatBatch:
    """The tensors of a `PairBatch` one after another.

    Attributes:
        data: their bytes, each tensor's beginning at a multiple of 64.
        parts: shape and type of each: of the batch's own fields, then of its layers'.
        names: of the pairs.
    """

    data: UInt8[Tensor, "N"]
    parts: tuple[tuple[tuple[int, ...], torch.dtype], ...]
    names: tuple[str, ...]

    def pin_memory(self) -> FlatBatch:
        """In memory from which a device copies while the program goes on; `torch.utils.data` calls this."""
        return dataclasses.replace(self, data=self.data.pin_memory())

    def to(self, device: torch.device) -> FlatBatch:
        """There; from pinned memory without waiting."""
        return dataclasses.replace(self, data=self.data.to(device, non_blocking=True))


def flattened(batch: PairBatch) -> FlatBatch:
    """The batch copied into one block."""
    tensors = [getattr(batch, name) for name in _OWN] + [getattr(batch.layers, name) for name in _LAYERS]
    parts = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
    flat = FlatBatch(torch.empty(_length(parts), dtype=torch.uint8), parts, batch.names)
    for tensor, place in zip(tensors, _views(flat), strict=True):
        place.copy_(tensor)
    return flat


def unflattened(flat: FlatBatch) -> PairBatch:
    """The batch again; its tensors are views of the block."""
    views = _views(flat)
    own, layers = views[: len(_OWN)], views[len(_OWN) :]
    return PairBatch(
        layers=PosedLayers(**dict(zip(_LAYERS, layers, strict=True))),
        names=flat.names,
        **dict(zip(_OWN, own, strict=True)),
    )


def _bytes(part: tuple[tuple[int, ...], torch.dtype]) -> int:
    return math.prod(part[0]) * part[1].itemsize


def _length(parts: tuple[tuple[tuple[int, ...], torch.dtype], ...]) -> int:
    return sum(_aligned(_bytes(part)) for part in parts)


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _views(flat: FlatBatch) -> list[Tensor]:
    views, start = [], 0
    for part in flat.parts:
        end = start + _bytes(part)
        views.append(flat.data[start:end].view(part[1]).view(part[0]))
        start += _aligned(end - start)
    return views
