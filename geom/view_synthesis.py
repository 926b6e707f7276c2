"""Rigid view synthesis from depth: back-projection, projection, flow and visibility ([DaGAN] Eq. 3 and 4).

A *target* picture with depth, the rigid motion from its camera to that of a *source* picture, and the
intrinsics K say where every target pixel lies in the source:
``q ~ K [R | t] D(p) K^-1 p``. Here a head that turns before a still camera is the same as a camera that goes
round it. Pixel centres lie at +0.5, flow is backward, from target to source, in pixels. Intrinsics are
``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`` in pixels of the picture that they belong to. Depth is along the
camera's axis, in any unit that the translation shares.

Nothing here rounds or truncates K: all results are differentiable in depth, motion and intrinsics. (The
public code of [DaGAN] writes whole numbers over K before it uses it, which leaves no gradient.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .flow import Padding, pixel_grid, sample, sample_ref

LEAST_DEPTH = 1e-3
"""Of a moved point, as a share of the picture's mean depth: nearer ones are divided by this, and not seen."""

_LEAST_WEIGHT = 0.25 - 1e-4


@dataclass(frozen=True)
class RigidFlow:
    """Where the pixels of a target lie in a source, if all that it shows moves as one body.

    Attributes:
        flow: backward displacement in pixels, target to source, ``(B, 2, H, W)``.
        visible: 1 where that place lies within the source's frame and no other target pixel comes before it
            there, else 0, ``(B, 1, H, W)``; not differentiable.
        depth: of the moved points along the source camera's axis, ``(B, 1, H, W)``.
    """

    flow: Float[Tensor, "B 2 H W"]
    visible: Float[Tensor, "B 1 H W"]
    depth: Float[Tensor, "B 1 H W"]


def intrinsics_matrix(focal: Float[Tensor, "B 2"], principal: Float[Tensor, "B 2"]) -> Float[Tensor, "B 3 3"]:
    """K of focal lengths and principal points in pixels, x then y.

    Args:
        focal: x, then y.
        principal: x, then y.

    Example:
        >>> intrinsics_matrix(torch.tensor([[2.0, 3.0]]), torch.tensor([[4.0, 5.0]]))[0].tolist()
        [[2.0, 0.0, 4.0], [0.0, 3.0, 5.0], [0.0, 0.0, 1.0]]
    """
    zero, one = torch.zeros_like(focal[:, 0]), torch.ones_like(focal[:, 0])
    rows = [focal[:, 0], zero, principal[:, 0], zero, focal[:, 1], principal[:, 1], zero, zero, one]
    return torch.stack(rows, dim=1).unflatten(1, (3, 3))  # (B, 3, 3)


def scale_intrinsics(
    intrinsics: Float[Tensor, "B 3 3"], size: tuple[int, int], new_size: tuple[int, int]
) -> Float[Tensor, "B 3 3"]:
    """K of the same camera for a picture of another size; exact, as pixel (0, 0) is the outer corner.

    Args:
        intrinsics: for pictures of ``size``, (H, W).
        size, new_size: (H, W).
    """
    factors = intrinsics.new_tensor([new_size[1] / size[1], new_size[0] / size[0], 1.0])
    return intrinsics * factors[:, None]


