"""A head drawn from several sides, and what is seen in the pictures put back on its surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA
from ..geom.mesh import vertex_normals
from ..geom.nearest import barycentric
from ..geom.rasterizer import Fragments, interpolate, rasterize
from ..geom.shading import head_light
from ..geom.transforms import euler_to_matrix
from ._face_paint import MOUTH, HeadParts, albedo
from .model import HeadModel

BACKGROUND = 0.55
LAMP, AMBIENT = (0.0, -0.5, -0.85), 0.15  # from above: with light from a side the dark side is misread
REACH = 6  # pixels from the surface at which a landmark still counts as on it


def _disc(radius: int) -> np.ndarray:
    """Offsets (N, 2) of the pixels within a radius, the nearest first."""
    steps = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    length = np.square(offsets).sum(1)
    return offsets[np.argsort(length, kind="stable")][: int((length <= radius**2).sum())]


_AROUND = _disc(REACH)


@dataclass(frozen=True)
class Stand:
    """Where the camera stands: an orthographic picture of ``size`` x ``size`` about a point of the head.

    Attributes:
        centre: that point, model frame, metres, ``(3,)``.
        scale: pixels per metre.
        size: side of the picture.
        face_scale: size of the face against an adult's.
    """

    centre: Float[Tensor, "3"]
    scale: float
    size: int
    face_scale: float = 1.0


@dataclass(frozen=True)
class HeadView:
    """One picture of a head.

    Attributes:
        image: uint8 RGB ``(H, W, 3)``.
        verts: the vertices in its pixels, ``(V, 3)``.
        fragments: what each pixel sees.
    """

    image: np.ndarray
    verts: Float[Tensor, "V 3"]
    fragments: Fragments


@dataclass(frozen=True)
class Hits:
    """Where points of a picture lie on a mesh: triangle, position in it, whether it was hit at all."""

    faces: Int[np.ndarray, " L"]
    bary: Float[np.ndarray, "L 3"]
    hit: Bool[np.ndarray, " L"]

    def points(
        self, vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
    ) -> Float[np.ndarray, "L 3"]:
        """The points on the mesh with these vertices; NaN where nothing was hit."""
        found = np.einsum("lk,lkc->lc", self.bary, vertices[triangles[self.faces]])
        return np.where(self.hit[:, None], found, np.nan)


def to_view(
    points: Float[Tensor, "N 3"], stand: Stand, *, yaw_deg: float, pitch_deg: float
) -> Float[Tensor, "N 3"]:
    """Points of the model frame in the pixels of a view, depth in pixels."""
    turn = head_turn(yaw_deg, pitch_deg).to(points)
    seen = (points - stand.centre.to(points)) @ turn.T * stand.scale
    middle = points.new_tensor([stand.size / 2, stand.size / 2, 0.0])
    return seen + middle


def draw_view(
    model: HeadModel,
    verts: Float[Tensor, "V 3"],
    parts: HeadParts,
    stand: Stand,
    *,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    brows: Sequence[np.ndarray] = (),
) -> HeadView:
    """The posed head, painted and shaded, on grey.

    Args:
        verts: posed vertices, model frame, metres.
        yaw_deg, pitch_deg: of the head, signs as in `Pose`.
        brows: painted on the skin, see `brow_strokes`.
    """
    pixels = to_view(verts, stand, yaw_deg=yaw_deg, pitch_deg=pitch_deg)
    fragments = rasterize(pixels[None], model.faces, (stand.size, stand.size))
    facing = torch.nan_to_num(vertex_normals(pixels[None], model.faces))
    attributes = torch.cat([facing, model.template[None].to(facing)], dim=-1)
    seen = interpolate(fragments, attributes, model.faces)[0]  # (6, H, W)
    normals = seen[:3] / seen[:3].square().sum(0, keepdim=True).sqrt().clamp(min=1e-9)
    light = head_light(normals[None], colour=(1.0, 1.0, 1.0), ambient=AMBIENT, direction=LAMP)[0]
    colour = albedo(parts, fragments.face[0], seen[3:], scale=stand.face_scale, brows=brows)
    behind = normals.new_tensor(MOUTH)[:, None, None].expand_as(colour)  # the inside of the skin
    colour = torch.where(normals[2] > 0.2, behind, colour) * light
    picture = torch.where(fragments.face >= 0, colour, torch.full_like(colour, BACKGROUND))
    image = picture.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0)  # (H, W, 3)
    return HeadView(image.contiguous().numpy(), pixels, fragments)


def cast(
    view: HeadView, faces: np.ndarray, points: Float[np.ndarray, "L 2"], allowed: Bool[np.ndarray, " F"]
) -> Hits:
    """Points of a picture on the triangles they show, among those allowed that face the camera.

    A point that shows another triangle, or nothing, takes the nearest pixel within `REACH` that shows an
    allowed one.
    """
    shown = view.fragments.face[0].numpy()
    allowed = allowed & _facing(view.verts[:, :2].numpy(), faces)
    usable = np.pad((shown >= 0) & allowed[shown.clip(0)], REACH)
    inside = np.isfinite(points).all(1) & (points >= 0).all(1) & (points < shown.shape[::-1]).all(1)
    pixel = np.where(inside[:, None], points, 0).astype(np.int64)  # (L, 2) column, row
    places = pixel[:, None, ::-1] + _AROUND + REACH  # (L, N, 2) row, column of the padded picture
    open_to = usable[places[..., 0], places[..., 1]]
    first = open_to.argmax(1)
    hit = inside & open_to.any(1)
    row, column = np.where(hit[:, None], pixel[:, ::-1] + _AROUND[first], 0).T
    at = np.where((first == 0)[:, None], points, np.stack([column + 0.5, row + 0.5], axis=1))
    found = shown[row, column].clip(0).astype(np.int64)
    corners = view.verts[torch.from_numpy(faces[found])][..., :2].double().numpy()  # (L, 3, 2)
    return Hits(found, _inside(np.where(hit[:, None], at, 0.0), corners), hit)


def _facing(pixels: Float[np.ndarray, "V 2"], faces: np.ndarray) -> Bool[np.ndarray, " F"]:
    """Triangles whose outside is seen: their corners run counter-clockwise, y being down."""
    first, second = (pixels[faces[:, corner]] - pixels[faces[:, 0]] for corner in (1, 2))
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0


def _inside(points: Float[np.ndarray, "L 2"], corners: Float[np.ndarray, "L 3 2"]) -> np.ndarray:
    """Barycentric coordinates of points on projected triangles, pulled inside."""
    flat = np.pad(corners, ((0, 0), (0, 0), (0, 1)))
    return barycentric(np.pad(points, ((0, 0), (0, 1))), flat)


def head_turn(yaw_deg: float, pitch_deg: float) -> Float[Tensor, "3 3"]:
    """Model axes to camera axes with the head turned."""
    yaw, pitch, roll = torch.deg2rad(torch.tensor([yaw_deg, pitch_deg, 0.0]))
    return euler_to_matrix(yaw, pitch, roll) @ MODEL_TO_CAMERA.float()
