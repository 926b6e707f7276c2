"""What a batch has in common with every other: pairs with geometry, or frames alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

Self = TypeVar("Self", bound="Batch")


class Batch(Protocol):
    """A batch of samples, a frozen dataclass of tensors; `PairBatch` and `FrameBatch` are such.

    Attributes:
        source: RGB in [0, 1], ``(B, 3, H, W)``.
        driving: the frame to be made of it.
        names: of the samples, for reports.
    """

    @property
    def source(self) -> Tensor: ...

    @property
    def driving(self) -> Tensor: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def map(self: Self, change: Callable[[Tensor], Tensor]) -> Self:
        """Every tensor changed in the same way, such as moved to a device."""

    def joined(self: Self, other: Self) -> Self:
        """The samples of both."""
