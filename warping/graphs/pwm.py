"""Graphs of `pwm`: `encode` a source, `animate` what geometry knows of it in one driving pose."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.nets.folding import fold_norms_
from ..posed_layers import PosedLayers
from ..progressive import ProgressiveConfig, ProgressiveFeatures, ProgressiveWarping, guidance_maps
from ..residual import ResidualConfig, ResidualWarping
from . import Graph, Port, fixed, picture

_FRAMES = {
    "background": (
        3,
        "the picture without the person, moved by the camera; without a mask the source",
    ),
    "flow": (2, "backward flow of the person, driving to source, in pixels: filled where it is not known"),
    "displacement": (2, "the mesh's own flow in pixels, 0 where it is not"),
    "covered": (1, "1 where the driving mesh lies"),
    "known": (1, "1 where the mesh lies and the source shows that place"),
    "person": (1, "1 where the driving frame surely shows the person"),
    "hollow": (1, "opacity of the dark inside of the mouth"),
}
_SOURCE = {
    "matte": (1, "opacity of the person; without a mask 1"),
    "colours": (3, "of the person, continued beyond the edge; without a mask the source"),
    "residual": (3, "what person and background leave of the source; without a mask 0"),
}
_FLOW = Port("flow", ("B", 2, 0, 0), "", (-20.0, 20.0))


def graphs(animator: Any, size: tuple[int, int]) -> tuple[Graph, ...]:
    """See `graphs_of`."""
    network, config = animator.network.network, animator.config.network
    codes = config.code_channels if animator.config.codes is not None else 0
    if isinstance(network, ResidualWarping):
        return _residual(network.eval(), config, size, codes)
    return _progressive(fold_norms_(network), config, size, codes)


class _ResidualEncode(nn.Module):
    def __init__(self, network: ResidualWarping) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, matte: Tensor, *codes: Tensor) -> tuple[Tensor, ...]:
        return self.network.encode(source, matte, *codes)


class _ResidualAnimate(nn.Module):
    """Features, the tensors of `PosedLayers`, then codes if there are any."""

    def __init__(self, network: ResidualWarping, levels: int) -> None:
        super().__init__()
        self.network, self.levels = network, levels
        self.count = len(dataclasses.fields(PosedLayers))

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        features, rest = given[: self.levels], given[self.levels :]
        layers = PosedLayers(*rest[: self.count])
        made = self.network.decode(tuple(features), layers, *rest[self.count :])
        return made.image, made.flow, made.matte, 1 - made.paint


def _residual(
    network: ResidualWarping, config: ResidualConfig, size: tuple[int, int], codes: int
) -> tuple[Graph, ...]:
    encode = _ResidualEncode(network)
    image, matte = picture("source", size, "the source picture"), _map("matte", size, _SOURCE, 1)
    source = (image, matte, *_codes("source_codes", codes, size, "source", 1))
    features = _features(encode, source)
    frame = tuple(_layer(field.name, size) for field in dataclasses.fields(PosedLayers))
    outputs = (
        picture("image", size, "the source in the driving pose", batch="B"),
        Port("flow_out", ("B", 2, *size), "backward flow of the person that was used, in pixels"),
        Port("matte_out", ("B", 1, *size), "opacity of the person in it", (0.0, 1.0)),
        Port(
            "occlusion",
            ("B", 1, *size),
            "1 where it comes from the source, 0 where made up",
            (0.0, 1.0),
        ),
    )
    frame += _codes("codes", codes, size, "driving", "B")
    animate = _ResidualAnimate(network, len(features))
    return _pair(encode, source, features, animate, (*features, *frame), outputs)


class _ProgressiveEncode(nn.Module):
    def __init__(self, network: ProgressiveWarping) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, *codes: Tensor) -> tuple[Tensor, ...]:
        made = self.network.encode(torch.cat([source, *codes], dim=1))
        return (*made.shortcuts, made.bottleneck)


class _ProgressiveAnimate(nn.Module):
    """Source, features, then displacement, codes or both."""

    def __init__(self, network: ProgressiveWarping) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        config, levels = network.config, network.config.levels
        shortcuts, bottleneck, rest = given[: levels - 1], given[levels - 1], list(given[levels:])
        flow = None if config.guidance == "codes" else rest.pop(0)
        guidance = guidance_maps(config, flow, rest.pop(0) if rest else None)
        made = network.decode(ProgressiveFeatures(source, tuple(shortcuts), bottleneck), guidance, flow)
        maps = (made.image, made.flows[-1])
        return maps if made.alpha is None or config.alpha != "blended" else (*maps, 1 - made.alpha)


def _progressive(
    network: Any, config: ProgressiveConfig, size: tuple[int, int], codes: int
) -> tuple[Graph, ...]:
    if config.legacy_grid and min(size) < 2 * config.multiple:
        raise HeadwarpError(f"size: expected at least {2 * config.multiple} px a side, got {size}")
    encode = _ProgressiveEncode(network)
    image = picture("source", size, "the source picture")
    source = (image, *_codes("source_codes", codes, size, "source", 1))
    features = _features(encode, source)
    frame: tuple[Port, ...] = () if config.guidance == "codes" else (_layer("displacement", size),)
    frame += _codes("codes", codes, size, "driving", "B")
    outputs: tuple[Port, ...] = (
        picture("image", size, "the source in the driving pose", batch="B"),
        Port("flow_out", ("B", 2, *size), "backward flow at full size, in pixels"),
    )
    if config.alpha == "blended":
        text = "1 where the picture is the warped source"
        outputs += (Port("occlusion", ("B", 1, *size), text, (0.0, 1.0)),)
    animate = _ProgressiveAnimate(network)
    return _pair(encode, source, features, animate, (image, *features, *frame), outputs)


def _pair(
    encode: nn.Module,
    source: tuple[Port, ...],
    features: tuple[Port, ...],
    animate: nn.Module,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
) -> tuple[Graph, ...]:
    return (
        Graph("encode", encode, source, features, "source", "features of the source"),
        Graph("animate", animate, inputs, outputs, "frame", "the picture in a driving pose"),
    )


def _features(encode: nn.Module, source: tuple[Port, ...]) -> tuple[Port, ...]:
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = encode(*(port.example(1, random) for port in source))
    return tuple(fixed(f"features_{level}", each, "of encode") for level, each in enumerate(made))


def _map(name: str, size: tuple[int, int], table: dict[str, tuple[int, str]], batch: int | str) -> Port:
    channels, meaning = table[name]
    span = None if name == "residual" else (0.0, 1.0)
    return Port(name, (batch, channels, *size), meaning, _FLOW.span if channels == 2 else span)


def _layer(name: str, size: tuple[int, int]) -> Port:
    """A tensor of `PosedLayers`: of the source, or one a driving frame."""
    if name in _FRAMES:
        return _map(name, size, _FRAMES, "B")
    if name in _SOURCE:
        return _map(name, size, _SOURCE, 1)
    if name == "dark":
        return Port(name, (1, 3, 1, 1), "colour of the mouth's inside", (0.0, 1.0))
    if name == "reach":
        return Port(name, (1, 1, 1, 1), "motion in pixels that fades the residual to 1 / e", (1.0, 20.0))
    text = "row below which all is torso; a large number (1e6) where unknown"
    return Port(name, (1, 1, 1, 1), text, (0.0, float(size[0])))


def _codes(name: str, channels: int, size: tuple[int, int], whose: str, batch: int | str) -> tuple[Port, ...]:
    text = f"posed neural codes, drawn in the {whose} pose"
    return (Port(name, (batch, channels, *size), text),) if channels else ()
