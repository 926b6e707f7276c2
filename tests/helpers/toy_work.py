"""Work that costs nothing, and that dies, fails or fills the disk when its argument says so."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.jobs import Job, Record, without_timings

TOY_RUN = """
import signal
import sys
from pathlib import Path
from toy_work import ToyWork, toy_jobs
from headwarp.training.data.jobs import JobConfig, open_manifest, run_jobs

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit that it is ignored
    out, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    names = [f"clip{number}" for number in range(count)] + ["fails"]
    with open_manifest(out / "manifest.jsonl", kind="toy", fingerprint={}) as manifest:
        run_jobs(toy_jobs(names), ToyWork(seconds=0.02), manifest=manifest, config=JobConfig(workers=workers))
"""
"""A script: OUT COUNT WORKERS."""


@dataclass(frozen=True)
class ToyWork:
    """Writes ``sub/ARGUMENT.txt``; ``marks`` is a folder in which every call leaves an empty file."""

    seconds: float = 0.0
    marks: Path | None = None
    refuses: str = ""
    ballast: bytes = b""

    def open(self) -> Callable[[Any, Path], dict[str, Any]]:
        if self.refuses:
            raise HeadwarpError(self.refuses)
        return self.call

    def call(self, argument: Any, folder: Path) -> dict[str, Any]:
        if self.marks is not None:
            (self.marks / f"{argument}.{os.getpid()}.{time.time_ns()}").touch()
        time.sleep(self.seconds)
        path = folder / "sub" / f"{argument}.txt"
        path.parent.mkdir()
        path.write_text("half of it")
        if argument == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if argument == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        if argument == "fails":
            raise HeadwarpError(f"{path}: has no face")
        if argument == "breaks":
            raise ValueError("a bug")
        if argument == "fills":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_text(f"made of {argument}")
        return {"length": len(argument), "seconds_of_toil": time.time()}


def toy_jobs(arguments: Iterable[str]) -> list[Job]:
    """A job for every argument."""
    return [Job(f"key-{argument}", argument, source=f"from-{argument}", stamp="1") for argument in arguments]


def marks_of(folder: Path) -> list[str]:
    """Arguments that were called, sorted, each as often as it was."""
    return sorted(path.name.split(".")[0] for path in folder.iterdir())


def as_set(records: Iterable[Record]) -> set[str]:
    """Records without their timings, each as one text."""
    return {repr(sorted(without_timings(vars(record)).items())) for record in records}
