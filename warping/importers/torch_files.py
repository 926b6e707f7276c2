"""Checkpoint files of ``torch.save`` with tensors, numbers, texts and containers, and nothing that runs."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...geom.errors import ModelFileError


class Inert:
    """What stands for an object of a class that is not ours: its fields as they were stored, no code."""


_PARAMS = ("model.AlignModule.config", "model.BlendModule.config")
_INERT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    type("Params", (Inert,), {"__module__": module}) for module in _PARAMS
]
"""Stand-ins for the settings that [HeSer]'s public code stores beside its weights."""


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a ``.pth``, ``.pt`` or ``.pth.tar`` file, on the CPU; nothing in the file is run.

    Settings of [HeSer]'s public code come as `Inert`; other objects are refused.

    Raises:
        ModelFileError: missing, damaged, no file of ``torch.save``, with objects in it that would need code
            to run or that are larger than the file, or not a mapping with texts as keys.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path}: expected a checkpoint of torch.save, got a folder; name its file")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such checkpoint; sought in {path.absolute().parent}")
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":
            raise ModelFileError(
                f"{path}: expected a checkpoint of torch.save, got a .safetensors; "
                "`headwarp info` says what it holds"
            )
    _check_archive(path)
    try:
        content = _loaded(path)
    except pickle.UnpicklingError as error:
        reason = _refusal(str(error))
        raise ModelFileError(
            f"{path}: expected tensors, numbers and texts alone, saved by torch.save; the file asks to run "
            f"code or is none of torch's ({reason})"
        ) from error
    except Exception as error:  # whatever a damaged file makes of torch's reader
        raise ModelFileError(
            f"{path}: expected a checkpoint of torch.save, it does not read as one "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); fetch it again"
        ) from error
    _check_sizes(path, content)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ModelFileError(f"{path}: expected a mapping with names as keys, got {type(content).__name__}")
    return dict(content)


def _refusal(said: str) -> str:
    """What torch's reader refused, without its advice to read the file all the same."""
    found = re.search(r"WeightsUnpickler error: (.+)", said)
    return re.split(r"\. (?:In PyTorch|Please)", found[1] if found else said)[0].split("\n")[0].strip()


def _loaded(path: Path) -> Any:
    with torch.serialization.safe_globals(_INERT):
        if zipfile.is_zipfile(path):
            return torch.load(os.fspath(path), map_location="cpu", weights_only=True)
        with _Bounded(io.FileIO(path)) as file:
            return torch.load(file, map_location="cpu", weights_only=True)


def state_dict(content: object) -> dict[str, Tensor] | None:
    """A mapping of names to tensors, or None for anything else (an empty mapping too)."""
    if not isinstance(content, Mapping) or not content:
        return None
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        return None
    return dict(content)


class _Bounded(io.BufferedReader):
    """A file of the old format that is never asked for more than it has: a length in it can say any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _check_archive(path: Path) -> None:
    """``torch.save`` keeps its records as they are: its archives hold no more than their own size."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error):
        return  # no archive, or a damaged one: torch's reader says so
    if unpacked > size:
        raise ModelFileError(
            f"{path}: expected records as torch.save keeps them, got a compressed archive: {unpacked} bytes "
            f"out of {size}"
        )


def _check_sizes(path: Path, content: object) -> None:
    """No tensor is larger than the file: a view of few numbers can say any size."""
    size = path.stat().st_size
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple):
            waiting.extend(found)
        elif isinstance(found, Tensor) and found.numel() * found.element_size() > size:
            raise ModelFileError(
                f"{path}: expected tensors no larger than the file of {size} bytes, got one of "
                f"{tuple(found.shape)}"
            )
