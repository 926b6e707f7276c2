"""`similarity`: the whole picture moved by the similarity that fits the landmarks best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geom.alignment import affine_flow
from ...geom.flow import warp
from ...geom.guidance import Driving, Source, require
from ...geom.transforms import umeyama
from . import Animation, register, single


@dataclass(frozen=True)
class SimilarityConfig:
    """No settings."""


@register(SimilarityConfig)
class SimilarityAnimator:
    """Least-squares similarity from the driving landmarks to the source's, applied to every pixel."""

    needs_source = ("image", "landmarks")
    needs_driving = ("landmarks",)

    def __init__(self, config: SimilarityConfig) -> None:
        self.config = config

    def encode(self, sources: Sequence[Source]) -> Source:
        return require(single(sources, by="similarity"), self.needs_source, by="similarity")

    def animate(self, cache: Source, driving: Driving) -> Animation:
        points = require(driving, self.needs_driving, by="similarity").landmarks
        maps = [umeyama(p, cache.landmarks[0]) for p in points]
        matrix = torch.stack([torch.cat([m.scale * m.rotation, m.translation[:, None]], 1) for m in maps])
        flow = affine_flow(matrix.to(cache.image.dtype), tuple(cache.image.shape[2:]))
        image = warp(cache.image.expand(len(flow), -1, -1, -1), flow)
        return Animation(image=image, flow=flow, occlusion=torch.ones_like(image[:, :1]))

    def explain(self, cache: Source, driving: Driving) -> Mapping[str, Tensor]:
        result = self.animate(cache, driving)
        return {"warped": result.image, "flow": result.flow}
