"""Which points a mesh hides from the camera: each point alone, no picture is drawn."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import ShapeError

_PAIRS_AT_ONCE = 4_000_000


def occluded_points(
    points: Float[Tensor, "#T N 3"],
    verts: Float[Tensor, "#T V 3"],
    faces: Int[Tensor, "F 3"],
    *,
    tolerance: float,
) -> Bool[Tensor, "T N"]:
    """Whether a triangle lies in front of each point by more than ``tolerance``.

    Points and mesh are projected already: x, y in pixels, smaller depth is nearer (`geom.cameras.project`,
    with one ``mean_depth`` for both). Both sides of a triangle hide, its rim included; one without area does
    not.

    Args:
        points: NaN is not hidden.
        verts: a triangle with a NaN corner hides nothing.
        faces: vertex indices.
        tolerance: in the unit of the depth. It must exceed the depth error of points on the mesh itself; on a
            smooth surface a point behind the outline is hidden by the near side, which a thousandth of the
            head's size tells apart within half a degree.

    Returns:
        True where hidden. Depth inside a triangle is linear in the pixels: exact for weak perspective, under
        a pinhole off by the square of the triangle's depth over the distance. Not differentiable.

    Raises:
        ShapeError: a shape, a batch that is neither T nor 1, or an index out of range.

    Example:
        >>> verts = torch.tensor([[[0.0, 0.0, 5.0], [8.0, 0.0, 5.0], [0.0, 8.0, 5.0]]])
        >>> points = torch.tensor([[[1.0, 1.0, 9.0], [1.0, 1.0, 4.0], [7.0, 7.0, 9.0]]])
        >>> occluded_points(points, verts, torch.tensor([[0, 1, 2]]), tolerance=0.1).tolist()
        [[True, False, False]]
    """
    points, verts = _checked(points, verts, faces)
    if points.device.type != "cpu":
        return occluded_points_ref(points, verts, faces, tolerance=tolerance)
    from ._occlusion_numba import hidden

    spots, corners = (x.detach().double().contiguous().numpy() for x in (points, verts))
    return torch.from_numpy(hidden(spots, corners, faces.long().contiguous().numpy(), float(tolerance)))


def occluded_points_ref(
    points: Float[Tensor, "#T N 3"],
    verts: Float[Tensor, "#T V 3"],
    faces: Int[Tensor, "F 3"],
    *,
    tolerance: float,
) -> Bool[Tensor, "T N"]:
    """:func:`occluded_points` in plain torch, every point against every triangle, on any device."""
    points, verts = _checked(points, verts, faces)
    step = max(1, _PAIRS_AT_ONCE // max(1, len(faces)))
    rows = [
        torch.cat([_hidden(part, frame[faces.long()], tolerance) for part in spots.double().split(step)])
        for spots, frame in zip(points, verts.double(), strict=True)
    ]
    return (
        torch.stack(rows) if rows else torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
    )


def _hidden(points: Tensor, corners: Tensor, tolerance: float) -> Tensor:
    """Points ``(n, 3)`` against triangles ``(F, 3, 3)``."""
    to = corners[None, :, :, :2] - points[:, None, None, :2]  # (n, F, 3, 2)
    after = to.roll(-1, 2)
    cross = to[..., 0] * after[..., 1] - to[..., 1] * after[..., 0]  # (n, F, 3): of the edge i, i + 1
    area = cross.sum(-1)
    inside = ((cross >= 0).all(-1) | (cross <= 0).all(-1)) & (area != 0)
    weights = cross.roll(-1, 2)  # the edge opposite to corner i
    depth = (weights * corners[None, :, :, 2]).sum(-1) / area
    return (inside & (depth < points[:, None, 2] - tolerance)).any(1)


def _checked(points: Tensor, verts: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    for name, value in (("points", points), ("verts", verts)):
        if value.ndim != 3 or value.shape[2] != 3:
            raise ShapeError(f"{name}: expected (T, N, 3), got {tuple(value.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise ShapeError(f"faces: expected integers (F, 3), got {faces.dtype} {tuple(faces.shape)}")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < verts.shape[1]:
        got = f"{int(faces.min())}..{int(faces.max())}"
        raise ShapeError(f"faces: expected indices below {verts.shape[1]} (vertices), got {got}")
    frames = {len(points), len(verts)} - {1}
    if len(frames) > 1:
        raise ShapeError(f"points, verts: expected one number of frames or 1, got {sorted(frames)}")
    count = frames.pop() if frames else 1
    return points.expand(count, -1, -1), verts.expand(count, -1, -1)
