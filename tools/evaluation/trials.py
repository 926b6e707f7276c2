"""A trial: one source, and the driving frames in which every animator is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from ...geom.guidance import Driving, Source
from ...training.data.portrait import Frame
from ...training.data.synthetic import TrueFlow

Place = NDArray[np.floating]
"""Where a face is about: face-mesh points (478, 2 or 3), or a box (4,) x0, y0, x1, y1, pixels."""


@dataclass(frozen=True)
class Step:
    """One driving frame.

    Attributes:
        time: its number in its clip; steps go forward in time.
        driving: what animators take.
        frame: the driver's picture, uint8 (H, W, 3).
        place: where the driver's face is in it; None where none is sought.
        expected: where the generated face may be, tried in order.
        motion: the true flow from the source, where it is known.
        window: the part of the frame that generated frames cover, for people to compare; None: all of it.
    """

    time: int
    driving: Driving
    frame: Frame
    place: Place | None
    expected: tuple[Place, ...]
    motion: TrueFlow | None = None
    window: Frame | None = None


@dataclass(frozen=True)
class Made:
    """What an animator made of a driving frame.

    Attributes:
        picture: uint8 (H, W, 3).
        truth: the true frame; None where there is none.
        l1: metric of that name; None without truth.
        face: whether a face was found in it; None where none is sought.
    """

    picture: Frame
    truth: Frame | None = None
    l1: float | None = None
    face: bool | None = None

    @property
    def error(self) -> Float[ndarray, "H W"] | None:
        """Where it is wrong: mean over RGB of the absolute difference, in [0, 1]."""
        if self.truth is None:
            return None
        return np.abs(self.picture.astype(np.float32) - self.truth).mean(-1) / 255


@dataclass(frozen=True)
class Moment:
    """A driving frame performed by every animator.

    Attributes:
        time: its number in its clip.
        source: uint8 (H, W, 3).
        driver: what drives, uint8 (H, W, 3); the true frame, where there is one.
        made: by animator, in the order of the run.
    """

    time: int
    source: Frame
    driver: Frame
    made: Mapping[str, Made]


Watch = Callable[[Moment], None]
"""Sees every moment of a trial as it passes and keeps none."""


class Shown(Protocol):
    """A source as a picture and as what animators take, as `Portrait` is."""

    @property
    def image(self) -> Tensor: ...

    def source(self) -> Source:
        """The tensors an animator takes."""


class Trial(Protocol):
    """One source driven by one driver.

    Attributes:
        portrait: the source, encoded once by every animator.
        place: where its face is; None where none is sought, in no frame.
        truth: whether the driver's frames are what should be generated: same person, same window.
        numbers: of the driving frames in their clip.
        driver_size: (H, W) in the driver's pixels of what a generated frame covers.
        reference: for animators that look at the driver's pictures, the frame that relative motion starts
            from; None: motion is absolute.
    """

    @property
    def portrait(self) -> Shown: ...

    @property
    def place(self) -> Place | None: ...

    @property
    def truth(self) -> bool: ...

    @property
    def numbers(self) -> tuple[int, ...]: ...

    @property
    def driver_size(self) -> tuple[float, float]: ...

    @property
    def reference(self) -> Driving | None: ...

    def steps(self) -> Iterator[Step]:
        """The driving frames, read as they are asked for."""
