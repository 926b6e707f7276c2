"""Training checkpoints on disk: whole or absent, the last few kept, checked before a run goes on from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...geom.errors import HeadwarpError, ModelFileError
from ...warping._config_json import config_from_json
from ...warping.checkpoints import TRAINING, Checkpoint, load_checkpoint, save_checkpoint
from .state import RunRecord, run_differences

NAMED = 3
"""Fields of another run that the error names; it counts the rest."""


def checkpoint_paths(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(folder.glob("step_*.safetensors"))


def write(
    folder: Path, tensors: Mapping[str, Tensor], record: RunRecord, *, name: str, step: int, keep: int
) -> Path:
    """Write ``step_NNNNNNNN.safetensors`` and remove all but the last ``keep``, in this order.

    Args:
        folder: of the checkpoints.
        tensors: by key.
        record: the plain rest.
        name: of the recipe.
        step: that was made last.
        keep: how many files stay.

    Returns:
        The file.
    """
    path = folder / f"step_{step:08d}.safetensors"
    save_checkpoint(path, tensors, config=record, name=name, step=step, kind=TRAINING)
    for old in checkpoint_paths(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path, *, say: Callable[[str], None]) -> tuple[Checkpoint, RunRecord] | None:
    """The last checkpoint that reads; None if there is none.

    One that was damaged (a full disk, a power failure) is named and the one before it is taken. What a killed
    run left half-written is removed.

    Raises:
        ModelFileError: there are checkpoints and none of them reads.
    """
    for leftover in folder.glob(".step_*.safetensors"):
        leftover.unlink(missing_ok=True)
    problems = []
    for path in reversed(checkpoint_paths(folder)):
        try:
            found = load_checkpoint(path, kind=TRAINING)
            return found, config_from_json(RunRecord, found.config)
        except HeadwarpError as error:
            problems.append(error)
            say(f"{error}; the checkpoint before it is tried")
    if problems:
        raise ModelFileError(f"{folder}: expected a checkpoint that reads, got none; --restart begins anew")
    return None


def check_same(record: RunRecord, identity: Mapping[str, Any], path: Path) -> None:
    """A checkpoint belongs to this run.

    Args:
        record: of the checkpoint.
        identity: of this run.
        path: of the checkpoint.

    Raises:
        HeadwarpError: it belongs to another; the first fields that differ are named.
    """
    found = run_differences(record.identity, identity)
    if found:
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise HeadwarpError(
            f"{path}: is of another run: {'; '.join(found[:NAMED])}{more}; give what it was begun with, "
            "another --output, or --restart"
        )
