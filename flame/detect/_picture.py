"""Pictures that are not arrays: decoded frames that become RGB only where somebody looks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@runtime_checkable
class LazyPicture(Protocol):
    """A picture (H, W, 3) uint8 RGB whose pixels are made where they are looked at."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """Rows and columns of it, (h, w, 3); slices with step 1."""

    def sampled(self, step: int) -> np.ndarray:
        """About every `step`-th pixel of every `step`-th row."""


Picture = np.ndarray | LazyPicture


def sampled(picture: Picture, step: int) -> UInt8[np.ndarray, "h w 3"]:
    """Every `step`-th pixel of every `step`-th row, of a lazy picture about that."""
    return picture[::step, ::step] if isinstance(picture, np.ndarray) else picture.sampled(step)
