"""Random affine maps with a thin-plate bend: known transformations of the frame [-1, 1]^2, [FOMM] B.2.

A picture is moved by one, keypoints are found in both pictures, and the map says where those of the one
must lie in the other (`training.losses.equivariance`). It is ``T(p) = A p + t + sum_c w_c U(|p - c|)`` over
the points c of a square grid, ``U(d) = d^2 log d``, with random A, t and w. As in [FOMM] the weights are
free: none of a spline's side conditions ties them to the affine part.

The public code bends badly: one weight a point serves x and y, so that every bend goes along the diagonal,
and its distance is the city block one, which puts a crease on every line of the grid. Ours bends both axes,
with the Euclidean distance. Both are fields of `ThinPlateConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .errors import HeadwarpError, ShapeError
from .flow import pixel_grid, sample
from .grids import lattice

Radius = Literal["euclidean", "city_block"]
_OFFSET = 1e-6  # under the logarithm, as in the public code


@dataclass(frozen=True)
class ThinPlateConfig:
    """How maps are drawn; the defaults are ours.

    Attributes:
        affine_sigma: standard deviation of the six numbers of A and t about the identity; the public code's.
        bend_sigma: standard deviation of the weights. The public code's 0.005 with its distance bends as far
            as 0.012 with ours, 0.09 in the mean square, but folds 1 map in 400; ours folded none of 2000.
        points: of the grid a side; 5 in the paper and in its code.
        axes: ``"both"``, or ``"diagonal"``: one weight for x and y, as in the public code.
        radius: ``"euclidean"``, or ``"city_block"``: |dx| + |dy|, as in the public code.
    """

    affine_sigma: float = 0.05
    bend_sigma: float = 0.012
    points: int = 5
    axes: Literal["both", "diagonal"] = "both"
    radius: Radius = "euclidean"


PAPER = ThinPlateConfig(affine_sigma=0.05**0.5, bend_sigma=0.005**0.5)
"""[FOMM] B.2 calls 0.05 and 0.005 variances. Taken at its word it folds two maps of three somewhere."""
OFFICIAL = ThinPlateConfig(bend_sigma=0.005, axes="diagonal", radius="city_block")


@dataclass(frozen=True)
class ThinPlate:
    """A batch of maps of the plane.

    Attributes:
        linear: A, ``(B, 2, 2)``.
        translation: t, ``(B, 2)``.
        control: the points c, ``(C, 2)``.
        weights: w, ``(B, C, 2)``.
        radius: the distance in U.
    """

    linear: Float[Tensor, "B 2 2"]
    translation: Float[Tensor, "B 2"]
    control: Float[Tensor, "C 2"]
    weights: Float[Tensor, "B C 2"]
    radius: Radius = "euclidean"

    def displacement(self, points: Float[Tensor, "#B N 2"]) -> Float[Tensor, "B N 2"]:
        """``T(p) - p``, exactly 0 of the identity; differentiable in ``points``.

        Raises:
            ShapeError: not (B, N, 2) of this batch or of 1.
        """
        _check_points(points, len(self.linear))
        own, points = self._typed(points)
        shear = own.linear - torch.eye(2, dtype=points.dtype, device=points.device)
        with torch.autocast(points.device.type, enabled=False):
            straight = points @ shear.mT + own.translation[:, None]
            return straight + _kernel(points, own.control, self.radius) @ own.weights

    def apply(self, points: Float[Tensor, "#B N 2"]) -> Float[Tensor, "B N 2"]:
        """``T(p)``; as `displacement`."""
        return points + self.displacement(points)

    def jacobian(self, points: Float[Tensor, "#B N 2"]) -> Float[Tensor, "B N 2 2"]:
        """``dT_i / dp_j`` at ``[..., i, j]``, in closed form; `jacobian_ref` is its twin by autograd.

        Differentiable in ``points``, once with the city block distance, whose slope jumps on the grid's lines
        (0 is taken there, as autograd does).

        Raises:
            ShapeError: as `displacement`.

        Example:
            >>> still = random_thin_plate(1, ThinPlateConfig(0.0, 0.0))
            >>> still.jacobian(torch.tensor([[[0.3, 0.1]]])).tolist()
            [[[[1.0, 0.0], [0.0, 1.0]]]]
        """
        _check_points(points, len(self.linear))
        own, points = self._typed(points)
        slopes = _kernel_slope(points, own.control, self.radius)  # (#B, N, C, 2)
        with torch.autocast(points.device.type, enabled=False):
            bend = own.weights.mT[:, None] @ slopes  # (B, N, 2, 2)
        return own.linear[:, None] + bend

    def _typed(self, points: Tensor) -> tuple[ThinPlate, Tensor]:
        """Both in one type, that of the wider."""
        dtype = torch.promote_types(points.dtype, self.linear.dtype)
        if dtype == self.linear.dtype:
            return self, points.to(dtype)
        names = ("linear", "translation", "control", "weights")
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names}), points


def jacobian_ref(spline: ThinPlate, points: Float[Tensor, "#B N 2"]) -> Float[Tensor, "B N 2 2"]:
    """Plain twin of `ThinPlate.jacobian`: by autograd, as in the public code; no gradient goes on from it."""
    leaf = points.detach().expand(len(spline.linear), -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        moved = spline.apply(leaf)
        rows = [torch.autograd.grad(moved[..., i].sum(), leaf, retain_graph=True)[0] for i in (0, 1)]
    return torch.stack(rows, -2)  # (B, N, 2, 2)


def random_thin_plate(
    batch: int,
    config: ThinPlateConfig | None = None,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> ThinPlate:
    """Maps drawn by lot: on the CPU, so that a seed gives the same ones on every device.

    Args:
        batch: how many.
        config: their distribution; `ThinPlateConfig()` if None.
        generator: of the CPU; torch's own if None.
        device: of the result, which is in float32.

    Raises:
        HeadwarpError: a negative deviation, fewer than two points a side, or no such axes or radius.

    Example:
        >>> still = random_thin_plate(2, ThinPlateConfig(0.0, 0.0))
        >>> still.apply(torch.tensor([[[0.5, -0.25]]]))[1].tolist()
        [[0.5, -0.25]]
    """
    config = config or ThinPlateConfig()
    _check_config(config)
    affine = config.affine_sigma * torch.randn(batch, 2, 3, generator=generator)
    columns = 1 if config.axes == "diagonal" else 2
    weights = config.bend_sigma * torch.randn(batch, config.points**2, columns, generator=generator)
    line = torch.linspace(-1, 1, config.points)
    control = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)  # (C, 2)
    return ThinPlate(
        (torch.eye(2) + affine[..., :2]).to(device),
        affine[..., 2].to(device),
        control.to(device),
        weights.expand(-1, -1, 2).to(device),  # (B, C, 2)
        config.radius,
    )


def warp_thin_plate(
    image: Float[Tensor, "B C H W"],
    spline: ThinPlate,
    *,
    align_corners: bool,
    sample_align_corners: bool | None = None,
) -> Float[Tensor, "B C H W"]:
    """The picture that shows at p what ``image`` shows at ``T(p)``, reflected at the frame's edge.

    A keypoint of the result at p so belongs to one of ``image`` at ``T(p)``.

    Args:
        image: any channels and value range.
        spline: the maps; in the image's batch.
        align_corners: the lattice (`geom.grids`): -1 and 1 are the centres of the outermost pixels, or the
            frame's edges.
        sample_align_corners: how it is read, where that is another convention, as in the public code with
            torch 1.3 or later.

    Returns:
        The moved picture, bilinear; with one convention the identity is exact. Differentiable.

    Raises:
        ShapeError: not (B, C, H, W), another batch, or sides of one pixel with corners.

    Example:
        >>> still = random_thin_plate(1, ThinPlateConfig(0.0, 0.0))
        >>> picture = torch.rand(1, 3, 5, 7)
        >>> bool((warp_thin_plate(picture, still, align_corners=False) == picture).all())
        True
    """
    height, width = _check_image(image, spline, align_corners or bool(sample_align_corners))
    sampled = align_corners if sample_align_corners is None else sample_align_corners
    centres = pixel_grid((height, width), device=image.device)
    grid = lattice((height, width), align_corners=align_corners, device=image.device)
    moved = spline.displacement(grid.flatten(2).mT)  # (B, H W, 2)
    moved = moved.mT.unflatten(2, (height, width))  # (B, 2, H, W)
    span, edge = _frame(centres, sampled)
    start = centres if sampled == align_corners else (grid + 1) * span / 2 + edge
    return sample(image, _reflected(start + moved * span / 2, span, edge), padding_mode="border")


def warp_thin_plate_ref(
    image: Float[Tensor, "B C H W"],
    spline: ThinPlate,
    *,
    align_corners: bool,
    sample_align_corners: bool | None = None,
) -> Float[Tensor, "B C H W"]:
    """Plain twin of `warp_thin_plate`: torch's sampler reflects; the identity is exact up to rounding."""
    height, width = _check_image(image, spline, align_corners or bool(sample_align_corners))
    sampled = align_corners if sample_align_corners is None else sample_align_corners
    grid = lattice((height, width), align_corners=align_corners, device=image.device)
    moved = spline.apply(grid.flatten(2).mT).unflatten(1, (height, width))  # (B, H, W, 2)
    return F.grid_sample(image, moved, mode="bilinear", padding_mode="reflection", align_corners=sampled)


