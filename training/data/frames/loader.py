"""Batches of frames in the order of steps, made in this process or by workers ahead of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ....geom.errors import HeadwarpError
from ..loading import LoadingConfig, made_or_told, numbered
from .augment import FrameAugment, augmented_frames
from .batch import ByteFrames, FrameBatch
from .pack import FramePack, check_sizes
from .sampler import FrameSample, FrameSampler


@dataclass(frozen=True)
class FrameLoaderConfig(LoadingConfig):
    """How batches are loaded, as `LoadingConfig` says, and how their samples are changed.

    Attributes:
        augment: how samples are changed at random, by seed, step and slot; None: not at all.
    """

    augment: FrameAugment | None = None


class FrameLoader:
    """Iterates batches for ever; which samples a step holds depends on the sampler and the step alone.

    `loading.numbered` says what workers are. Batches travel as bytes.

    Args:
        packs: clips of one size, in the order that the sampler knows them in.
        sampler: draws samples.
        batch_size: samples of a step in this process.
        workers: processes that make batches ahead; 0 makes them in this one, bit for bit the same.
        start_step: the first step.
        config: see `FrameLoaderConfig`.

    Raises:
        HeadwarpError: a number out of range; in a loop: a worker died.
        ModelFileError: packs of several sizes; in a loop: a damaged pack.
    """

    def __init__(
        self,
        packs: Sequence[FramePack],
        sampler: FrameSampler,
        *,
        batch_size: int,
        workers: int = 0,
        start_step: int = 0,
        config: FrameLoaderConfig | None = None,
    ) -> None:
        self.config = config or FrameLoaderConfig()
        self.ahead = self.config.from_step(start_step, batch_size=batch_size, workers=workers)
        check_sizes(packs)
        self.steps = StepFrames(packs, sampler, batch_size, self.config)

    def __iter__(self) -> Iterator[FrameBatch]:
        """A fresh pass from ``start_step``."""
        return (made.batch() for made in numbered(self.steps, self.ahead))


class StepFrames:
    """The batch of a step, by its number; an error that a user can mend comes back as it is."""

    def __init__(
        self, packs: Sequence[FramePack], sampler: FrameSampler, batch_size: int, config: FrameLoaderConfig
    ) -> None:
        self.packs, self.sampler = tuple(packs), sampler
        self.batch_size, self.config = batch_size, config

    def __getitem__(self, step: int) -> ByteFrames | HeadwarpError:
        return made_or_told(self._made, step)

    def _made(self, step: int) -> ByteFrames:
        slots = self.config.slots(self.batch_size)
        samples = [self.sampler.sample(step, slot) for slot in slots]
        read = [self._read(sample, step, slot) for sample, slot in zip(samples, slots, strict=True)]
        return ByteFrames(torch.stack(read), tuple(name_of(self.packs, sample) for sample in samples))

    def _read(self, sample: FrameSample, step: int, slot: int) -> UInt8[Tensor, "N 3 H W"]:
        frames = read_sample(self.packs, sample)
        if self.config.augment is None:
            return frames
        return augmented_frames(frames, self.config.augment, self.sampler.draw(step, slot, stream=2))


def read_sample(packs: Sequence[FramePack], sample: FrameSample) -> UInt8[Tensor, "N 3 H W"]:
    """The frames of a sample.

    Raises:
        ModelFileError: a damaged pack.
    """
    pack = packs[sample.pack]
    frames = np.stack([pack.frame(position) for position in sample.positions])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()  # (N, 3, H, W)


def name_of(packs: Sequence[FramePack], sample: FrameSample) -> str:
    """``PERSON/CLIP/FIRST>SECOND``, numbers of the clip's frames."""
    index = packs[sample.pack].index
    numbers = ">".join(str(index.frames[position]) for position in sample.positions)
    return f"{index.person}/{index.clip}/{numbers}"
