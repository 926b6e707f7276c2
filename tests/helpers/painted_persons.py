"""A person painted over a posed head: skin where the mesh lies, hair round it, cloth below, all known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwarp.flame.face_parts import FaceParts, render_parts
from headwarp.flame.params import HeadFit
from headwarp.flame.posing import posed_vertices
from headwarp.geom.face_regions import FaceRegion

SKIN, HAIR, CLOTH, WALL = (205, 150, 125), (60, 40, 25), (40, 70, 160), (150, 160, 150)


@dataclass(frozen=True)
class Painted:
    """A picture and what is in it.

    Attributes:
        image: (H, W, 3) uint8.
        person: mask in [0, 1].
        hair, cloth: where they were painted.
    """

    image: np.ndarray
    person: np.ndarray
    hair: np.ndarray
    cloth: np.ndarray


def painted_person(
    parts: FaceParts, fit: HeadFit, *, hair: tuple[int, int, int] | None = HAIR, seed: int = 0
) -> Painted:
    """A frontal head with a cap of hair down to the jaw, or bald, in front of a wall."""
    size = fit.size
    shown = render_parts(parts, posed_vertices(parts.head, fit), size)
    rows, columns = np.nonzero(shown.labels > 0)
    face_rows, _ = np.nonzero((shown.labels == FaceRegion.SKIN) & ~shown.scalp)
    top, chin, middle = rows.min(), face_rows.max(), (columns.min() + columns.max()) / 2
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    height = chin - top
    cap = ((x - middle) / (0.5 * height)) ** 2 + ((y - top - 0.45 * height) / (0.6 * height)) ** 2 < 1
    face = (shown.labels > 0) & ~shown.scalp
    grown = cap & ~face & (y < chin) if hair is not None else np.zeros(size, bool)
    cloth = y > chin + 0.35 * height
    image = np.empty((*size, 3))
    image[:] = WALL
    image[shown.labels > 0] = SKIN
    image[cloth] = CLOTH
    if hair is not None:
        image[grown] = hair
    image += np.random.default_rng(seed).normal(0, 4, image.shape)
    person = ((shown.labels > 0) | grown | cloth).astype(np.float32)
    return Painted(image.clip(0, 255).astype(np.uint8), person, grown, cloth)
