"""Frames of large clips, converted to RGB only where somebody looks."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._decode import oriented, to_rgb
from ._probe import ClipLayout

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import Colorspace

_MARGIN = 8  # pixels around a part: the reach of the filter that enlarges the colours
_MOST_SHARE = 0.5  # of the frame: a larger part costs as much as all of it
Box = tuple[int, int, int, int]


class PartialFrame:
    """A decoded frame: ``frame[top:bottom, left:right]`` is that part of the whole converted frame, (h, w, 3)
    uint8 RGB, bit for bit, for a fraction of the time.

    Args:
        frame: as decoded, with colours subsampled by 1 or 2 (see `can_be_cut`).
        layout: how it is displayed.
        matrix: colour matrix of a frame that names none.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, frame: VideoFrame, layout: ClipLayout, matrix: Colorspace) -> None:
        self._frame, self._layout, self._matrix = frame, layout, matrix
        self._whole: NDArray[np.uint8] | None = None
        self.shape = (layout.displayed[1], layout.displayed[0], 3)

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Rows and columns, slices with step 1."""
        height, width = self.shape[:2]
        top, bottom, row_step = part[0].indices(height)
        left, right, column_step = part[1].indices(width)
        if (row_step, column_step) != (1, 1):
            raise IndexError(f"frame: expected slices with step 1, got {row_step} and {column_step}")
        area = max(bottom - top, 0) * max(right - left, 0)
        if self._whole is not None or area == 0 or area > _MOST_SHARE * height * width:
            return np.asarray(self)[top:bottom, left:right]
        return oriented(self._converted(self._stored((top, bottom, left, right))), self._layout)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The whole frame (H, W, 3), converted once."""
        if self._whole is None:
            width, height = self._layout.crop
            rgb = to_rgb(self._frame, self._layout.size, self._matrix)[:height, :width]
            self._whole = oriented(rgb, self._layout)
        whole = self._whole if dtype is None else self._whole.astype(dtype, copy=False)
        return whole.copy() if copy else whole

    def sampled(self, step: int) -> NDArray[np.uint8]:
        """About every ``step``-th pixel of every ``step``-th row, without a look at the others."""
        from av.video.reformatter import Interpolation

        size = {name: max(1, getattr(self._frame, name) // step) for name in ("width", "height")}
        small = self._frame.to_ndarray(format="rgb24", interpolation=Interpolation.POINT, **size)
        return oriented(small, self._layout)

    def _stored(self, box: Box) -> Box:
        """Where a box (top, bottom, left, right) of the displayed frame lies in the stored one."""
        top, bottom, left, right = box
        height, width = self.shape[:2]
        if self._layout.flip_columns:
            left, right = width - right, width - left
        if self._layout.flip_rows:
            top, bottom = height - bottom, height - top
        return (left, right, top, bottom) if self._layout.swap else (top, bottom, left, right)

    def _converted(self, box: Box) -> NDArray[np.uint8]:
        """RGB of a part of the stored frame: cut out with a margin, so that its borders have neighbours."""
        top, bottom, left, right = box
        first_row, first_column = (max(0, (edge - _MARGIN) // 2 * 2) for edge in (top, left))
        last_row = min(self._frame.height, (bottom + _MARGIN + 1) // 2 * 2)
        last_column = min(self._frame.width, (right + _MARGIN + 1) // 2 * 2)
        part = _cut(self._frame, (first_row, last_row, first_column, last_column))
        rgb = to_rgb(part, (part.width, part.height), self._matrix)
        return rgb[top - first_row : bottom - first_row, left - first_column : right - first_column]


def can_be_cut(frame: VideoFrame, layout: ClipLayout) -> bool:
    """Whether parts of such a frame convert as the whole does: even sizes, plain planes, no scaling."""
    form = frame.format
    even = frame.width % 2 == 0 and frame.height % 2 == 0 and layout.size == (frame.width, frame.height)
    plain = form.is_planar and not (form.is_rgb or form.has_palette or form.is_bit_stream)
    return even and plain and form.chroma_width(8) >= 4 and form.chroma_height(8) >= 4


def _cut(frame: VideoFrame, box: Box) -> VideoFrame:
    """A part of a frame, no pixel copied; unlike a new frame it keeps where the colour samples lie."""
    from av.filter import Graph

    top, bottom, left, right = box
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    crop = graph.add("crop", f"{right - left}:{bottom - top}:{left}:{top}:exact=1")
    sink = graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    source.push(frame)
    return sink.pull()
