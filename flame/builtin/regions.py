"""Named regions of the built-in head as vertex masks."""

from __future__ import annotations

import numpy as np

from ..landmarks import (
    FACE_MESH_COUNT,
    LEFT_BROW,
    LEFT_EYE_RIM,
    LIPS,
    RIGHT_BROW,
    RIGHT_EYE_RIM,
)
from .topology import HeadTopology

_NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 97, 326, 129, 358, 49, 279, 48, 278, 64, 294)


TIE = 1e-6  # metres; mirrored points differ by rounding


def region_masks(
    topology: HeadTopology, template: np.ndarray, weights: np.ndarray, on_ears: np.ndarray
) -> dict[str, np.ndarray]:
    """Masks (V,) of the regions; left and right are the subject's, regions may overlap.

    Args:
        topology: the head's.
        template: (V, 3) rest positions, metres.
        weights: (V, 5) skinning weights.
        on_ears: (V_skin,) bool.
    """
    count = topology.vertex_count
    skin = np.zeros(count, bool)
    skin[topology.part("skin")] = True
    face = skin.copy()
    face[topology.part("skin")] = topology.ring < -0.5
    ears = np.zeros(count, bool)
    ears[topology.part("skin")] = on_ears
    x, y, z = template.T
    neck = skin & ~face & (weights[:, 0] > 0.02) & (y < -0.05)
    masks = {
        "face": face,
        "skull": skin & ~face & ~neck & ~ears,
        "neck": neck,
        "ears": ears,
        "body": skin & (weights[:, 0] > 0.98),
        "jaw": weights[:, 2] > 0.5,
        "lips": _touching(topology, np.array(LIPS)),
        "nose": face & _in_hull(topology, template, np.array(_NOSE)),
        "forehead": face & (y > template[list(LEFT_BROW + RIGHT_BROW), 1].max() + TIE),
    }
    for side, rim, brow, sign in (
        ("left", LEFT_EYE_RIM, LEFT_BROW, 1),
        ("right", RIGHT_EYE_RIM, RIGHT_BROW, -1),
    ):
        low, high = template[list(rim), 1].min() - 0.006, template[list(brow[5:]), 1].min()
        inner, outer = np.sort(np.abs(template[list(rim), 0]))[[0, -1]]
        across = (sign * x > inner - 0.003) & (sign * x < outer + 0.006)
        masks[f"{side}_eye_region"] = face & across & (y > low) & (y < high) & (z > 0.02)
        masks[f"{side}_eyeball"] = _part(topology, f"{side}_eyeball")
        masks[f"{side}_eye_socket"] = _part(topology, f"{side}_socket")
    masks["mouth_interior"] = _part(topology, "mouth")
    return masks


def _part(topology: HeadTopology, name: str) -> np.ndarray:
    mask = np.zeros(topology.vertex_count, bool)
    mask[topology.part(name)] = True
    return mask


def _touching(topology: HeadTopology, coarse: np.ndarray) -> np.ndarray:
    """Skin vertices made of these landmarks alone: themselves and the points on edges between them."""
    chosen = np.zeros(topology.subdivision.shape[1])
    chosen[coarse] = 1
    share = topology.subdivision @ chosen
    mask = np.zeros(topology.vertex_count, bool)
    mask[topology.part("skin")] = share > 0.74
    mask[:FACE_MESH_COUNT] = chosen[:FACE_MESH_COUNT] > 0
    return mask


def _in_hull(topology: HeadTopology, template: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Vertices inside the outline's convex hull seen from the front."""
    from scipy.spatial import Delaunay

    return Delaunay(template[outline, :2]).find_simplex(template[:, :2]) >= 0
