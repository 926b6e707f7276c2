"""Words inside pictures: one typeface everywhere, cut to the room that they have."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["plain_letters", "typeface", "write_words"]

Colour = tuple[int, int, int]


@lru_cache(maxsize=16)
def typeface(size: int) -> Any:
    """Pillow's own typeface; where its build has no FreeType, its one bitmap font.

    Args:
        size: pixels.
    """
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):
        return ImageFont.load_default()


def plain_letters(text: str) -> str:
    """The text in the letters that the typeface has: accents go, what is left is a question mark.

    Example:
        >>> plain_letters("Zo\u00eb 1.mp4"), plain_letters("\u65e5")
        ('Zoe 1.mp4', '?')
    """
    apart = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in bare)


def write_words(
    draw: ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    width: float,
    size: int = 13,
    colour: Colour = (20, 20, 20),
) -> float:
    """Write a line no wider than its room; of a longer one the middle is left out.

    Args:
        draw: of the picture.
        place: left and top, pixels.
        text: any; see `plain_letters`.
        width: of the room, pixels.
        size: of the letters, pixels.
        colour: RGB.

    Returns:
        How wide it is.
    """
    font = typeface(size)
    words = _within(draw, plain_letters(text), width, font)
    draw.text(place, words, fill=colour, font=font)
    return float(draw.textlength(words, font=font))


def _within(draw: ImageDraw, text: str, width: float, font: Any) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    for kept in range(min(len(text), 200) - 1, 0, -1):  # names of files may have thousands
        words = f"{text[: (kept + 1) // 2]}..{text[len(text) - kept // 2 :]}"
        if draw.textlength(words, font=font) <= width:
            return words
    return ""
