"""How a keypoint animator came to its picture, side by side: what `animate --panels` shows of it.

Two rows of four squares: the source and the driver with their keypoints, the result, the warped source; the
flow, who moves what, where the source shows what is needed, and each keypoint's motion alone. A network with
depth or attention has a third: how near the source and the driver are, where the places of all keypoints
look, and where each alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..training.data.portrait import Frame, to_frame
from .attention_pictures import attention_picture
from .depth_pictures import disparity_colours
from .draw import Picture, flow_to_color, hue_colour

COLUMNS = 4
_SHARPER = 8  # a keypoint's Gaussian to this power is a dot
_FULL = 0.1  # of the frame's side: flow in full colour
_GOLDEN = 0.61803398875
_STILL = [0.35, 0.35, 0.35]  # the background, which does not move


def panels(
    maps: Mapping[str, Tensor], source: Float[Tensor, "1 3 S S"], driver: Float[Tensor, "1 3 S S"]
) -> Frame:
    """One frame, uint8 (2 S, 4 S, 3), or (3 S, 4 S, 3) with depth or attention.

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
        *_deeper(shown, side),
    ]
    rows = [torch.cat(squares[first : first + COLUMNS], dim=2) for first in range(0, len(squares), COLUMNS)]
    return to_frame(torch.cat(rows, dim=1)[None])


def _deeper(shown: Mapping[str, Tensor], side: int) -> list[Picture]:
    """The third row; grey for what the network has not, nothing if it has none of it."""
    disparities = [shown.get(f"disparity_{whose}") for whose in ("source", "driving")]
    attention = shown.get("attention")
    if attention is None and disparities[0] is None:
        return []
    blank = torch.full((3, side, side), _STILL[0])
    squares = [blank if each is None else disparity_colours(each) for each in disparities]
    if attention is None:
        return [*squares, blank, blank]
    result, dots = shown["animated"][None], shown["keypoints_moved"]
    each = [
        dotted(attention_picture(result, weights), dot[None])
        for weights, dot in zip(attention, dots, strict=True)
    ]
    return [*squares, attention_picture(result, attention.mean(0)), mosaic(each, side)]


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
    """The flow of each keypoint alone; the background's, which is none, is left out."""
    flows = sparse.unflatten(0, (-1, 2))[1:]  # (K, 2, h, w)
    return mosaic([flow_to_color(flow, full=_FULL * sparse.shape[-1]) for flow in flows], side)


def mosaic(pictures: Sequence[Picture], side: int) -> Picture:
    """Pictures made small, row by row."""
    across = math.ceil(math.sqrt(len(pictures)))
    size, square = side // across, torch.ones(3, side, side)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, across)
        place = (slice(None), slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
        square[place] = enlarged(picture, size)
    return square


def enlarged(maps: Float[Tensor, "C h w"], side: int) -> Float[Tensor, "C S S"]:
    """Maps at a side of so many pixels, bilinear."""
    return F.interpolate(maps[None], size=(side, side), mode="bilinear", align_corners=False)[0]
