"""Ways of computing a driving frame side by side: ``python -m headwarp.tools.bench.fastpaths --threads 1``.

Every animator's networks, cut into graphs as `warping.graphs` cuts them, norms folded, in full size: the
source encoded before, the parts that run for each frame timed one after the other. The ways take turns in
every round, so that what else the machine does falls on all of them, and beside wall time stands the
processor's, which that hardly touches; a ratio is the median of the rounds' own.
`geometry` and `tps` have no network: their frame is timed as it is and through ``torch.compile``.

Weights are those of the package where it has some, else drawn by chance: times do not hang on them, what
bfloat16 costs in pictures does.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...warping.graphs import Graph, Port
from .timing import probe_machine, summarise, versions

SIZE = 256
ROUNDS = 15
WARMUP = 2
EAGER = "eager"
UNFROZEN = "compile_unfrozen"
_COARSE = 16
"""Maps are drawn at so many times fewer pixels a side: real ones are smooth."""

Run = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Part:
    """A graph that runs for each frame, with its inputs."""

    graph: Graph
    inputs: tuple[Tensor, ...]

    def values(self, run: Callable[..., Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """Outputs of whatever computes the graph."""
        return tuple(run(*self.inputs))


@dataclass(frozen=True)
class Record:
    """One way of one animator.

    Attributes:
        animator, way: names.
        median_ms, p10_ms, p90_ms: wall time of a frame.
        ratio: of its wall time to the eager one's in the same round, the median.
        cpu_ms: median of the processor's time, that of all threads together.
        cpu_ratio: of it, as ``ratio``.
        difference: of its picture from the eager one, the largest of all pixels, RGB in [0, 1].
        mean_difference: the mean of all pixels.
    """

    animator: str
    way: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    ratio: float
    cpu_ms: float
    cpu_ratio: float
    difference: float
    mean_difference: float


def parts_of(graphs: Sequence[Graph], picture: Tensor) -> tuple[Part, ...]:
    """The graphs of every frame with inputs like real ones; relative motion, a few matrices, is left out."""
    random = torch.Generator().manual_seed(0)
    known: dict[str, Tensor] = {}
    found = []
    for graph in graphs:
        inputs = tuple(
            known[port.name] if port.name in known else _example(port, picture, random)
            for port in graph.inputs
        )
        if graph.runs == "frame" and graph.name != "relative":
            found.append(Part(graph, inputs))
        with torch.no_grad():
            made = graph.module(*inputs)
        known |= {port.name: each for port, each in zip(graph.outputs, made, strict=True)}
    return tuple(found)


def _example(port: Port, picture: Tensor, random: torch.Generator) -> Tensor:
    size = picture.shape[2:]
    if port.shape[2:] != tuple(size):
        return port.example(1, random)
    if port.shape[1] == 3 and port.span is not None:
        return picture
    coarse = Port(port.name, (*port.shape[:2], *(side // _COARSE for side in size)), port.meaning, port.span)
    return F.interpolate(coarse.example(1, random), tuple(size), mode="bilinear", align_corners=False)


def ways_of(parts: tuple[Part, ...], folder: Path) -> dict[str, Callable[[], Run]]:
    """Name -> what makes a frame's function; see docs/benchmarks.md for what each of them is."""
    from ...warping.inference import bfloat16_pays

    made: dict[str, Callable[[], Run]] = {
        EAGER: lambda: _frame(parts, [part.graph.module for part in parts]),
        "channels_last": lambda: _frame(parts, _laid(parts)),
        "prepared": lambda: _frame(parts, _packed(parts)),
        "compile": lambda: _compiled(parts, bfloat16=False),
        UNFROZEN: lambda: _compiled(parts, bfloat16=False, frozen=False),
        "torchscript": lambda: _exported(parts, folder, ".pt"),
        "onnxruntime": lambda: _exported(parts, folder, ".onnx"),
    }
    if bfloat16_pays():
        made["bf16"] = lambda: _in_bfloat16(_frame(parts, _laid(parts)))
        made["compile_bf16"] = lambda: _compiled(parts, bfloat16=True)
        made[f"{UNFROZEN}_bf16"] = lambda: _compiled(parts, bfloat16=True, frozen=False)
    return made


