"""Whether keypoints follow and spread as they are learned, with the distance loss and without it: a figure.

``python -m headwarp.tools.bench.keypoints --data CLIPS --output DIR`` trains a small network once for each
way to keep keypoints apart, on the first 80 % of every clip, all with the same draws, and measures on the
rest. DIR gets ``keypoints.csv``, ``curves.png``, ``keypoints.png`` (frames of the clips with what was found)
and ``report.json``. A step takes about a tenth of a second on one core.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.thin_plate import ThinPlate, random_thin_plate, warp_thin_plate
from ...training.data.atomic import write_json
from ...training.data.frames.batch import FrameBatch, stack_frames
from ...training.data.frames.pack import FramePackConfig
from ...training.data.frames.sampler import FrameConfig
from ...training.engine.config import EngineConfig
from ...training.engine.parallel import seed_step
from ...training.engine.schedule import rate_factor, set_rates
from ...training.losses.equivariance import equivariance_value
from ...training.losses.keypoint_distance import mean_pairwise_distance
from ...training.recipes import recipe_entry
from ...training.recipes._keypoint_training import KeypointTraining
from ...training.recipes._keypoints import sized
from ...warping.keypoint_network import KeypointNetwork
from ..frame_packs import FrameDataConfig, prepare_frames
from ..frame_supply import FrameOptions, PackedFrames, held_out_frames
from ..recipes import ModelSize, with_changes
from .keypoint_figure import Frame, Row, keypoint_pictures, write_figure

Variant = Literal["live", "published", "none"]
CHANGES: dict[str, tuple[str, ...]] = {
    "live": (),
    "published": ("distance.kind=sign",),
    "none": ("distance=null",),
}
SHARE = 0.8


@dataclass(frozen=True)
class SpreadConfig:
    """Learn keypoints with and without the loss that keeps them apart, and draw how they fare."""

    data: tuple[Path, ...]
    """Clips, folders of them, or folders of packs of frames."""
    output: Path
    """Folder of what is written."""
    recipe: str = "fomm/own"
    """Of keypoints."""
    variants: tuple[Variant, ...] = ("live", "none")
    """live: the recipe's hinge; published: the sign, which has no gradient; none: no such loss."""
    size: int = 64
    """Side of the frames in pixels."""
    model_size: ModelSize = "tiny"
    """Of the networks."""
    steps: int = 600
    """Of each variant."""
    batch: int = 8
    """Pairs of a step."""
    learning_rate: float = 1e-3
    """Of Adam; cosine, after 50 steps of warm-up."""
    every: int = 25
    """Steps between measurements."""
    held_out: int = 32
    """Frames to measure on."""
    seed: int = 0
    """Of weights, pairs and maps."""
    set: tuple[str, ...] = ()
    """Fields of the recipe's config as KEY=VALUE."""


@dataclass(frozen=True)
class Held:
    """What is measured on: the same for every variant and step.

    Attributes:
        frames: RGB in [0, 1].
        moved: these, moved by the maps.
        spline: the maps.
    """

    frames: Float[Tensor, "B 3 H W"]
    moved: Float[Tensor, "B 3 H W"]
    spline: ThinPlate


def run(config: SpreadConfig) -> dict[str, Any]:
    """Train, measure and write.

    Raises:
        HeadwarpError: no clips, or settings that make no sense.
    """
    asked = FrameDataConfig(config.data, config.output / "cache", packing=FramePackConfig(config.size))
    packs = prepare_frames(asked).packed
    batches = held_out_frames(packs, FrameConfig(share=(SHARE, 1.0)), count=config.held_out)
    held = held_of(stack_frames(batches), config)
    sampling = FrameConfig(share=(0.0, SHARE))
    supply = PackedFrames(packs, FrameOptions(config.batch, seed=config.seed, sampling=sampling))
    rows: list[Row] = []
    columns: dict[str, list[Frame]] = {}
    seconds: dict[str, float] = {}
    for variant in config.variants:
        began = time.perf_counter()
        network, found = trained(config, variant, supply, held)
        rows += found
        seconds[variant] = round(time.perf_counter() - began, 1)
        columns[variant] = keypoint_pictures(network, held.frames[:6])
    report = {"config": _plain(config), "seconds": seconds, "results": summary(rows)}
    title = f"{config.recipe} {config.model_size} at {config.size} px, held-out frames, over the steps"
    write_figure(config.output, rows, columns, title=title)
    write_json(config.output / "report.json", report)
    return report


