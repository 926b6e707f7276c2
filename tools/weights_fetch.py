"""``headwarp weights fetch``: download known weights, after asking."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..geom.errors import HeadwarpError
from ..geom.nets.weights import (
    VARIABLE,
    KnownWeights,
    check_hash,
    find_weights,
    how_to_get,
    known_weights,
    places,
)
from ._download import Patience, download
from .weights_list import size_text


@dataclass(frozen=True)
class WeightsFetch:
    """Download pretrained weights by name, after asking; an interrupted download goes on where it was."""

    names: Positional[tuple[str, ...]]
    """Names from `headwarp weights list`."""
    weights_dir: Path | None = None
    """Folder to put them into; without it, the first of $HEADWARP_WEIGHTS."""
    yes: bool = False
    """Do not ask: you have read the licences that `headwarp weights list` names."""


def run(config: WeightsFetch) -> dict[str, Any]:
    """Fetch each; one that fails does not keep the others from being fetched.

    Returns:
        ``weights``, by name: ``path``, ``sha256``, ``state`` (``fetched``, ``there already``, ``declined``);
        ``failed``, by name: why; ``ok``.

    Raises:
        HeadwarpError: an unknown name, no folder, or nobody to ask.
    """
    wanted = [known_weights(name) for name in dict.fromkeys(config.names)]
    folders = places(config.weights_dir)
    if not folders:
        raise HeadwarpError(
            f"expected a folder to put weights into; name it with --weights-dir or ${VARIABLE}"
        )
    done, failed = {}, {}
    for known in wanted:
        try:
            done[known.name] = _fetch(known, folders[0], config)
        except HeadwarpError as error:
            failed[known.name] = str(error)
    return {"ok": not failed and all(row["path"] for row in done.values()), "weights": done, "failed": failed}


def describe(report: Mapping[str, Any]) -> str:
    """A line for each file; failures are printed by themselves."""
    lines = [
        f"{name}: {row['state']}" + (f"; {row['path']}" if row["path"] else "")
        for name, row in report["weights"].items()
    ]
    return "\n".join(lines) or "nothing was fetched"


def _fetch(known: KnownWeights, folder: Path, config: WeightsFetch) -> dict[str, Any]:
    found = find_weights(known, weights_dir=config.weights_dir)
    if found is not None:
        return {"path": str(found), "sha256": _sound(found, known), "state": "there already"}
    if known.url is None:
        raise HeadwarpError(f"{known.name}: no address to fetch it from. {how_to_get(known)}")
    target = folder / known.file
    if not config.yes and not _agreed(known, target):
        return {"path": None, "sha256": None, "state": "declined"}
    digest = download(known.url, target, size=known.size, sha256=known.sha256, patience=Patience())
    return {"path": str(target), "sha256": digest, "state": "fetched"}


def _sound(found: Path, known: KnownWeights) -> str:
    """The hash of a file that is there already; a wrong one is not replaced unasked."""
    try:
        return check_hash(found, known)
    except HeadwarpError as error:
        raise HeadwarpError(f"{error}. To fetch it anew, move that file away first") from error


def _agreed(known: KnownWeights, target: Path) -> bool:
    """Ask the person at the terminal.

    Raises:
        HeadwarpError: there is none.
    """
    if not sys.stdin.isatty():
        raise HeadwarpError(
            f"{known.name}: expected somebody to agree to its licence ({known.licence}), but stdin is no "
            "terminal; pass --yes"
        )
    sys.stderr.write(
        f"Download {known.file} ({size_text(known.size)}) from {known.url}\n"
        f"to {target}? Its licence: {known.licence}. [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
