"""A batch of heads to be blended into scenes: what `recipes.heser_blender` reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from ....geom.errors import ShapeError
from ....warping.heser_blender import LabelledPicture

PLACES = 127.0
"""Of a surface place of 1 in the bytes that places are kept in."""


@dataclass(frozen=True)
class BlendBatch:
    """Frames whose heads are given in other colours, each beside a reference that shows the true ones.

    Attributes:
        truth: the frames, RGB in [0, 1]; what is to be made.
        animated: the same frames in other colours, with their regions: of them the head alone counts.
        reference: pictures of the same persons in true colours, mirrored, moved, or other frames.
        names: of the samples, for reports.
    """

    truth: Float[Tensor, "B 3 H W"]
    animated: LabelledPicture
    reference: LabelledPicture
    names: tuple[str, ...]

    @property
    def source(self) -> Float[Tensor, "B 3 H W"]:
        """What would be shown without a blender: the recoloured head in its true scene."""
        return self.animated.image

    @property
    def driving(self) -> Float[Tensor, "B 3 H W"]:
        """What is to be made."""
        return self.truth

    def map(self, change: Callable[[Tensor], Tensor]) -> BlendBatch:
        """Every tensor changed in the same way, such as moved to a device."""
        return BlendBatch(
            change(self.truth), _mapped(self.animated, change), _mapped(self.reference, change), self.names
        )

    def joined(self, other: BlendBatch) -> BlendBatch:
        """The samples of both.

        Raises:
            ShapeError: of another size.
        """
        return stack_blends([self, other])


def _mapped(picture: LabelledPicture, change: Callable[[Tensor], Tensor]) -> LabelledPicture:
    changed: dict[str, Any] = {
        name: value if value is None else change(value) for name, value in vars(picture).items()
    }
    return LabelledPicture(**changed)


def stack_blends(samples: Sequence[BlendBatch]) -> BlendBatch:
    """Samples of one size as one batch.

    Raises:
        ShapeError: they differ in size.
    """
    sizes = {tuple(sample.truth.shape[1:]) for sample in samples}
    if len(sizes) != 1:
        raise ShapeError(f"stack_blends: expected samples of one size, got {sorted(sizes)}")
    return BlendBatch(
        torch.cat([sample.truth for sample in samples]),
        stack_pictures([sample.animated for sample in samples]),
        stack_pictures([sample.reference for sample in samples]),
        tuple(name for sample in samples for name in sample.names),
    )


def stack_pictures(pictures: Sequence[LabelledPicture]) -> LabelledPicture:
    """Pictures of one size as one; a surface that one does not know is unknown there."""
    return LabelledPicture(
        torch.cat([picture.image for picture in pictures]),
        torch.cat([picture.labels for picture in pictures]),
        torch.cat([picture.where for picture in pictures]),
    )


@dataclass(frozen=True)
class ByteBlends:
    """A `BlendBatch` as it travels between processes and to a device, a quarter of its size.

    Attributes:
        images: truth, recoloured and reference.
        labels: of the first two, and of the reference.
        places: of their surfaces, in `PLACES`; the fourth row 1 where known.
        names: of the samples.
    """

    images: UInt8[Tensor, "B 3 3 H W"]
    labels: UInt8[Tensor, "B 2 H W"]
    places: Int8[Tensor, "B 2 4 H W"]
    names: tuple[str, ...]

    def pin_memory(self) -> ByteBlends:
        """In memory from which a device copies while the program goes on; `torch.utils.data` calls this."""
        return self._map(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> ByteBlends:
        """There; from pinned memory without waiting."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def batch(self) -> BlendBatch:
        """In floats."""
        truth, other, shown = (self.images.float() / 255).unbind(1)
        labels = self.labels.long()
        places = self.places.float()
        places = torch.cat([places[:, :, :3] / PLACES, places[:, :, 3:]], dim=2)  # (B, 2, 4, H, W)
        return BlendBatch(
            truth,
            LabelledPicture(other, labels[:, 0], places[:, 0]),
            LabelledPicture(shown, labels[:, 1], places[:, 1]),
            self.names,
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> ByteBlends:
        return dataclasses.replace(
            self, images=change(self.images), labels=change(self.labels), places=change(self.places)
        )


def blank_blends(size: int) -> BlendBatch:
    """A made-up batch of one with the shapes of a real one: soft noise with a square of skin and hair."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 8, 8, generator=draw)
    truth, other, shown = torch.nn.functional.interpolate(
        coarse, (size, size), mode="bilinear", align_corners=False
    ).split(1)
    labels = torch.zeros(1, size, size, dtype=torch.long)
    labels[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    labels[:, size // 4 : size // 3, size // 4 : 3 * size // 4] = 17
    places = torch.zeros(1, 4, size, size)
    return BlendBatch(
        truth,
        LabelledPicture(other, labels, places),
        LabelledPicture(shown, labels.roll(3, -1), places),
        ("blank/blank/0>1",),
    )
