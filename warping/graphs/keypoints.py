"""Graphs of `fomm`, `dagan` and every other config of `keypoint_network`.

`depth` (where the network looks at it), `detect`, `encode`, `relative`, `animate`. Points are normalised, in
the lattice of the network's config (`geom.grids`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...geom.keypoints import Keypoints
from ...geom.nets.folding import fold_norms_
from ..generators import EncodedSource
from ..keypoint_network import KeypointNetwork, SourceFeatures
from ..relative_motion import GUARD, relative_keypoints
from . import Graph, Port, fixed, picture


def graphs(animator: Any, size: tuple[int, int]) -> tuple[Graph, ...]:
    """See `graphs_of`."""
    network: Any = fold_norms_(animator.network)
    if network.config.attention != "none":
        network.generator.AttnModule.block_bytes = None  # blocks are a loop over samples
    image = picture("image", size, "a picture, of the source or a driver", batch="B")
    depth = Port("disparity", ("B", 1, *size), "of the picture, larger where nearer", (0.0, 1.0))
    made = []
    if network.config.needs_depth:
        made.append(Graph("depth", _Depth(network), (image,), (depth,), "frame", "disparity of a picture"))
    seen = (image, depth) if network.config.depth_keypoints else (image,)
    found = _keypoints(network, "", "B", "of the picture")
    made.append(Graph("detect", _Detect(network), seen, found, "frame", "keypoints of a picture"))
    own = _keypoints(network, "source_", 1, "of the source")
    moved = _keypoints(network, "driving_", "B", "that move it: of the driver, or of relative")
    encode = _encode(network, size)
    made.append(encode)
    made.append(_relative(network, own))
    source = picture("source", size, "the source picture")
    outputs: tuple[Port, ...] = (
        picture("picture", size, "the source as the keypoints move it", batch="B"),
        Port("flow", ("B", 2, *size), "backward flow in pixels of the frame"),
    )
    motion = network.config.motion
    if motion.occlusion:
        small = tuple(encode.outputs[1].shape[2:])
        text = "1 where the source shows what is needed"
        outputs += (Port("occlusion", ("B", 1, *small), text, (0.0, 1.0)),)
    inputs = (source, *encode.outputs, *own, *moved)
    animate = _Animate(network, queries=len(encode.outputs) == 3, jacobians=len(own) == 2)
    made.append(Graph("animate", animate, inputs, outputs, "frame", "the picture at driving keypoints"))
    return tuple(made)


class _Part(nn.Module):
    def __init__(self, network: KeypointNetwork) -> None:
        super().__init__()
        self.network = network


class _Depth(_Part):
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.network.disparity(image),)


class _Detect(_Part):
    def forward(self, image: Tensor, *disparity: Tensor) -> tuple[Tensor, ...]:
        found = self.network.detect(image, disparity=disparity[0] if disparity else None)
        return (found.points,) if found.jacobians is None else (found.points, found.jacobians)


class _Encode(_Part):
    def forward(self, source: Tensor, *disparity: Tensor) -> tuple[Tensor, ...]:
        depth_map = self.network._depth_map(disparity[0]) if disparity else None
        encoded = self.network.generator.encode(source, depth_map)
        small = self.network.generator.dense_motion_network.reduce(source)
        made = (encoded.features, small)
        return made if encoded.queries is None else (*made, encoded.queries)


def _encode(network: Any, size: tuple[int, int]) -> Graph:
    part, source = _Encode(network), picture("source", size, "the source picture")
    depth = Port("source_disparity", (1, 1, *size), "disparity of the source, of depth", (0.0, 1.0))
    inputs = (source, depth) if network.config.attention == "depth" else (source,)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = part(*(port.example(1, random) for port in inputs))
    names = ("features", "small", "queries")
    outputs = tuple(fixed(name, each, "of encode") for name, each in zip(names, made, strict=False))
    return Graph("encode", part, inputs, outputs, "source", "features of the source")


class _Relative(nn.Module):
    """Own, reference, driving keypoints and a scale to moved ones."""

    def forward(self, scale: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        step = len(given) // 3
        own, reference, driving = (
            Keypoints(*given[first : first + step]) for first in range(0, 3 * step, step)
        )
        made = relative_keypoints(own, driving, reference, scale=scale, condition_guard=GUARD)
        return (made.points,) if made.jacobians is None else (made.points, made.jacobians)


def _relative(network: Any, own: tuple[Port, ...]) -> Graph:
    text = "of driver's shifts: the source's size in that of the driver, or 1"
    scale = Port("scale", (1, 1, 1), text, (0.5, 2.0))
    reference = _keypoints(network, "reference_", 1, "of the driver's frame that corresponds to the source")
    found = _keypoints(network, "", "B", "of the driver")
    moved = _keypoints(network, "driving_", "B", "for animate")
    inputs = (scale, *own, *reference, *found)
    return Graph("relative", _Relative(), inputs, moved, "frame", "the driver's motion since a frame")


class _Animate(_Part):
    def __init__(self, network: KeypointNetwork, *, queries: bool, jacobians: bool) -> None:
        super().__init__(network)
        self.queries, self.jacobians = queries, jacobians

    def forward(self, source: Tensor, features: Tensor, small: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        rest = list(given)
        encoded = EncodedSource(source, features, rest.pop(0) if self.queries else None)
        step = 2 if self.jacobians else 1
        own, driving = Keypoints(*rest[:step]), Keypoints(*rest[step:])
        made = self.network.decode(SourceFeatures(encoded, small, own), driving)
        maps = (made.image, made.flow)
        return maps if made.occlusion is None else (*maps, made.occlusion)


def _keypoints(network: Any, prefix: str, batch: int | str, whose: str) -> tuple[Port, ...]:
    config = network.config.keypoints
    ports = [Port(f"{prefix}points", (batch, config.count, 2), f"x, y normalised, {whose}")]
    if config.jacobians != "none":
        count = config.count if config.jacobians == "per_keypoint" else 1
        ports.append(Port(f"{prefix}jacobians", (batch, count, 2, 2), f"affine frames {whose}"))
    return tuple(ports)
