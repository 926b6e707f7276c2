"""Files of weights: their hashes, their tensors, and a network filled from them strictly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import HeadwarpError, ModelFileError
from ._known_weights import KnownWeights, build

SUFFIXES = (".pth", ".pt", ".safetensors")
_COUNTER = "num_batches_tracked"  # of a batch norm: unused once trained, absent from old files


def sha256_of(path: Path) -> str:
    """The hash of a file's content, in lower-case hexadecimal.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def recorded_hash(path: Path) -> str | None:
    """What ``headwarp weights check`` wrote beside a file whose hash nobody publishes: ``FILE.sha256``."""
    try:
        words = path.with_name(f"{path.name}.sha256").read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return None
    return words[0].lower() if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) else None


def check_hash(path: Path, known: KnownWeights, *, sha256: str | None = None) -> str:
    """The hash of a file, or an error if it is not the one expected.

    Expected is ``sha256`` if given, else the known one if the file has the published format (a
    ``.safetensors`` made of it has another), else the recorded one. Where there is none, any file passes.

    Raises:
        ModelFileError: another hash, or the file cannot be read.
        HeadwarpError: ``sha256`` is no hash.
    """
    digest = sha256_of(path)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise HeadwarpError(f"sha256: expected 8 to 64 hexadecimal digits, got {sha256!r}")
    published = known.sha256 if path.suffix == Path(known.file).suffix else None
    expected = sha256 or published or recorded_hash(path)
    if expected is not None and not digest.startswith(expected.lower()):
        remedy = (
            "get it again" if sha256 else "get it again, or pass its own hash as --sha256 if you trust it"
        )
        raise ModelFileError(f"{path}: expected sha256 {expected}, got {digest}; {remedy}")
    return digest


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth``, ``.pt`` or ``.safetensors`` by key; nothing in it is run.

    Raises:
        ModelFileError: another suffix, damaged, a web page, or anything but tensors by key.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix not in SUFFIXES:
        raise ModelFileError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start.lstrip()[:1] == b"<":
            raise ModelFileError(f"{path}: a web page was saved in place of the file; download it again")
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelFileError:
        raise
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}; get it again") from error
    except Exception as error:
        reason = str(error).split("\n")[0][:200]
        raise ModelFileError(
            f"{path}: not a sound file of weights ({type(error).__name__}: {reason}); get it again"
        ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ModelFileError(f"{path}: expected tensors by key, as torch.save(network.state_dict()) writes")
    return dict(content)


def filled_network(known: KnownWeights, tensors: Mapping[str, Tensor], *, path: Path) -> nn.Module:
    """The network of an entry with the tensors of a file; every key and shape must fit.

    Args:
        known: which network, and the beginnings of keys that may be there and are left out.
        tensors: from `read_weights`.
        path: the file they are from, for messages.

    Raises:
        ModelFileError: keys missing or too many, shapes that differ, or values that are not finite. Counters
            of batch norms may be missing.
    """
    name, given = known.network, used(known, tensors)
    with torch.device("meta"):  # the shapes, without filling them
        network = build(name)
    own = network.state_dict()
    for what, found in misfits(own, given).items():
        if found:
            count = f"{len(found)} of {len(own)} keys {what}"
            raise ModelFileError(f"{path}: expected weights of the network {name}: {count}: {_few(found)}")
    broken = [key for key, value in given.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ModelFileError(f"{path}: values that are not finite in {_few(broken)}; get it again")
    full = {
        key: given[key].to(value.dtype).clone()
        if key in given
        else torch.zeros(value.shape, dtype=value.dtype)
        for key, value in own.items()
    }
    network.load_state_dict(full, strict=True, assign=True)
    return network


def used(known: KnownWeights, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file that the entry's network does not leave out."""
    return {key: value for key, value in tensors.items() if not key.startswith(known.unused)}


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """What keeps tensors from filling a network: keys ``missing``, ``unexpected``, ``of another shape``."""
    return {
        "missing": [key for key in own if key not in given and not key.endswith(_COUNTER)],
        "unexpected": [key for key in given if key not in own],
        "of another shape": [
            f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
            for key, value in own.items()
            if key in given and given[key].shape != value.shape
        ],
    }


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", .." if len(names) > 3 else "")
