"""Where on a head what is: lips, lids, brows, beard and scalp of any head model, from its landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ....flame._face_paint import HeadParts, brow_strokes, head_parts
from ....flame.landmarks import (
    LEFT_EYE_RIM,
    LIPS_OUTER_LOWER,
    LIPS_OUTER_UPPER,
    MEDIAPIPE_COUNT,
    RIGHT_EYE_RIM,
)
from ....flame.model import HeadModel, landmark_points
from ....geom.errors import ModelFileError

CANTHAL_DISTANCE = 0.0893  # metres between the outer eye corners of an average adult
_OUTER_LIPS = LIPS_OUTER_LOWER + LIPS_OUTER_UPPER[-2:0:-1]
# hairline: degrees from the front, metres above the top of the face oval (first four) or the eye corners
_LINE_FRONT = ((0, 0.004), (25, 0.003), (40, -0.001), (52, -0.013))
_LINE_SIDE = ((64, 0.005), (72, -0.022), (80, -0.020), (86, 0.016), (108, 0.014), (122, -0.03), (180, -0.075))


@dataclass(frozen=True)
class Anatomy:
    """What a head's template tells; lengths in metres, one row a vertex where ``V``.

    Attributes:
        points: the face-mesh points; NaN where the head's landmarks do not hold one.
        scale: size of the face against an adult's.
        parts: which triangles are what.
        brows: centre lines and half widths, see `brow_strokes`.
        lips: how deep inside the outline of the lips, negative outside.
        lids: distance from the rims of the lids.
        beard: how far inside the region of the beard, negative outside.
        scalp: how far above the hairline, negative below.
        skull: middle of the skull.
    """

    points: Float[np.ndarray, "478 3"]
    scale: float
    parts: HeadParts
    brows: tuple[Float[np.ndarray, "5 3"], ...]
    lips: Float[np.ndarray, " V"]
    lids: Float[np.ndarray, " V"]
    beard: Float[np.ndarray, " V"]
    scalp: Float[np.ndarray, " V"]
    skull: Float[np.ndarray, " 3"]

    def point(self, index: int) -> Float[np.ndarray, " 3"]:
        """A face-mesh point by its number."""
        return self.points[index]


def anatomy_of(head: HeadModel) -> Anatomy:
    """The anatomy of a head's template.

    Raises:
        ModelFileError: its landmarks hold too little of the face mesh.
    """
    verts = head.template.detach().cpu().double().numpy()
    points = face_mesh_points(head, head.template[None])[0].double().numpy()
    needed = [*_OUTER_LIPS, *LEFT_EYE_RIM, *RIGHT_EYE_RIM, 10, 152, 2, 234, 454, 168, 1]
    if not np.isfinite(points[needed]).all():
        raise ModelFileError(
            f"head {head.model_id}: synthetic people need the face-mesh points of eyes, lips and face oval; "
            "give a head that has them or an embedding file (`headwarp convert landmarks`)"
        )
    scale = float(np.linalg.norm(points[33] - points[263]) / CANTHAL_DISTANCE)
    skull = np.array([0.0, points[168, 1] + 0.012 * scale, points[234, 2] - 0.012 * scale])
    parts = head_parts(head)
    return Anatomy(
        points=points,
        scale=scale,
        parts=parts,
        brows=brow_strokes(points),
        lips=_inside_lips(verts, points, scale),
        lids=_from_lids(verts, points),
        beard=_beard(verts, points, scale),
        scalp=_above_hairline(verts, points, skull, scale) - _not_scalp(head),
        skull=skull,
    )


def face_mesh_points(head: HeadModel, verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B 478 3"]:
    """The face-mesh points on posed vertices in the detector's order; NaN where the head has none.

    Args:
        head: whose landmarks they are.
        verts: posed vertices of the whole mesh.
    """
    found = landmark_points(head, verts, "mediapipe")
    points = found.new_full((len(verts), MEDIAPIPE_COUNT, 3), float("nan"))
    points[:, head.landmarks["mediapipe"].indices.to(verts.device)] = found
    return points


def skin_vertices(head: HeadModel, parts: HeadParts) -> Bool[np.ndarray, " V"]:
    """Vertices of the outside of the head: of no eyeball, nothing inside the mouth."""
    mask = np.zeros(len(head.template), bool)
    mask[head.faces.cpu().numpy()[parts.skin].ravel()] = True
    return mask


def _inside_lips(verts: np.ndarray, points: np.ndarray, scale: float) -> np.ndarray:
    """Signed distance to the outline of the lips as seen from the front."""
    outline = points[list(_OUTER_LIPS), :2]
    from_line = _to_segments(verts[:, :2], outline, np.roll(outline, -1, axis=0))
    signed = np.where(in_polygon(verts[:, :2], outline), from_line, -from_line)
    behind = points[list(_OUTER_LIPS), 2].min() - 0.012 * scale
    return np.where(verts[:, 2] > behind, signed, -0.1)


def _from_lids(verts: np.ndarray, points: np.ndarray) -> np.ndarray:
    rims = [points[list(rim)] for rim in (LEFT_EYE_RIM, RIGHT_EYE_RIM)]
    return np.minimum(*(_to_segments(verts, rim, np.roll(rim, -1, axis=0)) for rim in rims))


def _beard(verts: np.ndarray, points: np.ndarray, scale: float) -> np.ndarray:
    """Cheeks below the line from ear to upper lip, chin, throat; as a distance to its nearest bound."""
    x, y, z = np.abs(verts[:, 0]), verts[:, 1], verts[:, 2]
    nose, ear, chin = points[2], points[234], points[152]
    lip = nose[1] - 0.002 * scale
    top = np.interp(x, [0.0, 0.03 * scale, abs(ear[0])], [lip, lip - 0.014 * scale, ear[1] - 0.004 * scale])
    front = z - (ear[2] - 0.002 * scale)
    throat = y - (chin[1] - 0.028 * scale)
    return np.minimum(np.minimum(top - y, front), throat)


def _above_hairline(verts: np.ndarray, points: np.ndarray, skull: np.ndarray, scale: float) -> np.ndarray:
    turn = np.degrees(np.arctan2(np.abs(verts[:, 0]), verts[:, 2] - skull[2]))
    top, eyes = points[10, 1], points[33, 1]
    angles = [angle for angle, _ in _LINE_FRONT + _LINE_SIDE]
    heights = [top + scale * h for _, h in _LINE_FRONT] + [eyes + scale * h for _, h in _LINE_SIDE]
    return verts[:, 1] - np.interp(turn, angles, heights)


def _not_scalp(head: HeadModel) -> np.ndarray:
    """A large number for ears, where the head names them."""
    ears = head.region_masks.get("ears")
    return np.zeros(len(head.template)) if ears is None else np.where(ears.cpu().numpy(), 0.2, 0.0)


def _to_segments(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest of the segments."""
    along = end - start
    share = np.einsum("nsc,sc->ns", points[:, None] - start, along) / np.maximum((along**2).sum(1), 1e-12)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=2).min(1)


def in_polygon(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Even-odd rule.

    Args:
        points: x, y, N of them.
        outline: its corners, in order.
    """
    x, y = points[:, :1], points[:, 1:]
    (ax, ay), (bx, by) = outline.T, np.roll(outline, -1, axis=0).T
    crosses = (ay > y) != (by > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y - ay) * (bx - ax) / (by - ay)
    return (crosses & (x < at)).sum(1) % 2 == 1


def as_tensor(values: np.ndarray) -> Tensor:
    """float32 on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
