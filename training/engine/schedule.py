"""Learning rates as pure functions of the step: nothing to store, nothing to resume."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .config import EngineConfig


def progress(config: EngineConfig, step: int, minutes: float) -> float:
    """Share of the run that is over, in [0, 1]: the larger of that of the steps and that of the time.

    Args:
        config: with ``steps``, ``minutes``, or both.
        step: that were made.
        minutes: that were spent.

    Example:
        >>> progress(EngineConfig(steps=100, minutes=None), 25, minutes=3.0)
        0.25
    """
    shares = [0.0]
    if config.steps is not None:
        shares.append(step / config.steps)
    if config.minutes is not None:
        shares.append(minutes / config.minutes)
    return min(max(shares), 1.0)


def rate_factor(config: EngineConfig, step: int, done: float) -> float:
    """What the recipe's learning rates are multiplied by.

    Args:
        config: schedule and warm-up.
        step: steps done.
        done: share of the run that is over, see `progress`.

    Example:
        >>> round(rate_factor(EngineConfig(steps=100, schedule="cosine"), 50, 0.5), 3)
        0.5
    """
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1.0
    return rise * fall


def set_rates(groups: Iterable[dict[str, Any]], factor: float) -> None:
    """Set every group's learning rate to its first one times a factor.

    Args:
        groups: of an optimizer.
        factor: of the first learning rate.
    """
    for group in groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