def _frame(parts: tuple[Part, ...], modules: Sequence[Callable[..., Any]]) -> Run:
    def frame() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return tuple(
                each for part, module in zip(parts, modules, strict=True) for each in part.values(module)
            )

    return frame


def _laid(parts: tuple[Part, ...]) -> list[Any]:
    from ...warping.inference import lay_channels_last_

    modules = copy.deepcopy([part.graph.module for part in parts])  # at once: they share a network
    for module in modules:
        lay_channels_last_(module)
    return modules


def _packed(parts: tuple[Part, ...]) -> list[Any]:
    from ...geom.nets.packing import pack_convolutions_
    from ...warping.inference import lay_channels_last_

    modules = copy.deepcopy([part.graph.module for part in parts])
    for module in modules:
        lay_channels_last_(pack_convolutions_(module.requires_grad_(False)))
    return modules


def _in_bfloat16(frame: Run) -> Run:
    def half() -> tuple[Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return frame()

    return half


def _compiled(parts: tuple[Part, ...], *, bfloat16: bool, frozen: bool = True) -> Run:
    from ...warping.inference import Compiled

    runs = []
    for module in _laid(parts):
        module.eval().requires_grad_(False)
        runs.append(Compiled(module, module.forward, bfloat16=bfloat16, frozen=frozen))

    def frame() -> tuple[Tensor, ...]:
        made: list[Tensor] = []
        for part, program in zip(parts, runs, strict=True):
            with program.context(_sized_like(part)):
                made += part.values(program.function)
        return tuple(made)

    return frame


def _sized_like(part: Part) -> Tensor:
    """A tensor for the log's line on what is compiled."""
    return next((each for each in part.inputs if each.ndim == 4), torch.empty(1, 1, SIZE, SIZE))


def _exported(parts: tuple[Part, ...], folder: Path, suffix: str) -> Run:
    from ...warping.graphs.program import program_of, runner, write_onnx, write_torchscript

    runs = []
    for part in parts:
        path = folder / f"{part.graph.name}{suffix}"
        write = write_onnx if suffix == ".onnx" else write_torchscript
        write(program_of(part.graph), part.graph, path)
        runs.append(runner(path))
    return lambda: tuple(each for part, run in zip(parts, runs, strict=True) for each in run(part.inputs))


def compare(
    animator: str, ways: Mapping[str, Callable[[], Run]], *, rounds: int = ROUNDS, picture: int = 0
) -> list[Record]:
    """Every way of one animator, in turns.

    Args:
        animator: for the records.
        ways: the eager one is among them.
        rounds: turns that count.
        picture: which of a frame's tensors is its picture.
    """
    runs = {}
    for way, make in ways.items():
        began = time.perf_counter()
        run = make()
        for _ in range(WARMUP):
            run()
        runs[way] = run
        sys.stderr.write(f"{animator}, {way}: ready after {time.perf_counter() - began:.0f} s\n")
    wanted = runs[EAGER]()[picture].float()
    off = {way: (run()[picture].float() - wanted).abs() for way, run in runs.items()}
    times: dict[str, list[Spent]] = {way: [] for way in runs}
    for _ in range(rounds):
        for way, run in runs.items():
            times[way].append(_spent(run))
    return [_record(animator, way, times, off[way]) for way in runs]


@dataclass(frozen=True)
class Spent:
    """Milliseconds of one call, of the clock and of the processor."""

    wall: float
    cpu: float


def _spent(run: Run) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Spent(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))


def _record(animator: str, way: str, times: Mapping[str, Sequence[Spent]], off: Tensor) -> Record:
    own, eager = times[way], times[EAGER]
    timing = summarise([each.wall for each in own])
    return Record(
        animator,
        way,
        timing.median_ms,
        timing.p10_ms,
        timing.p90_ms,
        ratio=statistics.median(mine.wall / plain.wall for mine, plain in zip(own, eager, strict=True)),
        cpu_ms=statistics.median(each.cpu for each in own),
        cpu_ratio=statistics.median(mine.cpu / plain.cpu for mine, plain in zip(own, eager, strict=True)),
        difference=float(off.max()),
        mean_difference=float(off.mean()),
    )


