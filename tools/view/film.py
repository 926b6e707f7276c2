"""A driver that a subject's head follows: its motion is taken over once, a frame of it is one picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ...flame.expression_regions import ExpressionRegions
from ...flame.params import HeadFit, Pose
from ...flame.posing import add_pose, reshaped
from ...flame.retargeting import Retargeting, retargeted
from ..drivers import Driver
from .document import Document, Source
from .engine import Subject, driven


class Film:
    """The subject's head in every frame of a driver.

    Attributes:
        subject: whose head.
        source: the driver as the document names it.
        driver: fitted.
    """

    def __init__(
        self,
        subject: Subject,
        source: Source,
        driver: Driver,
        regions: Callable[[], ExpressionRegions],
    ) -> None:
        """Take the motion over.

        Args:
            subject, source, driver: see the class.
            regions: of the head, asked for when regions are driven apart.

        Raises:
            HeadwarpError: what `driven` raises.
        """
        self.subject, self.source, self.driver = subject, source, driver
        self._lock = threading.Lock()
        self._shape: Mapping[int, float] = {}
        self._fit = driven(subject, driver, {})
        self._regions = regions

    @property
    def length(self) -> float:
        """In seconds, from the first frame to the last."""
        return (self._fit.frames - 1) / float(self.driver.fps)

    def frame_at(self, time: float) -> int:
        """Number of the frame at a time in seconds, kept within the film."""
        return round(min(max(time * float(self.driver.fps), 0.0), self._fit.frames - 1.0))

    def fit(self, document: Document, frame: int | None = None) -> HeadFit:
        """The head in the subject's window: as much of the driver's motion as the strengths say, with the
        document's shape, its pose on top.

        Args:
            document: what is said.
            frame: one of them; None: all.
        """
        head, own = self.subject.portrait.head, reshaped(self.subject.portrait.fit, document.shape)
        whole = self._driven(document.shape)
        chosen = whole if frame is None else whole.select([frame])
        regions = None if document.retargeting == Retargeting() else self._regions()
        fit = retargeted(head, own, chosen, document.retargeting, regions=regions)
        return fit if document.pose == Pose() else add_pose(head, fit, document.pose)

    def _driven(self, shape: Mapping[int, float]) -> HeadFit:
        """All of the motion, kept until the shape is another."""
        with self._lock:
            if dict(shape) != dict(self._shape):
                self._fit, self._shape = driven(self.subject, self.driver, shape), dict(shape)
            return self._fit