def _kernel(points: Tensor, control: Tensor, radius: Radius) -> Float[Tensor, "B N C"]:
    """U; the Euclidean one without a square root, which has no slope at 0."""
    offset = points[:, :, None] - control  # (B, N, C, 2)
    if radius == "euclidean":
        square = offset.square().sum(-1)
        return 0.5 * square * (square + _OFFSET**2).log()
    distance = offset.abs().sum(-1)
    return distance.square() * (distance + _OFFSET).log()


def _kernel_slope(points: Tensor, control: Tensor, radius: Radius) -> Float[Tensor, "B N C 2"]:
    """The derivative of `_kernel` in the point."""
    offset = points[:, :, None] - control  # (B, N, C, 2)
    if radius == "euclidean":
        square = offset.square().sum(-1, keepdim=True)
        return offset * ((square + _OFFSET**2).log() + square / (square + _OFFSET**2))
    distance = offset.abs().sum(-1, keepdim=True)
    steep = 2 * distance * (distance + _OFFSET).log() + distance.square() / (distance + _OFFSET)
    return offset.sign() * steep


def _frame(centres: Tensor, align_corners: bool) -> tuple[Tensor, float]:
    """Width and height between -1 and 1 in pixels, (1, 2, 1, 1), and where -1 lies."""
    height, width = centres.shape[2:]
    shrink = 1 if align_corners else 0
    span = centres.new_tensor([width - shrink, height - shrink])[:, None, None]
    return span[None], shrink / 2


