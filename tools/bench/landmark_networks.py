"""Networks that landmarks drive: a driving frame from 136 numbers to picture, the source encoded before.

Weights are drawn by chance: times do not hang on them. No landmark is detected here: a file may hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .networks import lazy

if TYPE_CHECKING:
    from ...warping.sparse2dense import Sparse2DenseNetwork, Sparse2DenseOutput
    from .suites import Case

_SIZE = 256


def landmark_network_cases() -> list[Case]:
    """Sparse-to-Dense in the paper's size ready to animate, beside itself as trained, the source encoded for
    every frame.
    """
    from .suites import Case

    trained = ("as trained, source encoded again", lazy(_as_trained))
    return [Case("keypoints/sparse2dense", _SIZE, 1, lazy(_frame), trained)]


def _network() -> Sparse2DenseNetwork:
    from ...warping.sparse2dense import Sparse2DenseNetwork, paper

    torch.manual_seed(0)
    return Sparse2DenseNetwork(paper()).eval().requires_grad_(False)


def _given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture, its landmarks, and the driver's."""
    random = torch.Generator().manual_seed(0)
    own = torch.rand(1, 68, 2, generator=random) - 0.5
    return torch.rand(1, 3, _SIZE, _SIZE, generator=random), own, own + 0.05


def _frame() -> Callable[[], Sparse2DenseOutput]:
    from ...warping.inference import prepare_

    network, (source, own, driving) = prepare_(_network()), _given()
    with torch.no_grad():
        features = network.encode(source, own)

    @torch.no_grad()
    def frame() -> Sparse2DenseOutput:
        return network.decode(features, driving)

    return frame


def _as_trained() -> Callable[[], Sparse2DenseOutput]:
    network, (source, own, driving) = _network(), _given()

    @torch.no_grad()
    def frame() -> Sparse2DenseOutput:
        return network(source, own, driving)

    return frame
