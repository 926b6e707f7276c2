"""A batch of pairs of frames of one person: what recipes read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....geom.errors import ShapeError
from ....warping.posed_layers import PosedLayers, stack_layers

PER_PAIR = ("source", "driving", "driving_mask", "source_verts", "driving_verts")
"""Tensors of a `PairBatch` whose first axis counts pairs; those of its layers besides."""


@dataclass(frozen=True)
class PairBatch:
    """Source and driving frames of the same persons, in pixels of the same window.

    Attributes:
        source: RGB in [0, 1], ``(B, 3, H, W)``.
        driving: the frame to be made, RGB in [0, 1].
        driving_mask: person probability there, ``(B, 1, H, W)``.
        layers: what geometry knows of the pair; its batch is B in every tensor.
        source_verts: posed mesh with the mouth's strips, pixels, ``(B, V, 3)``.
        driving_verts: the same in the driving pose.
        faces: triangles of both, ``(F, 3)``.
        names: ``PERSON/CLIP/SOURCE>DRIVING`` of each pair, for reports.
    """

    source: Float[Tensor, "B 3 H W"]
    driving: Float[Tensor, "B 3 H W"]
    driving_mask: Float[Tensor, "B 1 H W"]
    layers: PosedLayers
    source_verts: Float[Tensor, "B V 3"]
    driving_verts: Float[Tensor, "B V 3"]
    faces: Int[Tensor, "F 3"]
    names: tuple[str, ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> PairBatch:
        """Every tensor changed in the same way, such as moved to a device."""
        changed: dict[str, Any] = {
            field.name: change(value)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, layers=self.layers.map(change), **changed)

    def joined(self, other: PairBatch) -> PairBatch:
        """The pairs of both.

        Raises:
            ShapeError: their meshes are not of one head.
        """
        return stack_pairs([self, other])


def stack_pairs(pairs: Sequence[PairBatch]) -> PairBatch:
    """Pairs of equal size and head as one batch.

    Raises:
        ShapeError: their meshes are not of one head.
    """
    faces = one_head([pair.faces for pair in pairs])
    stacked = {name: torch.cat([getattr(pair, name) for pair in pairs]) for name in PER_PAIR}
    return PairBatch(
        layers=stack_layers([pair.layers for pair in pairs]),
        faces=faces,
        names=tuple(name for pair in pairs for name in pair.names),
        **stacked,
    )


def one_head(faces: Sequence[Int[Tensor, "F 3"]]) -> Int[Tensor, "F 3"]:
    """The triangles of all pairs of a batch.

    Raises:
        ShapeError: they differ.
    """
    first = faces[0]
    if any(other is not first and not torch.equal(other, first) for other in faces[1:]):
        raise ShapeError("pairs: expected meshes of one head, got different triangles")
    return first
