"""What is not finite stops the run with a sentence that says where, and leaves the batch for a repeat."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...geom.errors import HeadwarpError
from ..data.atomic import atomic_path, write_json
from ..data.batch import Batch

MOST_SKIPS = 20
"""Updates skipped in a row after which a run that skips stops all the same."""


class NonFiniteError(HeadwarpError):
    """A loss or gradient is NaN or infinite.

    Attributes:
        where: the term (``generator/l1``) or the gradient (``gradient of generator: first.weight``).
    """

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.where = where


def nonfinite_terms(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """Terms that are NaN or infinite with their values; empty where all is well.

    Example:
        >>> nonfinite_terms({"l1": torch.tensor(0.5), "gan": torch.tensor(float("inf"))})
        {'gan': inf}
    """
    if bool(torch.isfinite(torch.stack([term.detach() for term in terms.values()]).sum())):
        return {}
    values = {name: float(term.detach()) for name, term in terms.items()}
    bad = {name: value for name, value in values.items() if not -float("inf") < value < float("inf")}
    return bad or {"sum": float("inf")}


def nonfinite_gradients(network: nn.Module) -> list[str]:
    """Names of parameters whose gradient is NaN or infinite."""
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]


def leave_batch(folder: Path, batch: Batch, facts: Mapping[str, Any]) -> Path:
    """Write the batch as ``.safetensors`` and its names with ``facts`` as ``.json`` beside it.

    Args:
        folder: where the files go.
        batch: to be kept.
        facts: with ``step`` and ``rank``, which name the files.

    Returns:
        The JSON file.
    """
    from safetensors.torch import save_file

    stem = folder / f"step_{facts['step']:06d}_rank_{facts['rank']}"
    with atomic_path(stem.with_suffix(".safetensors")) as temporary:
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in batch_tensors(batch)}
        save_file(tensors, os.fspath(temporary))
    write_json(stem.with_suffix(".json"), {**facts, "pairs": batch.names})
    return stem.with_suffix(".json")


def batch_tensors(batch: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch by its field's name, ``layers.flow`` for those within."""
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            yield f"{prefix}{field.name}", value
        elif dataclasses.is_dataclass(value):
            yield from batch_tensors(value, f"{prefix}{field.name}.")
