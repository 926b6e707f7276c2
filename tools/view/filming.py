"""A camera that the head follows, and what it saw: kept as heads alone, to be saved as a film."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ...flame.model import HeadModel
from ...flame.params import HeadFit
from ..drivers import Driver
from .camera import Camera

LONGEST_TAKE = 120.0  # seconds
FASTEST = 25  # frames a second


class Take:
    """The heads of the last two minutes before a camera: no picture, some ten kilobytes a frame."""

    def __init__(self, longest: float = LONGEST_TAKE) -> None:
        """Nothing yet.

        Args:
            longest: seconds that are kept.
        """
        self._longest = longest
        self._first: HeadFit | None = None
        self._heads: deque[tuple[float, HeadFit]] = deque()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """From the first head that is kept to the last; 0 without two."""
        with self._lock:
            return self._heads[-1][0] - self._heads[0][0] if self._heads else 0.0

    def add(self, fit: HeadFit, moment: float) -> None:
        """A head.

        Args:
            fit: of two frames: the person at first, and now.
            moment: in seconds of any clock, later than the one before.
        """
        with self._lock:
            self._first = fit.select([0])
            self._heads.append((moment, fit.select([1])))
            while moment - self._heads[0][0] > self._longest:
                self._heads.popleft()

    def driver(self) -> Driver | None:
        """What was kept, at an even rate: the person at first, then the head that was seen nearest to each
        moment. None before two heads.
        """
        with self._lock:
            first, heads = self._first, list(self._heads)
        if first is None or len(heads) < 2:
            return None
        moments = np.array([moment for moment, _ in heads]) - heads[0][0]
        fps = Fraction(min(FASTEST, max(1, round((len(heads) - 1) / moments[-1]))))
        wanted = np.arange(int(moments[-1] * fps) + 1) / float(fps)
        nearest = np.searchsorted((moments[1:] + moments[:-1]) / 2, wanted)
        fit = first.followed_by(*(heads[place][1] for place in nearest))
        fit = dataclasses.replace(fit, report={**fit.report, "fps": str(fps)})
        return Driver(fit, None, None, fps, timed=True)


class Filming:
    """The camera of a session: off at first.

    Attributes:
        live: what it saw last; None while it is off.
        take: of the present or the last run.
    """

    def __init__(
        self,
        device: str | None,
        head: HeadModel,
        *,
        moved: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Nothing is opened yet.

        Args:
            device: number of a camera, or a video file; None: there is none.
            head: that is fitted.
            moved: called for every head that was seen.
            failed: takes an error that ends it.
        """
        self._device, self._head = device, head
        self._moved, self._failed = moved, failed
        self._camera: Camera | None = None
        self.live: Driver | None = None
        self.take = Take()

    @property
    def there(self) -> bool:
        """Whether there is a camera."""
        return self._device is not None

    @property
    def on(self) -> bool:
        """Whether it films."""
        return self._camera is not None

    def begin(self) -> None:
        """Open the camera.

        Raises:
            HeadwarpError: what `Camera` raises.
        """
        if self._camera is None and self._device is not None:
            self.take = Take()
            self._camera = Camera(self._device, self._head, seen=self._see, failed=self._failed)

    def end(self) -> None:
        """Close it; the take stays."""
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        self.live = None

    def forget(self) -> None:
        """Let go of the take."""
        self.take = Take()

    def _see(self, driver: Driver) -> None:
        if self._camera is not None and driver.fit is not None:
            self.live = driver
            self.take.add(driver.fit, time.monotonic())
            self._moved()
