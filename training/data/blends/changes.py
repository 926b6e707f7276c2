"""What is done to frames to make a task of them: heads in other colours, references mirrored or moved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int8, UInt8
from torch import Tensor

from ....geom.errors import HeadwarpError
from ....geom.face_regions import flip_labels
from ..pairs.augment import LUMA, AugmentConfig, drawn_change
from .maker import LabelledFrame


@dataclass(frozen=True)
class BlendChanges:
    """How much is changed at random; the defaults are ours.

    Attributes:
        brightness, contrast, saturation, hue: of the colours that the animated head is given, as in
            `pairs.augment.AugmentConfig`. The unofficial code: 0.5, 0.5, 0.5, 0.1.
        other: share of the references that are another frame of the clip; the rest are the frame itself. The
            unofficial code: none.
        flip: share of the references that are mirrored, left regions becoming right ones; the unofficial
            code: 0.7.
        scale, shift: largest change of the reference's size, and motion in shares of its side: heads that
            are swapped are never alike. The unofficial code: none.
    """

    brightness: float = 0.5
    contrast: float = 0.3
    saturation: float = 0.5
    hue: float = 0.1
    other: float = 0.5
    flip: float = 0.3
    scale: float = 0.1
    shift: float = 0.04

    def __post_init__(self) -> None:
        self.colours()
        if not (0 <= self.other <= 1 and 0 <= self.scale < 0.5 and 0 <= self.shift < 0.5):
            raise HeadwarpError(
                "blends: expected other in 0..1, scale and shift in 0..0.5, got "
                f"{self.other}, {self.scale} and {self.shift}"
            )

    def colours(self) -> AugmentConfig:
        """As `drawn_change` takes them; mirrored is the reference, never the head."""
        return AugmentConfig(self.brightness, self.contrast, self.saturation, self.hue, self.flip)


def recoloured(
    image: UInt8[Tensor, "3 H W"], config: BlendChanges, draw: np.random.Generator
) -> tuple[UInt8[Tensor, "3 H W"], bool]:
    """The picture in other colours, and whether its reference is to be mirrored; takes five numbers.

    Args:
        image: RGB.
        config: how far colours go.
        draw: random numbers of this picture.
    """
    change = drawn_change(config.colours(), draw)
    picture = image.float()[None] / 255
    grey = float((picture.mean((0, 2, 3)) * picture.new_tensor(LUMA)).sum())
    made = change.colours(grey)(picture)[0]
    return (made.clamp(0, 1) * 255).round().to(torch.uint8), change.mirrored


def moved(
    frame: LabelledFrame, config: BlendChanges, draw: np.random.Generator, *, mirrored: bool
) -> LabelledFrame:
    """A reference in another place and size, mirrored if asked for; takes three numbers.

    Colours are read bilinearly, labels and places from the nearest pixel: a label is never blended. What
    comes from beyond the border repeats it.

    Args:
        frame: the picture with its labels.
        config: how far it goes.
        draw: random numbers of this picture.
        mirrored: turn left and right around first.
    """
    factor = 1 + float(draw.uniform(-config.scale, config.scale))
    shift = [2 * float(draw.uniform(-config.shift, config.shift)) for _ in range(2)]
    if mirrored:
        frame = mirrored_frame(frame)
    if factor == 1 and not any(shift):
        return frame
    theta = torch.tensor([[[1 / factor, 0.0, shift[0]], [0.0, 1 / factor, shift[1]]]])
    side = frame.image.shape[1:]
    grid = F.affine_grid(theta, [1, 1, *side], align_corners=False)

    def read(values: Tensor, mode: str) -> Tensor:
        drawn = F.grid_sample(
            values.float()[None], grid, mode=mode, padding_mode="border", align_corners=False
        )
        return drawn[0].round().to(values.dtype)

    labels = read(frame.labels[None], "nearest")[0]
    return LabelledFrame(read(frame.image, "bilinear"), labels, read(frame.places, "nearest"))


def mirrored_frame(frame: LabelledFrame) -> LabelledFrame:
    """The mirrored picture as a picture of its own: what was a left eye is seen as a right one.

    Twice is the identity.
    """
    labels = flip_labels(frame.labels)
    places: Int8[Tensor, "4 H W"] = frame.places.flip(-1).clone()
    places[0].neg_()
    return dataclasses.replace(frame, image=frame.image.flip(-1), labels=labels, places=places)
