"""Contact sheets: rows of pictures under a header, written as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...geom.errors import ShapeError

Frame = NDArray[np.uint8]
HEADER = 18


def contact_sheet(rows: Sequence[Sequence[Frame]], titles: Sequence[str], *, tile: int = 192) -> Frame:
    """Tiles of one size in rows, each column under its title; pictures keep their aspect on grey.

    Args:
        rows: pictures ``(H, W, 3)`` uint8 RGB; those larger than a tile are made smaller, none larger.
        titles: one a column.
        tile: side of a tile in pixels.

    Returns:
        ``(18 + tile rows, tile columns, 3)``.

    Raises:
        ShapeError: no row, or something that is not a picture.
    """
    from PIL import Image, ImageDraw

    if not rows:
        raise ShapeError("contact_sheet: expected at least one row of pictures, got none")
    for picture in (p for row in rows for p in row):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ShapeError(
                f"contact_sheet: expected uint8 (H, W, 3) pictures, got {picture.dtype} {picture.shape}"
            )
    width = max(len(titles), max(len(row) for row in rows)) * tile
    sheet = Image.new("RGB", (width, HEADER + len(rows) * tile), (245, 245, 245))
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((column * tile + 4, 3), title, fill=(20, 20, 20))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            image = Image.fromarray(picture)
            image.thumbnail((tile, tile), Image.Resampling.LANCZOS)
            place = (x * tile + (tile - image.width) // 2, HEADER + y * tile + (tile - image.height) // 2)
            sheet.paste(image, place)
    return np.asarray(sheet)


def write_sheet(
    path: Path, rows: Sequence[Sequence[Frame]], titles: Sequence[str], *, tile: int = 192
) -> Path:
    """Draw a `contact_sheet` and write it as PNG; returns the path."""
    from .media import write_image

    write_image(path, contact_sheet(rows, titles, tile=tile), provenance=None)
    return path
