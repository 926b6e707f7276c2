"""Region maps from the fitted head: its parts drawn, then hair, neck and cloth told apart by the picture.

What the mesh covers has its parts' names, to the pixel. Round it, and on its scalp, neck and ears, the mask
of the person says how far the person goes and the picture's own colours say what is skin, hair or cloth.
Glasses, ear-rings and necklaces are not told apart from what they lie on, a hat counts as hair, and a hand
over the face as face.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...geom.errors import HeadwarpError
from ...geom.face_regions import HEAD, FaceRegion
from ..face_parts import FaceParts, PartMap, face_parts, render_parts
from ..model import HeadModel
from ..params import MISSING, HeadFit
from ..posing import posed_vertices
from ..residual import corrected, field_of
from ._materials import CLOTH, HAIR, NONE, SKIN, HeadPlace, largest, materials
from .regions import RegionMap, check_inputs

HEAD_HEIGHT = 0.23  # metres from chin to crown
SIDE = 256  # px of a window's longer side, in which materials are told apart
_NEAR = 0.04  # head heights by which skin may reach beyond the mesh
_REACH_UP, _REACH_DOWN, _REACH_SIDE = 0.8, 2.0, 1.4  # head heights round the head where its hair may lie


@dataclass
class RenderedSegmenter:
    """Region maps drawn from the fit; needs no weights, and no detector where the person's mask is given.

    Attributes:
        head: the head of the fits.
    """

    head: HeadModel
    _parts: FaceParts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._parts = face_parts(self.head)

    def segment(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        *,
        fit: HeadFit | None = None,
        frame: int = 0,
        person: Float[np.ndarray, "H W"] | None = None,
    ) -> RegionMap:
        """As `RegionSegmenter.segment`; a frame without a head gives background alone.

        Raises:
            HeadwarpError: no fit.
            ShapeError: picture, mask and fit do not belong together.
            ModelFileError: a fit of another head.
            MissingDependencyError: no mask was given and mediapipe, which makes one, is not installed.
        """
        if fit is None:
            raise HeadwarpError("segmentation rendered: expected a fit of the picture, got none; pass fit=")
        check_inputs(image, fit, frame, person)
        origin = f"rendered from {self.head.model_id}"
        size = (image.shape[0], image.shape[1])
        one = fit.select([frame])
        verts = corrected(posed_vertices(self.head, one), one, field_of(self.head, one))
        if int(one.status[0]) == MISSING or not bool(torch.isfinite(verts).all()):
            return RegionMap(np.zeros(size, np.uint8), np.zeros(size, np.float32), origin)
        stand = _stand(self._parts, verts[0])
        window = stand.window(size)
        if window is None:
            return RegionMap(np.zeros(size, np.uint8), np.zeros(size, np.float32), origin)
        y0, y1, x0, x1 = window
        if person is None:
            from . import segment_person

            person = segment_person(image, box=np.array([x0, y0, x1, y1]))
        shifted = verts - verts.new_tensor([x0, y0, 0.0])
        parts = render_parts(self._parts, shifted, (y1 - y0, x1 - x0))
        labels, head = _segmented(image[y0:y1, x0:x1], person[y0:y1, x0:x1], parts, stand.moved(x0, y0))
        whole, soft = np.zeros(size, np.uint8), np.zeros(size, np.float32)
        whole[y0:y1, x0:x1], soft[y0:y1, x0:x1] = labels, head
        return RegionMap(whole, soft, origin)


@dataclass(frozen=True)
class _Stand:
    """How a head stands in a picture: a point of its axis as high as the chin, upwards, its height in px."""

    chin: Float[np.ndarray, "2"]
    up: Float[np.ndarray, "2"]
    height: float

    def moved(self, x: float, y: float) -> _Stand:
        return _Stand(self.chin - np.array([x, y]), self.up, self.height)

    def scaled(self, factor: float) -> _Stand:
        return _Stand(self.chin * factor, self.up, self.height * factor)

    def place(self, size: tuple[int, int]) -> HeadPlace:
        rows, columns = np.meshgrid(*(np.arange(extent) + 0.5 for extent in size), indexing="ij")
        x, y = (columns - self.chin[0]) / self.height, (rows - self.chin[1]) / self.height
        return HeadPlace(
            x * self.up[0] + y * self.up[1], np.abs(x * self.up[1] - y * self.up[0]), self.height
        )

    def window(self, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
        """Rows and columns where the head and its hair may lie; None off the picture."""
        across = np.array([-self.up[1], self.up[0]])
        corners = np.array(
            [
                self.chin + self.height * (up * self.up + side * across)
                for up in (-_REACH_DOWN, 1 + _REACH_UP)
                for side in (-_REACH_SIDE, _REACH_SIDE)
            ]
        )
        low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
        x0, y0 = (int(max(value, 0)) for value in low)
        x1, y1 = int(min(high[0], size[1])), int(min(high[1], size[0]))
        return (y0, y1, x0, x1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def _stand(parts: FaceParts, verts: Float[Tensor, "V 3"]) -> _Stand:
    """From the affine map that takes the template's head best to the picture."""
    template = parts.rows[:, :3].double().numpy()
    kept = parts.rows[:, 8].numpy() < 0.5  # not the neck
    rows = np.concatenate([template[kept], np.ones((int(kept.sum()), 1))], 1)
    affine = np.linalg.lstsq(rows, verts[kept, :2].double().numpy(), rcond=None)[0].T  # (2, 4)
    scale = float(np.linalg.svd(affine[:, :3], compute_uv=False)[0])
    up = affine[:, 1] if np.linalg.norm(affine[:, 1]) > 0.3 * scale else np.array([0.0, -1.0])
    chin = affine @ np.array([0.0, parts.chin, rows[:, 2].mean(), 1.0])  # below the middle of the head
    return _Stand(chin, up / np.linalg.norm(up), HEAD_HEIGHT * scale)


