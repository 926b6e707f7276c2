"""Depth as pictures ([DaGAN] Fig. 9): the map in colours, and its point cloud from three sides.

Pictures are float RGB (3, H, W) in [0, 1]. What is shown is what a depth network says of a single photo;
nothing is behind the visible surface, so that a turned cloud has holes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.depth import point_cloud
from ..geom.errors import HeadwarpError
from ..geom.transforms import euler_to_matrix
from ..training.data.portrait import to_frame
from ..training.data.sheets import Frame, contact_sheet
from .draw import Picture

VIEWS_DEG = (35.0, 0.0, -35.0)
"""Yaw of the three views of a cloud: the nose to the image's left, to the viewer, to its right."""
PAPER = 0.96
"""Grey of a view where no point falls."""
_STEPS = (
    (0.0, 0.0, 0.02),
    (0.23, 0.06, 0.35),
    (0.55, 0.16, 0.51),
    (0.9, 0.32, 0.39),
    (1.0, 0.64, 0.42),
    (1.0, 0.98, 0.75),
)


def heat_colours(values: Float[Tensor, "*N"]) -> Float[Tensor, "*N 3"]:
    """Values in [0, 1] as colours from black through violet and orange to a pale yellow; brightness grows.

    Example:
        >>> [round(float(colour.sum()), 2) for colour in heat_colours(torch.tensor([0.0, 0.5, 1.0]))]
        [0.02, 1.41, 2.73]
    """
    table = values.new_tensor(_STEPS)
    place = values.clamp(0, 1) * (len(table) - 1)
    low = place.floor().clamp(max=len(table) - 2)
    share = (place - low)[..., None]
    return table[low.long()] * (1 - share) + table[low.long() + 1] * share


def depth_colours(depth: Float[Tensor, "1 H W"]) -> Picture:
    """Near is bright, far dark, evenly in inverse depth; the extreme hundredths at either end are cut off.

    Args:
        depth: positive, in any unit.

    Raises:
        HeadwarpError: a depth that is not above 0.
    """
    if not bool((depth > 0).all()):
        raise HeadwarpError(f"depth: expected above 0 everywhere, got {float(depth.min()):g} as the least")
    return disparity_colours(1 / depth)


def disparity_colours(disparity: Float[Tensor, "1 H W"]) -> Picture:
    """As `depth_colours`, of inverse depth in any unit."""
    low, high = np.quantile(disparity.detach().float().cpu().numpy(), (0.01, 0.99)).tolist()
    return heat_colours((disparity[0] - low) / max(high - low, 1e-12)).permute(2, 0, 1)  # (3, H, W)


def cloud_views(
    points: Float[Tensor, "N 3"],
    colours: Float[Tensor, "N 3"],
    *,
    views_deg: Sequence[float] = VIEWS_DEG,
    size: int = 256,
    kept: float = 0.9,
) -> list[Picture]:
    """A point cloud seen from several sides, turned about an upright axis through its middle.

    Parallel projection, every view in the same scale, the largest that all of them fit in. A point is a
    square that closes the gaps of the view from the front; near points hide far ones.

    Args:
        points: in camera axes (x right, y down, z forward).
        colours: RGB in [0, 1].
        views_deg: yaw of each view; above 0 the nose moves to the image's left.
        size: side of each view in pixels.
        kept: share of the points that is drawn, from the nearest: what is far behind would leave the rest
            small.

    Returns:
        ``(3, size, size)`` each, light grey where there is nothing.

    Raises:
        HeadwarpError: no point, or a share outside (0, 1].
    """
    if not len(points) or not 0 < kept <= 1:
        raise HeadwarpError(f"cloud: expected points and a share in (0, 1], got {len(points)} and {kept}")
    chosen = points[:, 2].argsort()[: max(1, round(kept * len(points)))]
    points, colours = points[chosen], colours[chosen]
    low, high = points.amin(0), points.amax(0)
    points = points - (low + high) / 2
    turned = [points @ _turn(yaw).to(points).T for yaw in views_deg]
    reach = max(float(places[:, :2].abs().max()) for places in turned)
    scale = size / max(2 * reach, 1e-12)
    spacing = scale * float(((high - low)[:2].prod() / len(points)).clamp_min(0).sqrt())
    width = max(1, min(8, int(np.ceil(spacing * 1.25))))
    return [_view(places * scale + size / 2, colours, size, width) for places in turned]


def depth_row(
    image: Float[Tensor, "1 3 H W"],
    depth: Float[Tensor, "1 1 H W"],
    intrinsics: Float[Tensor, "1 3 3"],
    *,
    views_deg: Sequence[float] = VIEWS_DEG,
) -> list[Frame]:
    """A row of [DaGAN] Fig. 9: photo, depth, cloud from each side.

    Args:
        image: RGB in [0, 1].
        depth: of it, positive, in any unit.
        intrinsics: K in its pixels.
        views_deg: of `cloud_views`.
    """
    points, colours = point_cloud(depth, intrinsics, image)
    assert colours is not None
    size = max(image.shape[2:])
    views = cloud_views(points[0], colours[0], views_deg=views_deg, size=size)
    return [to_frame(image), *(to_frame(picture[None]) for picture in (depth_colours(depth[0]), *views))]


def depth_sheet(rows: Sequence[Sequence[Frame]], *, views_deg: Sequence[float] = VIEWS_DEG) -> Frame:
    """Rows of `depth_row` under their titles."""
    return contact_sheet(rows, ["photo", "depth", *(f"yaw {yaw:+g} deg" for yaw in views_deg)], tile=256)


def _turn(yaw_deg: float) -> Tensor:
    return euler_to_matrix(
        *(torch.tensor(np.deg2rad(angle), dtype=torch.float32) for angle in (yaw_deg, 0, 0))
    )


def _view(places: Tensor, colours: Tensor, size: int, width: int) -> Picture:
    """Far points first, so that near ones come over them; ``places`` (N, 3) in pixels."""
    steps = np.arange(width) - width // 2
    order = places[:, 2].argsort(descending=True)
    x, y = (places[order, axis].floor().long().numpy() for axis in (0, 1))
    columns = np.broadcast_to(x[:, None, None] + steps, (len(x), width, width))
    rows = np.broadcast_to(y[:, None, None] + steps[:, None], (len(x), width, width))
    painted = np.broadcast_to(colours[order].float().numpy()[:, None, None], (*columns.shape, 3))
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    canvas = np.full((size, size, 3), PAPER, np.float32)
    canvas[rows[inside], columns[inside]] = painted[inside]
    return torch.from_numpy(canvas).permute(2, 0, 1)  # (3, size, size)
