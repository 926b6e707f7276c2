"""Graphs of `sparse2dense`: `encode` a source with its landmarks, `animate` at a driver's landmarks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...geom.nets.folding import fold_norms_
from ..generators import EncodedSource
from ..sparse2dense import SourceParts, Sparse2DenseNetwork
from . import Graph, Port, fixed, picture


def graphs(animator: Any, size: tuple[int, int]) -> tuple[Graph, ...]:
    """See `graphs_of`. A network that begins with the spline through the landmarks takes its flow as an
    input: a linear solve is nothing that ONNX knows.
    """
    network: Any = fold_norms_(animator.network)
    count = network.config.landmarks
    own = Port("source_landmarks", (1, count, 2), "of the source, x, y, -1 and 1 at the frame's edges")
    source = picture("source", size, "the source picture")
    encode = _Encode(network)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = encode(source.example(1, random), own.example(1, random))
    names = ("features", "whole", *(f"part_{number}" for number in range(len(made) - 2)))
    features = tuple(fixed(name, each, "of encode") for name, each in zip(names, made, strict=True))
    driving = Port("landmarks", ("B", count, 2), "of the driver, as the source's")
    inputs: tuple[Port, ...] = (source, own, *features, driving)
    if network.config.initial_flow != "zero":
        text = "spline through the landmarks, backward flow in pixels (geom.spline.spline_flows, step 4)"
        inputs += (Port("spline", ("B", 2, *size), text, (-20.0, 20.0)),)
    outputs = (
        picture("image", size, "the source at the driver's landmarks", batch="B"),
        Port("flow", ("B", 2, *size), "backward flow in pixels"),
        Port("occlusion", ("B", 1, *size), "1 where the source shows what is needed", (0.0, 1.0)),
    )
    return (
        Graph("encode", encode, (source, own), features, "source", "features of the source"),
        Graph("animate", _Animate(network), inputs, outputs, "frame", "the picture at landmarks"),
    )


class _Encode(nn.Module):
    def __init__(self, network: Sparse2DenseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, landmarks: Tensor) -> tuple[Tensor, ...]:
        made = self.network.encode(source, landmarks)
        return (made.encoded.features, made.whole, *made.parts)


class _Animate(_Encode):
    def forward(  # type: ignore[override]
        self, source: Tensor, own: Tensor, features: Tensor, whole: Tensor, *given: Tensor
    ) -> tuple[Tensor, ...]:
        parts, rest = given[: len(self.network.parts)], given[len(self.network.parts) :]
        known = SourceParts(EncodedSource(source, features), own, whole, tuple(parts))
        made = self.network.decode(known, rest[0], spline=rest[1] if len(rest) > 1 else None)
        return made.image, made.flow, made.motion.occlusion
