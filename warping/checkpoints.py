"""Checkpoints: safetensors with a JSON header ``{kind, name, config, step, headwarp_version}``; no pickles.

Loading rebuilds from the file alone: the header's config becomes the registered config dataclass, the
animator is made from it, and the weights must fit it name by name and shape by shape. The header of an
animator that a geometry source guides has ``guide`` too: what guided its training (`guide_record`).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..geom.errors import HeadwarpError, ModelFileError
from ._config_json import config_from_json, config_to_json
from ._stored_tensors import StoredTensors
from .guide_record import GuideRecord, record_from_json

if TYPE_CHECKING:
    from .animators import Animator, Registration

HEADER = "headwarp"
ANIMATOR = "animator"
TRAINING = "training"
ANIMATOR_FILE = "animator.safetensors"
"""What a training writes in its folder, beside the folder of its own checkpoints."""
_FIELDS = {"kind": str, "name": str, "config": dict, "step": int, "headwarp_version": str}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        path: the file, for messages.
        kind: what was saved: ``animator``, ``discriminator``, ``optimizer`` and so on.
        name: registered name.
        config: fields of the config dataclass as JSON has them.
        step: training steps done.
        version: headwarp's version that wrote it.
        tensors: by key, on the CPU; of a file they are read when they are looked at.
        guide: what guided the training; None where the file does not say.
    """

    path: Path
    kind: str
    name: str
    config: Mapping[str, Any]
    step: int
    version: str
    tensors: Mapping[str, Tensor]
    guide: GuideRecord | None = None

    def build(self, entry: Registration[Animator]) -> Animator:
        """The animator of a registration with this config and these weights; it knows the guide of its
        training (`PwmAnimator.guided_by`).

        Raises:
            ModelFileError: not an animator's checkpoint, or its config or a weight does not fit.
        """
        _check_kind(self.path, self.kind, ANIMATOR)
        try:
            config: Any = config_from_json(entry.config, self.config)
        except HeadwarpError as error:
            raise ModelFileError(
                f"{self.path}: {error}; the file is of another version or was altered"
            ) from error
        animator = entry.build(config)
        load_weights(animator, self.tensors, name=str(self.path))
        if self.guide is not None and hasattr(animator, "guided_by"):
            animator.guided_by = self.guide
        return animator


def save_checkpoint(
    path: str | Path,
    weights: nn.Module | Mapping[str, Tensor],
    *,
    config: Any,
    name: str,
    step: int = 0,
    kind: str = ANIMATOR,
    guide: GuideRecord | None = None,
) -> Path:
    """Write a checkpoint, whole or not at all; returns its path.

    Args:
        path: ends in ``.safetensors``; missing parent folders are made.
        weights: a module (its state dict) or tensors by key; tied tensors are stored once per key.
        config: the frozen config dataclass that the module was made from.
        name: registered name, such as ``pwm``.
        step: training steps done, 0 or more.
        kind: what it is; `load_animator` takes ``animator``.
        guide: what guided the training, if anything did.

    Raises:
        HeadwarpError: a config that JSON cannot hold, a key without a tensor, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from headwarp.warping.animators.copy import CopyConfig
        >>> path = Path(tempfile.mkdtemp()) / "c.safetensors"
        >>> load_checkpoint(save_checkpoint(path, {}, config=CopyConfig(), name="copy", step=3)).step
        3
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from .. import __version__

    path = Path(path)
    if path.suffix != ".safetensors":
        raise HeadwarpError(f"{path}: expected a name that ends in .safetensors")
    if step < 0:
        raise HeadwarpError(f"step: expected 0 or more, got {step}")
    header = {
        "kind": kind,
        "name": name,
        "config": config_to_json(config),
        "step": int(step),
        "headwarp_version": __version__,
        **({} if guide is None else {"guide": config_to_json(guide)}),
    }
    tensors = _detached(weights.state_dict() if isinstance(weights, nn.Module) else weights)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.safetensors")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, os.fspath(temporary), metadata={HEADER: json.dumps(header, allow_nan=False)})
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HeadwarpError(f"{path}: cannot be written ({reason})") from error
    return path


def load_checkpoint(path: str | Path, name: str | None = None, *, kind: str | None = None) -> Checkpoint:
    """Read a checkpoint; nothing in it is run.

    Args:
        path: a file that `save_checkpoint` wrote.
        name: the registered name it must carry; None for any.
        kind: the kind it must be of; None for any.

    Raises:
        ModelFileError: missing, no safetensors, not ours, of another name or kind, or from a newer headwarp
            (a higher first or second number of the version).
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path}: expected a checkpoint (.safetensors), got a folder; name its file")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such checkpoint; sought in {path.absolute().parent}")
    header, tensors = _read(path)
    _check_version(path, header["headwarp_version"])
    if kind is not None:
        _check_kind(path, header["kind"], kind)
    if name is not None and header["name"] != name:
        raise ModelFileError(
            f"{path}: expected a checkpoint of name {name!r}, got {header['name']!r}; give a file that a "
            f"training of {name} wrote"
        )
    own = {key: header[key] for key in ("kind", "name", "config", "step")}
    version, guide = header["headwarp_version"], _guide(path, header.get("guide"))
    return Checkpoint(path=path, version=version, tensors=tensors, guide=guide, **own)


