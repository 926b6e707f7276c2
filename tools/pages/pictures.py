"""Small pictures inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from .text import text

Picture = UInt8[ndarray, "H W 3"]
SIDE = 144  # pixels of the longer side
LARGE = 224  # of few pictures
_QUALITY = 76


def made_small(picture: Picture, side: int) -> Picture:
    """A picture whose longer side has ``side`` pixels at most, its own array however small it was."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.array(image)


def jpeg(picture: Picture, *, side: int = SIDE) -> bytes:
    """A picture made small, its longer side ``side`` pixels at most, without a word about its file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(made_small(picture, side)).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def figure(content: bytes, caption: str, *, bad: bool = False) -> str:
    """A JPEG under its caption; its size is told, so that nothing moves while a browser reads on.

    Args:
        content: the JPEG.
        caption: of it.
        bad: mark it.
    """
    from PIL import Image

    shown = base64.b64encode(content).decode()
    width, height = Image.open(io.BytesIO(content)).size
    return (
        f'<figure{" class=bad" if bad else ""}><img alt="{text(caption)}" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{shown}"><figcaption>{text(caption, longest=60)}</figcaption></figure>'
    )


def strip(figures: Iterable[str], *, large: bool = False) -> str:
    """Pictures beside each other, to be moved sideways on a narrow screen."""
    return f'<div class="row{" large" * large}">{"".join(figures)}</div>'
