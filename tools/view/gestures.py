"""What counts as one gesture, and so as one step of the history: a slider that is dragged without a pause."""

from __future__ import annotations

import time

PAUSE = 0.8  # seconds without a change: the next one is a step of its own


class Gestures:
    """Names for what is said: equal ones in a row are one gesture.

    Example:
        >>> gestures = Gestures()
        >>> first = gestures.named("yaw")
        >>> gestures.named("yaw") == first, gestures.named("pitch") == first, gestures.named("")
        (True, False, '')
    """

    def __init__(self) -> None:
        self._last, self._moment = "", 0.0

    def named(self, name: str) -> str:
        """The name of the gesture that goes on, or of another one after a pause; "" is always its own."""
        now = time.monotonic()
        if name and (not self._last.startswith(f"{name}@") or now - self._moment > PAUSE):
            self._last = f"{name}@{now}"
        self._moment = now
        return self._last if name else ""

    def was(self, name: str) -> bool:
        """Whether the last one was of this name."""
        return self._last.startswith(f"{name}@")
