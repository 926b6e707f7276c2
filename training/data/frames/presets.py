"""The public data sets of [FOMM] as it trains on them: how samples are drawn and changed, and for how long.

Values are those of ``config/NAME-256.yaml`` of the public code; what its loader does for all of them, drawing
two frames with replacement and sorting them in time, and flips that exclude each other, is in `_DRAWN` and
`_FLIPS`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ....geom.errors import HeadwarpError
from .augment import FrameAugment
from .pack import Shape
from .sampler import FrameConfig

_DRAWN = FrameConfig(order="time", replacement=True, identity=False)
_PERSONS = dataclasses.replace(_DRAWN, identity=True)
_FLIPS = FrameAugment(exclusive=True)
_NO_JITTER = dataclasses.replace(_FLIPS, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


@dataclass(frozen=True)
class FramePreset:
    """A data set's settings.

    Attributes:
        sampling: how two frames are drawn.
        augment: how they are changed.
        shape: how a frame that is no square becomes one, see `FramePackConfig`; ours, the public data are
            squares already.
        batch: samples of a step.
        epochs: passes over the training clips.
        repeats: how often each clip comes in a pass.
        game: whether a discriminator plays along from the beginning.
        single_jacobian: one map of Jacobians for all keypoints.
    """

    sampling: FrameConfig = _DRAWN
    augment: FrameAugment = _FLIPS
    shape: Shape = "crop"
    batch: int = 36
    epochs: int = 100
    repeats: int = 25
    game: bool = True
    single_jacobian: bool = False

    def steps(self, clips: int, batch: int | None = None) -> int:
        """Optimiser steps of the whole training on so many clips."""
        return max(1, clips * self.repeats // (batch or self.batch)) * self.epochs


PRESETS = {
    "vox": FramePreset(_PERSONS, batch=40, repeats=75, game=False),
    "taichi": FramePreset(_PERSONS, batch=30, repeats=150, game=False),
    "nemo": FramePreset(augment=_NO_JITTER, repeats=8),
    "bair": FramePreset(epochs=20, repeats=1),
    "mgif": FramePreset(
        augment=dataclasses.replace(_NO_JITTER, hue=0.5, zoom=(0.9, 1.1)),
        shape="pad",
        repeats=25,
        single_jacobian=True,
    ),
}


def frame_preset(name: str) -> FramePreset:
    """A preset by name.

    Raises:
        HeadwarpError: there is none of that name.

    Example:
        >>> frame_preset("bair").steps(clips=3600)
        2000
    """
    if name not in PRESETS:
        raise HeadwarpError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
