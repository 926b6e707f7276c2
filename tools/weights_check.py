"""``headwarp weights check``: do files of weights have the hash and the keys that they should have?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..geom.errors import HeadwarpError
from ..geom.nets.weights import (
    KNOWN,
    VARIABLE,
    find_weights,
    known_weights,
    load_backbone,
    places,
    recorded_hash,
)
from ..training.data.atomic import atomic_path


@dataclass(frozen=True)
class WeightsCheck:
    """Check files of weights: their hashes, and that every key fits the network."""

    names: Positional[tuple[str, ...]] = ()
    """Names from `headwarp weights list`; without any, all that are found."""
    weights_dir: Path | None = None
    """Folder to look in before those of $HEADWARP_WEIGHTS."""
    file: Path | None = None
    """Check this file, as the one name given."""
    sha256: str | None = None
    """The hash, or its first digits, that the one file must have in place of the known one."""


def run(config: WeightsCheck) -> dict[str, Any]:
    """Check each; one that fails does not keep the others from being checked.

    Where no hash is known and none is recorded, the file's own is recorded beside it, ``FILE.sha256``: from
    then on a changed file is refused.

    Returns:
        ``weights``, by name: ``path``, ``sha256``, ``hash`` (``known``, ``given``, ``recorded``, ``recorded
        now`` or ``unknown``); ``failed``, by name: why; ``ok``.

    Raises:
        HeadwarpError: an unknown name, nothing found, or ``--file`` or ``--sha256`` without one name.
    """
    names = config.names or tuple(
        known.name for known in KNOWN if find_weights(known, weights_dir=config.weights_dir)
    )
    if (config.file or config.sha256) and len(config.names) != 1:
        raise HeadwarpError(
            "--file and --sha256 belong to one file: give one name of `headwarp weights list`"
        )
    if not names:
        sought = ", ".join(map(str, places(config.weights_dir))) or f"no folder, as ${VARIABLE} is not set"
        raise HeadwarpError(f"no weights were found; sought in {sought}. Name a folder with --weights-dir")
    for name in names:
        known_weights(name)
    checked, failed = {}, {}
    for name in names:
        try:
            checked[name] = _check(name, config)
        except HeadwarpError as error:
            failed[name] = str(error)
    return {"ok": not failed, "weights": checked, "failed": failed}


def describe(report: Mapping[str, Any]) -> str:
    """A line for each file; failures are printed by themselves."""
    lines = [
        f"{name}: sound; {row['path']}, sha256 {row['sha256']} ({row['hash']})"
        for name, row in report["weights"].items()
    ]
    return "\n".join([*lines, f"{len(report['weights'])} sound, {len(report['failed'])} not"])


def _check(name: str, config: WeightsCheck) -> dict[str, Any]:
    backbone = load_backbone(name, config.file, weights_dir=config.weights_dir, sha256=config.sha256)
    path, digest = backbone.path, backbone.sha256
    if path is None or digest is None:
        raise HeadwarpError(f"{name}: --file random: expected a file")
    return {"path": str(path), "sha256": digest, "hash": _standing(name, path, digest, given=config.sha256)}


def _standing(name: str, path: Path, digest: str, *, given: str | None) -> str:
    """What the hash was compared with; records it where there was nothing."""
    known = known_weights(name)
    if given is not None:
        return "given"
    if known.sha256 is not None and digest.startswith(known.sha256):
        return "known"
    if recorded_hash(path) is not None:
        return "recorded"
    try:
        with atomic_path(path.with_name(f"{path.name}.sha256")) as temporary:
            temporary.write_text(f"{digest}  {path.name}\n", encoding="ascii")
    except HeadwarpError:  # a folder that cannot be written
        return "unknown"
    return "recorded now"