def _segmented(
    image: UInt8[np.ndarray, "H W 3"], person: Float[np.ndarray, "H W"], parts: PartMap, stand: _Stand
) -> tuple[UInt8[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Labels and soft mask of a window."""
    from scipy.ndimage import distance_transform_edt

    size = (image.shape[0], image.shape[1])
    factor = min(1.0, SIDE / max(size))
    small = (max(2, round(size[0] * factor)), max(2, round(size[1] * factor)))
    rows = ((np.arange(small[0]) + 0.5) * size[0] / small[0]).astype(int)
    columns = ((np.arange(small[1]) + 0.5) * size[1] / small[1]).astype(int)
    few = PartMap(parts.labels[rows][:, columns], parts.scalp[rows][:, columns])
    colours = np.rint(_resized(image.transpose(2, 0, 1), small)).clip(0, 255).astype(np.uint8)
    mask = _resized(person[None], small)[0]
    found = materials(colours.transpose(1, 2, 0), mask, few, stand.scaled(factor).place(small))
    shares = _resized(found, size)  # (4, H, W)
    near = distance_transform_edt(few.labels == FaceRegion.BACKGROUND) < _NEAR * factor * stand.height
    near = near[(np.arange(size[0]) * small[0]) // size[0]][:, (np.arange(size[1]) * small[1]) // size[1]]
    labels = _combined(shares, near, parts, stand.place(size))
    return labels, _soft(labels, shares, parts, stand.height)


def _combined(
    shares: Float[np.ndarray, "4 H W"], near: Bool[np.ndarray, "H W"], parts: PartMap, place: HeadPlace
) -> UInt8[np.ndarray, "H W"]:
    """Parts of the mesh and materials of the person as one map; skin ``near`` the mesh belongs to it."""
    best = largest(shares)
    skin, hair, cloth, none = (best == material for material in (SKIN, HAIR, CLOTH, NONE))
    labels = parts.labels.copy()
    ear = (labels == FaceRegion.LEFT_EAR) | (labels == FaceRegion.RIGHT_EAR)
    neck, off = labels == FaceRegion.NECK, labels == FaceRegion.BACKGROUND
    loose = parts.scalp | ear | neck
    labels[loose & none] = FaceRegion.BACKGROUND
    labels[hair & (loose | off | (labels == FaceRegion.SKIN))] = FaceRegion.HAIR
    labels[cloth & (neck | off)] = FaceRegion.CLOTH
    labels[cloth & parts.scalp] = FaceRegion.HAIR  # what covers it, such as a hat
    bare = skin & off
    labels[bare & near & (place.up > 0)] = FaceRegion.SKIN
    labels[bare & (place.up <= 0) & (place.side < 0.8)] = FaceRegion.NECK
    return labels


def _soft(
    labels: UInt8[np.ndarray, "H W"],
    shares: Float[np.ndarray, "4 H W"],
    parts: PartMap,
    height: float,
) -> Float[np.ndarray, "H W"]:
    """The head's share of each pixel: blurred within the person, soft at the outline as that is unsure."""
    from scipy.ndimage import gaussian_filter

    sigma = max(0.7, height / 150)
    inside = np.isin(labels, [int(region) for region in HEAD])
    others = (labels != FaceRegion.BACKGROUND) & ~inside
    head, rest = (gaussian_filter(mask.astype(np.float32), sigma) for mask in (inside, others))
    face = np.isin(parts.labels, [int(region) for region in HEAD]) & ~parts.scalp
    person = np.where(inside & face, 1.0, 1 - shares[NONE])
    return (head / np.maximum(head + rest, 1e-6) * person).clip(0, 1).astype(np.float32)


def _resized(planes: np.ndarray, size: tuple[int, int]) -> Float[np.ndarray, "C H W"]:
    """Bilinear, with a low-pass filter on the way down."""
    from torch.nn.functional import interpolate

    batch = torch.from_numpy(np.ascontiguousarray(planes)).float()[None]  # (1, C, H, W)
    shrinks = size[0] < planes.shape[1] or size[1] < planes.shape[2]
    return interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=shrinks)[0].numpy()
