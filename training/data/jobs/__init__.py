"""Work over many inputs: a manifest that survives anything, outputs whole or absent, workers, Ray.

A `Job` names one input. A `Work` is what is done with it: opened once in every worker, then called with the
argument of one job after the other and a folder for the files it makes. `run_jobs` gives out the jobs, moves
what they made into the output folder and writes one line of the manifest for each::

    with open_manifest(output / "manifest.jsonl", kind="fit", fingerprint=options) as manifest:
        summary = run_jobs(jobs, work, manifest=manifest, config=JobConfig(workers=2))
        for record in manifest.records():
            ...

What survives a ``kill -9`` of any process at any moment:

- A file in the output folder is whole: it is made in a hidden folder of the run and moved with a rename.
- A finished job has its line: only the parent writes lines, each with one ``write``, after the files are in
  place. A job whose line is missing is done again and makes the same files. A line that was cut is dropped.
- Nothing half-made stays: the hidden folder is removed at the next start and at the end.
- Never two runs on one folder: the manifest is locked, and the lock is held until the last worker of a killed
  run is gone. A lock of dead processes does not exist.

After a power failure lines of the last second may be missing, and files may be cut: their sizes stand in
their lines, so both are seen and done again.
"""

from __future__ import annotations

from ._staging import publishing
from .manifest import Manifest, without_timings
from .opening import open_manifest
from .run import run_jobs
from .types import Job, JobConfig, Record, Summary, Work

__all__ = [
    "Job",
    "JobConfig",
    "Manifest",
    "Record",
    "Summary",
    "Work",
    "open_manifest",
    "publishing",
    "run_jobs",
    "without_timings",
]
