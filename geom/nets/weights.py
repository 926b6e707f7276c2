"""Pretrained weights: where they are sought, and loading that never falls back to chance.

A network that is only looked through (a perceptual loss, a metric) comes as a `Backbone`, which says where
its weights are from; `require_pretrained` refuses random ones. Random weights must be asked for by name and
are logged as a warning. Nothing is downloaded here: `headwarp weights fetch` does that.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import HeadwarpError, ModelFileError
from ._known_weights import KNOWN, KnownWeights, build
from ._weight_files import check_hash, filled_network, misfits, read_weights, recorded_hash, sha256_of, used

__all__ = [
    "KNOWN",
    "RANDOM",
    "VARIABLE",
    "Backbone",
    "KnownWeights",
    "check_hash",
    "filled_network",
    "find_weights",
    "how_to_get",
    "known_weights",
    "load_backbone",
    "load_backbone_file",
    "located",
    "misfits",
    "places",
    "read_weights",
    "recorded_hash",
    "require_pretrained",
    "sha256_of",
]

VARIABLE = "HEADWARP_WEIGHTS"
"""Environment variable: the folder with files of weights, or several as in ``PATH``."""
RANDOM = "random"
_LOG = logging.getLogger("headwarp")


@dataclass(frozen=True)
class Backbone:
    """A frozen network and where its weights are from.

    Attributes:
        name: of the weights, as in `KNOWN`; of the network where the file is nobody's published one.
        network: in evaluation mode, its parameters without gradients.
        path: the file; None for random weights.
        sha256: of the file; None for random weights.
    """

    name: str
    network: nn.Module
    path: Path | None
    sha256: str | None


def require_pretrained(backbone: Backbone, *, by: str) -> nn.Module:
    """The network of a backbone, or an error if nothing was ever learned in it.

    Losses, metrics and recipes that look through a frozen network get it from here.

    Args:
        backbone: from `load_backbone`.
        by: who needs it, for the message.

    Raises:
        HeadwarpError: its weights are random, or it is no `Backbone`, so that nobody knows.
    """
    if not isinstance(backbone, Backbone):
        got = type(backbone).__name__
        raise HeadwarpError(f"{by}: expected a Backbone of load_backbone, which knows its weights, got {got}")
    if backbone.path is None:
        raise HeadwarpError(
            f"{by}: expected pretrained weights of {backbone.name}, got random ones; a frozen random network "
            f"measures nothing. {how_to_get(known_weights(backbone.name))}"
        )
    return backbone.network


def load_backbone(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
) -> Backbone:
    """A network with its weights, to look through.

    The file is ``weights`` if given; otherwise the first of that name (`KnownWeights.file`, its aliases, or
    the same with ``.safetensors``) in ``weights_dir``, if given, and then in ``$HEADWARP_WEIGHTS``.

    Args:
        name: a key of `KNOWN`.
        weights: a file; or ``"random"`` for weights that nothing was learned in, which is logged.
        weights_dir: a folder to look in first.
        sha256: the hash that the file must have, in place of the known one, for a file of the user's own.

    Returns:
        The network in evaluation mode, without gradients to its parameters, on the CPU in float32.

    Raises:
        HeadwarpError: no such name.
        ModelFileError: no such file (the text says where it was sought and how to get it), another hash than
            known, damaged, or keys or shapes that do not fit the network.

    Example:
        >>> backbone = load_backbone("vgg19", weights_dir="weights")  # doctest: +SKIP
        >>> network = require_pretrained(backbone, by="perceptual loss")  # doctest: +SKIP
    """
    known = known_weights(name)
    if isinstance(weights, str) and weights == RANDOM:
        _LOG.warning("%s: weights are random, as asked for: nothing was learned in them", name)
        return Backbone(name, _frozen(build(known.network)), None, None)
    path = _resolved(known, weights, weights_dir)
    digest = check_hash(path, known, sha256=sha256)
    return Backbone(name, _frozen(filled_network(known, read_weights(path), path=path)), path, digest)


def load_backbone_file(
    path: str | os.PathLike[str], names: Sequence[str], *, sha256: str | None = None
) -> Backbone:
    """The network that a file of weights is of, found by its keys and shapes, to look through.

    For options such as ``--arcface FILE``, where the file says whether it is an IR-SE-50 or an IResNet.

    Args:
        path: the file.
        names: the weights that will do, keys of `KNOWN`.
        sha256: the hash that the file must have; None takes any. A hash that `KNOWN` has gives the name.

    Raises:
        HeadwarpError: no such name.
        ModelFileError: no such file, another hash, damaged, or weights of none of these networks.
    """
    path = Path(path).expanduser()
    entries = [known_weights(name) for name in names]
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file of weights; expected one of {', '.join(names)}")
    digest = sha256_of(path) if sha256 is None else check_hash(path, entries[0], sha256=sha256)
    tensors = read_weights(path)
    fitting = []
    for known in entries:
        with torch.device("meta"):
            own = build(known.network).state_dict()
        if not any(misfits(own, used(known, tensors)).values()):
            fitting.append(known)
    if not fitting:
        networks = ", ".join(dict.fromkeys(known.network for known in entries))
        raise ModelFileError(
            f"{path}: expected weights of {networks}; its {len(tensors)} keys fit none of them"
        )
    same = next((known for known in fitting if known.sha256 and digest.startswith(known.sha256)), None)
    known = same or fitting[0]
    network = filled_network(known, tensors, path=path)
    return Backbone(known.name if same else known.network, _frozen(network), path, digest)


def known_weights(name: str) -> KnownWeights:
    """The entry of the table.

    Raises:
        HeadwarpError: no such name; the text lists them.
    """
    for known in KNOWN:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in KNOWN)
    raise HeadwarpError(f"weights: expected one of {names}, got {name!r}")


def places(weights_dir: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The folders where weights are sought, in order."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    folders = [weights_dir, *(folder for folder in named if folder)]
    return tuple(dict.fromkeys(Path(folder).expanduser() for folder in folders if folder is not None))


def find_weights(known: KnownWeights, *, weights_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The file of these weights in the first of `places` that has it; None where none has."""
    names = (known.file, *known.aliases, f"{Path(known.file).stem}.safetensors")
    candidates = (folder / name for folder in places(weights_dir) for name in names)
    return next((path for path in candidates if path.is_file()), None)


