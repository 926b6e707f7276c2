"""One process or many: Fabric, and gradients averaged over the ranks.

Fabric gives the device, the launch under ``torchrun``, autocast and the loss scaler. Its DDP wrapper is not
used: a step calls a discriminator several times and a generator's gradient passes through it, which the
wrapper's bookkeeping of one forward and one backward does not fit. Gradients are averaged after all backward
passes of a step instead, in a few flat buffers; the values are those of DDP.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError, MissingDependencyError
from .config import EngineConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Said = TypeVar("Said")
BUCKET = 1 << 24
"""Elements of a flat buffer of gradients: 64 MiB."""


def make_fabric(config: EngineConfig) -> Fabric:
    """Fabric on the config's device; under ``torchrun`` one rank of many, with NCCL or gloo.

    Raises:
        MissingDependencyError: lightning is not installed.
        HeadwarpError: no such device.
    """
    if importlib.util.find_spec("lightning") is None:
        raise MissingDependencyError("training needs lightning: pip install 'headwarp[train]'")
    check_device(config.device)
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    kind, _, index = config.device.partition(":")
    world = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if world == 1:
        devices: list[int] | int = [int(index or 0)] if kind == "cuda" else 1
        fabric = Fabric(accelerator=kind, devices=devices, precision=_name(config))
    else:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        backend = "nccl" if kind == "cuda" else "gloo"
        strategy = DDPStrategy(process_group_backend=backend)
        fabric = Fabric(
            accelerator=kind,
            devices=local,
            num_nodes=world // local,
            strategy=strategy,
            precision=_name(config),
        )
    fabric.launch()
    return fabric


@contextlib.contextmanager
def connected(config: EngineConfig) -> Iterator[Fabric]:
    """`make_fabric`; its connections are closed at the end, before the interpreter goes: gloo's threads that
    are still there then abort the process.
    """
    fabric = make_fabric(config)
    try:
        yield fabric
        fabric.barrier()
    finally:
        if fabric.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def check_device(device: str) -> None:
    """Raise HeadwarpError for a device that is not there."""
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise HeadwarpError(f"--device: expected cpu, cuda or cuda:N, got {device!r}")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if int(index or 0) >= count:
        raise HeadwarpError(f"--device {device}: there are {count} CUDA devices here; use --device cpu")


def _name(config: EngineConfig) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    return "32-true" if config.precision == "32" else config.precision


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed Python's, NumPy's and torch's generators (of every device) for one step of one rank.

    Args:
        seed: of the run.
        step: of the training.
        rank: of the process.
    """
    words = np.random.SeedSequence([seed, step, rank]).generate_state(3, np.uint32)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]))


def on_any_rank(fabric: Fabric, happened: bool) -> bool:
    """Whether something happened on any rank; every rank has to ask."""
    if fabric.world_size == 1:
        return happened
    return bool(fabric.all_reduce(torch.tensor(float(happened), device=fabric.device), reduce_op="sum"))


def broadcast(fabric: Fabric, value: Said) -> Said:
    """What rank 0 says, on every rank."""
    return value if fabric.world_size == 1 else fabric.broadcast(value)


def average_gradients(fabric: Fabric, parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their means over the ranks.

    A gradient that one rank has and another lacks counts as zero there.
    """
    if fabric.world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _average(fabric, [p.grad for p in parameters if p.grad is not None])


@torch.no_grad()
def average_buffers(fabric: Fabric, network: nn.Module) -> None:
    """Replace floating-point buffers (running statistics) by their means over the ranks."""
    if fabric.world_size > 1:
        _average(fabric, [b for b in network.buffers() if b.is_floating_point()])


def _average(fabric: Fabric, tensors: Sequence[Tensor]) -> None:
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        mean = fabric.all_reduce(flat, reduce_op="mean")
        assert isinstance(mean, Tensor)
        for tensor, part in zip(bucket, mean.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Runs of tensors of one type with at most `BUCKET` elements, or one larger tensor."""
    buckets: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        if not buckets or size + tensor.numel() > BUCKET or buckets[-1][0].dtype != tensor.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.numel()
    return buckets
