"""Small packs of frames without any face: a texture that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toy_mesh import texture

from headwarp.training.data.frames.pack import FramePack, FramePackConfig, pack_frames
from headwarp.training.data.pairs.pack import ClipLabel

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
