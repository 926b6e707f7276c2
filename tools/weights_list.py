"""``headwarp weights list``: the pretrained weights that headwarp knows, and where each is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..geom.nets.weights import KNOWN, VARIABLE, KnownWeights, find_weights, places


@dataclass(frozen=True)
class WeightsList:
    """List the pretrained weights that losses and metrics can use, and where each is found."""

    weights_dir: Path | None = None
    """Folder to look in before those of $HEADWARP_WEIGHTS."""


def run(config: WeightsList) -> dict[str, Any]:
    """The table.

    Returns:
        ``places``, the folders that were looked in, and ``weights``, by name: ``network``, ``file``,
        ``found`` (its path or None), ``url``, ``sha256``, ``size``, ``licence``, ``origin``.
    """
    return {
        "places": [str(place) for place in places(config.weights_dir)],
        "weights": {known.name: _row(known, config.weights_dir) for known in KNOWN},
    }


def describe(report: Mapping[str, Any]) -> str:
    """A block of lines for each file."""
    places_text = ", ".join(report["places"]) or f"nowhere: name a folder with --weights-dir or ${VARIABLE}"
    lines = [f"sought in {places_text}"]
    for name, row in report["weights"].items():
        lines += [
            f"{name}: {row['found'] or 'not found'}",
            f"  network {row['network']}, file {row['file']}, {size_text(row['size'])}",
            f"  from {row['url'] or row['origin']}",
            f"  licence: {row['licence']}",
            f"  sha256 {row['sha256'] or 'unknown: recorded by the first `headwarp weights check`'}",
        ]
    return "\n".join(lines)


def size_text(size: int | None) -> str:
    """A size for a person.

    Example:
        >>> size_text(574_673_361), size_text(None)
        ('548 MiB', 'of unknown size')
    """
    return "of unknown size" if size is None else f"{size / (1 << 20):.0f} MiB"


def _row(known: KnownWeights, weights_dir: Path | None) -> dict[str, Any]:
    found = find_weights(known, weights_dir=weights_dir)
    return {
        "network": known.network,
        "file": known.file,
        "found": None if found is None else str(found),
        "url": known.url,
        "sha256": known.sha256,
        "size": known.size,
        "licence": known.licence,
        "origin": known.origin,
    }
