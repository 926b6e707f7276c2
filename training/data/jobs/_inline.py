"""Jobs one after the other in this very process."""

from __future__ import annotations

from pathlib import Path

from ._attempt import attempt
from .types import Call, Event, Job, Work


class InlinePool:
    """One worker that is this process."""

    def __init__(self, work: Work, *, staging: Path) -> None:
        self._work, self._staging = work, staging
        self._call: Call | None = None
        self._job: Job | None = None

    def fill(self) -> None:
        """Open the work."""
        if self._call is None:
            self._call = self._work.open()

    @property
    def idle(self) -> bool:
        """Whether a job can be given."""
        return self._job is None

    def submit(self, job: Job) -> None:
        """Take a job; `wait` does it."""
        self._job = job

    def wait(self) -> Event:
        """Do the job."""
        job, self._job = self._job, None
        if job is None or self._call is None:
            raise RuntimeError("wait: expected a job submitted to a pool that was filled, got none")
        return Event(job, outcome=attempt(self._call, job, self._staging))

    def close(self) -> None:
        """Nothing has to be ended."""
