"""The 478 face-mesh points of any head by drawing it and detecting them: an embedding nobody has to make.

A head without landmark embeddings (a FLAME pickle alone, a converted mesh) is drawn from 15 sides, a face
detector reads each picture, every point is cast back onto the mesh, and the median over the views is taken.
A second set with the jaw open gives the inner lips, which touch in most templates: only there the upper and
the lower lip are told apart.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geom.errors import NoFaceError
from ..geom.transforms import umeyama
from ._embedding_median import RenderedEmbedding, combined
from ._embedding_open import opened_mouth
from ._embedding_views import HeadView, Hits, Stand, cast, draw_view, to_view
from ._face_paint import HeadParts, brow_strokes, head_parts
from .landmarks import (
    LEFT_EYE_RIM,
    LEFT_IRIS,
    LIPS,
    RIGHT_EYE_RIM,
    RIGHT_IRIS,
)
from .model import HeadModel, LandmarkEmbedding

__all__ = [
    "EmbeddingConfig",
    "RenderedEmbedding",
    "distances_mm",
    "embedding_pictures",
    "render_embedding",
]
PRESENCE = 0.5
_NOSE = (1, 4, 5, 6, 168, 195, 197, 2)
_STEADY = (*LEFT_EYE_RIM, *RIGHT_EYE_RIM, *_NOSE, *LIPS)  # read well on a head without brows
_FARTHEST = 0.03  # metres from an average face's place, for a face of an adult's size
_LIP_DEPTH = 0.005  # metres behind the visible lips at which their rims end, likewise
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


def render_embedding(model: HeadModel, config: EmbeddingConfig | None = None) -> RenderedEmbedding:
    """The face-mesh embedding of a head from pictures of it; about a second.

    The head is taken at rest, in the model's axes (y up, z out of the face). Eyeballs are painted where
    region masks or the mesh's pieces tell them, brows where an average face has them. Needs the mediapipe
    detector.

    Args:
        model: any head; landmarks that it has are not looked at.
        config: how it is looked at.

    Returns:
        All 478 points; one that no view found takes the place that an average face gives it.

    Raises:
        NoFaceError: no face is found on the head, or in too few views.
        MissingDependencyError: mediapipe is not installed.
    """
    config = config or EmbeddingConfig()
    model = _drawable(model)
    parts = head_parts(model)
    angles = list(itertools.product(config.yaws_deg, config.pitches_deg))
    with torch.no_grad():
        prior = _first_look(model, parts)
        scene = _Scene(model, parts, prior, _stand(prior, config))
        shut = _look(scene, model.template, angles, skin=parts.skin)
        _expect_views(len(shut), len(angles), config.fewest_views)
        wide: list[Hits] = []
        first = combined(model, parts, prior.points, shut=shut, wide=wide, views=len(angles))
        opened = opened_mouth(model, first.mediapipe, scale=prior.scale)
        if opened is not None:
            level = [(yaw, 0.0) for yaw in config.yaws_deg]
            wide = _look(scene, opened, level, skin=parts.skin & _near_lips(scene, shut))
    return combined(model, parts, prior.points, shut=shut, wide=wide, views=len(angles)) if wide else first


def distances_mm(model: HeadModel, found: RenderedEmbedding) -> dict[str, Float[np.ndarray, " L"]]:
    """By family, how far the points lie from those the head's own embedding gives, for the points in both."""
    vertices = model.template.detach().cpu().double().numpy()
    triangles = model.faces.cpu().numpy()

    def place(embedding: LandmarkEmbedding) -> np.ndarray:
        corners = vertices[triangles[embedding.faces.cpu().numpy()]]
        return np.einsum("lk,lkc->lc", embedding.bary.cpu().double().numpy(), corners)

    result = {}
    for family, made in (("mediapipe", found.mediapipe), ("ibug68", found.ibug68)):
        if family in model.landmarks:
            own = model.landmarks[family]
            result[family] = 1000 * np.linalg.norm(
                place(own) - place(made)[own.indices.cpu().numpy()], axis=1
            )
    return result