def back_project(
    depth: Float[Tensor, "B 1 H W"], intrinsics: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B 3 H W"]:
    """Points in camera axes of the centres of all pixels: ``D(p) K^-1 p``.

    Args:
        depth: along the camera's axis, in any unit.
        intrinsics: camera matrix in pixels.

    Raises:
        ShapeError: shapes disagree.

    Example:
        >>> K = intrinsics_matrix(torch.full((1, 2), 2.0), torch.ones(1, 2))
        >>> back_project(torch.full((1, 1, 2, 2), 4.0), K)[0, :, 0, 0].tolist()
        [-1.0, -1.0, 4.0]
    """
    _check_depth(depth, intrinsics)
    size = (int(depth.shape[2]), int(depth.shape[3]))
    grid = pixel_grid(size, device=depth.device, dtype=depth.dtype)
    focal, principal = _parts(intrinsics)
    return torch.cat([(grid - principal) / focal * depth, depth], dim=1)


def project_points(
    points: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 3 3"]
) -> Float[Tensor, "B 2 H W"]:
    """Pixels, x then y, of points in camera axes; points at or behind the camera land far outside.

    Args:
        points: metres or any unit, camera axes.
        intrinsics: camera matrix in pixels.

    Raises:
        ShapeError: shapes disagree.
    """
    if points.ndim != 4 or points.shape[1] != 3:
        raise ShapeError(f"points: expected (B, 3, H, W), got {tuple(points.shape)}")
    _check_intrinsics(intrinsics, len(points))
    focal, principal = _parts(intrinsics)
    depth = points[:, 2:]
    least = LEAST_DEPTH * depth.detach().abs().mean((1, 2, 3), keepdim=True)
    return points[:, :2] / torch.maximum(depth, least) * focal + principal


def rigid_flow(
    depth: Float[Tensor, "B 1 H W"],
    rotation: Float[Tensor, "B 3 3"],
    translation: Float[Tensor, "B 3"],
    intrinsics: Float[Tensor, "B 3 3"],
    *,
    source_intrinsics: Float[Tensor, "B 3 3"] | None = None,
    tolerance: float = 0.02,
) -> RigidFlow:
    """Flow and visibility of a rigid scene, [DaGAN] Eq. 3.

    Args:
        depth: of the target's pixels, positive.
        rotation, translation: of points from the target's to the source's camera axes, ``X_s = R X_t + t``.
        intrinsics: of the target.
        source_intrinsics: of the source; the target's by default.
        tolerance: share of its depth by which a point may lie behind another one that lands on its pixel.

    Returns:
        Flow and moved depth, differentiable in all but the tolerance; and what is visible.

    Raises:
        ShapeError: shapes disagree.
    """
    moved = _moved(depth, rotation, translation, intrinsics)
    positions = project_points(moved, intrinsics if source_intrinsics is None else source_intrinsics)
    size = (int(depth.shape[2]), int(depth.shape[3]))
    grid = pixel_grid(size, device=depth.device, dtype=depth.dtype)
    seen = visible_points(positions, moved[:, 2:], tolerance=tolerance)
    return RigidFlow(positions - grid, seen, moved[:, 2:])


def visible_points(
    positions: Float[Tensor, "B 2 H W"], depth: Float[Tensor, "B 1 H W"], *, tolerance: float = 0.02
) -> Float[Tensor, "B 1 H W"]:
    """1 for points inside the frame that are not behind another point; see `rigid_flow`.

    Points are dropped on those of the four pixels around them that bilinear sampling gives a quarter or more;
    the nearest depth stays there. A point counts as hidden where its own pixel is taken by one that is nearer
    by more than the tolerance. A surface that is spread to more than one and a half times its pixels has
    holes, through which points behind it count as seen.

    Args:
        positions: x, y of each point in pixels of the frame that it is seen in.
        depth: of the points as that frame sees them; not above 0 counts as hidden.
        tolerance: share of its depth by which another point must be nearer.
    """
    size = (int(positions.shape[2]), int(positions.shape[3]))
    positions, depth = positions.detach(), depth.detach()
    low = (positions - 0.5).floor()
    part = (positions - 0.5 - low).unbind(1)
    nearest = torch.full_like(depth, torch.inf).flatten(1)
    for step_x in (0, 1):
        for step_y in (0, 1):
            index, inside = _cell(low[:, 0].long() + step_x, low[:, 1].long() + step_y, size)
            weight = (part[0] if step_x else 1 - part[0]) * (part[1] if step_y else 1 - part[1])
            falls = inside & (depth[:, 0] > 0) & (weight >= _LEAST_WEIGHT)
            taken = torch.where(falls, depth[:, 0], torch.inf).flatten(1)
            nearest = nearest.scatter_reduce(1, index.flatten(1), taken, "amin")
    own = positions.floor().long()
    index, inside = _cell(own[:, 0], own[:, 1], size)
    front = nearest.gather(1, index.flatten(1)).view_as(depth)
    return (inside[:, None] & (depth > 0) & (depth <= front * (1 + tolerance))).to(depth.dtype)


def synthesise_view(
    source: Float[Tensor, "B C H W"],
    depth: Float[Tensor, "B 1 H W"],
    rotation: Float[Tensor, "B 3 3"],
    translation: Float[Tensor, "B 3"],
    intrinsics: Float[Tensor, "B 3 3"],
    *,
    padding_mode: Padding = "border",
) -> Float[Tensor, "B C H W"]:
    """The target's view of the source picture, [DaGAN] Eq. 3 and 4; differentiable in everything.

    Args:
        source: any channels, of the depth's size.
        depth, rotation, translation, intrinsics: as of `rigid_flow`.
        padding_mode: what lies outside the source, see `geom.flow.warp`.

    Raises:
        ShapeError: shapes disagree.

    Example:
        >>> picture, depth = torch.rand(1, 3, 4, 6), torch.full((1, 1, 4, 6), 2.0)
        >>> K = intrinsics_matrix(torch.full((1, 2), 6.0), torch.tensor([[3.0, 2.0]]))
        >>> seen = synthesise_view(picture, depth, torch.eye(3)[None], torch.tensor([[1 / 3, 0, 0]]), K)
        >>> bool(torch.allclose(seen[..., :-1], picture[..., 1:], atol=1e-6))  # f tx / Z = 1 px
        True
    """
    _check_depth(depth, intrinsics)
    _check_same_size(source, depth)
    positions = project_points(_moved(depth, rotation, translation, intrinsics), intrinsics)
    return sample(source, positions, padding_mode=padding_mode, mode="bilinear")


def synthesise_view_ref(
    source: Float[Tensor, "B C H W"],
    depth: Float[Tensor, "B 1 H W"],
    rotation: Float[Tensor, "B 3 3"],
    translation: Float[Tensor, "B 3"],
    intrinsics: Float[Tensor, "B 3 3"],
    *,
    padding_mode: Padding = "border",
) -> Float[Tensor, "B C H W"]:
    """Plain twin of :func:`synthesise_view`: matrices over homogeneous pixels, neighbours by index."""
    _check_depth(depth, intrinsics)
    _check_same_size(source, depth)
    batch, _, height, width = depth.shape
    grid = pixel_grid((height, width), device=depth.device, dtype=depth.dtype).flatten(2)  # (1, 2, H W)
    pixels = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1).expand(batch, -1, -1)  # (B, 3, H W)
    points = depth.flatten(2) * (torch.linalg.inv(intrinsics) @ pixels)
    seen = intrinsics @ (rotation @ points + translation[:, :, None])
    positions = (seen[:, :2] / seen[:, 2:]).unflatten(2, (height, width))
    return sample_ref(source, positions, padding_mode=padding_mode, mode="bilinear")


