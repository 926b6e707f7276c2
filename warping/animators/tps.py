"""`tps`: a thin-plate spline through 68 landmarks and anchors on the frame border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.flow import pixel_grid, warp
from ...geom.guidance import Driving, Source, take
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


def thin_plate_kernel(square: Tensor) -> Tensor:
    """``r^2 log r`` from squared distances, 0 at 0."""
    return 0.5 * square * torch.log(square.clamp(min=1e-12))


def thin_plate_spline(
    points: Float[Tensor, "N 2"], values: Float[Tensor, "N 2"], regularisation: float
) -> Float[Tensor, "M 2"]:
    """Coefficients of the smoothing spline through ``values`` at ``points``.

    Args:
        points: where the values are given; at least three, not on one line.
        values: two at each point.
        regularisation: 0 interpolates; with more the spline bends less and misses the values.

    Returns:
        M = N + 3 rows: N kernel weights, then those of 1, x and y.
    """
    count = len(points)
    kernel = thin_plate_kernel((points[:, None] - points[None]).square().sum(-1))
    affine = torch.cat([torch.ones_like(points[:, :1]), points], dim=1)  # (N, 3)
    system = points.new_zeros(count + 3, count + 3)
    system[:count, :count] = kernel
    system.diagonal()[:count] += regularisation * count
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    right = torch.cat([values, values.new_zeros(3, 2)])
    return torch.linalg.solve(system, right)


def evaluate_spline(
    coefficients: Float[Tensor, "M 2"], points: Float[Tensor, "N 2"], at: Float[Tensor, "Q 2"]
) -> Float[Tensor, "Q 2"]:
    """The spline's value at other points."""
    kernel = thin_plate_kernel((at[:, None] - points[None]).square().sum(-1))
    affine = torch.cat([torch.ones_like(at[:, :1]), at], dim=1)
    return torch.cat([kernel, affine], dim=1) @ coefficients


@dataclass(frozen=True)
class TpsCache:
    """The source's picture and landmarks in pixels."""

    image: Float[Tensor, "1 3 H W"]
    landmarks: Float[Tensor, "1 L 2"]


@register(TpsConfig)
class TpsAnimator:
    """Backward spline from driving to source landmarks; the regularisation holds coincident ones apart."""

    needs_source = ("image", "landmarks")
    needs_driving = ("landmarks",)

    def __init__(self, config: TpsConfig) -> None:
        self.config = config

    def encode(self, sources: Sequence[Source]) -> TpsCache:
        image, landmarks = take(single(sources, by="tps"), self.needs_source, by="tps")
        _check_finite(landmarks, "source")
        return TpsCache(image, landmarks)

    def animate(self, cache: TpsCache, driving: Driving) -> Animation:
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
        flows = [self._flow(p, cache.landmarks[0], (height, width)) for p in points]
        return torch.cat(flows).to(cache.image.dtype)

    def _flow(self, driving: Tensor, source: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        half = max(size) / 2
        border = _border_points(size, self.config.anchors).to(driving)
        at = torch.cat([driving, border]).double() / half
        to = torch.cat([source, border]).double() / half
        coefficients = thin_plate_spline(at, to, self.config.regularisation)
        small = (max(2, height // self.config.step), max(2, width // self.config.step))
        spacing = at.new_tensor([width / small[1], height / small[0]])
        grid = pixel_grid(small, device=at.device, dtype=at.dtype)[0].flatten(1).T * spacing / half
        moved = (evaluate_spline(coefficients, at, grid) - grid) * half  # displacement in full-size pixels
        flow = moved.T.reshape(1, 2, *small)
        return F.interpolate(flow, size=size, mode="bilinear", align_corners=False)

    def explain(self, cache: TpsCache, driving: Driving) -> Mapping[str, Tensor]:
        flow = self._flows(cache, driving)
        return {"warped": warp(cache.image, flow), "flow": flow}


def _check_finite(points: Tensor, whose: str) -> None:
    if not bool(torch.isfinite(points).all()):
        raise HeadwarpError(f"tps: expected finite {whose} landmarks, got NaN or infinity; skip such frames")


def _border_points(size: tuple[int, int], count: int) -> Float[Tensor, "N 2"]:
    """Evenly spaced points on the frame's border, corners included."""
    height, width = size
    along = torch.linspace(0, 1, count)
    horizontal = [torch.stack([along * width, torch.full_like(along, y)], 1) for y in (0.0, float(height))]
    down = along[1:-1]
    vertical = [torch.stack([torch.full_like(down, x), down * height], 1) for x in (0.0, float(width))]
    return torch.cat(horizontal + vertical)
