"""``headwarp bench``: times with their spread, a rival's in the same run, the machine's own speed beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...geom.errors import HeadwarpError
from .heser import SUITE, HeserStudies, describe_studies, run_studies

if TYPE_CHECKING:
    from .suites import Case


@dataclass(frozen=True)
class Bench:
    """Measure how fast this machine runs headwarp."""

    suite: str = "public"
    """Name of a suite, or public for all of them."""
    seconds: float = 1.0
    """How long each case and each rival is repeated (five times at least)."""
    threads: int | None = None
    """Threads that torch uses; its own choice if not given."""
    heser: HeserStudies = field(default_factory=HeserStudies)
    """Of the suite heser alone, which times nothing: it studies checkpoints."""


def run(config: Bench) -> dict[str, Any]:
    """Time every case of a suite.

    Returns:
        ``results``: one entry a case (``name, size, batch, threads, median_ms, median_ms_each, p10_ms,
            p90_ms,
        runs``; where there is a rival, ``rival, rival_median_ms, times_faster``; where the case has facts,
        those by name and their names in ``facts``); ``probes``; ``versions``; ``threads``. Of the suite heser
        none, but ``studies``, ``missing`` and ``files`` (`heser.run_studies`).

    Raises:
        HeadwarpError: an unknown suite, or numbers that make no sense.
    """
    import torch

    from .suites import cases_of
    from .timing import probe_machine, versions

    if not 0 < config.seconds <= 3600:
        raise HeadwarpError(f"--seconds: expected more than 0 and at most 3600, got {config.seconds}")
    if config.threads is not None and config.threads < 1:
        raise HeadwarpError(f"--threads: expected at least 1, got {config.threads}")
    if config.suite != SUITE and config.heser != HeserStudies():
        raise HeadwarpError(f"--heser: belongs to --suite heser, got --suite {config.suite}")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads_before)
    try:
        if config.suite == SUITE:
            studied = run_studies(config.heser)
            counted = torch.get_num_threads()
            return {"suite": SUITE, "results": [], **studied, "versions": versions(), "threads": counted}
        results = [record_of(case, config.seconds) for case in cases_of(config.suite)]
        probes = probe_machine()
        threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(threads_before)
    return {
        "suite": config.suite,
        "results": results,
        "probes": probes,
        "versions": versions(),
        "threads": threads,
    }


def record_of(case: Case, seconds: float, *, rival: bool = True) -> dict[str, Any]:
    """One entry of the results of `run`.

    Args:
        case: what is timed.
        seconds: see `Bench.seconds`.
        rival: False: its rival, which may take a thousand times as long, is left out.
    """
    import torch

    from .timing import measure

    timing = measure(case.function, seconds=seconds)
    result = {
        "name": case.name,
        "size": case.size,
        "batch": case.batch,
        "threads": torch.get_num_threads(),
        "median_ms": timing.median_ms,
        "median_ms_each": timing.median_ms / case.batch,
        "p10_ms": timing.p10_ms,
        "p90_ms": timing.p90_ms,
        "runs": timing.runs,
    }
    if rival and case.rival is not None:
        name, function = case.rival
        rival_ms = measure(function, warmup=1, seconds=seconds).median_ms
        result |= {"rival": name, "rival_median_ms": rival_ms, "times_faster": rival_ms / timing.median_ms}
    if case.facts is not None:
        facts = case.facts()
        result |= {"facts": list(facts), **facts}
    return result


def describe(report: Mapping[str, Any]) -> str:
    """The report as a table in milliseconds, with the machine's speed below; of studies what they found."""
    if "studies" in report:
        return describe_studies(report)
    rows = [("case", "size", "batch", "median ms", "10-90 %", "each ms", "rival and facts")]
    for result in report["results"]:
        spread = f"{result['p10_ms']:.2f}-{result['p90_ms']:.2f}"
        told = [f"{result['times_faster']:.1f} x faster than {result['rival']}"] if "rival" in result else []
        told += [f"{name} {result[name]:.3g}" for name in result.get("facts", ())]
        times = (f"{result['median_ms']:.2f}", spread, f"{result['median_ms_each']:.2f}")
        rows.append((result["name"], str(result["size"]), str(result["batch"]), *times, ", ".join(told)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    probes = report["probes"]
    lines.append(
        f"machine in the same run: {probes['convolution_gmac_per_s']:.0f} GMAC/s (3 x 3 convolution), "
        f"{probes['memory_copy_gb_per_s']:.1f} GB/s (memory copy), {report['threads']} threads"
    )
    return "\n".join(lines)
