"""How many cells of a pose grid to make at once: ``python -m headwarp.tools.bench.pose_grid``.

One JSON on the standard output: milliseconds a cell, posing included, of `geometry` and of the packaged
`pwm`, batch sizes taking turns in every round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import torch

from ...training.data.portrait import Portrait
from ..performance import drivings, encoded, open_animator
from ..pose_grid import animated_in_batches, parse_grid
from .timing import summarise

BATCHES = (1, 4, 8)
GRID = ("yaw=-30:30:4", "pitch=-10:10:2")  # eight cells: whole batches of every size
SIZE = 256
ROUNDS = 12
WARMUP = 2


def compare(
    portrait: Portrait, names: Sequence[str] = ("geometry", "pwm"), *, rounds: int = ROUNDS
) -> list[dict[str, object]]:
    """A record for every animator and batch size: ``median_ms``, ``p10_ms``, ``p90_ms`` of one cell.

    Args:
        portrait: of the source.
        names: of the animators.
        rounds: of each.
    """
    from ...flame.params import Pose
    from ...flame.posing import apply_pose

    fit = apply_pose(portrait.head, portrait.fit, parse_grid(GRID).poses(Pose()))
    makers = {name: open_animator(name) for name in names}
    caches = {name: encoded([portrait], maker) for name, maker in makers.items()}
    times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in names for batch in BATCHES}
    for turn in range(WARMUP + rounds):
        for (name, batch), found in times.items():
            began = time.perf_counter()
            for _ in animated_in_batches(makers[name], caches[name], drivings(portrait, fit), batch):
                pass
            if turn >= WARMUP:
                found.append(1000 * (time.perf_counter() - began) / fit.frames)
    records = []
    for (name, batch), found in times.items():
        timing = summarise(found)
        spread = {"median_ms": timing.median_ms, "p10_ms": timing.p10_ms, "p90_ms": timing.p90_ms}
        records.append({"name": name, "size": portrait.image.shape[-1], "batch": batch, **spread})
    return records


def main() -> None:
    """The astronaut at 256 px on one thread."""
    import skimage.data

    from ..portrait import open_portrait
    from .timing import probe_machine

    torch.set_num_threads(1)
    portrait = open_portrait(skimage.data.astronaut(), size=SIZE)
    sys.stdout.write(json.dumps({"results": compare(portrait), "machine": probe_machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
