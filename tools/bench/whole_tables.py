"""Tables of docs/benchmarks.md made of a report of `tools.bench.whole`.

``python -m headwarp.tools.bench.whole_tables outputs/benchmarks.json`` keeps the report beside the page, as
``docs/benchmarks.json``, and writes between ``<!-- measured: NAME -->`` and ``<!-- measured: end -->`` what
it says; nothing else of the page changes. A test compares the two.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...geom.errors import HeadwarpError
from .whole_steps import ANIMATORS

Record = Mapping[str, Any]
Report = Mapping[str, Any]

BLOCK = re.compile(r"^<!-- measured: (?!end)(\w+) -->\n.*?^<!-- measured: end -->$", re.M | re.S)
UNEVEN = 1.15
"""The fastest probe of the machine over the slowest, above which a run was not on a quiet machine."""

BESIDE = {
    ("rasterizer/forward", 256): "PyTorch3D on the CPU: 1,604",
    ("rasterizer/forward", 512): "PyTorch3D on the CPU: 5,992",
    ("rasterizer/forward_backward_16", 256): "PyTorch3D on the CPU: 1,891",
    ("networks/pyramid", 256): "the public code: 629",
    ("networks/pwm_official", 256): "the public code: 1,044; goal 350",
    ("networks/pwm_tiny", 256): "goal 40",
    ("networks/pwm_residual_tiny", 256): "goal 40",
    ("networks/pwm_official_step", 256): "the public code: 10,600; goal 7,000",
    ("keypoints/fomm", 256): "its public demo: 418; goal 270",
    ("keypoints/dagan", 256): "its public demo: 643; goal 400",
    ("keypoints/sparse2dense", 256): "goal 300",
    ("view/slider_to_picture", 256): "goal 100",
    ("view/slider_to_picture", 512): "goal 300",
}
"""Name and size of a case -> milliseconds of others, as measured on another day, and goals."""

ABOUT = {
    "rasterizer/head": "the built-in head, 5,413 vertices, as a portrait frames it",
    "rasterizer/forward": "a sphere of 5,000 vertices over 60 % of the frame",
    "rasterizer/forward_backward_16": "the same with 16 channels, gradients into channels and vertices",
    "fill/harmonic": "flow around a disc",
    "detect/followed_frame": "region of the last frame, drawn anew and meshed",
    "animator/geometry": "one frame, posing included, source encoded",
    "fit/landmarks": "a clip of so many frames, 468 landmarks",
    "fit/stream": "so many frames one by one",
    "networks/pyramid": "guidance, five levels as banded products",
    "networks/pwm_residual_tiny": "layers in, picture out",
    "networks/pwm_tiny": "`pwm/paper` design at `tiny`",
    "networks/pwm_official": "both guidances, prepared",
    "networks/pwm_official_step": "a step of training, all losses",
}
"""Name of a case -> what it is, where its name does not say."""

WAYS = {
    "eager": "eager",
    "channels_last": "channels last",
    "prepared": "prepared (packed)",
    "torchscript": "TorchScript",
    "onnxruntime": "onnxruntime",
    "bf16": "bfloat16",
    "compile": "compiled",
    "compile_bf16": "compiled, bfloat16",
    "compile_unfrozen": "compiled, not frozen",
    "compile_unfrozen_bf16": "the same, bfloat16",
}
"""Columns of the tables of ways, left to right."""

UNASKED = {
    **dict.fromkeys(("fomm", "dagan", "sparse2dense", "pwm/official"), "prepared"),
    "heser": "channels_last",
}
"""Which way runs where nothing is asked for; else the eager one."""


CASES = ("parts", "correspondence", "regions", "pairs", "networks", "keypoints")
"""Groups whose table has a row for every case."""


def records(report: Report, group: str, threads: int | None = None) -> Iterator[Record]:
    """What the steps of a group found, those with so many threads alone where that is said.

    Args:
        report: of a run.
        group: of steps.
        threads: None: any number.
    """
    for step in report["steps"].values():
        if step["group"] == group and threads in (None, step["threads"]):
            yield from step.get("results", ())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; nothing where there is no row.

    Example:
        >>> print(table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    if not rows:
        return ""
    lines = [head, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]])


def number(value: float | None) -> str:
    """Three digits that count, at least; thousands with commas; nothing at all as ``-``.

    Example:
        >>> [number(x) for x in (None, 0.7812, 4.23, 20.82, 179.4, 4673.2)]
        ['-', '0.78', '4.23', '20.8', '179', '4,673']
    """
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def timed(record: Record | None) -> str:
    """Median and deciles in milliseconds."""
    if record is None:
        return "-"
    return f"{number(record['median_ms'])} ({number(record['p10_ms'])}-{number(record['p90_ms'])})"


def _machine(report: Report) -> str:
    machine, done = report["machine"], report["steps"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("python", "torch", "numpy", "numba")
    )
    memory = f", {machine['memory_gb']:.0f} GB" if machine["memory_gb"] else ""
    lines = [
        f"- Machine: {machine['cores']} cores ({machine['processor']}){memory}; accelerator: "
        f"{machine['accelerator'] or 'none'}; {versions}.",
        f"- Run: {report['begun']} to {report['ended'] or '(cut off)'} UTC, {report['seconds']:g} s a case.",
    ]
    even = True
    for threads in (1, 2):
        probes = [s["probes"] for s in done.values() if "probes" in s and s["threads"] == threads]
        if probes:
            spans = [[p[key] for p in probes] for key in ("convolution_gmac_per_s", "memory_copy_gb_per_s")]
            even &= max(spans[0]) < UNEVEN * min(spans[0])
            told = [f"{number(min(span))} to {number(max(span))}" for span in spans]
            lines.append(
                f"- Its own speed in the steps of {_of(threads)}: {told[0]} GMAC/s "
                f"(3 x 3 convolution), {told[1]} GB/s (memory copy)."
            )
    if not even:
        lines.append(
            f"- It was **not quiet**: its speed differed by more than {UNEVEN - 1:.0%} between steps."
        )
    lines += [f"- Not measured: {name} ({s['failed']})." for name, s in done.items() if "failed" in s]
    return "\n".join(lines)


def _cases(group: str, report: Report) -> str:
    """One row a case, one column a number of threads that any of them was measured with."""
    found = {threads: {_key(r): r for r in records(report, group, threads)} for threads in (1, 2)}
    used = [threads for threads in (1, 2) if found[threads]]
    rows = []
    for key in dict.fromkeys([*found[1], *found[2]]):
        each = [found[threads].get(key) for threads in used]
        name, size, batch = key
        told = f"`{name}`" + (f": {ABOUT[name]}" if name in ABOUT else "")
        rows.append([told, str(size), str(batch), *map(timed, each), _beside(each)])
    return table(["case", "size", "batch", *(f"{_of(n)}, ms" for n in used), "beside it"], rows)


def _of(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def _key(record: Record) -> tuple[str, int, int]:
    return record["name"], record["size"], record["batch"]


def _beside(each: Sequence[Record | None]) -> str:
    """A rival, the facts, and what others need."""
    told: list[str] = []
    for record in each:
        if record is not None and not told:
            if "rival" in record:
                told.append(f"{record['rival']}: {number(record['times_faster'])} times as long")
            told += [_fact(name, record[name]) for name in record.get("facts", ())]
    first = next(record for record in each if record is not None)
    told += [text for key, text in BESIDE.items() if key == (first["name"], first["size"])]
    return "; ".join(told)


def _fact(name: str, value: float) -> str:
    return f"{name.replace('_', ' ')} {f'{value:.3g}' if abs(value) < 1000 else f'{value:,.0f}'}"


def _commands(report: Report) -> str:
    """Names are no code: they are no lines to give."""
    rows = []
    for found in records(report, "commands"):
        numbers = [found.get(key) for key in ("wall_s", "cpu_s", "frame_ms", "peak_memory_mb")]
        rows.append([found["name"], str(found.get("frames", "-")), *map(number, numbers)])
    return table(["command", "frames", "seconds", "of the processor", "ms a frame", "peak MB"], rows)


def _pose(report: Report) -> str:
    rows = []
    for found in records(report, "pose"):
        facts = [_fact(name, found[name]) for name in found["facts"]]
        rows.append([f"`{found['name']}`", str(found["batch"]), timed(found), ", ".join(facts)])
    return table(["case", "fits", "ms", "accuracy"], rows)


def _view(report: Report) -> str:
    rows = [
        [str(r["size"]), number(r["p50_ms"]), number(r["p95_ms"]), BESIDE[r["name"], r["size"]]]
        for r in records(report, "view")
    ]
    return table(["size", "p50, ms", "p95, ms", ""], rows)


def _grid(report: Report) -> str:
    found = {(r["name"], r["batch"]): r for r in records(report, "grid")}
    batches = sorted({batch for _, batch in found})
    names = dict.fromkeys(name for name, _ in found)
    rows = [[f"`{name}`", *(timed(found[name, batch]) for batch in batches)] for name in names]
    return table(["animator", *(f"batch {batch}" for batch in batches)], rows)


def _device(report: Report) -> str:
    steps = report["steps"]
    cpu, device = (steps.get(f"device: {name}", {}).get("results", ()) for name in ("cpu", "cuda"))
    on_device = {_key(r): r for r in device}
    rows = []
    for found in cpu:
        other = on_device.get(_key(found))
        faster = None if other is None else found["median_ms"] / other["median_ms"]
        times = [timed(found), timed(other), number(faster)]
        rows.append([f"`{found['name']}`", str(found["size"]), str(found["batch"]), *times])
    return table(["case", "size", "batch", "CPU, ms", "accelerator, ms", "times as fast"], rows)


def _clips(report: Report) -> str:
    """Fits of whole clips, their streams, and how steady they are."""
    found = list(records(report, "clips"))
    rows = []
    for whole in found:
        stream = next(
            (r for r in found if r["name"] == whole["name"].replace("clips/", "clips/stream_")), None
        )
        if stream is None or stream is whole:
            continue
        each = [
            whole["median_ms_each"],
            stream["median_ms_each"],
            stream["live_median_ms"],
            stream["live_p90_ms"],
        ]
        steady = [
            whole.get(key) for key in ("jitter", "reprojection", "steady_jitter", "steady_reprojection")
        ]
        name = whole["name"].split("/")[1].split("_")[0]
        rows.append([name, str(whole["batch"]), *map(number, each), *map(number, steady)])
    head = ["clip", "frames", "whole, ms a frame", "stream, ms a frame", "a step after its warm-up", "90 %"]
    made = table([*head, "jitter", "residual", "`--steady`: jitter", "residual"], rows)
    for identity in found:
        if "within_over_between" in identity:
            made += (
                f"\n\nHalves of a clip differ by {number(identity['within_mm'])} mm, persons by "
                f"{number(identity['between_mm'])} mm: {number(identity['within_over_between'])}."
            )
    return made


def _ways(report: Report, threads: int) -> str:
    found = {(r["animator"], r["way"]): r for r in records(report, "ways", threads)}
    rows = []
    for animator in ANIMATORS if found else ():
        cells = []
        for way in WAYS:
            record = found.get((animator, way))
            cell = number(None if record is None else record["median_ms"])
            cells.append(f"**{cell}**" if way == UNASKED.get(animator, "eager") and record else cell)
        rows.append([f"`{animator}`", *cells])
    return table([f"ms, {_of(threads)}", *WAYS.values()], rows)


def _pictures(report: Report) -> str:
    """Largest difference of a way's picture from the eager one."""
    found = {(r["animator"], r["way"]): r["difference"] for r in records(report, "ways", 2)}
    ways = [way for way in WAYS if way != "eager"]
    rows = []
    for name in ANIMATORS if found else ():
        values = [found.get((name, way)) for way in ways]
        rows.append([f"`{name}`", *("-" if value is None else f"{value:.0e}" for value in values)])
    return table(["largest difference", *(WAYS[way] for way in ways)], rows)


