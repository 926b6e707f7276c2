"""Contact sheets: rows of pictures under a header, written as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import ShapeError
from .lettering import write_words

Frame = NDArray[np.uint8]
_GREY = (90, 90, 90)
HEADER = 20  # pixels of the titles, and of the name over a row
LETTERS = 13


def contact_sheet(
    rows: Sequence[Sequence[Frame]],
    titles: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    tile: int = 192,
) -> Frame:
    """Tiles of one size in rows, each column under its title; pictures keep their aspect on grey.

    Args:
        rows: pictures ``(H, W, 3)`` uint8 RGB; those larger than a tile are made smaller, none larger.
        titles: one a column.
        names: of the rows, each in a line over its row; None for no such lines.
        tile: side of a tile in pixels.

    Returns:
        ``(20 + tile rows, tile columns, 3)``, 20 more a row with names.

    Raises:
        ShapeError: no row, not a name for each, or something that is not a picture.
    """
    from PIL import Image, ImageDraw

    if not rows:
        raise ShapeError("contact_sheet: expected at least one row of pictures, got none")
    if names is not None and len(names) != len(rows):
        raise ShapeError(f"contact_sheet: expected a name for each of {len(rows)} rows, got {len(names)}")
    for picture in (p for row in rows for p in row):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ShapeError(
                f"contact_sheet: expected uint8 (H, W, 3) pictures, got {picture.dtype} {picture.shape}"
            )
    width = max(len(titles), max(len(row) for row in rows)) * tile
    band = 0 if names is None else HEADER
    sheet = Image.new("RGB", (width, HEADER + len(rows) * (band + tile)), (245, 245, 245))
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        write_words(draw, (column * tile + 4, 3), title, width=tile - 6, size=LETTERS)
    for y, row in enumerate(rows):
        top = HEADER + y * (band + tile) + band
        if names is not None:
            write_words(draw, (4, top - band + 3), names[y], width=width - 8, size=LETTERS, colour=_GREY)
        for x, picture in enumerate(row):
            image = Image.fromarray(picture)
            image.thumbnail((tile, tile), Image.Resampling.LANCZOS)
            place = (x * tile + (tile - image.width) // 2, top + (tile - image.height) // 2)
            sheet.paste(image, place)
    return np.asarray(sheet)


def write_sheet(
    path: Path,
    rows: Sequence[Sequence[Frame]],
    titles: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    tile: int = 192,
) -> Path:
    """Draw a `contact_sheet` and write it as PNG; returns the path.

    Args:
        path: of the PNG.
        rows, titles, names, tile: as for `contact_sheet`.
    """
    from .media import write_image

    write_image(path, contact_sheet(rows, titles, names=names, tile=tile), provenance=None)
    return path
