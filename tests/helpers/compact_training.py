"""A toy training on pairs that travel compact and are made where they arrive; as a program, to be killed::

python tests/helpers/compact_training.py PACKS OUTPUT
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toy_head import toy_head
from toy_training import ToyRecipe, engine_config

from headwarp.training.data.pairs.augment import AugmentConfig
from headwarp.training.data.pairs.batch import PairBatch
from headwarp.training.data.pairs.guidance import MakerConfig
from headwarp.training.data.pairs.loader import LoaderConfig, PairLoader
from headwarp.training.data.pairs.pack import open_packs
from headwarp.training.data.pairs.sampler import PairConfig, PairSampler
from headwarp.training.engine.loop import train


@dataclass(frozen=True)
class CompactBatches:
    """Numbered batches of a folder of packs, made by one worker.

    Not in the training's own process: there the check of shapes draws from `random`, as the toy does.
    """

    packs: Path
    pace: float = 0.0

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[PairBatch]:
        packs = open_packs(self.packs)
        sampler = PairSampler([pack.index for pack in packs], seed=5, config=PairConfig(pool=3))
        config = LoaderConfig(maker=MakerConfig(keep="pairs"), augment=AugmentConfig(), compact=True)
        loader = PairLoader(
            packs, toy_head(), sampler, batch_size=2, workers=1, start_step=first, config=config
        )
        for batch in loader:
            time.sleep(self.pace)
            yield batch


def run(packs: Path, output: Path, *, steps: int, pace: float = 0.0) -> dict[str, object]:
    """Train, or go on."""
    return train(ToyRecipe(), CompactBatches(packs, pace), output=output, config=engine_config(steps))


def main() -> int:
    """Slowly, so that there is time to kill it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("packs", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    run(options.packs, options.output, steps=options.steps, pace=0.05)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