BLOCKS: dict[str, Callable[[Report], str]] = {
    "machine": _machine,
    **{name: partial(_cases, name) for name in CASES},
    "commands": _commands,
    "pose": _pose,
    "view": _view,
    "grid": _grid,
    "device": _device,
    "clips": _clips,
    "ways_1": lambda report: _ways(report, 1),
    "ways_2": lambda report: _ways(report, 2),
    "pictures": _pictures,
}
"""``<!-- measured: NAME -->`` in the page stands before what these make of a report."""


def page_of(page: str, report: Report) -> str:
    """The page with its measured blocks made anew; one that the report has nothing for stays as it was.

    Raises:
        HeadwarpError: a block of another name, or one that is missing or there twice.
    """
    names = [found[1] for found in BLOCK.finditer(page)]
    if sorted(names) != sorted(BLOCKS):
        raise HeadwarpError(
            f"page: expected the measured blocks {', '.join(BLOCKS)}, each once, got {', '.join(names)}"
        )

    def anew(found: re.Match[str]) -> str:
        text = BLOCKS[found[1]](report)
        return f"<!-- measured: {found[1]} -->\n{text}\n<!-- measured: end -->" if text else found[0]

    return BLOCK.sub(anew, page)


def write_page(report: Path, page: Path) -> None:
    """The report kept beside the page, its numbers in the page; of a run that was cut off what it has.

    Raises:
        HeadwarpError: see `page_of`.
    """
    from ...training.data.atomic import atomic_path, write_json

    found = json.loads(report.read_text(encoding="utf-8"))
    text = page_of(page.read_text(encoding="utf-8"), found)
    write_json(page.with_suffix(".json"), found)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Write the page of this checkout or another."""
    from .whole import REPORT

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("report", type=Path, nargs="?", default=REPORT)
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    chosen = parser.parse_args(words)
    write_page(chosen.report, chosen.page)
    sys.stderr.write(f"{chosen.page}: written from {chosen.report}\n")


if __name__ == "__main__":
    main()
