"""One driving frame as it is seen in a video of an evaluation: who drives, what each animator made of it,
where that is wrong and by how much, so far.

Everything here is a function of one `Moment` and the errors before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from ...training.data.lettering import Colour, write_words
from ...training.data.portrait import Frame
from ..depth_pictures import heat_colours
from ..film import (
    BAD,
    COLOURS,
    INK,
    LETTERS,
    PAPER,
    SOFT,
    curve_points,
    draw_axis,
    paste_within,
    round_above,
    within,
)
from .trials import Moment

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

ACROSS = 6  # animators beside each other; more stand in further lines
WIDEST = 1920  # pixels of a frame
LARGEST, SMALLEST = 320, 176  # pixels of a tile's longer side; labels need some
FULL = 0.25  # error in the brightest colour
STRIP, HEADER = 20, 26  # pixels of a label's line, of the first line
_GAP = 4


@dataclass(frozen=True)
class Layout:
    """Where things stand in a frame.

    Attributes:
        tile: (H, W) of a picture.
        across: animators in a line.
        animators: their names, in order.
        errors: whether there is a true frame, and so maps of error.
    """

    tile: tuple[int, int]
    across: int
    animators: tuple[str, ...]
    errors: bool

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a frame, even."""
        lines = math.ceil(len(self.animators) / self.across)
        height = HEADER + lines * self.line
        width = (2 + self.across) * (self.tile[1] + _GAP)
        return height + height % 2, width + width % 2

    @property
    def line(self) -> int:
        """Height of a line of animators."""
        return (STRIP + self.tile[0] + _GAP) * (1 + self.errors)

    def corner(self, column: int, line: int, row: int) -> tuple[int, int]:
        """Left and top of a tile under its label; row 0 holds pictures, row 1 errors.

        Args:
            column: of the tile.
            line: of tiles.
            row: 0 pictures, 1 errors.
        """
        left = column * (self.tile[1] + _GAP) + _GAP // 2
        return left, HEADER + line * self.line + row * (STRIP + self.tile[0] + _GAP) + STRIP


def layout_of(size: tuple[int, int], animators: Sequence[str], *, errors: bool) -> Layout:
    """A layout for pictures of a size: tiles of their shape, small enough for `WIDEST`, large enough for
    labels.

    Args:
        size: (H, W) of the source.
        animators: their names, at least one.
        errors: whether there is a true frame.

    Example:
        >>> layout_of((1080, 1920), ["copy", "geometry"], errors=True).size
        (434, 1296)
    """
    across = min(len(animators), ACROSS)
    room = WIDEST // (2 + across) - _GAP
    longest = min(LARGEST, max(SMALLEST, *size))
    scale = longest / max(size)
    scale = min(scale, room / size[1])
    tile = tuple(max(16, round(extent * scale)) for extent in size)
    return Layout((tile[0], max(tile[1], SMALLEST // 2)), across, tuple(animators), errors)


def side_by_side(
    layout: Layout,
    moment: Moment,
    *,
    title: str,
    second: float | None,
    lines: Mapping[str, Float[ndarray, " T"]],
) -> Frame:
    """The frame of a moment.

    Args:
        layout: of the video.
        moment: what was made.
        title: of the clip.
        second: when the driving frame is due in its clip; None where that is not known.
        lines: by animator l1 of every frame of the video, NaN of those to come; of trials without truth
            nothing is read.

    Returns:
        uint8 (H, W, 3).
    """
    from PIL import Image, ImageDraw

    height, width = layout.size
    frame = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(frame)
    when = f"frame {moment.time}" + ("" if second is None else f"   {second:.2f} s")
    scale = f"error: mean absolute difference of RGB in 0..1; black 0, light {FULL:g} and more"
    right = 18 + write_words(draw, (6, 5), title, width=width * 0.4, size=15, colour=INK)
    right += 24 + write_words(draw, (right, 5), when, width=width - right, size=15, colour=INK)
    if layout.errors and width - right > 120:
        write_words(draw, (right, 7), scale, width=width - right - 6, size=LETTERS, colour=SOFT)
    _tile(frame, draw, layout, (0, 0, 0), moment.source, "source", INK)
    truth = "driver, the true frame" if layout.errors else "driver"
    _tile(frame, draw, layout, (1, 0, 0), moment.driver, truth, INK)
    for number, name in enumerate(layout.animators):
        made = moment.made[name]
        line, column = divmod(number, layout.across)
        colour = COLOURS[number % len(COLOURS)]
        words = name if made.face is not False else f"{name}: no face found"
        place = (column + 2, line, 0)
        _tile(frame, draw, layout, place, made.picture, words, colour if made.face is not False else BAD)
        error = made.error
        if error is not None:
            known = lines[name][np.isfinite(lines[name])]
            words = f"error {known[-1]:.4f}, mean {known.mean():.4f}"
            map_of = heat(error, within(error.shape, layout.tile))
            _tile(frame, draw, layout, (column + 2, line, 1), map_of, words, colour)
    if layout.errors:
        _running(draw, layout, lines)
    return np.asarray(frame)


def heat(error: Float[ndarray, "H W"], size: tuple[int, int]) -> Frame:
    """Errors as colours, black for none, light for `FULL` and more.

    Args:
        error: in [0, 1].
        size: (H, W) of the picture; where it is smaller, its pixels are means.
    """
    from PIL import Image

    kind = Image.Resampling.BOX if size[0] < error.shape[0] else Image.Resampling.BICUBIC
    small = Image.fromarray(error.astype(np.float32)).resize(size[::-1], kind)
    colours = heat_colours(torch.from_numpy(np.array(small)) / FULL)
    return (colours * 255).round().to(torch.uint8).numpy()


def _tile(
    frame: Image,
    draw: ImageDraw,
    layout: Layout,
    place: tuple[int, int, int],
    picture: Frame,
    words: str,
    colour: Colour,
) -> None:
    """A picture in its tile, all of it and in its own shape, under its label."""
    left, top = layout.corner(*place)
    room = (left + 2, top - STRIP + 3)
    write_words(draw, room, words, width=layout.tile[1] - 4, size=LETTERS, colour=colour)
    paste_within(frame, picture, (left, top), layout.tile)


def _running(draw: ImageDraw, layout: Layout, lines: Mapping[str, Float[ndarray, " T"]]) -> None:
    """The errors so far as curves over all frames to come, under source and driver."""
    left, top = layout.corner(0, 0, 1)
    height, width = layout.tile[0], 2 * layout.tile[1] + _GAP
    write_words(
        draw, (left + 2, top - STRIP + 3), "error (l1) over frames", width=width, size=LETTERS, colour=SOFT
    )
    largest = max((float(np.nanmax(v)) for v in lines.values() if np.isfinite(v).any()), default=0.0)
    high = round_above(largest)
    box = draw_axis(draw, (left, top, left + width, top + height), high)
    for number, name in enumerate(layout.animators):
        points = curve_points(lines[name], box, high)
        colour = COLOURS[number % len(COLOURS)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for x, y in points[-1:]:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
