"""A recipe and batches so small that a hundred steps take a second: two networks, dropout, every kind of
random number. As a program: a training run to be killed and resumed::

    python tests/helpers/toy_training.py OUTPUT --steps 40
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwarp.training.data.pairs.batch import PairBatch
from headwarp.training.engine.config import EngineConfig
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.posed_layers import PosedLayers, compose, stack_layers

SIZE = 16


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the toy recipe.

    Attributes:
        width: channels of the generator.
        noise: of random numbers in the losses.
        dropout: chance of it; 0 leaves batch normalisation out too.
        adversarial: weight of the discriminator's term; 0 leaves it out of the turns.
    """

    width: int = 4
    noise: float = 0.01
    dropout: float = 0.1
    adversarial: float = 0.1


class ToyGenerator(nn.Module):
    """Predicts a change of the flow from the source and the flow."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(5, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if dropout else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, source: Tensor, flow: Tensor) -> Tensor:
        """The new flow, ``(B, 2, H, W)``."""
        hidden = self.dropout(F.relu(self.norm(self.first(torch.cat([source, flow], 1)))))
        return flow + self.last(hidden)


class ToyRecipe:
    """L1 and, with weight, a least-squares discriminator."""

    stand_ins = ("nothing is pretrained",)
    needs, frames = "geometry", 2

    def __init__(self, config: ToyConfig | None = None) -> None:
        self.config = config or ToyConfig()
        self.name = "toy/plain"
        self.turns: tuple[str, ...] = ("generator", "discriminator")[: 2 if self.config.adversarial else 1]

    def networks(self) -> dict[str, nn.Module]:
        discriminator = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
        generator = ToyGenerator(self.config.width, self.config.dropout)
        return dict(zip(("generator", "discriminator"), (generator, discriminator), strict=True))

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.5, 0.999))

    def generate(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> Tensor:
        flow = networks["generator"](batch.source, batch.layers.flow)
        return compose(batch.layers, flow=flow).image

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: PairBatch, made: Tensor
    ) -> dict[str, Tensor]:
        if turn == "discriminator":
            judge = networks["discriminator"]
            real, fake = (1 - judge(batch.driving)).square().mean(), judge(made.detach()).square().mean()
            return {"real": real, "fake": fake}
        chance = random.random() + float(np.random.rand()) + float(torch.rand(()))
        l1 = (made - batch.driving).abs().mean() * (1 + self.config.noise * chance)
        if not self.config.adversarial:
            return {"l1": l1}
        judged = (1 - networks["discriminator"](made)).square().mean()
        return {"l1": l1, "adversarial": self.config.adversarial * judged}

    def pictures(self, networks: Mapping[str, nn.Module], batch: PairBatch) -> dict[str, Tensor]:
        return {
            "source": batch.source,
            "driving": batch.driving,
            "generated": self.generate(networks, batch).clamp(0, 1),
        }

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, CopyConfig, nn.Module]:
        return "copy", CopyConfig(), nn.Identity()


def toy_pair(seed: int, number: int, slot: int) -> PairBatch:
    """A pair of its own for every (seed, number, slot): a soft picture and the same moved."""
    draw = torch.Generator().manual_seed(seed * 1_000_003 + number * 1009 + slot)
    source = F.interpolate(
        torch.rand(1, 3, 5, 5, generator=draw), (SIZE, SIZE), mode="bilinear", align_corners=False
    )
    shift = torch.rand(1, 2, 1, 1, generator=draw) * 2 - 1
    ones, flow = torch.ones(1, 1, SIZE, SIZE), shift.expand(-1, -1, SIZE, SIZE).contiguous()
    layers = PosedLayers(
        matte=ones,
        colours=source,
        residual=torch.zeros_like(source),
        background=torch.zeros_like(source),
        flow=torch.zeros_like(flow),
        displacement=torch.zeros_like(flow),
        covered=ones,
        known=ones,
        person=ones,
        hollow=torch.zeros_like(ones),
        dark=torch.zeros(1, 3, 1, 1),
        reach=torch.ones(1, 1, 1, 1),
        torso_line=torch.full((1, 1, 1, 1), float("inf")),
    )
    return PairBatch(
        source=source,
        driving=compose(layers, flow=flow).image,
        driving_mask=ones,
        layers=layers,
        source_verts=torch.zeros(1, 3, 3),
        driving_verts=torch.zeros(1, 3, 3),
        faces=torch.tensor([[0, 1, 2]]),
        names=(f"toy/{seed}/{number}>{slot}",),
    )


def toy_batch(seed: int, number: int, slots: range) -> PairBatch:
    """Pairs of these slots of batch ``number``."""
    pairs = [toy_pair(seed, number, slot) for slot in slots]
    joined = {
        name: torch.cat([getattr(pair, name) for pair in pairs])
        for name in ("source", "driving", "driving_mask", "source_verts", "driving_verts")
    }
    names = tuple(name for pair in pairs for name in pair.names)
    return dataclasses.replace(
        pairs[0], layers=stack_layers([pair.layers for pair in pairs]), names=names, **joined
    )


@dataclass(frozen=True)
class ToyBatches:
    """Endless numbered batches; in the batches of ``poison`` both frames of a pair hold NaN."""

    size: int = 2
    seed: int = 0
    pace: float = 0.0
    poison: range = range(0)

    def __call__(self, first: int, *, rank: int, world: int) -> Iterator[PairBatch]:
        number = first
        while True:
            time.sleep(self.pace)
            batch = toy_batch(self.seed, number, range(rank * self.size, (rank + 1) * self.size))
            if number in self.poison:
                batch.source[0, 0, 0, 0] = batch.driving[0, 0, 0, 0] = float("nan")
            yield batch
            number += 1


def main() -> int:
    """Train the toy and go on where an earlier run stopped."""
    from headwarp.training.engine.loop import train

    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--size", type=int, default=2)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--plain", action="store_true", help="no dropout, no batch norm, no noise")
    options = parser.parse_args()
    config = ToyConfig(noise=0.0, dropout=0.0) if options.plain else ToyConfig()
    report = train(
        ToyRecipe(config),
        ToyBatches(options.size, pace=options.pace),
        output=options.output,
        config=engine_config(options.steps),
        held_out=[toy_batch(99, 0, range(3))],
        say=lambda text: sys.stdout.write(text + "\n"),
    )
    sys.stdout.write(f"{report['recipe']}: {report['steps']} steps\n")
    return 0


def engine_config(steps: int, **changes: object) -> EngineConfig:
    """Checkpoints, lines and pictures every few steps."""
    every = {"checkpoint_every": 7, "log_every": 1, "pictures_every": 10, "first_pictures": 5}
    return EngineConfig(steps=steps, **{**every, "clip": 1.0, "ema": 0.9, "warmup": 5, **changes})


if __name__ == "__main__":
    sys.exit(main())
