"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def average_of(network: nn.Module) -> nn.Module:
    """A copy to average into: same weights, no gradients, evaluation mode."""
    return copy.deepcopy(network).requires_grad_(False).eval()


def decay_at(decay: float, updates: int) -> float:
    """The decay of update number ``updates``, which starts at 0.1 and grows to ``decay``.

    Args:
        decay: that is reached.
        updates: how many were made.

    Example:
        >>> decay_at(0.999, 0), decay_at(0.5, 1000)
        (0.1, 0.5)
    """
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """``average = decay average + (1 - decay) network``; buffers are copied.

    Args:
        average: changed in place.
        network: of the same architecture.
        decay: share of the old average, 0..1.
    """
    own: list[Tensor] = list(average.parameters())
    torch._foreach_lerp_(own, [p.detach() for p in network.parameters()], 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
