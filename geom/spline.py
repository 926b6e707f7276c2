"""Thin-plate splines through given points: the smoothest motion of a frame that carries them where they lie.

``u(p) = sum_i w_i U(|p - p_i|) + a + A p`` with ``U(r) = r^2 log r`` and weights that carry no affine part
[Bookstein 1989]; `geom.thin_plate` draws such maps by lot. Here u is a backward flow, known at landmarks of
the driving frame and at anchors on the frame's border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError, ShapeError
from .flow import pixel_grid

_BLOCK = 1 << 16  # kernel values at a time: they stay in the processor's cache


@dataclass(frozen=True)
class SplineConfig:
    """Settings of `spline_flow`.

    Attributes:
        anchors: anchors along each side of the frame, both corners among them: at least two, or the border
            alone says no affine map.
        regularisation: added to the diagonal of the kernel matrix, in units of points x squared half frames;
            it holds coincident points apart, which with 0 have no spline.
        step: the spline is evaluated on every ``step``-th pixel and interpolated.
    """

    anchors: int = 4
    regularisation: float = 1e-7
    step: int = 1

    def __post_init__(self) -> None:
        if self.anchors < 2 or self.step < 1 or not 0 <= self.regularisation < math.inf:
            raise HeadwarpError(
                "spline: expected anchors >= 2, step >= 1 and a finite regularisation >= 0, got "
                f"{self.anchors}, {self.step} and {self.regularisation}"
            )


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

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> bent = thin_plate_spline(corners, 2 * corners, regularisation=0.0)
        >>> middle = evaluate_spline(bent, corners, torch.tensor([[0.5, 0.5]]))
        >>> [round(value, 4) for value in middle[0].tolist()]
        [1.0, 1.0]
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
    """The spline's values at other points.

    Args:
        coefficients: M = N + 3 rows, as they were fitted.
        points: those that it was fitted to.
        at: where it is wanted, in the points' unit.
    """
    kernel = thin_plate_kernel((at[:, None] - points[None]).square().sum(-1))
    affine = torch.cat([torch.ones_like(at[:, :1]), at], dim=1)
    return torch.cat([kernel, affine], dim=1) @ coefficients


def spline_flow(
    source: Float[Tensor, "L 2"],
    driving: Float[Tensor, "L 2"],
    size: tuple[int, int],
    *,
    config: SplineConfig | None = None,
    motion: Float[Tensor, "2 3"] | None = None,
) -> Float[Tensor, "1 2 H W"]:
    """Backward flow that takes driving points to source points, the frame's border at rest.

    Exactly 0 where nothing moved. Computed in float64, returned in the type of ``driving``.

    Args:
        source, driving: the same points of both frames in pixels, finite; any number, none among them.
        size: (H, W) of both frames.
        config: see `SplineConfig`.
        motion: affine map of the driving frame's border to the source's in pixels; None: it rests.

    Raises:
        ShapeError: not as many points in both frames.

    Example:
        >>> nose = torch.tensor([[16.5, 16.5]])
        >>> flow = spline_flow(nose, nose + torch.tensor([2.0, 0.0]), (33, 33))
        >>> [round(value, 3) for value in flow[0, :, 16, 18].tolist()]  # back to the source's nose
        [-2.0, 0.0]
    """
    if source.shape != driving.shape:
        raise ShapeError(
            f"landmarks: expected {tuple(source.shape)} in the driving frame as in the source, got "
            f"{tuple(driving.shape)}; take both from one detector"
        )
    config = config or SplineConfig()
    half = max(size) / 2
    border = border_points(size, config.anchors).to(driving)
    rest = torch.zeros_like(border)
    if motion is not None:
        motion = motion.to(border)
        rest = border @ motion[:, :2].T + motion[:, 2] - border
    at = torch.cat([driving, border]).double() / half
    away = torch.cat([source - driving, rest]).double() / half
    coefficients = thin_plate_spline(at, away, config.regularisation)
    grid = _coarse_grid(size, config.step).to(at) / half
    flow = (_on_grid(coefficients, at, grid) * half)[None]  # (1, 2, h, w)
    if flow.shape[2:] != size:
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    return flow.to(driving.dtype)


def spline_flows(
    source: Float[Tensor, "#B L 2"],
    driving: Float[Tensor, "B L 2"],
    size: tuple[int, int],
    *,
    config: SplineConfig | None = None,
) -> Float[Tensor, "B 2 H W"]:
    """`spline_flow` of a batch at once, for training: one solve, and memory for B L H W / step^2 numbers.

    Args:
        source, driving: points in pixels, finite; a source of batch 1 serves all.
        size, config: as `spline_flow`.

    Raises:
        ShapeError: not as many points in both frames.
    """
    if source.shape[1:] != driving.shape[1:] or len(source) not in (1, len(driving)):
        raise ShapeError(
            f"landmarks: expected {tuple(driving.shape)} in the source as in the driving frames, or a batch "
            f"of 1, got {tuple(source.shape)}"
        )
    config = config or SplineConfig()
    half, batch = max(size) / 2, len(driving)
    border = border_points(size, config.anchors).to(driving).expand(batch, -1, -1)
    with torch.autocast(driving.device.type, enabled=False):
        at = torch.cat([driving, border], dim=1).double() / half  # (B, N, 2)
        away = torch.cat([source - driving, torch.zeros_like(border)], dim=1).double() / half
        coefficients = _splines(at, away, config.regularisation)  # (B, N + 3, 2)
        grid = _coarse_grid(size, config.step).to(at) / half  # (2, h, w)
        across = (grid[0, 0, :, None] - at[:, None, :, 0]).square()  # (B, w, N)
        down = (grid[1, :, 0, None] - at[:, None, :, 1]).square()  # (B, h, N)
        kernel = thin_plate_kernel(down[:, :, None] + across[:, None])  # (B, h, w, N)
        bent = torch.einsum("bhwn,bnk->bkhw", kernel, coefficients[:, :-3])
        straight = torch.einsum("bik,ihw->bkhw", coefficients[:, -2:], grid)
        flow = (bent + straight + coefficients[:, -3, :, None, None]) * half
        if flow.shape[2:] != size:
            flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    return flow.to(driving.dtype)


def _splines(
    points: Float[Tensor, "B N 2"], values: Float[Tensor, "B N 2"], regularisation: float
) -> Float[Tensor, "B M 2"]:
    """`thin_plate_spline` of each of a batch."""
    batch, count = points.shape[:2]
    kernel = thin_plate_kernel((points[:, :, None] - points[:, None]).square().sum(-1))
    kernel = kernel + torch.eye(count).to(points) * (regularisation * count)
    affine = torch.cat([torch.ones_like(points[..., :1]), points], dim=2)  # (B, N, 3)
    upper = torch.cat([kernel, affine], dim=2)
    lower = torch.cat([affine.mT, points.new_zeros(batch, 3, 3)], dim=2)
    right = torch.cat([values, values.new_zeros(batch, 3, 2)], dim=1)
    return torch.linalg.solve(torch.cat([upper, lower], dim=1), right)


def _coarse_grid(size: tuple[int, int], step: int) -> Float[Tensor, "2 h w"]:
    """Centres of blocks of ``step`` pixels a side, in pixels."""
    height, width = size
    small = (max(2, height // step), max(2, width // step))
    spacing = torch.tensor([width / small[1], height / small[0]], dtype=torch.float64)
    return pixel_grid(small, dtype=torch.float64)[0] * spacing[:, None, None]


def _on_grid(
    coefficients: Float[Tensor, "M 2"], points: Float[Tensor, "N 2"], grid: Float[Tensor, "2 H W"]
) -> Float[Tensor, "2 H W"]:
    """`evaluate_spline` on a lattice, whose squared distances are sums of those along its axes."""
    across = (grid[0, :1, :, None] - points[:, 0]).square()  # (1, W, N)
    down = (grid[1, :, :1, None] - points[:, 1]).square()  # (H, 1, N)
    rows = max(1, _BLOCK // across.numel())
    bent = torch.cat([thin_plate_kernel(across + part) @ coefficients[:-3] for part in down.split(rows)])
    constant, slope = coefficients[-3], coefficients[-2:]
    return bent.permute(2, 0, 1) + constant[:, None, None] + torch.einsum("ij,ihw->jhw", slope, grid)


def border_points(size: tuple[int, int], count: int) -> Float[Tensor, "N 2"]:
    """Evenly spaced points on the frame's border, corners included, ``count`` a side.

    Args:
        size: (H, W) of the frame.
        count: along each side, corners included.

    Example:
        >>> border_points((8, 6), 2).tolist()
        [[0.0, 0.0], [6.0, 0.0], [0.0, 8.0], [6.0, 8.0]]
    """
    height, width = size
    along = torch.linspace(0, 1, count)
    horizontal = [torch.stack([along * width, torch.full_like(along, y)], 1) for y in (0.0, float(height))]
    down = along[1:-1]
    vertical = [torch.stack([torch.full_like(down, x), down * height], 1) for x in (0.0, float(width))]
    return torch.cat(horizontal + vertical)
