"""Clouds of coloured points: written as PLY, and drawn from the side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA
from ..geom.transforms import euler_to_matrix, rigid_apply
from ..training.data.atomic import atomic_path
from ..training.data.portrait import Frame, to_frame

VIEWS = ((0.0, 0.0), (-35.0, 0.0), (35.0, 10.0))
"""Yaw and pitch in degrees of the three views of a sheet, as in [DaGAN] Fig. 9."""
PAPER = 0.96  # grey behind the points


def write_ply(path: Path, points: Float[Tensor, "N 3"], colours: Float[Tensor, "N 3"]) -> Path:
    """Points with colours as a binary PLY, in the axes that viewers expect: x right, y up, z to the viewer.

    Args:
        path: of the file, written whole or not at all.
        points: camera axes.
        colours: RGB in [0, 1].

    Raises:
        HeadwarpError: it cannot be written.
    """
    import trimesh

    shown = (points.double() @ MODEL_TO_CAMERA.double().T).numpy()
    bytes_of = (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    cloud = trimesh.PointCloud(shown, colors=bytes_of)
    with atomic_path(path) as temporary:
        temporary.write_bytes(cloud.export(file_type="ply"))
    return path


def views_of(
    points: Float[Tensor, "N 3"],
    colours: Float[Tensor, "N 3"],
    intrinsics: Float[Tensor, "3 3"],
    size: tuple[int, int],
    *,
    views: Sequence[tuple[float, float]] = VIEWS,
) -> list[Frame]:
    """The cloud turned about its middle, as the picture's own camera would see it.

    Args:
        points: camera axes.
        colours: RGB in [0, 1].
        intrinsics: K in pixels of ``size``.
        size: (H, W) of the pictures.
        views: yaw and pitch in degrees.

    Returns:
        One picture a view, grey where no point lies.
    """
    middle = points.median(0).values
    frames = []
    for yaw, pitch in views:
        angles = (torch.tensor(math.radians(angle)).to(points) for angle in (yaw, pitch, 0.0))
        turned = rigid_apply(points - middle, euler_to_matrix(*angles), middle)
        frames.append(_drawn(turned, colours, intrinsics, size))
    return frames


def _drawn(points: Tensor, colours: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Frame:
    """Every point covers two by two pixels; the nearest is seen."""
    height, width = size
    depth = points[:, 2]
    pixels = points[:, :2] / depth[:, None] * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    corner = (pixels - 0.5).round().long()
    near = torch.full((height * width,), torch.inf, dtype=depth.dtype)
    places = []
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (corner + torch.tensor(step)).unbind(1)
        seen = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        places.append((torch.where(seen, y * width + x, 0), seen))
        near.scatter_reduce_(0, places[-1][0], torch.where(seen, depth, torch.inf), "amin")
    picture = torch.full((height * width, 3), PAPER, dtype=colours.dtype)
    for index, seen in places:
        front = seen & (depth <= near[index])
        picture[index[front]] = colours[front]
    return to_frame(picture.T.reshape(1, 3, height, width))
