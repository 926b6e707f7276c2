"""The parts of a face as a posed head shows them: `FaceRegion` of every pixel that the mesh covers.

Brows, nose, lips and the face are outlines of landmarks on the template, looked up at the template point
that a pixel shows: they follow the mesh through every pose and expression and are as sharp as the picture,
whatever the mesh's triangles are. Eyes, mouth, ears and neck are parts of the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ..geom.codes import facing
from ..geom.errors import ModelFileError, ShapeError
from ..geom.face_regions import FaceRegion
from ..geom.rasterizer import interpolate, rasterize
from .landmarks import (
    FACE_OVAL,
    INNER_LIP_LOOP,
    LEFT_BROW,
    LIPS_INNER_LOWER,
    LIPS_INNER_UPPER,
    LIPS_OUTER_LOWER,
    LIPS_OUTER_UPPER,
    RIGHT_BROW,
)
from .model import HeadModel, landmark_points

NOSE = (8, 193, 122, 196, 236, 198, 209, 49, 64, 98, 97, 2, 326, 327, 294, 279, 429, 420, 456, 419, 351, 417)
"""Outline of the nose from between the brows down the subject's right side, 22 face-mesh points."""

_SIDE = 1024
_CHIN, _JAW_ANGLES, _UNDER = 152, (172, 397), 0.006  # metres below the jaw's line
_INSIDE = ("mouth_interior", "teeth", "gums", "tongue", "gums_and_tongue")
_OUTLINES: tuple[tuple[FaceRegion, tuple[int, ...]], ...] = (
    (FaceRegion.NOSE, NOSE),
    (FaceRegion.LEFT_BROW, RIGHT_BROW[:5] + RIGHT_BROW[:4:-1]),  # the picture's left is the subject's right
    (FaceRegion.RIGHT_BROW, LEFT_BROW[:5] + LEFT_BROW[:4:-1]),
    (FaceRegion.UPPER_LIP, LIPS_OUTER_UPPER + LIPS_INNER_UPPER[::-1]),
    (FaceRegion.LOWER_LIP, LIPS_OUTER_LOWER + LIPS_INNER_LOWER[::-1]),
)


@dataclass(frozen=True)
class FaceParts:
    """What `render_parts` reads, made once a head.

    Attributes:
        head: the head model.
        table: regions seen from the front, by template x and y; 0 where there is none, ``(N, N)``.
        corner, step: template x, y of the table's corner and metres a cell.
        behind: template z behind which nothing is of the face.
        chin: template y of the face's lower end.
        rows: template x, y, z, then 1 on left eye, right eye, mouth, left ear, right ear (the picture's) and
            neck, ``(V, 9)``.
    """

    head: HeadModel
    table: UInt8[np.ndarray, "N N"]
    corner: tuple[float, float]
    step: float
    behind: float
    chin: float
    rows: Float[Tensor, "V 9"]


@dataclass(frozen=True)
class PartMap:
    """What a posed head shows.

    Attributes:
        labels: `FaceRegion` of every pixel; skin is the face and the scalp, ``(H, W)``.
        scalp: where the skin is outside the outline of the face: forehead's upper end, temples, skull. Hair
            may grow there, ``(H, W)``.
    """

    labels: UInt8[np.ndarray, "H W"]
    scalp: Bool[np.ndarray, "H W"]


def face_parts(head: HeadModel) -> FaceParts:
    """Tables of a head.

    Raises:
        ModelFileError: the head has no face-mesh landmarks of brows, nose and lips.
    """
    points = _template_landmarks(head)
    outlines = {region: [points[index] for index in loop] for region, loop in _OUTLINES}
    oval = _face_outline(points)
    low, high = oval[:, :2].min(0) - 0.01, oval[:, :2].max(0) + 0.01
    step = float((high - low).max()) / _SIDE
    table = np.zeros((_SIDE, _SIDE), np.uint8)
    for region, outline in ((FaceRegion.SKIN, oval), *outlines.items()):
        table[_filled((np.asarray(outline)[:, :2] - low) / step, (_SIDE, _SIDE))] = region
    rows = torch.cat([head.template, _part_rows(head, points)], 1)  # (V, 9)
    behind = float(oval[:, 2].min()) - 0.005
    chin = float(oval[oval[:, 1].argmin(), 1])
    return FaceParts(head, table, (float(low[0]), float(low[1])), step, behind, chin, rows)


def render_parts(parts: FaceParts, verts: Float[Tensor, "1 V 3"], size: tuple[int, int]) -> PartMap:
    """The parts that a posed head shows.

    Args:
        parts: of the head.
        verts: posed vertices in pixels, `posed_vertices`; not finite where the frame shows no head.
        size: (H, W) of the picture.

    Raises:
        ShapeError: vertices of another mesh.
    """
    head = parts.head
    if verts.shape != (1, len(head.template), 3):
        raise ShapeError(f"verts: expected (1, {len(head.template)}, 3), got {tuple(verts.shape)}")
    empty = PartMap(np.zeros(size, np.uint8), np.zeros(size, bool))
    if not bool(torch.isfinite(verts).all()):
        return empty
    fragments = rasterize(verts, head.faces, size)
    shown = interpolate(fragments, parts.rows[None].to(verts), head.faces)[0].numpy()  # (9, H, W)
    face = fragments.face[0].numpy()
    covered = face >= 0
    front = covered & facing(verts, head.faces)[0].numpy()[np.maximum(face, 0)]
    place, (eyes, mouth, ears, neck) = shown[:3], (shown[3:5], shown[5], shown[6:8], shown[8])
    of_face = _looked_up(parts, place, front)
    labels = np.where(of_face > 0, of_face, np.where(front, FaceRegion.SKIN, 0)).astype(np.uint8)
    scalp = front & (of_face == 0)
    below = scalp & (neck > 0.5)
    labels[below] = FaceRegion.NECK
    for region, share in (
        (FaceRegion.LEFT_EAR, ears[0]),
        (FaceRegion.RIGHT_EAR, ears[1]),
        (FaceRegion.LEFT_EYE, eyes[0]),
        (FaceRegion.RIGHT_EYE, eyes[1]),
        (FaceRegion.MOUTH_INTERIOR, mouth),
    ):
        labels[covered & (share > 0.5)] = region
    labels[_gap(head, verts, size) & ~front] = FaceRegion.MOUTH_INTERIOR
    return PartMap(labels, scalp & (labels == FaceRegion.SKIN))