def networks() -> dict[str, Callable[[], Any]]:
    """Name -> an animator with a network, of its full size, untrained but for ``pwm/residual``."""
    from ...warping import heser_aligner, keypoint_network, progressive, residual, sparse2dense
    from ...warping.animators import load_animator
    from ...warping.heser_generator import GeneratorSize
    from ...warping.pwm import PwmConfig

    def drawn(name: str, config: Any) -> Callable[[], Any]:
        def make() -> Any:
            torch.manual_seed(0)
            return load_animator(name, config=config)

        return make

    heser = heser_aligner.HeserAlignerConfig(generator=GeneratorSize(SIZE))
    return {
        "pwm/residual": lambda: load_animator("pwm"),
        "pwm/personal": drawn("pwm", PwmConfig(residual.ResidualConfig(shade=0))),
        "pwm/official": drawn("pwm", PwmConfig(progressive.official())),
        "pwm/official tiny": drawn("pwm", PwmConfig(progressive.tiny())),
        "fomm": drawn("fomm", keypoint_network.fomm()),
        "dagan": drawn("dagan", keypoint_network.dagan()),
        "sparse2dense": drawn("sparse2dense", sparse2dense.paper()),
        "heser": drawn("heser", heser),
    }


def plain_ways(name: str) -> dict[str, Callable[[], Run]]:
    """A frame of an animator without a network: the astronaut at a yaw, posing included."""
    from skimage.data import astronaut

    from ...flame.params import Pose
    from ...flame.posing import apply_pose
    from ...warping.animators import load_animator
    from ..portrait import open_portrait

    portrait, animator = open_portrait(astronaut(), size=SIZE), load_animator(name)
    cache = animator.encode([portrait.source()])
    fit = apply_pose(portrait.head, portrait.fit, Pose(yaw=20.0))

    def frame(animate: Callable[..., Any]) -> Run:
        return lambda: (animate(cache, portrait.driving(fit)).image,)

    return {
        EAGER: lambda: frame(animator.animate),
        "compile": lambda: frame(torch.compile(animator.animate, dynamic=False)),
    }


def measured(name: str, ways: Sequence[str], rounds: int) -> list[Record]:
    """The named ways of an animator; where none is named all of them, but those with weights that are not
    frozen, which only `heser` needs.

    Args:
        name: of the animator.
        ways: names of ways; none: all.
        rounds: of each.
    """
    from skimage.data import astronaut

    from ...warping.graphs import graphs_of

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        if name in PLAIN:
            possible, picture = plain_ways(name), 0
        else:
            pixels = torch.from_numpy(astronaut()[:SIZE, 96 : 96 + SIZE].copy())
            image = pixels.permute(2, 0, 1)[None] / 255  # (1, 3, S, S)
            parts = parts_of(graphs_of(networks()[name](), (SIZE, SIZE)), image)
            possible, picture = ways_of(parts, Path(folder)), _picture_of(parts)
        usual = [way for way in possible if not way.startswith(UNFROZEN) or name == "heser"]
        chosen = {way: make for way, make in possible.items() if way in (EAGER, *(ways or usual))}
        return compare(name, chosen, rounds=rounds, picture=picture)


def _picture_of(parts: Sequence[Part]) -> int:
    """Place of the frame's picture: the last part's first output."""
    return sum(len(part.graph.outputs) for part in parts[:-1])


PLAIN = ("geometry", "tps")


def main(words: Sequence[str] | None = None) -> None:
    """JSON on the standard output, what is going on on the error stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--animators", nargs="*", default=[], help="all of them where not given")
    parser.add_argument("--ways", nargs="*", default=[], help="besides eager; all where not given")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(words)
    torch.set_num_threads(given.threads)
    records = []
    for name in given.animators or [*PLAIN, *networks()]:
        records += measured(name, given.ways, given.rounds)
        torch._dynamo.reset()
    report = {
        "results": [vars(record) for record in records],
        "threads": given.threads,
        "machine": probe_machine(),
        "versions": versions(),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
