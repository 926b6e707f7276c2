"""A source and a driver brought together, whichever way: what `animate` shows, pastes and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from ..geom.guidance import Driving
from ..training.data.portrait import Frame
from ..warping.animators import Animation
from .drivers import Driver
from .timeline import Indices, picked


class Paste(Protocol):
    """Windows pasted back into whole pictures: the photo, or those given, one for every window."""

    def __call__(
        self, animations: Iterable[Animation], *, onto: Iterable[Frame] | None = None
    ) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class Stage:
    """Everything that is known before the first picture is made.

    Attributes:
        source: the square that is animated, ``(1, 3, S, S)``.
        driver: what drives.
        cache: of the animator.
        count: driving frames; None where only reading them tells.
        drivings: what the animator takes, frame by frame; anew at every call.
        pictures: the driver's pictures in the same square, or None where it has none; anew at every call.
        pasted: whole photos with the square pasted back.
        facts: of the report: ``relative``, ``reference_frame``, ``driver``, ``window``.
        nearness: larger, the nearer the head.
    """

    source: Float[Tensor, "1 3 S S"]
    driver: Driver
    cache: Any
    count: int | None
    drivings: Callable[[], Iterator[Driving]]
    pictures: Callable[[], Iterator[Tensor] | None]
    pasted: Paste
    facts: Mapping[str, Any]
    nearness: float = 0.0

    def at(self, indices: Indices) -> Stage:
        """The stage at these driving frames, in this order."""

        def pictures() -> Iterator[Tensor] | None:
            if self.pictures() is None:
                return None
            return picked(lambda: self.pictures() or iter(()), indices)

        return replace(
            self,
            count=len(indices),
            drivings=lambda: picked(self.drivings, indices),
            pictures=pictures,
        )
