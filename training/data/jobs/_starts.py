"""Workers that end before they are ready: a few are replaced, a row of them ends the run."""

from __future__ import annotations

from ....geom.errors import HeadwarpError

START_ATTEMPTS = 5


class Starts:
    """How many workers in a row ended before they were ready."""

    def __init__(self) -> None:
        self._failed = 0

    def succeeded(self) -> None:
        """A worker is ready."""
        self._failed = 0

    def failed(self, sentence: str) -> None:
        """A worker ended before it was ready.

        Args:
            sentence: what is said if it was one too many.

        Raises:
            HeadwarpError: it was one too many.
        """
        self._failed += 1
        if self._failed >= START_ATTEMPTS:
            raise HeadwarpError(sentence)
