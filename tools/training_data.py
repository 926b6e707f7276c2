"""Packs as the numbered batches that the training engine asks for, and the pairs that are held out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..flame.model import HeadModel
from ..geom.errors import HeadwarpError
from ..training.data.frames.pack import FramePack
from ..training.data.jobs._lock import try_lock
from ..training.data.pairs.augment import AugmentConfig
from ..training.data.pairs.batch import PairBatch, stack_pairs
from ..training.data.pairs.guidance import Keep, MakerConfig, PairMaker
from ..training.data.pairs.loader import LoaderConfig, PairLoader
from ..training.data.pairs.pack import Pack
from ..training.data.pairs.sampler import PairConfig, PairIndex, PairSampler
from ..training.data.pairs.thin import spread
from .pack import DataConfig, prepare_packs

HELD_OUT_BATCH = 4


@dataclass(frozen=True)
class BatchOptions:
    """How packs become batches.

    Attributes:
        batch: pairs of a batch, for each process.
        workers: processes that make batches ahead.
        seed: of the draw.
        pairs: which pairs.
        augment: how pairs are changed at random; None: not at all.
        still_camera: do not measure the background's motion.
        keep: what is kept beside the packs and read the next time, see `MakerConfig`.
        device: that batches are meant for.
    """

    batch: int = 4
    workers: int = 0
    seed: int = 0
    pairs: PairConfig = field(default_factory=PairConfig)
    augment: AugmentConfig | None = None
    still_camera: bool = False
    keep: Keep = "nothing"
    device: str = "cpu"

    @property
    def maker(self) -> MakerConfig:
        """Of pairs."""
        return MakerConfig(still_camera=self.still_camera, keep=self.keep)


@dataclass(frozen=True)
class PackedBatches:
    """`training.engine.loop.Batches` of packs."""

    packs: Sequence[Pack]
    head: HeadModel
    options: BatchOptions

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[PairBatch]:
        """Batch number ``first`` and all after it."""
        options = self.options
        sampler = PairSampler([p.index for p in self.packs], seed=options.seed, config=options.pairs)
        device = device_of(options.device, world)
        config = LoaderConfig(device, rank, world, maker=options.maker, augment=options.augment)
        return iter(
            PairLoader(
                self.packs,
                self.head,
                sampler,
                batch_size=options.batch,
                workers=options.workers,
                start_step=first,
                config=config,
            )
        )


def facts_of(packs: Sequence[Pack], options: BatchOptions) -> dict[str, Any]:
    """What a run must have in common with the one that it goes on from."""
    return {
        "head": packs[0].index.model_id,
        "size": packs[0].index.size,
        "clips": len(packs),
        "packs": digest_of(packs),
        "batch": options.batch,
        "pairs": dataclasses.asdict(options.pairs),
        "augment": None if options.augment is None else dataclasses.asdict(options.augment),
        "still_camera": options.still_camera,
        "keep": options.keep,
    }


def digest_of(packs: Sequence[Pack] | Sequence[FramePack]) -> str:
    """Which packs they are, and of what files they were made, in 16 digits."""
    named = [f"{p.index.clip} {p.index.person} {p.index.frames} {p.index.made_of}" for p in packs]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]


def keep_of(packs: Sequence[Pack], pairs: PairConfig) -> Keep:
    """What to keep: whole pairs where they come again, else sources; nothing where nothing can be written."""
    if not all(os.access(pack.folder, os.W_OK) for pack in packs):
        return "nothing"
    return "pairs" if pairs.mode == "first" or pairs.pool else "sources"


def locked_packs(asked: DataConfig, head: HeadModel) -> tuple[list[Pack], dict[str, Any]]:
    """`pack.prepare_packs` by one process at a time: the others find the packs made."""
    with alone(asked.cache):
        return prepare_packs(
            asked.data,
            asked.cache,
            head,
            fits=asked.fits,
            persons=asked.persons,
            exclude=asked.exclude,
            config=asked.packing,
        )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in a folder of packs.

    Raises:
        HeadwarpError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise HeadwarpError(f"--cache {folder}: cannot be written ({error.strerror})") from error
    with file:
        with contextlib.suppress(OSError):  # a file system that cannot lock
            try_lock(file.fileno(), wait=math.inf)
        yield


def held_out_batches(
    packs: Sequence[Pack], head: HeadModel, *, share: tuple[float, float], count: int, still_camera: bool
) -> list[PairBatch]:
    """Pairs to measure on: from a clip's first usable frame to frames spread evenly over a part of the clip.

    Args:
        packs: clips; if there are more than ``count``, so many of them, spread evenly.
        head: their model.
        share: part of every clip, START and END in 0..1.
        count: pairs in all, about.
        still_camera: as for training.
    """
    chosen = evenly(len(packs), count)
    each = math.ceil(count / len(chosen))
    pairs = [PairIndex(n, 0, n, p) for n in chosen for p in _driving(packs[n], share, each)]
    maker = PairMaker(packs, head, config=MakerConfig(still_camera=still_camera))
    made = [maker.make(pair) for pair in pairs]
    return [stack_pairs(made[n : n + HELD_OUT_BATCH]) for n in range(0, len(made), HELD_OUT_BATCH)]


def _driving(pack: Pack, share: tuple[float, float], count: int) -> list[int]:
    """Positions within a part of a clip, without its first."""
    later = [position for position in spread(pack.index, share, None) if position > 0]
    return [later[place] for place in evenly(len(later), count)]


def evenly(length: int, count: int) -> list[int]:
    """At most ``count`` numbers below ``length``, spread evenly from 0 to the last."""
    return [int(n) for n in np.unique(np.linspace(0, length - 1, min(count, length)).round())]


def device_of(device: str, world: int) -> str:
    """The device of this process, one of ``world``."""
    return device if world == 1 or device == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
