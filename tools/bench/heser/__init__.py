"""The studies of [HeSer]'s supplement on checkpoints of ours: ``headwarp bench --suite heser``.

`shots` how a head grows better with pictures of it (Fig. 2), `attention` where correspondence looks (Fig. 5),
`colours` what skin becomes (Fig. 6), `inpainting` what fills the ring about a head (Fig. 7). Each study runs
with what it is given; of one that cannot the report says in a sentence what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUITE = "heser"


@dataclass(frozen=True)
class HeserStudies:
    """What ``--suite heser`` measures."""

    aligner: Path | None = None
    """Aligner, as ``train heser_aligner`` leaves it: the meta-trained one."""
    tuned: Path | None = None
    """The same after ``train heser_aligner/tune``."""
    clips: Path | None = None
    """A clip of one person, or a folder of clips or packs, for the aligners."""
    arcface: Path | None = None
    """Weights that tell how alike persons are; without them fitted shapes stand in."""
    blender: Path | None = None
    """Blender, as ``train heser_blender`` leaves it."""
    data: Path | None = None
    """Folder of packs, for the blender."""
    sources: str = "0:0.8"
    """Part of every clip that source pictures are taken from."""
    frames: str = "0.8:1.0"
    """Part of every clip or pack that is measured; best one that was not trained on."""
    shots: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of source pictures, K."""
    draws: int = 3
    """How often sources are drawn for every clip."""
    pictures: int = 16
    """Driving frames of every clip."""
    count: int = 64
    """Samples of the packs, about."""
    head: str | None = None
    """Head model of fits and packs."""
    device: str = "cpu"
    """cpu or cuda."""
    seed: int = 0
    """Of the draws."""
    output: Path | None = None
    """Folder for the tables (CSV) and figures (PNG); sheets show the pictures themselves."""


def run_studies(config: HeserStudies) -> dict[str, Any]:
    """Whatever can be studied.

    Returns:
        ``studies``: by name, see the modules; ``missing``: by name a sentence; ``files`` written.

    Raises:
        HeadwarpError: nothing can be studied, or the options make no sense.
    """
    from .studies import run

    return run(config)


def describe_studies(report: Mapping[str, Any]) -> str:
    """What a person reads."""
    from .studies import describe

    return describe(report)