def load_weights(target: Any, tensors: Mapping[str, Tensor], *, name: str) -> None:
    """Copy tensors into a module, one after the other: every key, every shape, nothing left over.

    Args:
        target: a module; anything else has no weights and takes none.
        tensors: by the names of its state.
        name: of the file, for messages.

    Raises:
        ModelFileError: keys are missing or unknown, or shapes differ; the text lists the first of each.
    """
    own = target.state_dict() if isinstance(target, nn.Module) else {}
    problems = [
        ("missing", sorted(own.keys() - tensors.keys())),
        ("unknown", sorted(tensors.keys() - own.keys())),
        (
            "of another shape",
            [
                f"{key} {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
                for key in sorted(own.keys() & tensors.keys())
                if tensors[key].shape != own[key].shape
            ],
        ),
    ]
    found = [f"{len(keys)} {what}: {', '.join(keys[:5])}" for what, keys in problems if keys]
    if found:
        raise ModelFileError(f"{name}: expected the weights of {type(target).__name__}; {'; '.join(found)}")
    if isinstance(target, nn.Module):
        with torch.no_grad():
            for key, place in own.items():  # load_state_dict takes a dictionary, which holds all of a file
                place.copy_(tensors[key])


def _check_kind(path: Path, found: str, wanted: str) -> None:
    """Refuse another kind; where a training goes on from is not what it made, which lies one folder above."""
    if found == wanted:
        return
    remedy = ""
    if (found, wanted) == (TRAINING, ANIMATOR):
        made = path.absolute().parent.parent / ANIMATOR_FILE
        where = str(made) if made.is_file() else f"{ANIMATOR_FILE} in the folder of its run"
        remedy = f"; a training goes on from this file, what it made is {where}"
    raise ModelFileError(f"{path}: expected a checkpoint of kind {wanted!r}, got {found!r}{remedy}")


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share no memory, as the format wants them."""
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in tensors.items():
        if not isinstance(value, Tensor):
            raise HeadwarpError(f"weights[{key!r}]: expected a tensor, got {type(value).__name__}")
        plain = value.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        kept[key] = (
            plain.clone() if storage in seen or plain.untyped_storage().nbytes() != plain.nbytes else plain
        )
        seen.add(storage)
    return kept


def _read(path: Path) -> tuple[dict[str, Any], StoredTensors]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt", device="cpu"):
            tensors = StoredTensors(path)
        return _header(path, tensors.metadata.get(HEADER)), tensors
    except (SafetensorError, OSError) as error:
        remedy = "; weights of other projects: headwarp convert checkpoint" if _of_torch(path) else ""
        raise ModelFileError(
            f"{path}: expected a checkpoint of headwarp (.safetensors), it does not read as one ({error})"
            f"{remedy}"
        ) from error


def _of_torch(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do, new and old."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith((b"PK\x03\x04", b"\x80\x02"))
    except OSError:
        return False


def _header(path: Path, text: str | None) -> dict[str, Any]:
    try:
        header = json.loads(text or "")
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ModelFileError(
            f"{path}: expected a checkpoint of headwarp, got a .safetensors file without its header; "
            "weights of other projects are converted first"
        )
    for field, kind in _FIELDS.items():
        value = header.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ModelFileError(f"{path}: header {field}: expected {kind.__name__}, got {value!r}")
    return header


def _guide(path: Path, plain: Any) -> GuideRecord | None:
    """The record of a header; None where it has none."""
    if plain is None:
        return None
    try:
        return record_from_json(plain)
    except HeadwarpError as error:
        raise ModelFileError(f"{path}: header guide: {error}") from error


def _check_version(path: Path, text: str) -> None:
    from .. import __version__

    series, own = _series(text), _series(__version__)
    if series is None or own is None:
        raise ModelFileError(
            f"{path}: header headwarp_version: expected a version such as {__version__}, got {text!r}"
        )
    if series > own:
        raise ModelFileError(
            f"{path}: written by headwarp {text}, this is {__version__}; upgrade headwarp to read it"
        )


def _series(version: str) -> tuple[int, int] | None:
    """First and second number of a version."""
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None
