"""Cross-modal attention of one frame: queries in blocks, beside the whole map that the public code makes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .suites import Case

SIZES = (256, 512)
"""Sides of the frames; at 512 px the whole map would take 2 GiB and is left out."""
_KEYS, _VALUES = 32, 256


def attention_cases() -> list[Case]:
    """[DaGAN]'s attention over features of a quarter of the frame's side, as large as its public code's."""
    from ...warping.attention import attend, attend_ref
    from .region_correlation import peak_mb
    from .suites import Case

    def memory(size: int) -> Mapping[str, float]:
        """Most bytes that the blocks take beside what they are given."""
        return {"peak_mb": peak_mb(timed(attend, size))}

    def timed(function: Callable[[Tensor, Tensor, Tensor], Tensor], size: int) -> Callable[[], Tensor]:
        query, key, value = drawn(size)
        return torch.no_grad()(lambda: function(query, key, value))

    return [
        Case(
            "attention/blocks",
            size,
            1,
            timed(attend, size),
            ("whole map", timed(attend_ref, size)) if size == SIZES[0] else None,
            functools.partial(memory, size),
        )
        for size in SIZES
    ]


def drawn(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a frame, drawn by chance."""
    random = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, (size // 4) ** 2, width, generator=random) for width in (_KEYS, _KEYS, _VALUES)
    )
    return query, key, value
