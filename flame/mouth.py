"""What is seen between the lips: a sheet of teeth that stays with the skull, and the dark behind it.

A photo shows the teeth in the gap between the lips, a few millimetres behind them. Two strips are added to
the posed mesh. The *teeth* strip spans the gap of the source, hangs from the upper lip and turns rigidly with
the skull, so that teeth keep their shape when the jaw opens and are hidden by the lips when it closes. The
*cavity* strip spans the present gap, further back: where it shows, the source has nothing to show, and
animators paint it dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .landmarks import LIPS_INNER_LOWER, LIPS_INNER_UPPER
from .model import HeadModel, landmark_points
from .params import HeadFit
from .posing import camera_rotation, pixels_per_metre

ROWS = 5
TEETH_DEPTH = 0.004  # metres behind the lips
CAVITY_DEPTH = 0.009


@dataclass(frozen=True)
class Mouth:
    """The two strips of one source.

    Attributes:
        gap: from each upper to its lower inner-lip point in the source, head frame, metres, ``(N, 3)``.
        rows: rows of the landmark embedding of the upper and the lower inner lip, ``(2, N)``.
        faces: triangles of head and strips, ``(F', 3)``.
        cavity: True for vertices that are never seen in the source and are painted dark, ``(V',)``.
    """

    gap: Float[Tensor, "N 3"]
    rows: Int[Tensor, "2 N"]
    faces: Int[Tensor, "G 3"]
    cavity: Bool[Tensor, "W"]


def open_mouth(head: HeadModel, verts: Float[Tensor, "1 V 3"], fit: HeadFit) -> Mouth | None:
    """The mouth of a posed source; None if the head's landmarks do not hold the inner lips.

    Args:
        head: of the fit.
        verts: its posed vertices, in pixels with depth.
        fit: one frame.
    """
    rows = _lip_rows(head)
    if rows is None:
        return None
    upper, lower = landmark_points(head, verts, "mediapipe")[0][rows]  # (N, 3) each, pixels
    scale = pixels_per_metre(fit.params, fit.camera)[0]
    gap = (lower - upper) @ camera_rotation(fit.params)[0] / scale  # rows: R^T d
    count = verts.shape[1]
    strip = ROWS * rows.shape[1]
    faces = torch.cat(
        [
            _without_teeth(head),
            count + _strip_faces(rows.shape[1]),
            count + strip + _strip_faces(rows.shape[1]),
        ]
    )
    inside = head.region_masks.get("mouth_interior", torch.zeros(count, dtype=torch.bool))
    cavity = torch.cat([inside, torch.zeros(strip, dtype=torch.bool), torch.ones(strip, dtype=torch.bool)])
    return Mouth(gap, rows, faces, cavity)


def strip_vertices(head: HeadModel) -> int:
    """How many vertices `with_mouth` appends: teeth, then cavity, each row after row; 0 without a mouth."""
    rows = _lip_rows(head)
    return 0 if rows is None else 2 * ROWS * rows.shape[1]


def _without_teeth(head: HeadModel) -> Int[Tensor, "F 3"]:
    """The head's triangles but those of teeth and gums of its own: they would stand before the strip, and the
    photo's teeth do not lie on them.
    """
    own = torch.zeros(len(head.template), dtype=torch.bool)
    for name in ("teeth", "gums"):
        own |= head.region_masks.get(name, own)
    return head.faces[~own[head.faces].all(1)]


def with_mouth(
    head: HeadModel, mouth: Mouth | None, verts: Float[Tensor, "T V 3"], fit: HeadFit
) -> Float[Tensor, "T W 3"]:
    """Posed vertices with the two strips behind the lips; unchanged without a mouth.

    Args:
        head: of the fit.
        mouth: of the source, from `open_mouth`.
        verts: posed vertices of T frames, in pixels with depth.
        fit: these T frames.
    """
    if mouth is None:
        return verts
    points = landmark_points(head, verts, "mediapipe")[:, mouth.rows]  # (T, 2, N, 3)
    upper, lower = points[:, 0], points[:, 1]
    scale = pixels_per_metre(fit.params, fit.camera)[:, None, None]
    hanging = scale * (mouth.gap @ camera_rotation(fit.params).mT)  # (T, N, 3)
    teeth = _strip(upper, upper + hanging, scale * TEETH_DEPTH)
    cavity = _strip(upper, lower, scale * CAVITY_DEPTH)
    return torch.cat([verts, teeth, cavity], dim=1)


def _strip(top: Tensor, bottom: Tensor, depth: Tensor) -> Tensor:
    share = torch.linspace(0, 1, ROWS, dtype=top.dtype, device=top.device)[None, :, None, None]
    grid = top[:, None] * (1 - share) + bottom[:, None] * share  # (T, ROWS, N, 3)
    behind = torch.zeros_like(grid)
    behind[..., 2] = depth
    return (grid + behind).flatten(1, 2)


def _strip_faces(columns: int) -> Int[Tensor, "F 3"]:
    index = torch.arange(ROWS * columns).reshape(ROWS, columns)
    a, b = index[:-1, :-1].flatten(), index[:-1, 1:].flatten()
    c, d = index[1:, 1:].flatten(), index[1:, :-1].flatten()
    return torch.cat([torch.stack([a, d, c], 1), torch.stack([a, c, b], 1)])


def _lip_rows(head: HeadModel) -> Int[Tensor, "2 N"] | None:
    if "mediapipe" not in head.landmarks:
        return None
    order = {index: row for row, index in enumerate(head.landmarks["mediapipe"].indices.tolist())}
    lips = (LIPS_INNER_UPPER, LIPS_INNER_LOWER)
    if not all(index in order for lip in lips for index in lip):
        return None
    return torch.tensor([[order[index] for index in lip] for lip in lips])
