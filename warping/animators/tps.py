"""`tps`: a thin-plate spline through 68 landmarks and anchors on the frame border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.flow import warp
from ...geom.guidance import Driving, Source, take
from ...geom.pose_range import PoseRange
from ...geom.spline import SplineConfig, spline_flow
from . import Animation, register, single


@dataclass(frozen=True)
class TpsConfig:
    """Settings of the spline.

    Attributes:
        anchors: anchors along each side of the frame that stay where they are.
        regularisation: added to the diagonal of the kernel matrix, in units of landmarks x squared half
            frames.
        step: the spline is evaluated on every ``step``-th pixel and interpolated.
    """

    anchors: int = 4
    regularisation: float = 1e-7
    step: int = 4


@dataclass(frozen=True)
class TpsCache:
    """The source's picture and landmarks in pixels."""

    image: Float[Tensor, "1 3 H W"]
    landmarks: Float[Tensor, "1 L 2"]


@register(TpsConfig)
class TpsAnimator:
    """Backward spline from driving to source landmarks; the regularisation holds coincident ones apart.

    Example:
        >>> from headwarp import Driving, Source, load_animator
        >>> face = torch.tensor([[[20.0, 24.0], [44.0, 24.0], [32.0, 48.0]]])
        >>> tps = load_animator("tps")
        >>> still = tps.encode([Source(image=torch.rand(1, 3, 64, 64), landmarks=face)])
        >>> made = tps.animate(still, Driving(landmarks=face + torch.tensor([3.0, 0.0])))
        >>> [round(value, 1) for value in made.flow[0, :, 24, 23].tolist()]
        [-3.0, 0.0]
    """

    needs_source = ("image", "landmarks")
    needs_driving = ("landmarks",)
    holds = PoseRange(yaw_deg=25, pitch_deg=35)  # beyond, faces fold: docs/benchmarks.md

    def __init__(self, config: TpsConfig) -> None:
        self.config = config

    def encode(self, sources: Sequence[Source]) -> TpsCache:
        """The one source's picture and landmarks."""
        image, landmarks = take(single(sources, by="tps"), self.needs_source, by="tps")
        _check_finite(landmarks, "source")
        return TpsCache(image, landmarks)

    def animate(self, cache: TpsCache, driving: Driving) -> Animation:
        """The source warped so that its landmarks lie on the driver's."""
        flow = self._flows(cache, driving)
        image = warp(cache.image, flow)
        return Animation(image=image, flow=flow, occlusion=torch.ones_like(image[:, :1]))

    def _flows(self, cache: TpsCache, driving: Driving) -> Float[Tensor, "B 2 H W"]:
        (points,) = take(driving, self.needs_driving, by="tps")
        if points.shape[1] != cache.landmarks.shape[1]:
            raise HeadwarpError(
                f"tps: expected {cache.landmarks.shape[1]} driving landmarks as in the source, "
                f"got {points.shape[1]}"
            )
        _check_finite(points, "driving")
        height, width = cache.image.shape[2:]
        config = self.config
        spline = SplineConfig(config.anchors, config.regularisation, config.step)
        flows = [spline_flow(cache.landmarks[0], p, (height, width), config=spline) for p in points]
        return torch.cat(flows).to(cache.image.dtype)

    def explain(self, cache: TpsCache, driving: Driving) -> Mapping[str, Tensor]:
        """``warped`` and ``flow``."""
        flow = self._flows(cache, driving)
        return {"warped": warp(cache.image, flow), "flow": flow}


def _check_finite(points: Tensor, whose: str) -> None:
    if not bool(torch.isfinite(points).all()):
        raise HeadwarpError(f"tps: expected finite {whose} landmarks, got NaN or infinity; skip such frames")