def how_to_get(known: KnownWeights) -> str:
    """A sentence: the command or the page to get the file from, and its licence."""
    if known.url is None:
        return f"Get {known.file}: {known.origin} (licence: {known.licence})"
    command = f"headwarp weights fetch {known.name} --weights-dir DIR"
    return f"Get it with `{command}`, or {known.file} from {known.url} (licence: {known.licence})"


def _resolved(
    known: KnownWeights, weights: str | os.PathLike[str] | None, weights_dir: str | os.PathLike[str] | None
) -> Path:
    if weights is not None:
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        what = "is a folder; name the file in it" if path.is_dir() else "no such file"
        raise ModelFileError(f"{path}: {what}; expected weights of {known.name}. {how_to_get(known)}")
    return located(known, weights_dir=weights_dir)


def located(known: KnownWeights, *, weights_dir: str | os.PathLike[str] | None = None) -> Path:
    """`find_weights`, or an error.

    Raises:
        ModelFileError: in none of `places`; the text says where it was sought and how to get it.
    """
    found = find_weights(known, weights_dir=weights_dir)
    if found is not None:
        return found
    folders = places(weights_dir)
    sought = " and ".join(map(str, folders)) if folders else f"no folder, as ${VARIABLE} is not set"
    raise ModelFileError(f"weights of {known.name}: no {known.file}; sought in {sought}. {how_to_get(known)}")


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)