def embedding_pictures(
    model: HeadModel, found: RenderedEmbedding, *, size: int = 512
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures to judge an embedding by, with its points in pixels: front, both sides, front with jaw open.

    Args:
        model: the head.
        found: from `render_embedding`.
        size: side of a picture in pixels.

    Returns:
        uint8 RGB ``(size, size, 3)`` and ``(478, 2)``, pairs.
    """
    model = _drawable(model)
    parts, faces = head_parts(model), model.faces.numpy()
    embedding = found.mediapipe
    rest = model.template
    with torch.no_grad():
        points = rest[model.faces[embedding.faces]].double().numpy()
        places = np.einsum("lk,lkc->lc", embedding.bary.double().numpy(), points)
        prior = _Prior(places, 1.0)
        stand = _stand(prior, EmbeddingConfig(size=size))
        opened = opened_mouth(model, embedding, scale=1.0)
        cases = [(rest, 0.0), (rest, -35.0), (rest, 35.0), (rest if opened is None else opened, 0.0)]
        pictures = []
        for verts, yaw in cases:
            view = draw_view(model, verts, parts, stand, yaw_deg=yaw, brows=brow_strokes(places))
            corners = view.verts.double().numpy()[faces[embedding.faces.numpy()]]  # (478, 3, 3)
            seen = np.einsum("lk,lkc->lc", embedding.bary.double().numpy(), corners)
            pictures.append((view.image, seen[:, :2]))
    return pictures


def _drawable(model: HeadModel) -> HeadModel:
    """The head in float32 on the CPU; itself where it is there already."""
    if model.template.dtype == torch.float32 and model.template.device.type == "cpu":
        return model
    return copy.deepcopy(model).to("cpu", torch.float32)


@dataclass(frozen=True)
class _Prior:
    """Where an average face has its points on this head, metres, and this face's size against an adult's."""

    points: Float[np.ndarray, "478 3"]
    scale: float


@dataclass(frozen=True)
class _Scene:
    """What the pictures show: a head, its parts, an average face on it, and where the camera stands."""

    model: HeadModel
    parts: HeadParts
    prior: _Prior
    stand: Stand

    def places(self, hits: Hits) -> Float[np.ndarray, "478 3"]:
        """Where on the resting head a view's points lie; NaN for those it does not show."""
        return hits.points(self.model.template.double().numpy(), self.model.faces.numpy())


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
    scene: _Scene,
    verts: Float[Tensor, "V 3"],
    angles: Sequence[tuple[float, float]],
    *,
    skin: Bool[np.ndarray, " F"],
) -> list[Hits]:
    """What is read in those pictures of the posed head in which there is a face."""
    from .detect import landmarks_in_roi

    model, prior = scene.model, scene.prior
    brows, mean = brow_strokes(prior.points), torch.from_numpy(prior.points)
    found = []
    for yaw, pitch in angles:
        view = draw_view(model, verts, scene.parts, scene.stand, yaw_deg=yaw, pitch_deg=pitch, brows=brows)
        expected = to_view(mean, scene.stand, yaw_deg=yaw, pitch_deg=pitch).numpy()
        landmarks, presence = landmarks_in_roi(view.image, expected)
        if presence < PRESENCE:
            continue
        hits = _read(scene, view, landmarks[:, :2].astype(np.float64), skin)
        far = np.linalg.norm(scene.places(hits) - prior.points, axis=1) > _FARTHEST * prior.scale
        found.append(replace(hits, hit=hits.hit & ~far))
    return found


def _read(
    scene: _Scene, view: HeadView, points: Float[np.ndarray, "478 2"], skin: Bool[np.ndarray, " F"]
) -> Hits:
    """Face points on the skin, irises on the eyeballs where there are any."""
    faces = scene.model.faces.numpy()
    hits = cast(view, faces, points, skin)
    for iris, ball in zip((LEFT_IRIS, RIGHT_IRIS), scene.parts.eyeballs, strict=True):
        if ball.any():
            rows = list(iris)
            own = cast(view, faces, points[rows], ball)
            hits.faces[rows], hits.bary[rows], hits.hit[rows] = own.faces, own.bary, own.hit
    return hits


def _near_lips(scene: _Scene, shut: Sequence[Hits]) -> Bool[np.ndarray, " F"]:
    """Triangles at the lips, not deep in the mouth: near a lip point that was seen with the mouth shut."""
    from scipy.spatial import cKDTree

    seen = np.concatenate([scene.places(hits)[list(LIPS)] for hits in shut])
    lips = cKDTree(seen[np.isfinite(seen).all(1)])
    vertices, faces = scene.model.template.double().numpy(), scene.model.faces.numpy()
    close = lips.query(vertices, distance_upper_bound=_LIP_DEPTH * scene.prior.scale)[0] < np.inf
    return close[faces].any(1)


def _expect_views(found: int, drawn: int, fewest: int) -> None:
    if found < fewest:
        raise NoFaceError(
            f"landmarks: expected a face in at least {fewest} of {drawn} views of the head, found {found}; "
            "give an embedding file with --landmarks"
        )
