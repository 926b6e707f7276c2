"""The nouns of work over many inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ....geom.errors import HeadwarpError

Facts = Mapping[str, Any]
Call = Callable[[Any, Path], Facts]


@dataclass(frozen=True)
class Job:
    """One input.

    Attributes:
        key: unique name of the job in its output folder, the same in every run.
        argument: what the work is called with; it is pickled.
        source: what the input is, so that another input is never taken for this one.
        stamp: what changes when the input does, such as size and time of its file.
    """

    key: str
    argument: Any
    source: str = ""
    stamp: str = ""


class Work(Protocol):
    """What is done with every job; it is pickled and sent to the workers, so it holds options, not state."""

    def open(self) -> Call:
        """Load what all jobs need, once in every worker.

        Returns:
            A function of a job's argument and an empty folder. It writes its files there, at the places that
            they shall have in the output folder, and returns what JSON can hold. Equal arguments must make
            equal files and facts; only values under keys that begin with ``seconds`` may differ. What it
            raises fails its job and no other; a full disk ends the run.

        Raises:
            HeadwarpError: nothing can be done at all.
        """


@dataclass(frozen=True)
class JobConfig:
    """How jobs are run.

    Attributes:
        workers: processes; 1 on this machine is this process, unsupervised. None: 1 on this machine, on a
            Ray cluster one for each of its CPUs.
        engine: ``local`` or ``ray``.
        address: of a Ray cluster; None for the one of this process or environment, else a new local one.
        retry_failed: do failed jobs again.
        attempts: a job is given up as failed when as many workers died over it.
    """

    workers: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    retry_failed: bool = False
    attempts: int = 3

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise HeadwarpError(f"--workers: expected 1 or more, got {self.workers}")
        if self.engine not in ("local", "ray"):
            raise HeadwarpError(f"--engine: expected local or ray, got {self.engine}")
        if self.address is not None and self.engine != "ray":
            raise HeadwarpError(f"--address {self.address}: goes with --engine ray, got {self.engine}")


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        facts: what the work returned; None if it failed.
        outputs: files made -> their size in bytes, relative to the output folder.
        seconds: wall time.
        error: why it failed.
        fatal: nothing else can be done either: the disk is full.
    """

    facts: Facts | None
    outputs: Mapping[str, int]
    seconds: float
    error: str | None = None
    fatal: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happened in a pool of workers; without a job, a worker became ready or died idle.

    Attributes:
        job: the job that it happened to.
        outcome: what came of it.
        death: how its worker ended instead.
    """

    job: Job | None = None
    outcome: Outcome | None = None
    death: str | None = None


@dataclass(frozen=True)
class Record:
    """A line of the manifest.

    Attributes:
        key, source, stamp: of the job.
        ok: whether it was done.
        outputs: files made -> their size in bytes, relative to the output folder.
        facts: what the work returned; empty if it failed.
        error: why it failed, else None.
        seconds: wall time.
    """

    key: str
    source: str
    stamp: str
    ok: bool
    outputs: Mapping[str, int]
    facts: Facts
    error: str | None
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        done: jobs done in this run.
        failed: jobs that failed in this run.
        skipped: jobs that were done, or had failed, before.
        failed_before: those of them that had failed.
        deaths: workers that died and were replaced.
        startup_seconds: until the first worker was ready; 0 if nothing was left to do.
    """

    done: int
    failed: int
    skipped: int
    failed_before: int
    deaths: int
    startup_seconds: float = field(compare=False)
