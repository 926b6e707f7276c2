"""Jobs given out to workers, and what came of them written down."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ....geom.errors import HeadwarpError
from ._staging import clear_staging, new_staging
from .manifest import Manifest
from .types import Event, Job, JobConfig, Outcome, Record, Summary, Work


class Pool(Protocol):
    """Workers of some kind; each takes one job at a time."""

    @property
    def idle(self) -> bool:
        """Whether a worker waits for a job."""

    def fill(self) -> None:
        """Start the workers that are missing."""

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker."""

    def wait(self) -> Event:
        """Wait for the next thing that happens."""

    def close(self) -> None:
        """End all workers at once."""


def run_jobs(
    jobs: Iterable[Job],
    work: Work,
    *,
    manifest: Manifest,
    config: JobConfig,
    total: int | None = None,
    label: str = "",
) -> Summary:
    """Do every job that the manifest does not know as settled, and write a line for each.

    Args:
        jobs: with unique keys; taken one by one as workers become free.
        work: what is done with them.
        manifest: open; the outputs go to its folder.
        config: workers and engine.
        total: number of jobs, for the progress bar; None: not known.
        label: name on the progress bar.

    Raises:
        HeadwarpError: the work cannot be opened, workers cannot be started, or nothing can be written any
            more. Finished jobs are recorded.
    """
    staging = new_staging(manifest.folder)
    run = _Run(manifest, config)
    pool = _pool(work, manifest=manifest, config=config, staging=staging, total=total)
    try:
        with _progress(label, total) as bar:
            run.all_of(iter(jobs), pool, bar)
    finally:
        pool.close()
        clear_staging(manifest.folder)
    return run.summary()


def _pool(work: Work, *, manifest: Manifest, config: JobConfig, staging: Path, total: int | None) -> Pool:
    if config.engine == "ray":
        from ._ray import RayPool

        return RayPool(work, size=config.workers, staging=staging, address=config.address)
    if config.workers is None or config.workers == 1:
        from ._inline import InlinePool

        return InlinePool(work, staging=staging)
    from ._processes import ProcessPool

    size = config.workers if total is None else min(config.workers, max(1, total))
    return ProcessPool(work, size=size, staging=staging, lock=manifest.descriptor)


def _progress(label: str, total: int | None) -> Any:
    from tqdm import tqdm

    return tqdm(desc=label, total=total, unit="input", disable=True if total == 1 else None)


class _Run:
    """Counts of a run, and the jobs whose worker died."""

    def __init__(self, manifest: Manifest, config: JobConfig) -> None:
        self.manifest, self.config = manifest, config
        self.done = self.failed = self.skipped = self.failed_before = self.deaths = 0
        self._startup = 0.0
        self._again: deque[Job] = deque()
        self._deaths_over: Counter[str] = Counter()

    def summary(self) -> Summary:
        return Summary(
            done=self.done,
            failed=self.failed,
            skipped=self.skipped,
            failed_before=self.failed_before,
            deaths=self.deaths,
            startup_seconds=self._startup,
        )

    def all_of(self, jobs: Iterator[Job], pool: Pool, bar: Any) -> None:
        """Give out jobs until none is left and none is under way."""
        under_way = 0
        job = self._next(jobs, bar)
        started = time.perf_counter()
        if job is not None:
            pool.fill()
        while job is not None or under_way:
            if job is not None and pool.idle:
                self._startup = self._startup or time.perf_counter() - started
                pool.submit(job)
                under_way += 1
                job = self._next(jobs, bar)
                continue
            event = pool.wait()
            if event.job is not None:
                under_way -= 1
                self._settle(event.job, event, bar)
                job = job or self._next(jobs, bar)
            self.deaths += event.death is not None
            if event.death is not None and job is not None:
                pool.fill()

    def _next(self, jobs: Iterator[Job], bar: Any) -> Job | None:
        """The next job that is to be done."""
        if self._again:
            return self._again.popleft()
        for job in jobs:
            if not self.manifest.is_settled(job, retry_failed=self.config.retry_failed):
                return job
            self.skipped += 1
            self.failed_before += not self.manifest.is_done(job.key)
            bar.n += 1
            bar.initial = bar.n - self.done - self.failed  # what was there is no speed
        return None

    def _settle(self, job: Job, event: Event, bar: Any) -> None:
        outcome = event.outcome
        if outcome is None:
            self._deaths_over[job.key] += 1
            if self._deaths_over[job.key] < self.config.attempts:
                self._again.append(job)
                return
            count = self.config.attempts
            outcome = Outcome(None, {}, 0.0, error=f"{count} workers died over it ({event.death})")
        if outcome.fatal:
            count = self.done + self.skipped
            raise HeadwarpError(
                f"{(outcome.error or '').rstrip('.')}. {count} job(s) are done and recorded; run the same "
                "command again to go on"
            )
        self.manifest.append(_record(job, outcome))
        self.done += outcome.error is None
        self.failed += outcome.error is not None
        if self.failed:
            bar.set_postfix(failed=self.failed, refresh=False)
        bar.update()


def _record(job: Job, outcome: Outcome) -> Record:
    return Record(
        key=job.key,
        source=job.source,
        stamp=job.stamp,
        ok=outcome.error is None,
        outputs=outcome.outputs,
        facts=outcome.facts or {},
        error=outcome.error,
        seconds=outcome.seconds,
    )
