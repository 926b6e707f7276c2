"""Small packs: a toy head that moves over a texture, masks drawn around it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head
from toy_mesh import texture

from headwarp.flame.detect.regions import RegionMap
from headwarp.flame.io import save_head_npz
from headwarp.flame.model import HeadModel
from headwarp.flame.params import HeadFit
from headwarp.geom.face_regions import FaceRegion
from headwarp.training.data.media import VideoWriter
from headwarp.training.data.pairs.pack import ClipLabel, Pack, PackConfig, pack_clip

SIDE = 256
PAN = 4  # pixels a frame


def toy_clip(head: HeadModel, frames: int = 6, *, seed: int = 0) -> tuple[list[np.ndarray], HeadFit]:
    """Frames of 256 x 256 and their fit; a camera pans over a texture, the head moves before it."""
    fit = toy_fit(head, frames, residual=2.0, **varied(head, frames, seed))
    wall = (texture((SIDE, SIDE), cell=24, seed=seed)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    pictures = [np.roll(wall, PAN * number, axis=1) for number in range(frames)]
    return pictures, dataclasses.replace(fit, size=(SIDE, SIDE))


def oval(frame: np.ndarray) -> np.ndarray:
    """A person where the toy head lies, whatever the picture shows."""
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((x / width - 0.5) / 0.34) ** 2 + ((y / height - 0.5) / 0.42) ** 2 < 1
    return np.maximum(inside, y > 0.9 * height).astype(np.float32)


class ToySegmenter:
    """Skin wherever the person's mask is, hair above a third of the picture; for heads without parts."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head

    def segment(
        self,
        image: np.ndarray,
        *,
        fit: HeadFit | None = None,
        frame: int = 0,
        person: np.ndarray | None = None,
    ) -> RegionMap:
        """As every segmenter."""
        assert person is not None
        labels = np.where(person > 0.5, FaceRegion.SKIN, FaceRegion.BACKGROUND).astype(np.uint8)
        top = labels[: len(labels) // 3]
        top[top > 0] = FaceRegion.HAIR
        return RegionMap(labels, (labels > 0).astype(np.float32), "toy")


def toy_pack(
    folder: Path,
    head: HeadModel,
    clip: str = "walk",
    *,
    person: str = "ann",
    frames: int = 6,
    seed: int = 0,
    config: PackConfig | None = None,
) -> Pack:
    """A pack of `toy_clip`, 64 pixels by default."""
    pictures, fit = toy_clip(head, frames, seed=seed)
    return pack_clip(
        pictures,
        fit,
        head=head,
        folder=folder,
        label=ClipLabel(person, clip, f"{clip}.mp4"),
        config=config or PackConfig(size=64),
        segment=oval,
    )


def write_toy_footage(folder: Path, frames: int = 8, *, head: HeadModel | None = None) -> Path:
    """``clips/run.mp4`` and ``clips/walk.mp4`` with their fits beside them, and ``head.npz``."""
    head = head or toy_head()
    save_head_npz(head, folder / "head.npz")
    (folder / "clips").mkdir()
    for seed, name in enumerate(("run", "walk")):
        pictures, fit = toy_clip(head, frames, seed=seed)
        with VideoWriter(folder / "clips" / f"{name}.mp4", 10, crf=12) as writer:
            for picture in pictures:
                writer.write(picture)
        fit.save(folder / "clips" / f"{name}.npz")
    return folder


def toy_training(footage: Path, **changes: object) -> dict[str, object]:
    """Options of `tools.train.Train` for two steps of a tiny network on `write_toy_footage`."""
    return {
        "data": (footage / "clips",),
        "cache": footage / "cache",
        "head": str(footage / "head.npz"),
        "size": 32,
        "steps": 2,
        "batch": 2,
        "frames": "0:0.6",
        "log_every": 1,
        "ema": 0.0,
        "schedule": "constant",
        "warmup": 0,
        "model_size": "tiny",
        **changes,
    }


def without(fit: HeadFit, frames: list[int], **values: float) -> HeadFit:
    """The fit with fields of some frames set to a value, as in ``status=0, confidence=nan``."""
    index = torch.tensor(frames)
    changed = {name: getattr(fit, name).clone() for name in values}
    for name, value in values.items():
        changed[name][index] = value
    return dataclasses.replace(fit, **changed)
