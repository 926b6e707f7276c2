"""A batch as one block of memory: one shared file between processes, one copy to a device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from ....warping.posed_layers import PosedLayers
from .batch import PER_PAIR, PairBatch, one_head

ALIGNMENT = 64  # bytes
Part = tuple[tuple[int, ...], torch.dtype]
_LAYERS = tuple(field.name for field in dataclasses.fields(PosedLayers))


@dataclass(frozen=True)
class FlatBatch:
    """Tensors one after another.

    Attributes:
        data: their bytes, each tensor's beginning at a multiple of 64.
        parts: shape and type of each.
        names: of the pairs.
    """

    data: UInt8[Tensor, "N"]
    parts: tuple[Part, ...]
    names: tuple[str, ...]

    def pin_memory(self) -> FlatBatch:
        """In memory from which a device copies while the program goes on; `torch.utils.data` calls this."""
        return dataclasses.replace(self, data=self.data.pin_memory())

    def to(self, device: torch.device) -> FlatBatch:
        """There; from pinned memory without waiting."""
        return dataclasses.replace(self, data=self.data.to(device, non_blocking=True))

    def tensors(self) -> list[Tensor]:
        """They; views of the block."""
        views, start = [], 0
        for part in self.parts:
            end = start + _bytes(part)
            views.append(self.data[start:end].view(part[1]).view(part[0]))
            start += _aligned(end - start)
        return views


def flat_columns(columns: Sequence[Sequence[Tensor]], names: tuple[str, ...]) -> FlatBatch:
    """Tensors that are each put together from some, along the first axis and right in their place.

    Args:
        columns: for every tensor its pieces, alike in type and in all other axes.
        names: of the pairs.
    """
    parts = tuple((_shape(pieces), pieces[0].dtype) for pieces in columns)
    flat = FlatBatch(torch.empty(sum(_aligned(_bytes(p)) for p in parts), dtype=torch.uint8), parts, names)
    for pieces, place in zip(columns, flat.tensors(), strict=True):
        torch.cat(list(pieces), out=place)
    return flat


def flattened(pairs: Sequence[PairBatch]) -> FlatBatch:
    """`stack_pairs` in one block.

    Raises:
        ShapeError: their meshes are not of one head.
    """
    columns = [[getattr(pair, name) for pair in pairs] for name in PER_PAIR]
    columns.append([one_head([pair.faces for pair in pairs])])
    columns += [[getattr(pair.layers, name) for pair in pairs] for name in _LAYERS]
    return flat_columns(columns, tuple(name for pair in pairs for name in pair.names))


def unflattened(flat: FlatBatch) -> PairBatch:
    """The batch again; its tensors are views of the block."""
    tensors = flat.tensors()
    own, faces, layers = tensors[: len(PER_PAIR)], tensors[len(PER_PAIR)], tensors[len(PER_PAIR) + 1 :]
    return PairBatch(
        layers=PosedLayers(**dict(zip(_LAYERS, layers, strict=True))),
        faces=faces,
        names=flat.names,
        **dict(zip(PER_PAIR, own, strict=True)),
    )


def _shape(pieces: Sequence[Tensor]) -> tuple[int, ...]:
    return (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])


def _bytes(part: Part) -> int:
    return math.prod(part[0]) * part[1].itemsize


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
