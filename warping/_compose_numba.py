"""CPU kernel of `posed_layers.compose`: layers warped, faded and laid over each other in one pass.

A row's places and weights are computed once for all seven channels; no map of the frame is written but the
result. See `geom._kernels`.
"""

from __future__ import annotations

import numba
import numpy as np
from torch import Tensor

from ..geom._kernels import band_count, band_rows, compiled, compiled_parallel, run

_HALF, _ONE, _ZERO, _ASIDE = np.float32(0.5), np.float32(1), np.float32(0), np.float32(2)


@compiled
def _row_places(flow, y, line, reach, places, weights, inside, still):
    """Places and weights of the four pixels that each pixel of a row is made of, as in `geom.flow.warp`; how
    far it lies inside the frame (`layers.inside_frame`); how far it rests.
    """
    height, width = flow.shape[1], flow.shape[2]
    right, bottom, real_width = np.float32(width - 1), np.float32(height - 1), np.float32(width)
    for x in range(width):
        along, down = flow[0, y, x], flow[1, y, x]
        at_x, at_y = np.float32(x) + along, np.float32(y) + down
        aside = min(at_x + _HALF, real_width - (at_x + _HALF)) if at_y + _HALF < line else _ASIDE
        inside[x] = min(max(min(at_y + _HALF, aside) + _ONE, _ZERO), _ONE)
        still[x] = -(along * along + down * down) / (reach * reach)
        at_x = min(at_x, right) if at_x > _ZERO else _ZERO  # NaN shows some pixel
        at_y = min(at_y, bottom) if at_y > _ZERO else _ZERO
        first_x, first_y = np.uint32(at_x), np.uint32(at_y)
        share_x, share_y = at_x - np.float32(first_x), at_y - np.float32(first_y)
        beside, below = np.uint32(at_x < right), np.uint32(width) * np.uint32(at_y < bottom)
        place = first_y * np.uint32(width) + first_x
        places[0, x], places[1, x] = place, place + beside
        places[2, x], places[3, x] = place + below, place + below + beside
        weights[0, x], weights[1, x] = (_ONE - share_x) * (_ONE - share_y), share_x * (_ONE - share_y)
        weights[2, x], weights[3, x] = (_ONE - share_x) * share_y, share_x * share_y
    for x in range(width):
        still[x] = np.exp(still[x])


@compiled
def _row_of(plane, places, weights, out):
    """A row of a plane, warped."""
    for x in range(out.shape[0]):
        out[x] = (
            weights[0, x] * plane[places[0, x]]
            + weights[1, x] * plane[places[1, x]]
            + weights[2, x] * plane[places[2, x]]
            + weights[3, x] * plane[places[3, x]]
        )


@compiled
def _compose_rows(rows, source, target, shades, made):
    """Rows of one picture.

    ``source`` is matte (1, H W), colours and residual (3, H W); ``target`` flow, background, person, hollow
    and the change of the matte, each (C, H, W); ``shades`` the mouth's dark (3,), reach and torso line;
    ``made`` image, matte and colours, each (C, H, W).
    """
    source_matte, source_colours, source_residual = source
    flow, background, person, hollow, change = target
    dark, reach, line = shades
    image, matte, colours = made
    width = flow.shape[2]
    places, weights = np.empty((4, width), np.uint32), np.empty((4, width), np.float32)
    inside, still = np.empty(width, np.float32), np.empty(width, np.float32)
    residual = np.empty(width, np.float32)
    for y in range(rows[0], rows[1]):
        _row_places(flow, y, line, reach, places, weights, inside, still)
        opacity = matte[0, y]
        _row_of(source_matte[0], places, weights, opacity)
        for x in range(width):
            shown = max(opacity[x] * inside[x], person[0, y, x])
            opacity[x] = min(max(shown + change[0, y, x], _ZERO), _ONE)
        for c in range(3):
            colour, row = colours[c, y], image[c, y]
            _row_of(source_colours[c], places, weights, colour)
            _row_of(source_residual[c], places, weights, residual)
            for x in range(width):
                value = opacity[x] * colour[x] + (_ONE - opacity[x]) * background[c, y, x]
                value += residual[x] * still[x]
                row[x] = value + hollow[0, y, x] * (dark[c] - value)


@compiled
def _of(maps, picture):
    """A picture's own part, or that of all of them."""
    return maps[min(picture, maps.shape[0] - 1)]


@compiled_parallel
def _compose_bands(bands, source, target, shades, made):
    for job in numba.prange(bands * target[0].shape[0]):
        b, _, rows = band_rows(job, bands, target[0].shape[2])
        _compose_rows(
            rows,
            (_of(source[0], b), _of(source[1], b), _of(source[2], b)),
            (_of(target[0], b), _of(target[1], b), _of(target[2], b), _of(target[3], b), _of(target[4], b)),
            (_of(shades[0], b), _of(shades[1], b)[0], _of(shades[2], b)[0]),
            (made[0][b], made[1][b], made[2][b]),
        )


def compose(
    source: tuple[Tensor, Tensor, Tensor],
    target: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    shades: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, matte and colours of `posed_layers.compose`; float32 on the CPU.

    Args:
        source: matte, colours, residual, ``(#B, C, H, W)``.
        target: flow, whose batch is the result's, background, person, hollow, change of the matte.
        shades: dark ``(#B, 3, 1, 1)``, reach and torso line ``(#B, 1, 1, 1)``.
    """
    flow = target[0]
    batch, _, height, width = flow.shape
    made = tuple(flow.new_empty(batch, channels, height, width) for channels in (3, 1, 3))
    run(
        _compose_bands,
        band_count(batch),
        tuple(each.detach().contiguous().flatten(2).numpy() for each in source),
        tuple(each.detach().contiguous().numpy() for each in target),
        tuple(each.detach().flatten(1).contiguous().numpy() for each in shades),
        tuple(each.numpy() for each in made),
    )
    return made[0], made[1], made[2]
