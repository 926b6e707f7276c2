"""How a keypoint animator came to its picture, side by side: what `animate --panels` shows of it.

Two rows of four squares: the source and the driver with their keypoints, the result, the warped source; the
flow, who moves what, where the source shows what is needed, and each keypoint's motion alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..training.data.portrait import Frame, to_frame
from .draw import Picture, flow_to_color, hue_colour

COLUMNS, ROWS = 4, 2
_SHARPER = 8  # a keypoint's Gaussian to this power is a dot
_FULL = 0.1  # of the frame's side: flow in full colour
_GOLDEN = 0.61803398875
_STILL = [0.35, 0.35, 0.35]  # the background, which does not move


def panels(
    maps: Mapping[str, Tensor], source: Float[Tensor, "1 3 S S"], driver: Float[Tensor, "1 3 S S"]
) -> Frame:
    """One frame, uint8 (2 S, 4 S, 3).

    Args:
        maps: of `KeypointAnimator.explain`, for one driving frame.
        source, driver: the pictures in their squares.
    """
    side = source.shape[-1]
    shown = {name: value[0].detach().float().cpu() for name, value in maps.items()}
    occlusion = shown.get("occlusion", torch.ones(1, 1, 1))
    squares = [
        dotted(source[0].cpu(), shown["keypoints_source"]),
        dotted(driver[0].cpu(), shown["keypoints_driving"]),
        shown["animated"],
        dotted(shown["deformed"], shown["keypoints_moved"]),
        flow_to_color(shown["flow"], full=_FULL * side),
        shares(shown["masks"], side),
        enlarged(occlusion, side).expand(3, -1, -1),
        tiles(shown["sparse_flows"], side),
    ]
    rows = [torch.cat(squares[COLUMNS * row : COLUMNS * (row + 1)], dim=2) for row in range(ROWS)]
    return to_frame(torch.cat(rows, dim=1)[None])


def colours(count: int) -> Float[Tensor, "N 3"]:
    """A colour a keypoint, the same in every panel."""
    return torch.tensor([hue_colour(_GOLDEN * number) for number in range(count)])


def dotted(picture: Picture, heat: Float[Tensor, "K h w"]) -> Picture:
    """A picture with a dot at every keypoint.

    Args:
        picture: RGB.
        heat: a Gaussian a keypoint, of any size.
    """
    dots = enlarged(heat, picture.shape[-1]) ** _SHARPER
    for dot, colour in zip(dots, colours(len(heat)), strict=True):
        picture = picture + dot * (colour[:, None, None] - picture)
    return picture.clamp(0, 1)


def shares(masks: Float[Tensor, "M h w"], side: int) -> Picture:
    """Who moves each pixel: keypoints in their colours, the background grey, mixed by their shares."""
    palette = torch.cat([torch.tensor([_STILL]), colours(len(masks) - 1)])
    return enlarged(torch.einsum("mhw,mc->chw", masks, palette), side)


def tiles(sparse: Float[Tensor, "C h w"], side: int) -> Picture:
    """The flow of each keypoint alone, small, row by row; the background's, which is none, is left out."""
    flows = sparse.unflatten(0, (-1, 2))[1:]  # (K, 2, h, w)
    across = math.ceil(math.sqrt(len(flows)))
    size, full = side // across, _FULL * sparse.shape[-1]
    mosaic = torch.ones(3, side, side)
    for number, flow in enumerate(flows):
        row, column = divmod(number, across)
        place = (slice(None), slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
        mosaic[place] = enlarged(flow_to_color(flow, full=full), size)
    return mosaic


def enlarged(maps: Float[Tensor, "C h w"], side: int) -> Float[Tensor, "C S S"]:
    """Maps at a side of so many pixels, bilinear."""
    return F.interpolate(maps[None], size=(side, side), mode="bilinear", align_corners=False)[0]
