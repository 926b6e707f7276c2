"""One step: batches, losses, gradients, and either every network is stepped or none.

With the loss scaler of half precision a network whose gradients overflow is not stepped, and the scale falls;
the others are. That is the scaler's way to its scale, and not counted as skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...geom.errors import HeadwarpError
from ..data.batch import Batch
from .average import decay_at, update_average
from .config import EngineConfig
from .guard import NonFiniteError, leave_batch, nonfinite_gradients, nonfinite_terms
from .parallel import average_buffers, average_gradients, on_any_rank
from .precision import channels_last
from .schedule import progress, rate_factor, set_rates
from .state import Machinery, Progress


@dataclass(frozen=True)
class Update:
    """What a step did.

    Attributes:
        terms: loss terms ``TURN/NAME``, scalars, means over this rank's batches.
        norms: Euclidean norm of each network's gradients before clipping, scalars.
        rate: factor of the learning rates.
        waited: seconds spent waiting for batches.
        batch: the last one.
    """

    terms: Mapping[str, Tensor]
    norms: Mapping[str, Tensor]
    rate: float
    waited: float
    batch: Batch


def update(
    machinery: Machinery, config: EngineConfig, stream: Iterator[Batch], done: Progress, *, left: Path
) -> Update:
    """Take batches, descend every turn's losses once, and follow with the average.

    Later turns see the networks of earlier turns as they were before the step: their losses depend on what
    was made, not on the weights that made it.

    Args:
        machinery: of the run.
        config: of the engine.
        stream: batches.
        done: how far the run is.
        left: folder where a batch is left whose losses are not finite.

    Raises:
        NonFiniteError: nothing was stepped and no gradient is left; with ``on_nonfinite="skip"`` buffers are
            as they were, too.
        HeadwarpError: the batches ended, or the device's memory.
    """
    buffers = _buffers(machinery) if config.on_nonfinite == "skip" else []
    try:
        terms, waited, batch = _gradients(machinery, config, stream, done, left)
        norms = _checked_norms(machinery, config, done, batch, left)
    except NonFiniteError:
        _forget(machinery, buffers)
        raise
    except torch.OutOfMemoryError as error:
        raise HeadwarpError(
            f"step {done.step}: the memory of {machinery.fabric.device} is too small "
            f"({str(error).splitlines()[0]}); take a smaller --batch with more --accumulate"
        ) from error
    rate = rate_factor(config, done.step, progress(config, done.step, done.minutes))
    _descend(machinery, rate)
    if machinery.average is not None and config.ema is not None:
        updates = done.step - config.ema_from
        decay = decay_at(config.ema, updates) if updates >= 0 else 0.0
        update_average(machinery.average, machinery.networks[machinery.recipe.turns[0]], decay)
    return Update(terms, norms, rate, waited, batch)


def _gradients(
    machinery: Machinery, config: EngineConfig, stream: Iterator[Batch], done: Progress, left: Path
) -> tuple[dict[str, Tensor], float, Batch]:
    """Gradients of every turn over ``accumulate`` batches: terms, seconds waited, the last batch."""
    recipe, fabric = machinery.recipe, machinery.fabric
    sums: dict[str, Tensor] = {}
    waited, problem = 0.0, None
    for _ in range(config.accumulate):
        asked = time.perf_counter()
        batch = _next(stream, fabric.device, layout=config.channels_last)
        waited += time.perf_counter() - asked
        machinery.only(recipe.turns[0])
        made = recipe.generate(machinery.called, batch)
        terms: dict[str, Tensor] = {}
        for turn in recipe.turns:
            machinery.only(turn)
            parts = recipe.losses(turn, machinery.called, batch, made)
            terms |= {f"{turn}/{name}": term.detach() for name, term in parts.items()}
            fabric.backward(torch.stack(list(parts.values())).sum() / config.accumulate)
        bad = nonfinite_terms(terms)
        if bad and problem is None:
            problem = _left(machinery, done, batch, left, bad)
        sums = {name: sums.get(name, 0) + term / config.accumulate for name, term in terms.items()}
    if on_any_rank(fabric, problem is not None):
        raise problem or NonFiniteError(f"step {done.step}: a loss of another process is not finite", "")
    return sums, waited, batch


def _checked_norms(
    machinery: Machinery, config: EngineConfig, done: Progress, batch: Batch, left: Path
) -> dict[str, Tensor]:
    """Gradients averaged over the ranks, unscaled and clipped, and their norms before."""
    norms = {}
    for turn in machinery.recipe.turns:
        network, optimizer = machinery.networks[turn], machinery.optimizers[turn]
        average_gradients(machinery.fabric, machinery.trained[turn])
        norm = machinery.fabric.clip_gradients(
            network, optimizer, max_norm=config.clip or float("inf"), error_if_nonfinite=False
        )
        assert norm is not None  # as it is for a max_norm
        norms[turn] = norm
    if machinery.scaler is None:  # with one, infinite gradients are its business: it steps with smaller ones
        for turn, norm in norms.items():
            if not bool(torch.isfinite(norm)):
                names = nonfinite_gradients(machinery.networks[turn])
                where = f"gradient of {turn}: {', '.join(names[:3]) or 'its norm'}"
                raise _left(machinery, done, batch, left, {where: float(norm)})
    return norms


def _left(
    machinery: Machinery, done: Progress, batch: Batch, folder: Path, bad: Mapping[str, float]
) -> NonFiniteError:
    """The error, after the batch was left in its folder."""
    facts = {"step": done.step, "rank": machinery.fabric.global_rank, "not_finite": dict(bad)}
    path = leave_batch(folder, batch, {**facts, "values": {k: str(v) for k, v in bad.items()}})
    where, value = next(iter(bad.items()))
    pairs = ", ".join(batch.names[:8])
    return NonFiniteError(
        f"step {done.step}: {where} is {value} on the pairs {pairs}; the batch is in {path}; "
        "--clip, a lower learning rate or --precision 32 may help, --on-nonfinite skip leaves such steps out",
        where,
    )


def _descend(machinery: Machinery, rate: float) -> None:
    """Step every optimizer, then forget the gradients."""
    scaler = machinery.scaler
    for turn, optimizer in machinery.optimizers.items():
        set_rates(optimizer.param_groups, rate)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
        average_buffers(machinery.fabric, machinery.networks[turn])
    if scaler is not None:
        scaler.update()  # once for all optimizers: their gradients were scaled alike
    _forget(machinery, [])


def _forget(machinery: Machinery, buffers: list[tuple[Tensor, Tensor]]) -> None:
    """Gradients gone, buffers as they were."""
    for optimizer in machinery.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)


def _buffers(machinery: Machinery) -> list[tuple[Tensor, Tensor]]:
    """Every buffer with a copy of what it holds."""
    return [(b, b.clone()) for network in machinery.networks.values() for b in network.buffers()]


def _next(stream: Iterator[Batch], device: torch.device, *, layout: bool) -> Batch:
    """The next batch on the device."""
    batch = next(stream, None)
    if batch is None:
        raise HeadwarpError("batches: expected an endless stream, it ended; give batches for every number")
    placed = batch.map(lambda tensor: tensor.to(device, non_blocking=True))
    return placed.map(channels_last) if layout else placed
