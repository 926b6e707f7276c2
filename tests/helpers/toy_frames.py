"""Small packs of frames without any face, a texture that moves; and a recipe that needs nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from toy_mesh import texture

from headwarp.training.data.frames.batch import FrameBatch
from headwarp.training.data.frames.pack import FramePack, FramePackConfig, pack_frames
from headwarp.training.data.pairs.pack import ClipLabel
from headwarp.warping.animators.copy import CopyConfig

PAN = 2  # pixels a frame


def moving_frames(count: int = 6, *, size: tuple[int, int] = (32, 32), seed: int = 0) -> list[np.ndarray]:
    """Frames (H, W, 3) of a texture that is pushed to the right."""
    wall = (texture(size, cell=8, seed=seed)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return [np.roll(wall, PAN * number, axis=1) for number in range(count)]


def frame_pack(
    folder: Path,
    clip: str = "walk",
    *,
    person: str = "ann",
    count: int = 6,
    seed: int = 0,
    config: FramePackConfig | None = None,
) -> FramePack:
    """A pack of `moving_frames`, 32 pixels by default."""
    label = ClipLabel(person, clip, f"{clip}.mp4")
    frames = moving_frames(count, seed=seed)
    return pack_frames(frames, folder=folder, label=label, config=config or FramePackConfig(size=32))


@dataclasses.dataclass(frozen=True)
class BlurConfig:
    """Of the recipe."""

    learning_rate: float = 1e-2
    frames: int = 2


class FrameToy:
    """A convolution that makes the last frame of the first."""

    stand_ins, turns, needs = (), ("generator",), "frames"

    def __init__(self, config: BlurConfig | None = None) -> None:
        self.config = config or BlurConfig()
        self.name, self.frames = "toy/frames", self.config.frames

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": nn.Conv2d(3, 3, 5, padding=2)}

    def optimizer(self, turn: str, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), self.config.learning_rate)

    def generate(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> Tensor:
        return networks["generator"](batch.source)

    def losses(
        self, turn: str, networks: Mapping[str, nn.Module], batch: FrameBatch, made: Tensor
    ) -> dict[str, Tensor]:
        return {"l1": (made - batch.driving).abs().mean()}

    def pictures(self, networks: Mapping[str, nn.Module], batch: FrameBatch) -> dict[str, Tensor]:
        return {"source": batch.source, "generated": self.generate(networks, batch).clamp(0, 1)}

    def checkpoint(self, networks: Mapping[str, nn.Module]) -> tuple[str, CopyConfig, nn.Module]:
        return "copy", CopyConfig(), nn.Identity()
