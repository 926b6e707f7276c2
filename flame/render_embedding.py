"""The 478 face-mesh points of any head by drawing it and detecting them: an embedding nobody has to make.

A head without landmark embeddings (a FLAME pickle alone, a converted mesh) is drawn from 15 sides, a face
detector reads each picture, every point is cast back onto the mesh, and the median over the views is taken.
A second set with the jaw open gives the inner lips, which touch in most templates: only there the upper and
the lower lip are told apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geom.errors import NoFaceError
from ..geom.nearest import barycentric, faces_at_vertices, nearest_among
from ..geom.transforms import umeyama
from ._embedding_views import HeadView, Hits, Stand, cast, draw_view, to_view
from ._face_paint import HeadParts, brow_strokes, head_parts
from .landmarks import (
    FACE_OVAL,
    LEFT_EYE_RIM,
    LEFT_IRIS,
    LIPS,
    LIPS_OUTER_LOWER,
    LIPS_OUTER_UPPER,
    MEDIAPIPE_68,
    MEDIAPIPE_COUNT,
    RIGHT_EYE_RIM,
    RIGHT_IRIS,
)
from .model import HeadModel, LandmarkEmbedding, pose_vertices

PRESENCE = 0.5
JAW_OPEN = 0.12
_NOSE = (1, 4, 5, 6, 168, 195, 197, 2)
_STEADY = (*LEFT_EYE_RIM, *RIGHT_EYE_RIM, *_NOSE, *LIPS)  # read well on a head without brows
_INNER_LIPS = sorted({*LIPS} - {*LIPS_OUTER_UPPER, *LIPS_OUTER_LOWER})
_JAW_MOVES = 0.003  # metres: of a lip that follows the jaw
_FARTHEST = 0.03  # metres from an average face's place, for a face of an adult's size
_FIRST_SIZE = 512
_FILLS = 0.9


@dataclass(frozen=True)
class EmbeddingConfig:
    """How a head is looked at.

    Attributes:
        yaws_deg, pitches_deg: every pair is a view.
        size: side of the pictures in pixels.
        face_share: of the picture's side that the face takes.
        fewest_views: with fewer in which a face is found, the head is refused.
    """

    yaws_deg: tuple[float, ...] = (-25.0, -12.5, 0.0, 12.5, 25.0)
    pitches_deg: tuple[float, ...] = (-12.0, 0.0, 12.0)
    size: int = 320
    face_share: float = 0.62
    fewest_views: int = 3


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
            "spread_mm_median": float(np.median(self.spread_mm)),
            "spread_mm_90_percent": float(np.percentile(self.spread_mm, 90)),
            "spread_mm_rim_median": float(np.median(self.spread_mm[rim])),
            "spread_mm_inner_median": float(np.median(self.spread_mm[~rim])),
        }


def render_embedding(model: HeadModel, config: EmbeddingConfig | None = None) -> RenderedEmbedding:
    """The face-mesh embedding of a head from pictures of it; about a second.

    The head is taken at rest, in the model's axes (y up, z out of the face). Eyeballs are painted where
    region masks or the mesh's pieces tell them, brows where an average face has them. Needs the mediapipe
    detector.

    Args:
        model: any head on the CPU; landmarks that it has are not looked at.
        config: how it is looked at.

    Returns:
        All 478 points; one that no view found takes the place that an average face gives it.

    Raises:
        NoFaceError: no face is found on the head, or in too few views.
        MissingDependencyError: mediapipe is not installed.
    """
    config = config or EmbeddingConfig()
    parts = head_parts(model)
    angles = list(itertools.product(config.yaws_deg, config.pitches_deg))
    with torch.no_grad():
        prior = _first_look(model, parts)
        stand = _stand(prior, config)
        shut = _look(model, model.template, parts, prior, stand, angles)
        _expect_views(len(shut), len(angles), config.fewest_views)
        opened = _opened(model)
        level = [(yaw, 0.0) for yaw in config.yaws_deg]
        wide = [] if opened is None else _look(model, opened, parts, prior, stand, level)
    return _combined(model, parts, prior, shut, wide, views=len(angles))


@dataclass(frozen=True)
class _Prior:
    """Where an average face has its points on this head, metres, and this face's size against an adult's."""

    points: Float[np.ndarray, "478 3"]
    scale: float


def _first_look(model: HeadModel, parts: HeadParts) -> _Prior:
    """One picture of the whole head from the front; an average face laid on the points that are read well."""
    from .builtin.build import read_mean_face
    from .detect import redetect

    corners = model.template[model.faces.unique()]
    low, high = corners.amin(0), corners.amax(0)
    side = float((high - low)[:2].max())
    if not side > 0:
        raise NoFaceError(f"landmarks: expected a head, got a mesh of no size ({model.model_id})")
    stand = Stand((low + high) / 2, _FILLS * _FIRST_SIZE / side, _FIRST_SIZE)
    view = draw_view(model, model.template, parts, stand)
    found = redetect(view.image)
    if found is None:
        raise NoFaceError(
            f"landmarks: expected a face on the head {model.model_id} seen from +z with +y up, found none; "
            "check its axes and unit (metres), or give an embedding file with --landmarks"
        )
    hits = cast(view, model.faces.numpy(), found.landmarks[:, :2].astype(np.float64), parts.skin)
    vertices = model.template.double().numpy()
    points = hits.points(vertices, model.faces.numpy())[list(_STEADY)]
    there = np.isfinite(points).all(1)
    if there.sum() < len(_STEADY) // 2:
        raise NoFaceError(
            f"landmarks: the face found on the head {model.model_id} does not lie on its skin; "
            "check its axes, or give an embedding file with --landmarks"
        )
    mean = read_mean_face()
    laid = umeyama(torch.from_numpy(mean[list(_STEADY)][there]), torch.from_numpy(points[there]))
    return _Prior(laid.apply(torch.from_numpy(mean)).numpy(), float(laid.scale))


def _stand(prior: _Prior, config: EmbeddingConfig) -> Stand:
    low, high = prior.points.min(0), prior.points.max(0)
    scale = config.face_share * config.size / float((high - low)[:2].max())
    centre = torch.from_numpy((low + high) / 2).float()
    return Stand(centre, scale, config.size, prior.scale)


def _look(
    model: HeadModel,
    verts: Float[Tensor, "V 3"],
    parts: HeadParts,
    prior: _Prior,
    stand: Stand,
    angles: Sequence[tuple[float, float]],
) -> list[Hits]:
    """What is read in those pictures of the posed head in which there is a face."""
    from .detect import landmarks_in_roi

    brows = brow_strokes(prior.points)
    mean = torch.from_numpy(prior.points)
    vertices, faces = model.template.double().numpy(), model.faces.numpy()
    found = []
    for yaw, pitch in angles:
        view = draw_view(model, verts, parts, stand, yaw_deg=yaw, pitch_deg=pitch, brows=brows)
        expected = to_view(mean, stand, yaw_deg=yaw, pitch_deg=pitch).numpy()
        landmarks, presence = landmarks_in_roi(view.image, expected)
        if presence < PRESENCE:
            continue
        hits = _read(view, faces, parts, landmarks[:, :2].astype(np.float64))
        far = np.linalg.norm(hits.points(vertices, faces) - prior.points, axis=1) > _FARTHEST * prior.scale
        found.append(replace(hits, hit=hits.hit & ~far))
    return found


def _read(view: HeadView, faces: np.ndarray, parts: HeadParts, points: Float[np.ndarray, "478 2"]) -> Hits:
    """Face points on the skin, irises on the eyeballs where there are any."""
    hits = cast(view, faces, points, parts.skin)
    for iris, ball in zip((LEFT_IRIS, RIGHT_IRIS), parts.eyeballs, strict=True):
        if ball.any():
            rows = list(iris)
            own = cast(view, faces, points[rows], ball)
            hits.faces[rows], hits.bary[rows], hits.hit[rows] = own.faces, own.bary, own.hit
    return hits


def _expect_views(found: int, drawn: int, fewest: int) -> None:
    if found < fewest:
        raise NoFaceError(
            f"landmarks: expected a face in at least {fewest} of {drawn} views of the head, found {found}; "
            "give an embedding file with --landmarks"
        )


def _opened(model: HeadModel) -> Float[Tensor, "V 3"] | None:
    """The resting head with its jaw open; None if its jaw moves nothing."""
    if "jaw" not in model.joint_names:
        return None
    none = model.template.new_zeros(1, 0)
    verts = pose_vertices(model, none, none, jaw=model.template.new_tensor([[JAW_OPEN, 0.0, 0.0]]))[0]
    moved = (verts - model.template).square().sum(1).max().sqrt()
    return verts if float(moved) > _JAW_MOVES else None


def _combined(
    model: HeadModel, parts: HeadParts, prior: _Prior, shut: list[Hits], wide: list[Hits], views: int
) -> RenderedEmbedding:
    """The median over the views of every point's place on the resting head, put back on its surface."""
    vertices, faces = model.template.double().numpy(), model.faces.numpy()
    seen = [*shut, *wide]
    places = np.stack([hits.points(vertices, faces) for hits in seen])  # (N, 478, 3)
    of_wide = np.arange(len(seen)) >= len(shut)
    inner = np.isin(np.arange(MEDIAPIPE_COUNT), _INNER_LIPS)
    inner &= np.isfinite(places[of_wide]).all(2).any(0)
    places[of_wide[:, None] != inner] = np.nan  # inner lips by the open mouth, all else by the shut one
    there = np.isfinite(places).all(2)  # (N, 478)
    never = ~there.any(0)
    places[0, never] = prior.points[never]
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
    )
