"""The figure of `keypoints`: a table, curves over the steps, and frames with what was found in them."""

from __future__ import annotations

import colorsys
import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...geom.keypoints import to_pixels
from ...training.data.atomic import atomic_path
from ...training.data.media import write_image
from ...training.data.sheets import contact_sheet
from ...warping.keypoint_network import KeypointNetwork
from ..curves import Panel, draw_curves

Frame = NDArray[np.uint8]
TITLES = {
    "equivariance": "equivariance error (the frame is 2 wide)",
    "pairwise": "mean distance of two keypoints",
    "nearest": "mean distance to the nearest keypoint",
}
_ENLARGED = 2


@dataclass(frozen=True)
class Row:
    """One measurement, in normalised coordinates: the frame is 2 wide.

    Attributes:
        variant: how keypoints are kept apart.
        step: steps done.
        equivariance: mean absolute difference of keypoints and those of the moved frame, mapped.
        pairwise: mean distance of two keypoints.
        nearest: mean distance of a keypoint to the next one.
    """

    variant: str
    step: int
    equivariance: float
    pairwise: float
    nearest: float


def write_figure(
    folder: Path, rows: Sequence[Row], columns: Mapping[str, Sequence[Frame]], *, title: str
) -> None:
    """``keypoints.csv``, ``curves.png`` and ``keypoints.png``.

    Args:
        folder: where they go.
        rows: of every variant.
        columns: by variant, pictures of the same frames.
        title: of the curves.
    """
    names = [field.name for field in dataclasses.fields(Row)]
    with atomic_path(folder / "keypoints.csv") as path, path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows([getattr(row, name) for name in names] for row in rows)
    write_image(folder / "curves.png", curves(rows, title=title), provenance=None)
    pictures = list(zip(*columns.values(), strict=True))
    side = max(pictures[0][0].shape[:2])
    write_image(folder / "keypoints.png", contact_sheet(pictures, list(columns), tile=side), provenance=None)


def curves(rows: Sequence[Row], *, title: str) -> Frame:
    """Equivariance and distances over the steps, a line a variant."""
    steps = np.arange(max(row.step for row in rows) + 1)
    panels = []
    for name, text in TITLES.items():
        series = {}
        for variant in dict.fromkeys(row.variant for row in rows):
            own = [row for row in rows if row.variant == variant]
            values = np.array([getattr(row, name) for row in own])
            series[variant] = np.interp(steps, np.array([row.step for row in own]), values)
        panels.append(Panel(text, series, limits=(0.0, None)))
    return draw_curves(panels, title)


@torch.no_grad()
def keypoint_pictures(network: KeypointNetwork, frames: Float[Tensor, "B 3 H W"]) -> list[Frame]:
    """Frames with a disc a keypoint, of its own hue, as the trained network finds them."""
    from PIL import Image, ImageDraw

    size = (int(frames.shape[2]), int(frames.shape[3]))
    corners = network.config.keypoints.align_corners
    found = to_pixels(network.eval().detect(frames).points, size, align_corners=corners)
    hues = [colorsys.hsv_to_rgb(k / found.shape[1], 1, 1) for k in range(found.shape[1])]
    pictures = []
    for frame, points in zip(frames, _ENLARGED * found, strict=True):
        image = Image.fromarray((frame.permute(1, 2, 0) * 255).round().byte().numpy())  # (H, W, 3)
        image = image.resize((_ENLARGED * size[1], _ENLARGED * size[0]), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for (x, y), hue in zip(points.tolist(), hues, strict=True):
            colour = tuple(round(255 * part) for part in hue)
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour, outline=(0, 0, 0))
        pictures.append(np.asarray(image))
    return pictures