def _reflected(positions: Tensor, span: Tensor, edge: float) -> Tensor:
    """Positions folded back into the frame; those inside stay as they are, to the bit."""
    away = positions - edge
    folded = span - (torch.remainder(away, 2 * span) - span).abs()
    return torch.where((away >= 0) & (away <= span), positions, folded + edge)


def _check_points(points: Tensor, batch: int) -> None:
    if points.ndim != 3 or points.shape[-1] != 2 or len(points) not in (1, batch):
        hint = "; add a batch axis with points[None]" if points.ndim == 2 else ""
        raise ShapeError(f"points: expected ({batch} or 1, N, 2), got {tuple(points.shape)}{hint}")


def _check_image(image: Tensor, spline: ThinPlate, corners: bool) -> tuple[int, int]:
    if image.ndim != 4 or len(image) != len(spline.linear):
        hint = "; add a batch axis with image[None]" if image.ndim == 3 else ""
        raise ShapeError(
            f"image: expected ({len(spline.linear)}, C, H, W), a picture for each map, "
            f"got {tuple(image.shape)}{hint}"
        )
    height, width = int(image.shape[2]), int(image.shape[3])
    if corners and min(height, width) < 2:
        raise ShapeError(
            f"image: expected at least 2 x 2 pixels with align_corners=True, got {height} x {width}"
        )
    return height, width


def _check_config(config: ThinPlateConfig) -> None:
    if not (config.affine_sigma >= 0 and config.bend_sigma >= 0 and config.points >= 2):
        got = f"{config.affine_sigma}, {config.bend_sigma} and {config.points}"
        raise HeadwarpError(f"thin plate: expected deviations >= 0 and at least 2 points a side, got {got}")
    for name, choices in (("axes", ("both", "diagonal")), ("radius", ("euclidean", "city_block"))):
        if getattr(config, name) not in choices:
            got = repr(getattr(config, name))
            raise HeadwarpError(f"thin plate: {name}: expected {' or '.join(choices)}, got {got}")
