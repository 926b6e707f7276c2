"""Graphs of `heser`: a code of every source picture, a code of a driver, a picture of both."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ...geom.nets.folding import fold_norms_
from ..heser_aligner import HeserAligner
from . import Graph, Port, picture


def graphs(animator: Any, size: tuple[int, int]) -> tuple[Graph, ...]:
    """See `graphs_of`.

    Raises:
        HeadwarpError: a size that the network does not make.
    """
    network: Any = fold_norms_(animator.network)
    config = network.config
    side = config.generator.size
    if size != (side, side):
        raise HeadwarpError(f"size: heser makes squares of {side} px, got {size[0]} x {size[1]}")
    source = picture("image", size, "pictures of the person, the head in the middle", batch="B")
    own = Port("source_code", ("B", config.source_numbers), "average it over several sources")
    driver = picture("driver", size, "pictures of the driver", batch="B")
    code = Port("driving_code", ("B", 2 * config.pose.outputs), "pose and expression")
    one = Port("source_code", (1, config.source_numbers), "of encode, or the mean of several")
    made = picture("picture", size, "the person as the driver holds the head", batch="B")
    return (
        Graph("encode", _Encode(network), (source,), (own,), "source", "codes of source pictures"),
        Graph("drive", _Drive(network), (driver,), (code,), "frame", "codes of driving pictures"),
        Graph("animate", _Animate(network), (one, code), (made,), "frame", "pictures of codes"),
    )


class _Encode(nn.Module):
    def __init__(self, network: HeserAligner) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.network.encode(image),)


class _Drive(_Encode):
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.network.encode_driving(image),)


class _Animate(_Encode):
    def forward(self, source: Tensor, driving: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return (self.network.decode(source, driving),)
