"""Attention as pictures ([DaGAN] Fig. 10 and 12): a red cross asks, bright places answer.

A row of the attention map of a keypoint network says, for one place of the picture that is made, which places
of the warped source it is refined from. Networks stand under each other: one that asks by depth, one that
asks by the features themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..training.data.portrait import to_frame
from ..training.data.sheets import Frame, contact_sheet
from ..warping.keypoint_network import KeypointNetwork
from .depth_pictures import disparity_colours, heat_colours
from .draw import Picture

FACE_POINTS = ((-0.26, -0.1), (0.26, -0.1), (0.0, 0.12), (0.0, 0.38))
"""Eyes, nose and mouth of a face that fills a crop as ``headwarp prepare`` cuts it, x and y in [-1, 1]."""
RED = (235, 30, 30)
_TILE = 128  # pixels at least: room for the titles


def attention_picture(picture: Float[Tensor, "1 3 H W"], weights: Float[Tensor, "h w"]) -> Picture:
    """A row of the map over a dimmed picture; its largest weight is brightest.

    Args:
        picture: what is made, RGB in [0, 1].
        weights: not negative; of any size.
    """
    weights = weights / weights.max().clamp_min(1e-12)
    whole = F.interpolate(weights[None, None], picture.shape[2:], mode="bicubic", align_corners=False)
    heat = whole[0, 0].clamp(0, 1)
    dimmed = picture[0] * 0.5
    return dimmed + heat * (heat_colours(heat).permute(2, 0, 1) - dimmed)  # (3, H, W)


def cross(frame: Frame, point: tuple[float, float], *, colour: tuple[int, int, int] = RED) -> Frame:
    """A copy with a cross at a point, x and y in [-1, 1].

    Args:
        frame: RGB.
        point: x, y; -1 and 1 are the edges.
        colour: RGB.
    """
    from PIL import Image, ImageDraw

    height, width = frame.shape[:2]
    x, y = (point[0] + 1) / 2 * width, (point[1] + 1) / 2 * height
    arm, stroke = max(height, width) / 40, max(1, max(height, width) // 96)
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        draw.line((x - arm, y - side * arm, x + arm, y + side * arm), fill=colour, width=stroke)
    return np.array(image)


@torch.no_grad()
def attention_row(
    network: KeypointNetwork,
    source: Float[Tensor, "1 3 H W"],
    driving: Float[Tensor, "1 3 H W"],
    points: Float[Tensor, "P 2"],
) -> list[Frame]:
    """What a network makes of a pair, and where each point of that looks.

    Args:
        network: with attention.
        source, driving: RGB in [0, 1].
        points: x, y in [-1, 1].

    Raises:
        HeadwarpError: a network without attention.
    """
    features, found = network.encode(source), network.detect(driving)
    made = network.decode(features, found).image
    maps = network.attention_map(features, found, points[None])[0]  # (P, h, w)
    pictures = [to_frame(attention_picture(made, weights)[None]) for weights in maps]
    crossed = [cross(frame, (float(x), float(y))) for frame, (x, y) in zip(pictures, points, strict=True)]
    return [to_frame(made), *crossed]


def attention_sheet(
    networks: Mapping[str, KeypointNetwork],
    source: Float[Tensor, "1 3 H W"],
    driving: Float[Tensor, "1 3 H W"],
    *,
    points: Float[Tensor, "P 2"] | None = None,
) -> Frame:
    """Rows of networks on one pair: source, its depth where the network looks at it, result, queries.

    Args:
        networks: by what stands in the column's title of their results, such as ``depth`` and ``self``.
        source, driving: RGB in [0, 1].
        points: where to ask, x, y in [-1, 1]; `FACE_POINTS` if None.

    Raises:
        HeadwarpError: no network, or one without attention.
    """
    if not networks:
        raise HeadwarpError("attention_sheet: expected at least one network")
    places = source.new_tensor(FACE_POINTS) if points is None else points
    rows = [
        [to_frame(source), _depth(network, source), *attention_row(network, source, driving, places)]
        for network in networks.values()
    ]
    names = " / ".join(networks)
    titles = [
        "source",
        "depth",
        f"result: {names}",
        *(f"query {number + 1}" for number in range(len(places))),
    ]
    return contact_sheet(rows, titles, tile=max(_TILE, *source.shape[2:]))


def _depth(network: KeypointNetwork, source: Tensor) -> Frame:
    """Of the source; a blank where the network has none."""
    if network.depth is None:
        return np.full((*source.shape[2:], 3), 245, np.uint8)
    return to_frame(disparity_colours(network.disparity(source)[0])[None])
