"""A visible mark in a picture: that a person in it was changed by software, for whoever looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .lettering import typeface

MARK = "AI-altered: headwarp"
_SHARE = 0.035  # of the picture's shorter side: height of the letters
_LEAST = 9


def marked(frame: NDArray[np.uint8], text: str = MARK) -> NDArray[np.uint8]:
    """The frame with a line of light letters on a dark bar in its lower left corner.

    Args:
        frame: uint8 (H, W, 3); it is not changed.
        text: what the bar says.

    Returns:
        A new frame; outside the bar its bits are the frame's.
    """
    bar = _bar(frame.shape[0], frame.shape[1], text)
    result = frame.copy()
    height, width = bar.shape[:2]
    part = result[frame.shape[0] - height :, :width]
    part[:] = (0.25 * part + 0.75 * bar).round().astype(np.uint8)
    return result


def marked_frames(
    frames: Iterable[NDArray[np.uint8]], mark: bool, text: str = MARK
) -> Iterator[NDArray[np.uint8]]:
    """The same frames, with a mark where one is asked for.

    Args:
        frames: RGB.
        mark: whether one is asked for.
        text: what it says.
    """
    return (marked(frame, text) if mark else frame for frame in frames)


@lru_cache(maxsize=4)
def _bar(height: int, width: int, text: str) -> NDArray[np.float32]:
    """The bar for frames of one size, (h, w, 3), cut off where the frame is smaller."""
    from PIL import Image, ImageDraw

    size = max(_LEAST, round(_SHARE * min(height, width)))
    font = typeface(size)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, size // 3)
    extent = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
    picture = Image.new("RGB", extent, (16, 16, 16))
    ImageDraw.Draw(picture).text((pad - left, pad - top), text, fill=(245, 245, 245), font=font)
    return np.asarray(picture, np.float32)[:height, :width]
