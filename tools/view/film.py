"""A driver that a subject's head follows: its motion is taken over once, a frame of it is one picture."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from ...flame.params import HeadFit
from ..drivers import Driver
from .document import Source
from .engine import Subject, driven


class Film:
    """The subject's head in every frame of a driver.

    Attributes:
        subject: whose head.
        source: the driver as the document names it.
        driver: fitted.
    """

    def __init__(self, subject: Subject, source: Source, driver: Driver) -> None:
        """Take the motion over.

        Raises:
            HeadwarpError: what `driven` raises.
        """
        self.subject, self.source, self.driver = subject, source, driver
        self._lock = threading.Lock()
        self._shape: Mapping[int, float] = {}
        self._fit = driven(subject, driver, {})

    @property
    def length(self) -> float:
        """In seconds, from the first frame to the last."""
        return (self._fit.frames - 1) / float(self.driver.fps)

    def frame_at(self, time: float) -> int:
        """Number of the frame at a time in seconds, kept within the film."""
        return min(max(round(time * float(self.driver.fps)), 0), self._fit.frames - 1)

    def fit(self, shape: Mapping[int, float]) -> HeadFit:
        """Every frame in the subject's window, of a head of another shape; kept until the shape is another.

        Args:
            shape: amounts added to the subject's coefficients, by number.
        """
        with self._lock:
            if dict(shape) != dict(self._shape):
                self._fit, self._shape = driven(self.subject, self.driver, shape), dict(shape)
            return self._fit
