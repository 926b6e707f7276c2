"""`similarity`: the whole picture moved by the similarity that fits the landmarks best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.alignment import affine_flow
from ...geom.flow import warp
from ...geom.guidance import Driving, Source, take
from ...geom.transforms import umeyama
from . import Animation, register, single


@dataclass(frozen=True)
class SimilarityConfig:
    """No settings."""


@dataclass(frozen=True)
class SimilarityCache:
    """The source's picture and landmarks in pixels."""

    image: Float[Tensor, "1 3 H W"]
    landmarks: Float[Tensor, "1 L 2"]


@register(SimilarityConfig)
class SimilarityAnimator:
    """Least-squares similarity from the driving landmarks to the source's, applied to every pixel."""

    needs_source = ("image", "landmarks")
    needs_driving = ("landmarks",)

    def __init__(self, config: SimilarityConfig) -> None:
        self.config = config

    def encode(self, sources: Sequence[Source]) -> SimilarityCache:
        """The one source's picture and landmarks."""
        image, landmarks = take(single(sources, by="similarity"), self.needs_source, by="similarity")
        return SimilarityCache(image, landmarks)

    def animate(self, cache: SimilarityCache, driving: Driving) -> Animation:
        """The source moved as the landmarks lie best on the driver's."""
        flow = self._flow(cache, driving)
        image = warp(cache.image, flow)
        return Animation(image=image, flow=flow, occlusion=torch.ones_like(image[:, :1]))

    def _flow(self, cache: SimilarityCache, driving: Driving) -> Float[Tensor, "B 2 H W"]:
        (points,) = take(driving, self.needs_driving, by="similarity")
        maps = [umeyama(p, cache.landmarks[0]) for p in points]
        matrix = torch.stack([torch.cat([m.scale * m.rotation, m.translation[:, None]], 1) for m in maps])
        height, width = cache.image.shape[2:]
        return affine_flow(matrix.to(cache.image.dtype), (height, width))

    def explain(self, cache: SimilarityCache, driving: Driving) -> Mapping[str, Tensor]:
        """``warped`` and ``flow``."""
        flow = self._flow(cache, driving)
        return {"warped": warp(cache.image, flow), "flow": flow}
