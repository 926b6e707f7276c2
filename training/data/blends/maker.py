"""Packed frames as labelled pictures: regions and places on the head from the clip's fit, no detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, UInt8
from torch import Tensor

from ....flame.detect.regions import RegionSegmenter
from ....flame.detect.rendered_regions import RenderedSegmenter
from ....flame.model import HeadModel
from ....flame.params import HeadFit
from ....flame.posing import body_vertices
from ....flame.residual import field_of
from ....geom.errors import HeadwarpError
from ....geom.guidance import take
from ....geom.rasterizer import interpolate, rasterize
from ..pairs.guidance import Recent, to_mask
from ..pairs.pack import Pack, check_alike
from ..portrait import Portrait, to_image
from .batch import PLACES

FRAMES = 512
"""Whose regions are kept in memory, 80 kB each at 128 px."""


@dataclass(frozen=True)
class LabelledFrame:
    """A frame of a pack in bytes.

    Attributes:
        image: RGB.
        labels: regions of `geom.face_regions`.
        places: on the head at rest, in `batch.PLACES`; the fourth row 1 where a pixel shows the head.
    """

    image: UInt8[Tensor, "3 H W"]
    labels: UInt8[Tensor, "H W"]
    places: Int8[Tensor, "4 H W"]


class LabelledFrames:
    """Labels frames of packs, one by one; those labelled last are kept in memory.

    Args:
        packs: of one head and size.
        head: their model.
        segmenter: gives regions from a frame, its fit and its person mask; None: they are rendered.

    Raises:
        ModelFileError: packs of another head, or of several sizes; a head without the landmarks that tell
            its parts.
    """

    def __init__(
        self, packs: Sequence[Pack], head: HeadModel, *, segmenter: RegionSegmenter | None = None
    ) -> None:
        if not packs:
            raise HeadwarpError("blends: expected packs of clips, got none")
        check_alike(packs, head)
        self.packs, self.head = tuple(packs), head
        self._segmenter: RegionSegmenter = segmenter or RenderedSegmenter(head)
        self._fits: Recent[HeadFit] = Recent(16)
        self._kept: Recent[tuple[Tensor, Tensor]] = Recent(FRAMES)

    def frame(self, number: int, position: int) -> LabelledFrame:
        """A frame of a pack.

        Raises:
            ModelFileError: the pack's files are damaged.
        """
        image = self.packs[number].frame(position)
        labels, places = self._kept.get((number, position), lambda: self._known(number, position, image))
        return LabelledFrame(
            torch.from_numpy(image).permute(2, 0, 1).contiguous(), labels, places
        )  # (3, H, W)

    def name(self, number: int, position: int) -> str:
        """``PERSON/CLIP/FRAME``."""
        index = self.packs[number].index
        return f"{index.person}/{index.clip}/{index.frames[position]}"

    def _known(
        self, number: int, position: int, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[UInt8[Tensor, "H W"], Int8[Tensor, "4 H W"]]:
        pack = self.packs[number]
        fit = self._fits.get(number, pack.fit).select([position])
        mask = to_mask(pack.mask(position))
        portrait = Portrait(self.head, to_image(image), fit, mask, field_of(self.head, fit))
        verts, faces = take(portrait.source(), ("posed_vertices", "faces"), by="blends")
        person = mask[0, 0].numpy()
        regions = self._segmenter.segment(image, fit=fit, person=person)
        labels = torch.from_numpy(regions.labels)
        return labels, surface_places(self.head, verts, faces, pack.index.size)


def surface_places(
    head: HeadModel, verts: Float[Tensor, "1 V 3"], faces: Int[Tensor, "F 3"], side: int
) -> Int8[Tensor, "4 H W"]:
    """Where on the head at rest each pixel lies; see `LabelledFrame`.

    Args:
        head: the model; neither its body nor what lies behind its vertices (the mouth's strips) is a place.
        verts: posed, in pixels of a square frame.
        faces: triangles.
        side: of the frame.
    """
    here = ~body_vertices(head)
    rest = head.template.float()
    low, high = rest[here].amin(0), rest[here].amax(0)
    places = verts.new_zeros(1, verts.shape[1], 4)
    places[0, : len(rest), :3] = (rest - (low + high) / 2) / ((high - low).max() / 2)
    places[0, : len(rest), 3] = here.to(places)
    drawn = interpolate(rasterize(verts, faces, (side, side)), places, faces)[0]  # (4, H, W)
    known = (drawn[3:] > 0.5).to(drawn)
    return (torch.cat([drawn[:3] * PLACES, known]) * known).clamp(-PLACES, PLACES).round().to(torch.int8)
