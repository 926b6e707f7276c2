"""What several views say of a head's landmarks, made one embedding: medians put back on the surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ..geom.nearest import barycentric, faces_at_vertices, nearest_among
from ._embedding_views import Hits
from ._face_paint import HeadParts
from .landmarks import FACE_OVAL, LIPS, LIPS_OUTER_LOWER, LIPS_OUTER_UPPER, MEDIAPIPE_68, MEDIAPIPE_COUNT
from .model import HeadModel, LandmarkEmbedding

_INNER_LIPS = sorted({*LIPS} - {*LIPS_OUTER_UPPER, *LIPS_OUTER_LOWER})


@dataclass(frozen=True)
class RenderedEmbedding:
    """Landmarks found on a head by drawing it.

    Attributes:
        mediapipe: the 478 points, in order.
        ibug68: the face-mesh points nearest in meaning to iBUG's 68.
        spread_mm: root mean square distance of a point's places in the views from their median, ``(478,)``.
        seen: views in which the point was found on the mesh, ``(478,)``.
        views: views drawn, and those of them in which a face was found.
    """

    mediapipe: LandmarkEmbedding
    ibug68: LandmarkEmbedding
    spread_mm: Float[np.ndarray, " 478"]
    seen: Int[np.ndarray, " 478"]
    views: tuple[int, int]

    def numbers(self) -> dict[str, Any]:
        """What a report says: views, and the spread over all points, those of the face's rim and the rest."""
        rim = np.isin(np.arange(MEDIAPIPE_COUNT), FACE_OVAL)
        return {
            "views": self.views[0],
            "views_with_face": self.views[1],
            "spread_mm_median": float(np.nanmedian(self.spread_mm)),
            "spread_mm_90_percent": float(np.nanpercentile(self.spread_mm, 90)),
            "spread_mm_rim_median": float(np.nanmedian(self.spread_mm[rim])),
            "spread_mm_inner_median": float(np.nanmedian(self.spread_mm[~rim])),
        }


def combined(
    model: HeadModel,
    parts: HeadParts,
    prior: Float[np.ndarray, "478 3"],
    *,
    shut: Sequence[Hits],
    wide: Sequence[Hits],
    views: int,
) -> RenderedEmbedding:
    """The median over the views of every point's place on the resting head, put back on its surface.

    Args:
        model, parts: the head.
        prior: where a point lies that no view shows, metres.
        shut, wide: what views with the mouth shut and open showed; the open ones give the inner lips.
        views: how many were drawn with the mouth shut.
    """
    vertices, faces = model.template.double().numpy(), model.faces.numpy()
    seen = [*shut, *wide]
    places = np.stack([hits.points(vertices, faces) for hits in seen])  # (N, 478, 3)
    of_wide = np.arange(len(seen)) >= len(shut)
    inner = np.isin(np.arange(MEDIAPIPE_COUNT), _INNER_LIPS)
    inner &= np.isfinite(places[of_wide]).all(2).any(0)
    places[of_wide[:, None] != inner] = np.nan  # inner lips by the open mouth, all else by the shut one
    there = np.isfinite(places).all(2)  # (N, 478)
    never = ~there.any(0)
    places[0, never] = prior[never]
    middle = np.nanmedian(places, axis=0)  # (478, 3)
    spread = np.sqrt(np.nanmean(np.square(places - middle).sum(2), axis=0))
    rows, choices = _choices(faces, np.stack([hits.faces for hits in seen]), there, parts)
    for row in np.flatnonzero(never):  # no view shows it: anywhere on the skin
        skin = np.flatnonzero(parts.skin)
        rows, choices = np.append(rows, np.full(len(skin), row)), np.append(choices, skin)
    points, on_faces = nearest_among(middle, vertices, faces, rows=rows, choices=choices)
    bary = barycentric(points, vertices[faces[on_faces]])
    whole = _embedding(np.arange(MEDIAPIPE_COUNT), on_faces, bary)
    known = list(MEDIAPIPE_68)
    return RenderedEmbedding(
        mediapipe=whole,
        ibug68=_embedding(np.arange(68), on_faces[known], bary[known]),
        spread_mm=1000 * np.where(never, np.nan, spread),
        seen=there.sum(0),
        views=(views, len(shut)),
    )


def _choices(
    faces: np.ndarray, hit: Int[np.ndarray, "N 478"], there: np.ndarray, parts: HeadParts
) -> tuple[np.ndarray, np.ndarray]:
    """The triangles that a point may lie on: those the views hit and their neighbours of the same kind.

    So a point of the lower lip stays on it, though the upper lip is as near.
    """
    meets = faces_at_vertices(faces, int(faces.max()) + 1)
    view, point = np.nonzero(there)
    hits = np.unique(np.stack([point, hit[view, point]], axis=1), axis=0)
    kind = parts.skin.astype(np.int8)
    rows, choices = [hits[:, 0]], [hits[:, 1]]
    for corner in range(3):
        pairs = meets[faces[hits[:, 1], corner]].tocoo()
        same = kind[pairs.col] == kind[hits[pairs.row, 1]]
        rows.append(hits[pairs.row[same], 0])
        choices.append(pairs.col[same].astype(np.int64))
    return np.concatenate(rows), np.concatenate(choices)


def _embedding(indices: np.ndarray, faces: np.ndarray, bary: np.ndarray) -> LandmarkEmbedding:
    return LandmarkEmbedding(
        indices=torch.from_numpy(indices.astype(np.int64)),
        faces=torch.from_numpy(faces.astype(np.int64)),
        bary=torch.from_numpy(bary),
        origin="rendered",
    )
