"""A fitted picture as what animators take: the head's window, its person mask and posed meshes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...flame.landmarks import MEDIAPIPE_68
from ...flame.model import HeadModel, landmark_points
from ...flame.mouth import Mouth, open_mouth, with_mouth
from ...flame.params import HeadFit
from ...flame.posing import (
    BODY_FOLLOW,
    body_motion,
    body_vertices,
    posed_vertices,
    skull_vertices,
    window_fit,
)
from ...flame.residual import ResidualField, corrected, field_of
from ...geom.crops import Crop, crop_image, head_crop
from ...geom.guidance import Driving, Source

Frame = NDArray[np.uint8]
MESH = 478  # points of the face mesh with its irises


def to_image(frame: Frame) -> Float[Tensor, "1 3 H W"]:
    """uint8 (H, W, 3) to float RGB in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255


def to_frame(image: Float[Tensor, "... 3 H W"]) -> Frame:
    """Float RGB in [0, 1], one picture, to uint8 (H, W, 3), rounded."""
    picture = image.detach().reshape(-1, *image.shape[-3:])[0]
    return picture.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


@dataclass(frozen=True)
class Portrait:
    """A source ready to animate.

    Attributes:
        head: the head model.
        image: the working window, RGB in [0, 1], ``(1, 3, S, S)``.
        fit: one frame, in window pixels.
        mask: person probability, ``(1, 1, S, S)``.
        field: spreads landmark residuals over the mesh.
        crop: where the window lies in the original picture; None if the picture was used whole.
        landmarks: how many the tensors hold, see `face_points`.
        body_follow: share of the neck joint's motion that the torso takes part in; 0: it rests.
    """

    head: HeadModel
    image: Float[Tensor, "1 3 H W"]
    fit: HeadFit
    mask: Float[Tensor, "1 1 H W"]
    field: ResidualField
    crop: Crop | None = None
    landmarks: int = 68
    body_follow: float = BODY_FOLLOW

    def source(self) -> Source:
        """The tensors an animator takes."""
        verts, mouth = self._posed, self._mouth
        extra = 0 if mouth is None else len(mouth.cavity) - verts.shape[1]
        return Source(
            image=self.image,
            mask=self.mask,
            landmarks=face_points(self.head, verts, self.landmarks),
            posed_vertices=with_mouth(self.head, mouth, verts, self.fit),
            faces=self.head.faces if mouth is None else mouth.faces,
            skull=F.pad(skull_vertices(self.head), (0, extra)),
            body=F.pad(body_vertices(self.head), (0, extra)),
            cavity=None if mouth is None else mouth.cavity,
        )

    def driving(
        self, fit: HeadFit, *, image: Tensor | None = None, camera_motion: Tensor | None = None
    ) -> Driving:
        """Driving tensors of a fit in the same window (edited, retargeted, or of the same clip).

        Args:
            fit: T frames of the same head, in pixels of the window.
            image: pictures of these frames, for animators that look at them.
            camera_motion: affine maps of background pixels to the source's, ``(T, 2, 3)``; None: a still
                camera.
        """
        follow = self.body_follow
        verts = posed_vertices(self.head, fit, body=self.fit, follow=follow)
        verts = corrected(verts, fit, self.field)
        return Driving(
            image=image,
            landmarks=face_points(self.head, verts, self.landmarks),
            posed_vertices=with_mouth(self.head, self._mouth, verts, fit),
            camera_motion=camera_motion,
            body_motion=body_motion(self.head, self.fit, fit, follow=follow),
        )

    @cached_property
    def _posed(self) -> Float[Tensor, "1 V 3"]:
        return corrected(posed_vertices(self.head, self.fit), self.fit, self.field)

    @cached_property
    def _mouth(self) -> Mouth | None:
        return open_mouth(self.head, self._posed, self.fit)


def face_points(
    head: HeadModel, verts: Float[Tensor, "T V 3"], count: int = 68
) -> Float[Tensor, "T L 2"] | None:
    """The landmarks of posed vertices that animators take.

    Args:
        head: whose landmarks they are.
        verts: posed vertices of the whole mesh, in pixels with depth.
        count: 68 in iBUG's order, or the face mesh's 478.

    Returns:
        x, y of the points; None for another number, or if the head's landmarks do not hold them.
    """
    if count == 68 and "ibug68" in head.landmarks:
        return landmark_points(head, verts, "ibug68")[..., :2]
    rows = {68: MEDIAPIPE_68, MESH: range(MESH)}.get(count)
    if "mediapipe" not in head.landmarks or rows is None:
        return None
    order = {index: row for row, index in enumerate(head.landmarks["mediapipe"].indices.tolist())}
    if not all(index in order for index in rows):
        return None
    return landmark_points(head, verts, "mediapipe")[:, [order[index] for index in rows], :2]


def portrait_of(
    frame: Frame,
    head: HeadModel,
    fit: HeadFit,
    *,
    size: int | None = None,
    field: ResidualField | None = None,
    crop: Crop | None = None,
) -> Portrait:
    """A portrait from a frame and its one-frame fit.

    Args:
        frame: the whole picture.
        head: the head of the fit.
        fit: one frame, in pixels of the picture.
        size: side in pixels at which the window is drawn; None: the frame is taken whole.
        field: of the head, for the fit's landmarks; None: made here.
        crop: the window; None: that of the landmarks. Only with ``size``.

    Raises:
        MissingDependencyError: mediapipe, which tells person and background apart, is not installed.
    """
    from ...flame.detect import segment_person

    field = field or field_of(head, fit)
    if size is None:
        mask = torch.from_numpy(segment_person(frame))[None, None]
        return Portrait(head, to_image(frame), fit, mask, field)
    crop = crop or head_crop(fit.landmarks[0], size=fit.size)
    image = crop_image(to_image(frame), crop, size)
    mask = torch.from_numpy(segment_person(to_frame(image)))[None, None]
    return Portrait(head, image, window_fit(fit, crop, size), mask, field, crop)
