"""The camera's motion through a clip, measured on what is not the person."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ...geom.alignment import align_similarity, motion_matrix, prepare_alignment
from ...geom.displacement import dilate, mesh_radius
from ...geom.guidance import Source, take

MARGIN = 0.1  # around the person, in units of the mesh's radius
LEAST_BACKGROUND = 0.08  # share of the frame


class CameraMotion:
    """Follows one clip against its source picture; each frame starts from the last one's motion."""

    def __init__(self, source: Source) -> None:
        image, mask, verts = take(source, ("image", "mask", "posed_vertices"), by="camera motion")
        margin = round(float(MARGIN * mesh_radius(verts)[0]))
        weight = 1 - dilate((mask > 0.3).to(image.dtype), margin)
        self.enough = bool(weight.mean() >= LEAST_BACKGROUND)
        self.template = prepare_alignment(image, weight)
        self.motion: Tensor | None = None

    def follow(self, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 2 3"] | None:
        """Affine map of this frame's background to the source's in pixels; None while the camera stands
        still.
        """
        if not self.enough:
            return None
        self.motion = align_similarity(self.template, image, self.motion)
        return self._affine(self.motion)

    def of_frame(self, image: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 2 3"] | None:
        """`follow` for a frame taken out of its clip: neither starts from another frame nor is remembered."""
        return self._affine(align_similarity(self.template, image)) if self.enough else None

    def _affine(self, motion: Float[Tensor, "4"]) -> Float[Tensor, "1 2 3"] | None:
        return None if bool((motion == 0).all()) else motion_matrix(motion, self.template.size)[None]