def _looked_up(
    parts: FaceParts, place: Float[np.ndarray, "3 H W"], front: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W"]:
    x, y, z = place
    column = ((x - parts.corner[0]) / parts.step).astype(np.int64)
    row = ((y - parts.corner[1]) / parts.step).astype(np.int64)
    inside = front & (z > parts.behind) & (column >= 0) & (column < _SIDE) & (row >= 0) & (row < _SIDE)
    return np.where(inside, parts.table[row.clip(0, _SIDE - 1), column.clip(0, _SIDE - 1)], 0)


def _template_landmarks(head: HeadModel) -> dict[int, Float[np.ndarray, "3"]]:
    """Face-mesh landmarks on the template by number."""
    indices: Sequence[int] = ()
    if "mediapipe" in head.landmarks:
        indices = head.landmarks["mediapipe"].indices.tolist()
    needed = {index for _, loop in _OUTLINES for index in loop}
    absent = sorted(needed - set(indices))
    if absent:
        raise ModelFileError(
            f"face parts: expected face-mesh landmarks of brows, nose and lips on the head {head.model_id}, "
            f"it has no {absent[:5]}; `headwarp convert landmarks` makes them"
        )
    points = landmark_points(head, head.template[None], "mediapipe")[0].numpy()
    return dict(zip(indices, points, strict=True))


def _face_outline(points: dict[int, np.ndarray]) -> Float[np.ndarray, "N 3"]:
    """The oval of the face mesh; where a head has fewer landmarks, their hull, a fifth wider."""
    if all(index in points for index in FACE_OVAL):
        return np.array([points[index] for index in FACE_OVAL])
    from scipy.spatial import ConvexHull

    known = np.array(list(points.values()))
    hull = known[ConvexHull(known[:, :2]).vertices]
    centre = hull.mean(0)
    wider = centre + 1.2 * (hull - centre)
    wider[:, 2] = hull[:, 2].min() - 0.02
    return wider


def _part_rows(head: HeadModel, points: Mapping[int, np.ndarray]) -> Float[Tensor, "V 6"]:
    """1 on each part of the mesh: left and right eye, mouth, left and right ear, neck."""
    template, masks = head.template, head.region_masks
    none = torch.zeros(len(template), dtype=torch.bool)

    def any_of(*names: str) -> Tensor:
        return torch.stack([none, *(masks[name] for name in names if name in masks)]).any(0)

    eyes = [
        (head.weights[:, head.joint_names.index(f"{side}_eye")] > 0.5) | any_of(f"{side}_eye_socket")
        for side in ("right", "left")  # the subject's right is the picture's left
    ]
    ears = any_of("ears", "left_ear", "right_ear")
    neck = any_of("neck", "body", "boundary") | (head.weights[:, head.joint_names.index("root")] > 0.05)
    neck |= _under_jaw(template, points)
    parts = [*eyes, any_of(*_INSIDE), ears & (template[:, 0] < 0), ears & (template[:, 0] >= 0), neck]
    return torch.stack(parts, 1).to(template.dtype)  # (V, 6)


def _under_jaw(template: Float[Tensor, "V 3"], points: Mapping[int, np.ndarray]) -> Bool[Tensor, "V"]:
    """What lies below the line from the chin to the angles of the jaw, and on at their height to the nape:
    heads differ in how far up they call their neck so.
    """
    if not {_CHIN, *_JAW_ANGLES} <= points.keys():
        return torch.zeros(len(template), dtype=torch.bool)
    chin, angle = points[_CHIN], (points[_JAW_ANGLES[0]] + points[_JAW_ANGLES[1]]) / 2
    share = ((template[:, 2] - angle[2]) / (chin[2] - angle[2])).clamp(0, 1)
    return template[:, 1] < angle[1] + share * (chin[1] - angle[1]) - _UNDER


def _gap(head: HeadModel, verts: Float[Tensor, "1 V 3"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The picture of the hole between the lips."""
    indices = head.landmarks["mediapipe"].indices.tolist()
    rows = [indices.index(index) for index in INNER_LIP_LOOP]
    return _filled(landmark_points(head, verts, "mediapipe")[0, rows, :2].numpy(), size)


def _filled(outline: Float[np.ndarray, "N 2"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Cells whose centre lies inside a polygon of x, y."""
    from skimage.draw import polygon2mask

    return polygon2mask(size, outline[:, ::-1] - 0.5)
