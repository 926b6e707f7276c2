"""Checkpoint files of ``torch.save`` with tensors, numbers, texts and containers, and nothing that runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...geom.errors import ModelFileError


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a ``.pth``, ``.pt`` or ``.pth.tar`` file, on the CPU; nothing in the file is run.

    Raises:
        ModelFileError: missing, damaged, no file of ``torch.save``, with objects in it that would need code
            to run, or not a mapping with texts as keys.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such checkpoint; sought in {path.absolute().parent}")
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":
            raise ModelFileError(
                f"{path}: expected a checkpoint of torch.save, got a .safetensors; "
                "`headwarp info` says what it holds"
            )
    try:
        content = torch.load(os.fspath(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ModelFileError(
            f"{path}: expected tensors, numbers and texts alone, saved by torch.save; the file asks to run "
            f"code or is none of torch's ({reason})"
        ) from error
    except Exception as error:  # whatever a damaged file makes of torch's reader
        raise ModelFileError(
            f"{path}: expected a checkpoint of torch.save, it does not read as one "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); fetch it again"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ModelFileError(f"{path}: expected a mapping with names as keys, got {type(content).__name__}")
    return dict(content)


def state_dict(content: object) -> dict[str, Tensor] | None:
    """A mapping of names to tensors, or None for anything else (an empty mapping too)."""
    if not isinstance(content, Mapping) or not content:
        return None
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        return None
    return dict(content)
