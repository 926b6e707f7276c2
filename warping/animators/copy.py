"""`copy`: the source picture for every frame, the floor of all evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geom.guidance import Driving, Source, take
from . import Animation, register, single


@dataclass(frozen=True)
class CopyConfig:
    """No settings."""


@register(CopyConfig)
class CopyAnimator:
    """Returns the source image whatever drives it; its flow is zero."""

    needs_source = ("image",)
    needs_driving = ()

    def __init__(self, config: CopyConfig) -> None:
        self.config = config

    def encode(self, sources: Sequence[Source]) -> Tensor:
        """The picture of the one source."""
        (image,) = take(single(sources, by="copy"), self.needs_source, by="copy")
        return image

    def animate(self, cache: Tensor, driving: Driving) -> Animation:
        """The source, once for every driving frame."""
        image = cache.expand(driving.batch, -1, -1, -1)
        return Animation(image, flow=torch.zeros_like(image[:, :2]), occlusion=torch.ones_like(image[:, :1]))

    def explain(self, cache: Tensor, driving: Driving) -> Mapping[str, Tensor]:
        """``source``."""
        return {"source": cache}
