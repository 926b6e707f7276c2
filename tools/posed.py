"""Fits posed and compared, without pictures: `pose` and `displacement`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.params import HeadFit, Pose
from ..flame.posing import apply_pose, posed_vertices
from ..flame.residual import corrected, field_of
from ..geom.displacement import geometric_displacement
from ..geom.errors import ShapeError
from ..geom.guidance import Guidance
from .heads import ready_head


def pose(fit: HeadFit, how: Pose | Sequence[Pose], *, head: str | Path | HeadModel | None = None) -> HeadFit:
    """A one-frame fit moved as a person says; one output frame per pose.

    Args:
        fit: of one frame; ``fit.select([t])`` chooses one of a clip.
        how: a pose or several; see `Pose`.
        head: the head the fit was made with: ``"builtin"``, a file, a loaded model; None: ``$HEADWARP_HEAD``,
            else the built-in.

    Raises:
        HeadwarpError: an unknown named expression, a fit of several frames, or of another head.
    """
    return apply_pose(ready_head(head), fit, how)


def displacement(
    source: HeadFit,
    driving: HeadFit,
    size: int | None = None,
    *,
    head: str | Path | HeadModel | None = None,
    mask: Tensor | None = None,
) -> Guidance:
    """Where every pixel of the driving frames comes from in the source's, as far as the head's geometry says.

    Covered pixels that the source shows carry their exact backward flow; the rest is filled harmonically
    towards the resting frame border. See `geom.displacement`.

    Args:
        source: one frame.
        driving: T frames of the same size and head.
        size: longer side of the result in pixels, flow in its pixels; None: the frames' own size.
        head: as in `pose`.
        mask: person probability in the source, ``(1, 1, H, W)`` at the result's size.

    Returns:
        Guidance of batch T.

    Raises:
        ShapeError: frames of different sizes, or a source of several frames.
        ModelFileError: a fit of another head.
    """
    if source.frames != 1 or source.size != driving.size:
        raise ShapeError(
            f"displacement: expected a source of one frame and equal sizes, got {source.frames} frame(s), "
            f"{source.size} and {driving.size}; use select, or flame.posing.window_fit"
        )
    model = ready_head(head)
    field = field_of(model, source)
    scale = 1.0 if size is None else size / max(source.size)
    height, width = (max(1, round(side * scale)) for side in source.size)
    with torch.no_grad():
        verts = [corrected(posed_vertices(model, fit), fit, field) * scale for fit in (source, driving)]
        return geometric_displacement(verts[0], verts[1], model.faces, size=(height, width), mask=mask)