def held_of(batch: FrameBatch, config: SpreadConfig) -> Held:
    """Driving frames of a batch, and the same moved."""
    draw = torch.Generator().manual_seed(config.seed)
    spline = random_thin_plate(len(batch.driving), generator=draw)
    motion = recipe_entry(config.recipe).config.network.motion
    moved = warp_thin_plate(
        batch.driving,
        spline,
        align_corners=motion.align_corners,
        sample_align_corners=motion.sample_align_corners,
    )
    return Held(batch.driving, moved, spline)


def trained(
    config: SpreadConfig, variant: str, supply: PackedFrames, held: Held
) -> tuple[KeypointNetwork, list[Row]]:
    """A network trained one way, and what was measured on the way.

    Args:
        config: of the measurement.
        variant: a name among `CHANGES`.
        supply: frames to train on.
        held: frames to measure on.
    """
    entry = recipe_entry(config.recipe)
    changed = with_changes(sized(entry.config, config.model_size), (*config.set, *CHANGES[variant]))
    recipe = entry.build(dataclasses.replace(changed, learning_rate=config.learning_rate))
    seed_step(config.seed, 0, 0)
    networks = recipe.networks()
    generator = networks["generator"]
    assert isinstance(generator, KeypointTraining)
    optimizers = {turn: recipe.optimizer(turn, networks[turn]) for turn in recipe.turns}
    engine = EngineConfig(steps=config.steps, schedule="cosine", warmup=50)
    rows = [measured(generator.network, held, variant, 0)]
    for step, batch in zip(range(config.steps), supply(0, rank=0, world=1), strict=False):
        seed_step(config.seed, step + 1, 0)
        made = recipe.generate(networks, batch)
        for turn in recipe.turns:
            for network in networks.values():
                network.zero_grad(set_to_none=True)
            torch.stack(list(recipe.losses(turn, networks, batch, made).values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(networks[turn].parameters(), 1.0)
            set_rates(optimizers[turn].param_groups, rate_factor(engine, step, step / config.steps))
            optimizers[turn].step()
        if (step + 1) % config.every == 0 or step + 1 == config.steps:
            rows.append(measured(generator.network, held, variant, step + 1))
            now = rows[-1]
            say(f"{variant} {now.step}: equivariance {now.equivariance:.4f}, distance {now.pairwise:.3f}")
    return generator.network, rows


@torch.no_grad()
def measured(network: KeypointNetwork, held: Held, variant: str, step: int) -> Row:
    """Keypoints of the held-out frames as the training sees them: norms take these frames' own statistics,
    for running ones mean nothing at the start. Nothing of the network is changed.

    Args:
        network: as it is trained.
        held: frames to measure on.
        variant: how it is trained.
        step: of the training.
    """
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.train()
    found, moved = (network.detect(frames).points for frames in (held.frames, held.moved))
    for buffer, value in kept:
        buffer.copy_(value)
    apart = torch.cdist(found, found) + 1e3 * torch.eye(found.shape[1])  # (B, K, K)
    return Row(
        variant,
        step,
        float(equivariance_value(found, moved, held.spline)),
        float(mean_pairwise_distance(found)),
        float(apart.amin(-1).mean()),
    )


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """First and last measurement of every variant, and how far equivariance fell."""
    found = {}
    for variant in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == variant]
        first, last = own[0], own[-1]
        found[variant] = {
            "equivariance_start": first.equivariance,
            "equivariance_end": last.equivariance,
            "fell": first.equivariance / last.equivariance,
            "pairwise_start": first.pairwise,
            "pairwise_end": last.pairwise,
            "pairwise_least": min(row.pairwise for row in own),
            "nearest_end": last.nearest,
        }
    return found


def say(text: str) -> None:
    """A line of progress, on the error stream."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _plain(config: SpreadConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    return {**fields, "data": [str(path) for path in config.data], "output": str(config.output)}


if __name__ == "__main__":
    import tyro

    torch.set_num_threads(1)
    for name, values in run(tyro.cli(SpreadConfig))["results"].items():
        say(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