def _moved(depth: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor) -> Tensor:
    points = back_project(depth, intrinsics)
    if rotation.shape != (len(depth), 3, 3) or translation.shape != (len(depth), 3):
        raise ShapeError(
            f"rotation, translation: expected ({len(depth)}, 3, 3) and ({len(depth)}, 3), got "
            f"{tuple(rotation.shape)} and {tuple(translation.shape)}; "
            "axis-angle goes through axis_angle_to_matrix"
        )
    return torch.einsum("bij,bjhw->bihw", rotation, points) + translation[:, :, None, None]


def _parts(intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Focal lengths and principal points, (B, 2, 1, 1) each."""
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=1)
    return focal[:, :, None, None], intrinsics[:, :2, 2, None, None]


def _cell(x: Tensor, y: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat index of pixels and whether they lie in the frame; those outside get index 0."""
    height, width = size
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, y * width + x, torch.zeros_like(x)), inside


def _check_depth(depth: Tensor, intrinsics: Tensor) -> None:
    if depth.ndim != 4 or depth.shape[1] != 1 or not depth.is_floating_point():
        raise ShapeError(f"depth: expected floats (B, 1, H, W), got {depth.dtype} {tuple(depth.shape)}")
    _check_intrinsics(intrinsics, len(depth))


def _check_intrinsics(intrinsics: Tensor, batch: int) -> None:
    if intrinsics.shape != (batch, 3, 3):
        got = tuple(intrinsics.shape)
        raise ShapeError(f"intrinsics: expected ({batch}, 3, 3), one K a picture, got {got}")


def _check_same_size(source: Tensor, depth: Tensor) -> None:
    if source.ndim != 4 or source.shape[2:] != depth.shape[2:] or len(source) != len(depth):
        got = f"{tuple(source.shape)} for {tuple(depth.shape)}"
        raise ShapeError(f"source: expected (B, C, H, W) of the depth's batch and size, got {got}")
