"""Settings of a run that no recipe depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ...geom.errors import HeadwarpError

Precision = Literal["32", "bf16-mixed", "16-mixed"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class EngineConfig:
    """How a recipe is run.

    Attributes:
        steps: optimiser steps in all, over all sessions of the run; None: until ``minutes`` are over.
        minutes: time in all, over all sessions of the run; None: until ``steps`` are done.
        seed: of the first weights, and with the step of every random number.
        precision: of the networks' forward passes; weights, losses and warps are in single precision.
        accumulate: batches whose gradients are averaged for one step.
        clip: largest Euclidean norm of the gradients of a network; None leaves them as they are.
        ema: decay of the moving average of the first network's weights; None keeps none. It grows from 0.1
            as ``(1 + n) / (10 + n)`` with the updates n, so that short runs are averaged too.
        ema_from: step before which the average is the network itself.
        schedule: of the learning rate: ``cosine`` falls to zero at the end of ``steps`` or ``minutes``.
        warmup: steps over which the learning rate rises linearly from zero.
        compile: `torch.compile` the networks.
        channels_last: memory order of networks and pictures.
        on_nonfinite: ``stop``, or ``skip`` the update (at most `guard.MOST_SKIPS` in a row).
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: a checkpoint is written also when the last is this old.
        keep: checkpoints kept.
        log_every: steps between lines of the log.
        pictures_every: steps between sheets of pictures, and between measurements of held-out pairs.
        first_pictures: step of an early sheet.
        device: ``cpu``, ``cuda``, ``cuda:1``.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    precision: Precision = "32"
    accumulate: int = 1
    clip: float | None = None
    ema: float | None = 0.999
    ema_from: int = 0
    schedule: Schedule = "constant"
    warmup: int = 0
    compile: bool = False
    channels_last: bool = False
    on_nonfinite: Literal["stop", "skip"] = "stop"
    checkpoint_every: int = 500
    checkpoint_minutes: float = 5.0
    keep: int = 2
    log_every: int = 10
    pictures_every: int = 500
    first_pictures: int = 50
    device: str = "cpu"


def check_config(config: EngineConfig) -> None:
    """Raise HeadwarpError for settings that make no sense, before any work."""
    if config.steps is None and config.minutes is None:
        raise HeadwarpError(
            "--steps, --minutes: expected at least one of them, got neither; say when to stop"
        )
    for name in ("steps", "accumulate", "checkpoint_every", "keep", "log_every", "pictures_every"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise HeadwarpError(f"--{_option(name)}: expected 1 or more, got {value}")
    for name in ("seed", "ema_from", "warmup", "first_pictures"):
        if getattr(config, name) < 0:
            raise HeadwarpError(f"--{_option(name)}: expected 0 or more, got {getattr(config, name)}")
    for name in ("minutes", "clip", "checkpoint_minutes"):
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise HeadwarpError(f"--{_option(name)}: expected a number above 0, got {value:g}")
    if config.ema is not None and not 0 <= config.ema < 1:
        raise HeadwarpError(f"--ema: expected a decay in [0, 1), got {config.ema:g}")
    if config.precision == "16-mixed" and not config.device.startswith("cuda"):
        raise HeadwarpError(
            f"--precision 16-mixed: needs a CUDA device, got {config.device}; use bf16-mixed or 32"
        )


def _option(name: str) -> str:
    return name.replace("_", "-")


def fingerprint(config: EngineConfig) -> dict[str, Any]:
    """The settings on which the weights after a given step depend: equal, or the run is another one.

    When to stop counts where the learning rate looks ahead to it.
    """
    names = ["seed", "precision", "accumulate", "clip", "ema", "ema_from", "schedule", "warmup"]
    names += ["channels_last"]
    if config.schedule == "cosine":
        names += ["steps", "minutes"]
    return {name: getattr(config, name) for name in names}
