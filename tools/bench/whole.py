"""Everything of docs/benchmarks.md that a command measures in minutes, in one run on one machine.

``python -m headwarp.tools.bench.whole --report outputs/benchmarks.json`` (`make benchmarks`) measures step by
step, each in a process of its own, and writes the report after every one: a run that was cut off goes on
where it was, one that was finished begins anew. ``python -m headwarp.tools.bench.whole_tables`` writes the
tables of the page from it. Nothing else should run meanwhile; each step says what the machine could do then.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError
from .whole_steps import Step, steps

REPORT = Path("outputs/benchmarks.json")
SECONDS = 1.0
_PREFIX = "RESULT "  # of the line in which a step's process tells what it found

Measure = Callable[[Step, float], dict[str, Any]]


def machine() -> dict[str, Any]:
    """Facts of this machine that times depend on."""
    import torch

    from .timing import versions

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": platform.system(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def measure_all(
    path: Path,
    parts: Sequence[Step],
    facts: Mapping[str, Any],
    *,
    seconds: float = SECONDS,
    minutes: float = math.inf,
    again: bool = False,
    measure: Measure | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Every step that the report does not have yet.

    Args:
        path: the report; it is written after every step.
        parts: in the order in which they are measured.
        facts: of `machine`.
        seconds: how long each case is repeated.
        minutes: no step begins after so many; the run is then not ended and goes on the next time.
        again: these parts alone are measured anew and join the report that is there, ended or not.
        measure: of one step; a process of its own by default.
        clock: seconds since anything; another one for tests.

    Returns:
        ``machine``; ``seconds``; ``begun`` and ``ended`` (UTC); ``steps``: name -> ``group``, ``threads``,
        ``wall_s``, ``cpu_s``, ``load`` (processes that wanted to run in the minute before it) and either
        ``results`` and ``probes`` or ``failed``, in words. A run without an end goes on with what is missing
        or failed; of another machine or another ``seconds`` it begins anew.
    """
    from ...training.data.atomic import write_json

    report, began = _begun(path, facts, seconds, ended=again), clock()
    done = report["steps"]
    left = [step for step in parts if again or "results" not in done.get(step.name, {})]
    for number, step in enumerate(left, 1):
        if clock() - began > 60 * minutes:
            _tell(f"{minutes:g} minutes are over; {len(left) - number + 1} steps are left for the next time")
            return report
        _tell(f"{number}/{len(left)} {step.name}")
        done[step.name] = _measured(step, seconds, measure or in_a_process)
        write_json(path, report)
    if not again:
        report["ended"] = _now()
        write_json(path, report)
    return report


def _measured(step: Step, seconds: float, measure: Measure) -> dict[str, Any]:
    """A step's entry of the report."""
    load, began, spent = _load(), time.perf_counter(), _spent_by_children()
    try:
        found = measure(step, seconds)
    except HeadwarpError as error:
        found = {"failed": str(error)}
        _tell(f"  {error}")
    wall, cpu = time.perf_counter() - began, _spent_by_children() - spent
    told = {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "load": load}
    return {"group": step.group, "threads": step.threads, **told, **found}


def _spent_by_children() -> float:
    """Seconds of the processor that processes which have ended took."""
    times = os.times()
    return times.children_user + times.children_system


def _begun(path: Path, facts: Mapping[str, Any], seconds: float, *, ended: bool) -> dict[str, Any]:
    """The report to go on with, one that ended only where that is wanted, or a new one."""
    if path.exists():
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (ended or not report.get("ended")) and (report.get("machine"), report.get("seconds")) == (
            facts,
            seconds,
        ):
            return report
    return {"machine": dict(facts), "seconds": seconds, "begun": _now(), "ended": None, "steps": {}}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")


def _load() -> float | None:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def in_a_process(step: Step, seconds: float) -> dict[str, Any]:
    """``results`` and ``probes`` of a step, measured by a new process.

    Raises:
        HeadwarpError: it failed or took too long.
    """
    words = [sys.executable, "-m", f"{__package__}.whole", "--step", step.name, "--seconds", str(seconds)]
    environment = dict(os.environ)
    if step.threads is not None:
        environment["OMP_NUM_THREADS"] = str(step.threads)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=step.limit_s)
    except subprocess.TimeoutExpired:
        raise HeadwarpError(f"{step.name}: given up after {step.limit_s:.0f} s") from None
    finally:
        _end(process)
    lines = [line for line in said.splitlines() if line.startswith(_PREFIX)]
    if process.returncode or not lines:
        raise HeadwarpError(f"{step.name}: its process ended with code {process.returncode}; see above")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(_PREFIX))
    if "failed" in found:
        raise HeadwarpError(found["failed"])
    return found


def _end(process: subprocess.Popen[str]) -> None:
    """Of a step that is over, has failed or was interrupted, what it started ends too."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def measure_here(step: Step, seconds: float) -> dict[str, Any]:
    """What `in_a_process` brings back, measured by this process; ``failed`` for what cannot run here."""
    try:
        results = step.measure(seconds)
    except HeadwarpError as error:
        return {"failed": str(error)}
    from .timing import probe_machine

    return {"results": results, "probes": probe_machine(min(seconds, 0.5))}


def main(words: Sequence[str] | None = None) -> int:
    """1 where a step failed, which the report tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each case is repeated")
    parser.add_argument("--only", default="", help="steps whose names or groups contain this, anew")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no step begins after so many")
    parser.add_argument("--list", action="store_true", help="names of the steps, and nothing else")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    facts = {"accelerator": True} if chosen.step else machine()
    every = steps(accelerator=bool(facts["accelerator"]))
    parts = [step for step in every if chosen.only in step.name or chosen.only in step.group]
    if chosen.list:
        sys.stdout.write("\n".join(step.name for step in parts) + "\n")
        return 0
    if chosen.step:
        (step,) = (each for each in parts if each.name == chosen.step)
        sys.stdout.write(f"\n{_PREFIX}{json.dumps(measure_here(step, chosen.seconds))}\n")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the step under way ends too
    how = {"seconds": chosen.seconds, "minutes": chosen.minutes, "again": bool(chosen.only)}
    report = measure_all(chosen.report, parts, facts, **how)
    failed = [name for name, step in report["steps"].items() if "failed" in step]
    _tell(f"{chosen.report}: {len(report['steps']) - len(failed)} steps measured, {len(failed)} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
