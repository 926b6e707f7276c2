"""What a run writes: log, pictures, checkpoints, report, the finished network."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ... import __version__
from ...warping.checkpoints import ANIMATOR, save_checkpoint
from ...warping.guide_record import GuideRecord
from ..data.atomic import write_json
from ..data.batch import Batch
from ..data.media import write_image
from . import store
from .config import EngineConfig
from .guard import NonFiniteError
from .journal import LOG, Journal, Means, read_log
from .parallel import broadcast
from .pictures import HeldOut, measure, sheet_of
from .session import Clock
from .state import Machinery, Progress, captured
from .step import Update

REPORT = "report.json"


@dataclass(frozen=True)
class Written:
    """What a `Recorder` writes, and where.

    Attributes:
        output: folder of the run.
        identity: see `state.identity_of`.
        held_out: batches to measure and to show.
        begun: step that the session begins at.
    """

    output: Path
    identity: dict[str, Any]
    held_out: Iterable[Batch]
    begun: int


class Recorder:
    """Writes into the folder of a run. On ranks other than 0 it does nothing and waits for rank 0."""

    def __init__(
        self,
        machinery: Machinery,
        config: EngineConfig,
        written: Written,
        *,
        say: Callable[[str], None],
    ) -> None:
        self.output = written.output
        self._machinery, self._config, self._written, self._say = machinery, config, written, say
        self._main = machinery.fabric.global_rank == 0
        self._journal = Journal(self.output, last_step=written.begun) if self._main else None
        self._saved_at, self._saved_step = time.monotonic(), written.begun
        self._means = Means()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            self._journal.close()

    def skipped(self, done: Progress, error: NonFiniteError) -> None:
        """An update was left out."""
        if self._journal is not None:
            self._say(str(error))
            self._journal.write(done.step + 1, {"skipped": error.where})

    def after(self, made: Update | None, done: Progress, clock: Clock) -> None:
        """After a step: what is due of log, pictures, held-out pairs and, last, the checkpoint.

        Args:
            made: of the step; None where it was skipped.
            done: how far the run is.
            clock: times of the run.
        """
        config, step = self._config, done.step
        if made is not None and self._main:
            self._means.add(made.terms)
        if made is not None and self._due(step, config.log_every, first=1):
            self._log(made, done, clock)
        if self._due(step, config.pictures_every, first=config.first_pictures):
            self._look(step, None if made is None else made.batch)
        old = time.monotonic() - self._saved_at > 60 * config.checkpoint_minutes
        if self._main and (old or step % config.checkpoint_every == 0):
            self._save(done)

    def finish(self, done: Progress, clock: Clock, *, why: str, ok: bool = True) -> dict[str, Any]:
        """The last checkpoint, the animator and the report; after an error the report alone.

        The report's keys are in docs/training.md; every rank returns it.

        Args:
            done: how far the run is.
            clock: times of the run.
            why: it ended.
            ok: False after an error.
        """
        report = self._finished(done, clock, why, ok) if self._main else {}
        return broadcast(self._machinery.fabric, report)

    def _finished(self, done: Progress, clock: Clock, why: str, ok: bool) -> dict[str, Any]:
        if ok and done.step > self._saved_step:
            self._save(done)
        if ok:
            self._write_animator(done)
        report = self._report(done, clock, why, ok)
        if ok and (found := self._measured()) is not None:
            report["final"] = dataclasses.asdict(found)
        write_json(self.output / REPORT, report)
        return report

    def _due(self, step: int, every: int, *, first: int) -> bool:
        return step == first or step % every == 0

    def _log(self, made: Update, done: Progress, clock: Clock) -> None:
        if self._journal is None:
            return
        terms = {name: float(value) for name, value in made.terms.items()}
        entry = {"losses": terms, "gradient_norms": {k: float(v) for k, v in made.norms.items()}}
        times = clock.summary()
        pace = times["seconds_per_step"] or times["first_step_seconds"] or 0.0
        shown = {"seconds_per_step": float(pace), "starvation": float(times["starvation"] or 0.0)}
        self._journal.write(done.step, {**entry, "rate": made.rate}, times=shown)
        self._say_means(done.step, f"{pace:.2f} s a step, {shown['starvation']:.0%} waiting")

    def _say_means(self, step: int, pace: str) -> None:
        """A line of this session's means since the last one. The log keeps single steps: its bytes are the
        same wherever a run was cut off.
        """
        means, self._means = self._means, Means()
        losses = "  ".join(f"{name} {value:.4f}" for name, value in means.values().items())
        over = f"  (means of {means.steps} steps)" if means.steps > 1 else ""
        self._say(f"step {step}  {losses}{over}  {pace}")

    def _look(self, step: int, batch: Batch | None) -> None:
        """A sheet of pictures and the held-out pairs."""
        if self._journal is not None:
            networks, recipe = self._machinery.shown, self._machinery.recipe
            shown = next(iter(self._written.held_out), batch)
            if shown is not None:
                placed = shown.map(lambda tensor: tensor.to(self._machinery.fabric.device))
                sheet = sheet_of(recipe, networks, placed)
                write_image(self.output / "pictures" / f"step_{step:06d}.png", sheet, provenance=None)
                self._journal.picture(step, "pictures", sheet)
            found = self._measured()
            if found is not None:
                self._journal.write(step, {"held_out": dataclasses.asdict(found)})
                self._say(f"step {step}  held out: {found.text}")
        self._machinery.fabric.barrier()

    def _measured(self) -> HeldOut | None:
        machinery = self._machinery
        return measure(machinery.recipe, machinery.shown, self._written.held_out, machinery.fabric.device)

    def _save(self, done: Progress) -> None:
        tensors, record = captured(self._machinery, self._written.identity, done)
        name = self._machinery.recipe.name
        folder = self.output / "checkpoints"
        store.write(folder, tensors, record, name=name, step=done.step, keep=self._config.keep)
        self._saved_at, self._saved_step = time.monotonic(), done.step

    def _write_animator(self, done: Progress) -> None:
        recipe = self._machinery.recipe
        name, config, module = recipe.checkpoint(self._machinery.shown)
        guide: GuideRecord | None = getattr(recipe, "guided_by", None)
        save_checkpoint(
            self._made, module, config=config, name=name, step=done.step, kind=self._kind, guide=guide
        )

    @property
    def _kind(self) -> str:
        return getattr(self._machinery.recipe, "kind", ANIMATOR)

    @property
    def _made(self) -> Path:
        """The file of what was trained, named for its kind."""
        return self.output / f"{self._kind}.safetensors"

    def _report(self, done: Progress, clock: Clock, why: str, ok: bool) -> dict[str, Any]:
        recipe, lines = self._machinery.recipe, read_log(self.output / LOG)
        held_out = [{"step": line["step"], **line["held_out"]} for line in lines if "held_out" in line]
        return {
            "ok": ok,
            "recipe": recipe.name,
            "stand_ins": list(recipe.stand_ins),
            **{key: self._written.identity.get(key) for key in ("config", "data", "guide")},
            "engine": self._config,
            "processes": self._machinery.fabric.world_size,
            "parameters": _sizes(self._machinery.networks),
            "steps": done.step,
            "minutes": done.minutes,
            "skipped": done.skipped,
            "stopped": why,
            "begun_at_step": self._written.begun,
            "session": clock.summary(),
            "seconds_per_step": clock.summary()["seconds_per_step"],
            "starvation": clock.summary()["starvation"],
            "losses": next((line["losses"] for line in reversed(lines) if "losses" in line), {}),
            "held_out": held_out,
            "final": None,
            "kind": self._kind,
            "made": str(self._made) if ok else None,
            "animator": str(self._made) if ok and self._kind == ANIMATOR else None,
            "versions": {"headwarp": __version__, "torch": torch.__version__},
        }


def _sizes(networks: Mapping[str, torch.nn.Module]) -> dict[str, int]:
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
