"""Correspondence of [HeSer]'s blender at 512 px: blocks beside the whole matrix, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .suites import Case

SIZE, STRIDE = 512, 8  # of the pictures, and of VGG-19's relu4_4 in them
_CHANNELS = 256


def blender_cases() -> list[Case]:
    """Forward and backward over features of 64 x 64 cells, labels in twelve bands as a face has regions."""
    from ...geom.region_correlation import region_correlation, region_correlation_ref
    from ...warping.heser_regions import RULES
    from .suites import Case

    leaves, labels = drawn(SIZE // STRIDE)

    def step(function: Callable[..., object], **more: float) -> Callable[[], object]:
        def run() -> object:
            made = function(*leaves, *labels, rule=RULES["paper"], temperature=0.01, **more)
            return torch.autograd.grad(made.values.sum(), leaves)  # type: ignore[attr-defined]

        return run

    blocks, whole = step(region_correlation), step(region_correlation_ref)

    def memory() -> Mapping[str, float]:
        """Most bytes that either takes beside what it is given."""
        ours, theirs = peak_mb(blocks), peak_mb(whole)
        return {"peak_mb": ours, "whole_matrix_mb": theirs, "times_less_memory": theirs / ours}

    name = "blender/correlation_forward_backward"
    return [Case(name, SIZE, 1, blocks, ("whole matrix", whole), memory)]


def drawn(side: int) -> tuple[list[Tensor], list[Tensor]]:
    """Features and colours of two pictures with their gradients asked for, and labels of both."""
    from ...geom.region_correlation import directions

    random = torch.Generator().manual_seed(0)
    features = [directions(torch.randn(1, _CHANNELS, side, side, generator=random)) for _ in range(2)]
    colours = torch.rand(1, 3, side, side, generator=random)
    bands = torch.arange(side)[:, None].expand(side, side) * 12 // side + 1
    return [value.requires_grad_() for value in (*features, colours)], [bands[None], bands[None]]


def peak_mb(function: Callable[[], object]) -> float:
    """Most memory that a function's tensors take at once, in 10^6 bytes, by the allocator's own record."""
    with torch.profiler.profile(profile_memory=True) as profile:
        function()
    held = most = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6
