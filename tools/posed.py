"""Fits posed and compared, without pictures: `pose`, `displacement` and `codes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..flame.model import HeadModel
from ..flame.mouth import strip_vertices
from ..flame.params import HeadFit, Pose
from ..flame.posing import apply_pose, posed_vertices
from ..flame.residual import corrected, field_of
from ..geom.codes import NeuralCodes, TexelCodes, VertexCodes, vertex_codes
from ..geom.displacement import geometric_displacement
from ..geom.errors import ShapeError
from ..geom.guidance import Driving, Guidance, Source
from ..geom.sources.codes import CodesSource
from .heads import ready_head


def pose(fit: HeadFit, how: Pose | Sequence[Pose], *, head: str | Path | HeadModel | None = None) -> HeadFit:
    """A one-frame fit moved as a person says; one output frame per pose.

    Args:
        fit: of one frame; ``fit.select([t])`` chooses one of a clip.
        how: a pose or several; see `Pose`.
        head: the head the fit was made with: ``"builtin"``, a file, a loaded model; None: ``$HEADWARP_HEAD``,
            else the built-in.

    Returns:
        A frame a pose, in the same picture.

    Raises:
        HeadwarpError: an unknown named expression, a fit of several frames, or of another head.

    Example:
        >>> import torch
        >>> from headwarp import Pose, load_head, pose
        >>> from headwarp.flame.fitting import fit_landmarks
        >>> from headwarp.flame.model import landmark_points
        >>> from headwarp.flame.posing import head_pose
        >>> head = load_head("builtin")
        >>> points = landmark_points(head, head.template[None], "mediapipe")[..., :2]
        >>> fit = fit_landmarks(head, 128 + 900 * points * torch.tensor([1.0, -1.0]), (256, 256))
        >>> turned = pose(fit, [Pose(yaw=20), Pose(pitch=-10)], head=head)
        >>> head_pose(turned.params)[:, :2].round().int().tolist()  # yaw and pitch in degrees
        [[20, 0], [0, -10]]
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
    model = ready_head(head)
    pair = _posed_pair(model, source, driving, size, by="displacement")
    with torch.no_grad():
        return geometric_displacement(*pair.verts, model.faces, size=pair.size, mask=mask)


def codes(
    source: HeadFit,
    driving: HeadFit,
    size: int | None = None,
    *,
    head: str | Path | HeadModel | None = None,
    mask: Tensor | None = None,
    checkpoint: str | Path | None = None,
) -> Guidance:
    """Neural codes of the head as the source and as the driving frames show it, beside the displacement.

    Equal codes mark equal places of the surface: the guidance of [PWM]. See `geom.codes` and, for the other
    fields, `displacement`.

    Args:
        source: one frame.
        driving: T frames of the same size and head.
        size: longer side of the result in pixels; None: the frames' own size.
        head: as in `pose`.
        mask: person probability in the source, ``(1, 1, H, W)`` at the result's size.
        checkpoint: a network's file, for the codes it learned; None: 16 fixed numbers in [0, 1) a vertex.

    Returns:
        Guidance of batch T with ``codes`` and ``source_codes``, 0 where the head is not.

    Raises:
        ShapeError: frames of different sizes, a source of several frames, or codes of another head.
        ModelFileError: a fit of another head, or a checkpoint without codes.
    """
    model = ready_head(head)
    learned = None if checkpoint is None else learned_codes(checkpoint, model)
    pair = _posed_pair(model, source, driving, size, by="codes")
    verts, posed = pair.verts
    way = CodesSource(codes=learned)
    with torch.no_grad():
        canvas = verts.new_zeros(1, 3, *pair.size)
        state = way.prepare(Source(image=canvas, mask=mask, posed_vertices=verts, faces=model.faces))
        return way.guide(state, Driving(posed_vertices=posed))


def learned_codes(checkpoint: str | Path, model: HeadModel) -> NeuralCodes:
    """The codes that a network learned, for the mesh of a head; those of a mouth's strips are left out.

    Raises:
        ModelFileError: no checkpoint of ours, or not one set of codes in it.
        ShapeError: codes of another head.
    """
    from ..warping.stored_codes import load_codes

    learned, count = load_codes(checkpoint), len(model.template)
    if isinstance(learned, TexelCodes):
        matched = learned.faces.shape == model.faces.shape and torch.equal(learned.faces, model.faces.cpu())
        of_what = f"{len(learned.faces)} triangles"
    else:
        rows = len(learned.table)
        matched = rows in (count, count + strip_vertices(model))
        of_what = f"{rows} vertices"
    if not matched:
        raise ShapeError(
            f"{checkpoint}: expected codes of head {model.model_id} with {count} vertices and "
            f"{len(model.faces)} triangles, got codes of {of_what}; name the head they were learned on"
        )
    return vertex_codes(learned.table[:count]) if isinstance(learned, VertexCodes) else learned


@dataclass(frozen=True)
class _PosedPair:
    """Source and driving vertices in pixels of a frame of ``size`` (H, W)."""

    verts: tuple[Tensor, Tensor]
    size: tuple[int, int]


def _posed_pair(
    model: HeadModel, source: HeadFit, driving: HeadFit, size: int | None, *, by: str
) -> _PosedPair:
    if source.frames != 1 or source.size != driving.size:
        raise ShapeError(
            f"{by}: expected a source of one frame and equal sizes, got {source.frames} frame(s), "
            f"{source.size} and {driving.size}; use select, or flame.posing.window_fit"
        )
    field = field_of(model, source)
    scale = 1.0 if size is None else size / max(source.size)
    height, width = (max(1, round(side * scale)) for side in source.size)
    with torch.no_grad():
        first, second = (
            corrected(posed_vertices(model, fit), fit, field) * scale for fit in (source, driving)
        )
    return _PosedPair((first, second), (height, width))
