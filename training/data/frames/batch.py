"""A batch of frames of clips: what recipes read that need no geometry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ....geom.errors import ShapeError

SHIFT = 3  # pixels between the frames of `blank_frames`


@dataclass(frozen=True)
class FrameBatch:
    """A few frames of each of B clips.

    Attributes:
        frames: RGB in [0, 1], ``(B, N, 3, H, W)``: source and driving, or previous, target and next frame.
        names: ``PERSON/CLIP/FIRST>SECOND`` of each sample, for reports.
    """

    frames: Float[Tensor, "B N 3 H W"]
    names: tuple[str, ...]

    @property
    def source(self) -> Float[Tensor, "B 3 H W"]:
        """The first frame."""
        return self.frames[:, 0]

    @property
    def driving(self) -> Float[Tensor, "B 3 H W"]:
        """The last one, which is to be made of the first."""
        return self.frames[:, -1]

    def map(self, change: Callable[[Tensor], Tensor]) -> FrameBatch:
        """Every tensor changed in the same way, such as moved to a device."""
        return dataclasses.replace(self, frames=change(self.frames))

    def joined(self, other: FrameBatch) -> FrameBatch:
        """The samples of both.

        Raises:
            ShapeError: of another number or size of frames.
        """
        return stack_frames([self, other])


def stack_frames(samples: Sequence[FrameBatch]) -> FrameBatch:
    """Samples of equal shape as one batch.

    Raises:
        ShapeError: they differ in the number of frames or in size.
    """
    shapes = {tuple(sample.frames.shape[1:]) for sample in samples}
    if len(shapes) != 1:
        raise ShapeError(f"stack_frames: expected samples of one shape, got {sorted(shapes)}")
    names = tuple(name for sample in samples for name in sample.names)
    return FrameBatch(torch.cat([sample.frames for sample in samples]), names)


@dataclass(frozen=True)
class ByteFrames:
    """A `FrameBatch` as it travels between processes and to a device: a quarter of its size.

    Attributes:
        frames: ``(B, N, 3, H, W)``.
        names: as there.
    """

    frames: UInt8[Tensor, "B N 3 H W"]
    names: tuple[str, ...]

    def pin_memory(self) -> ByteFrames:
        """In memory from which a device copies while the program goes on; `torch.utils.data` calls this."""
        return dataclasses.replace(self, frames=self.frames.pin_memory())

    def to(self, device: torch.device) -> ByteFrames:
        """There; from pinned memory without waiting."""
        return dataclasses.replace(self, frames=self.frames.to(device, non_blocking=True))

    def batch(self) -> FrameBatch:
        """In floats."""
        return FrameBatch(self.frames.float() / 255, self.names)


def blank_frames(size: int, count: int) -> FrameBatch:
    """A made-up batch of one with the shape of a real one: soft noise, moved by 3 pixels from frame to frame.

    Args:
        size: side of the frames in pixels.
        count: how many.
    """
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=draw)
    first = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    frames = torch.stack([first.roll(SHIFT * number, -1) for number in range(count)], dim=1)
    return FrameBatch(frames, (f"blank/blank/{'>'.join(map(str, range(count)))}",))
