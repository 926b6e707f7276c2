"""What `tools.bench.whole` measures, step by step; each step runs in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import whole_commands

Record = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One part of a run, which is kept once it is done.

    Attributes:
        group: names the table that its records go to.
        name: unique.
        threads: of torch and of what is compiled; None: as each command chooses itself.
        measure: seconds a case -> records.
        limit_s: it is given up after so long.
    """

    group: str
    name: str
    threads: int | None
    measure: Callable[[float], list[Record]]
    limit_s: float = 240.0


def _suite(names: Sequence[str], seconds: float, *, rival: bool = True, left_out: str = "$.") -> list[Record]:
    """Cases of suites; those whose names match ``left_out`` are not run."""
    from . import record_of
    from .suites import cases_of

    cases = [case for name in names for case in cases_of(name)]
    chosen = [case for case in cases if not re.search(left_out, case.name)]
    return [record_of(case, seconds, rival=rival) for case in chosen]


def _networks(seconds: float) -> list[Record]:
    """The suite of that name; dense blurs, the rival of its pyramid, take a minute a call."""
    pyramid = _suite(["networks"], seconds, rival=False, left_out="networks/(?!pyramid)")
    return [*pyramid, *_suite(["networks"], seconds, left_out="pyramid|compiled")]


def _ways(animator: str, ways: Sequence[str], seconds: float) -> list[Record]:
    """`fastpaths` of one animator, in four rounds a second; all its ways where none is named."""
    from .fastpaths import measured

    return [dict(vars(record)) for record in measured(animator, ways, max(2, round(4 * seconds)))]


def _grid(seconds: float) -> list[Record]:
    import skimage.data

    from ..portrait import open_portrait
    from .pose_grid import SIZE, compare

    portrait = open_portrait(skimage.data.astronaut(), size=SIZE)
    return [dict(record) for record in compare(portrait, rounds=max(2, round(4 * seconds)))]


def _device(device: str, seconds: float) -> list[Record]:
    """Cases of the suite of that name; refining eight frames takes a CPU minutes, one tells the same."""
    from . import record_of
    from .device import cases_on

    chosen = [case for case in cases_on(device) if (case.name, case.batch) != ("device/photometric", 8)]
    return [record_of(case, seconds) for case in chosen]


ANIMATORS = ("fomm", "dagan", "sparse2dense", "heser", "pwm/official", "pwm/residual", "geometry", "tps")
"""Rows of the tables of ways."""

_COMPILED = ("compile", "compile_bf16")
_READY = ("channels_last", "prepared", "bf16")
_TWO_THREADS = (*_READY, *_COMPILED)
_UNFROZEN = ("compile_unfrozen", "compile_unfrozen_bf16")
_ONE_THREAD = (*_READY, "torchscript", "onnxruntime")


def steps(*, accelerator: bool) -> list[Step]:
    """All of a run, in the order in which they count: half an hour on two idle cores.

    Args:
        accelerator: whether torch sees a CUDA device.
    """
    found = [
        Step("commands", "starting", None, whole_commands.starting),
        Step("commands", "shipped", None, whole_commands.shipped),
    ]
    for threads in (1, 2):
        beside = threads == 1  # rivals once
        drawn, moved = partial(_suite, ["rasterizer"], rival=False), ["fill", "detect", "animator"]
        found += [
            Step("parts", f"rasterizer, {_of(threads)}", threads, drawn),
            Step("parts", f"animator, {_of(threads)}", threads, partial(_suite, moved, rival=beside)),
        ]
    found += [
        Step("parts", "fit, 1 thread", 1, partial(_suite, ["fit"])),
        Step("correspondence", "correspondence, 1 thread", 1, partial(_suite, ["attention", "blender"])),
        Step("regions", "regions, 1 thread", 1, partial(_suite, ["regions"])),
    ]
    found += [
        Step("view", "view", 1, partial(_suite, ["view"])),
        Step("grid", "grid", 1, _grid),
        Step("keypoints", "keypoints, 2 threads", 2, partial(_suite, ["keypoints"], left_out="compiled")),
    ]
    found += [
        Step("ways", f"{name}, {_of(threads)}", threads, partial(_ways, name, _ways_at(name, threads)), 600.0)
        for threads in (2, 1)
        for name in ANIMATORS
    ]
    found += [
        Step("networks", "networks, 2 threads", 2, _networks, 400.0),
        Step("pairs", "pairs and losses, 1 thread", 1, partial(_suite, ["pairs", "losses"])),
        Step("pose", "pose", 1, partial(_suite, ["pose"])),
        Step("commands", "on clips", None, whole_commands.on_clips, 400.0),
        Step("clips", "clips", 1, partial(_suite, ["clips"], left_out="identity|c15"), 400.0),
        Step("device", "device: cpu", None, partial(_device, "cpu")),
        Step("ways", "heser, not frozen", 2, partial(_ways, "heser", _UNFROZEN), 600.0),
    ]
    return [*found, *([Step("device", "device: cuda", None, partial(_device, "cuda"))] * accelerator)]


def _ways_at(animator: str, threads: int) -> tuple[str, ...]:
    """What is worth its time, of which compiling takes most."""
    if threads == 2:
        return _TWO_THREADS
    return (*_ONE_THREAD, *_COMPILED) if animator in ANIMATORS[:3] else _ONE_THREAD


def _of(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"
