"""One job done: its files made aside and moved into place, or the reason why not."""

from __future__ import annotations

import os
import re
import time
import traceback
from pathlib import Path

from ....geom.errors import HeadwarpError
from ..atomic import plain
from ._staging import is_disk_trouble, publish, work_folder
from .types import Call, Facts, Job, Outcome


def attempt(call: Call, job: Job, staging: Path) -> Outcome:
    """Call the work on a job; whatever it raises becomes the reason why the job failed.

    Args:
        call: the opened work.
        job: the job.
        staging: hidden folder of the run, two levels below the output folder.
    """
    started = time.perf_counter()
    try:
        facts, outputs = _made(call, job, staging)
    except Exception as error:  # noqa: BLE001 (a bug met by one input must not keep the others from being done)
        seconds = time.perf_counter() - started
        return Outcome(None, {}, seconds, error=_reason(error, staging), fatal=is_disk_trouble(error))
    return Outcome(facts, outputs, time.perf_counter() - started)


def _made(call: Call, job: Job, staging: Path) -> tuple[Facts, dict[str, int]]:
    with work_folder(staging) as made:
        facts = plain(call(job.argument, made))
        if not isinstance(facts, dict):
            raise TypeError(f"work: expected a mapping, got {type(facts).__name__}")
        return facts, publish(made, staging.parent.parent)


def _reason(error: Exception, staging: Path) -> str:
    """A sentence without the random names of hidden folders, which would differ from run to run."""
    if os.environ.get("HEADWARP_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, HeadwarpError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = ": ".join(str(part) for part in (error.filename, error.strerror.lower()) if part)
    elif isinstance(error, MemoryError):
        text = "out of memory"
    else:
        text = f"internal error: {type(error).__name__}: {error}; HEADWARP_DEBUG=1 shows the traceback"
    for folder in (os.fspath(staging), os.path.realpath(staging)):
        text = re.sub(re.escape(folder) + r"[/\\][0-9a-f]{8}[/\\]", "", text)
    return text
