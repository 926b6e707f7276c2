"""Pairs in a mirrored picture: images, masks, geometry's layers and posed meshes together."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ....flame.mirror import mirror_vertices
from ....warping.posed_layers import PosedLayers
from .batch import PairBatch

_FLOWS = ("flow", "displacement")
_MESHES = ("source_verts", "driving_verts")
_SHARED = ("faces", "names")  # twins take over the places of their twins: triangles are the same


def mirror_layers(layers: PosedLayers) -> PosedLayers:
    """The layers of the mirrored pair: maps are mirrored, flows point the other way in x besides.

    Twice is the identity bit for bit. `compose` makes the mirrored picture of them.
    """
    mirrored = layers.map(_mirrored)
    flows = {name: _turned(getattr(mirrored, name)) for name in _FLOWS}
    return dataclasses.replace(mirrored, **flows)


def mirror_pairs(batch: PairBatch, twins: Int[Tensor, "V"]) -> PairBatch:
    """Every pair of a batch in the mirrored picture.

    Twice is the identity bit for bit, but for the vertices' x, see `mirror_vertices`.

    Args:
        batch: pairs.
        twins: of `flame.mirror.mesh_mirror`, for the vertices of the batch.

    Raises:
        ShapeError: not a twin a vertex.
    """
    width = batch.source.shape[3]
    changed: dict[str, Any] = {
        field.name: _mirrored(getattr(batch, field.name))
        for field in dataclasses.fields(batch)
        if field.name not in (*_MESHES, *_SHARED, "layers")
    }
    for name in _MESHES:
        changed[name] = mirror_vertices(getattr(batch, name), width, twins)
    return dataclasses.replace(batch, layers=mirror_layers(batch.layers), **changed)


def _mirrored(value: Tensor) -> Tensor:
    return value.flip(-1)


def _turned(flow: Tensor) -> Tensor:
    return torch.cat([-flow[:, :1], flow[:, 1:]], dim=1)
