"""The loop: any recipe over numbered batches, from its last checkpoint to its end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..data.batch import Batch
from ..recipes import Recipe
from .config import EngineConfig, check_config, fingerprint
from .guard import MOST_SKIPS, NonFiniteError
from .parallel import broadcast, connected, seed_step
from .records import REPORT, Recorder, Written
from .schedule import progress
from .session import Clock, StopSign, locked, set_aside, stop_on_signals
from .state import Machinery, Progress, build, identity_of, restore
from .step import update
from .store import check_same, newest

Say = Callable[[str], None]


class Batches(Protocol):
    """Where batches come from."""

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[Batch]:
        """Batch number ``first`` and all after it; each rank gets its own slots of the same draw."""


def train(
    recipe: Recipe,
    batches: Batches,
    *,
    output: Path,
    config: EngineConfig,
    held_out: Iterable[Batch] = (),
    facts: Mapping[str, Any] | None = None,
    restart: bool = False,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Run a recipe to its end, from the last checkpoint in ``output`` if there is one.

    Args:
        recipe: what is trained.
        batches: gives batch N whenever it is asked for it.
        output: folder of checkpoints, log, pictures, report and the finished animator.
        config: how.
        held_out: batches to measure and to show, iterated over again and again.
        facts: of the data, in JSON's types; a run goes on only with equal ones.
        restart: set an old run aside and begin anew.
        say: called with lines for a person.

    Returns:
        The report, which also stands in ``report.json``.

    Raises:
        HeadwarpError: wrong settings, a folder that is in use or of another run.
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    check_config(config)
    with connected(config) as fabric:
        machinery = build(fabric, recipe, config)
        settings = {**fingerprint(config), "processes": fabric.world_size}
        identity = identity_of(recipe, facts or {}, settings)
        first = fabric.global_rank == 0
        with locked(output) if first else contextlib.nullcontext(), stop_on_signals() as stop:
            if restart and first and (old := set_aside(output)) is not None:
                say(f"the run in {output} was set aside in {old}")
            fabric.barrier()
            done = _resumed(machinery, identity, output, say=say)
            if done.step and _over(config, done) and (output / REPORT).exists():
                say(f"the run in {output} is at its end; more --steps or --minutes go on from there")
                return dict(json.loads((output / REPORT).read_text(encoding="utf-8")))
            written = Written(output, identity, held_out, begun=done.step)
            with Recorder(machinery, config, written, say=say) as recorder:
                number = done.step * config.accumulate
                stream = batches(number, rank=fabric.global_rank, world=fabric.world_size)
                return _run(machinery, config, stream, done, recorder=recorder, stop=stop)


def _run(
    machinery: Machinery,
    config: EngineConfig,
    stream: Iterator[Batch],
    done: Progress,
    *,
    recorder: Recorder,
    stop: StopSign,
) -> dict[str, Any]:
    """The loop itself."""
    rank, clock, skips, before = machinery.fabric.global_rank, Clock(), 0, done.minutes
    while (why := _ending(machinery, config, done, stop)) is None:
        begun = time.perf_counter()
        seed_step(config.seed, done.step, rank)
        try:
            made = update(machinery, config, stream, done, left=recorder.output / "nonfinite")
            skips = 0
        except NonFiniteError as error:
            skips += 1
            if config.on_nonfinite == "stop" or skips > MOST_SKIPS:
                recorder.finish(done, clock, why=str(error), ok=False)
                raise
            done.skipped += 1
            made = None
            recorder.skipped(done, error)
        done.step += 1
        done.minutes = before + clock.seconds / 60
        clock.add(time.perf_counter() - begun, 0.0 if made is None else made.waited)
        recorder.after(made, done, clock)
    return recorder.finish(done, clock, why=why)


def _resumed(machinery: Machinery, identity: dict[str, Any], output: Path, *, say: Say) -> Progress:
    """The machinery in the state of the newest checkpoint; the fresh one where there is none."""
    found = newest(output / "checkpoints", say=say)
    if found is None:
        return Progress()
    checkpoint, record = found
    check_same(record, identity, checkpoint.path)
    say(f"going on from step {checkpoint.step} of {checkpoint.path}")
    return restore(machinery, checkpoint.tensors, record, step=checkpoint.step, name=str(checkpoint.path))


def _ending(machinery: Machinery, config: EngineConfig, done: Progress, stop: StopSign) -> str | None:
    """Why the run ends here, the same on every rank; None: it goes on."""
    return broadcast(machinery.fabric, _over(config, done) or stop.reason)


def _over(config: EngineConfig, done: Progress) -> str | None:
    """What has run out: ``steps`` or ``minutes``; None: neither."""
    if config.steps is not None and done.step >= config.steps:
        return "steps"
    return "minutes" if progress(config, done.step, done.minutes) >= 1 else None
