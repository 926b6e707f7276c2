"""The same points on two heads: by their common mesh, or by their face-mesh landmarks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..geom.nearest import barycentric, nearest_on_surface
from ._face_paint import head_parts
from .landmarks import FACE_MESH_COUNT, INNER_LIP_LOOP, face_mesh_triangles
from .model import HeadModel, LandmarkEmbedding, LandmarkModel, restrict, with_landmarks

FAMILY = "mediapipe"
MOST_VERTICES = 1500
_FEWEST_LANDMARKS = 40
_OWN = "correspondence"


@dataclass(frozen=True)
class Correspondence:
    """Two heads at N points that are the same on both, float64.

    Attributes:
        source, target: the heads there.
        exact: whether the points are vertices of one mesh that both heads share.
    """

    source: LandmarkModel
    target: LandmarkModel
    exact: bool


def corresponding_points(source: HeadModel, target: HeadModel) -> Correspondence:
    """The same points on two heads.

    Heads of one mesh (equal triangles): up to 1,500 of its vertices, evenly taken. Others: the face-mesh
    landmarks that both have, and the middles of the face mesh's triangles between them, on the nearest skin;
    triangles at the inner lips are left out, where the nearest skin may be the other lip.

    Args:
        source, target: two heads.

    Raises:
        HeadwarpError: the meshes differ and a head has too few face-mesh landmarks.
    """
    if torch.equal(source.faces, target.faces) and len(source.template) == len(target.template):
        return _of_vertices(source, target)
    common = _common_landmarks(source, target)
    triangles = _between(common)
    pairs = [_reduced(head, _on_face(head, common, triangles)) for head in (source, target)]
    return Correspondence(pairs[0], pairs[1], exact=False)


def _of_vertices(source: HeadModel, target: HeadModel) -> Correspondence:
    corners = source.faces.reshape(-1).numpy()
    used, first = np.unique(corners, return_index=True)
    pick = np.unique(np.linspace(0, len(used) - 1, min(len(used), MOST_VERTICES)).round().astype(int))
    at = torch.from_numpy(first[pick])
    embedding = LandmarkEmbedding(torch.arange(len(at)), at // 3, torch.eye(3)[at % 3])
    return Correspondence(_reduced(source, embedding), _reduced(target, embedding), exact=True)


def _common_landmarks(source: HeadModel, target: HeadModel) -> np.ndarray:
    """Ids of the points of the face (irises aside) that both heads carry, sorted."""
    for head in (source, target):
        if FAMILY not in head.landmarks:
            raise HeadwarpError(
                f"correspondence: expected face-mesh landmarks on both heads, {head.model_id} has "
                f"{', '.join(sorted(head.landmarks)) or 'none'}; make them with `headwarp convert landmarks`"
            )
    first, second = (head.landmarks[FAMILY].indices.numpy() for head in (source, target))
    common = np.intersect1d(first, second)
    common = common[common < FACE_MESH_COUNT]
    if len(common) < _FEWEST_LANDMARKS:
        raise HeadwarpError(
            f"correspondence: expected at least {_FEWEST_LANDMARKS} face-mesh landmarks on both heads, got "
            f"{len(common)} common to {source.model_id} and {target.model_id}; make all of them with "
            "`headwarp convert landmarks`"
        )
    return common


def _between(common: np.ndarray) -> np.ndarray:
    """Triangles of the face mesh with all corners among the points, none of them at the inner lips."""
    triangles = face_mesh_triangles()
    known = np.isin(triangles, common).all(1) & ~np.isin(triangles, INNER_LIP_LOOP).any(1)
    return triangles[known]


def _on_face(head: HeadModel, common: np.ndarray, triangles: np.ndarray) -> LandmarkEmbedding:
    """The landmarks and the middles of the triangles on the head's surface."""
    own = head.landmarks[FAMILY]
    row = {int(index): place for place, index in enumerate(own.indices)}
    rows = torch.tensor([row[int(index)] for index in common])
    vertices, faces = head.template.detach().cpu().double().numpy(), head.faces.cpu().numpy()
    own_faces, own_bary = own.faces.numpy(), own.bary.double().numpy()
    places = np.einsum("lk,lkc->lc", own_bary, vertices[faces[own_faces]])
    corners = np.vectorize(row.__getitem__, otypes=[np.int64])(triangles)
    middles = places[corners].mean(1)  # (K, 3)
    skin = np.flatnonzero(head_parts(head).skin)
    nearest, on_skin = nearest_on_surface(middles, vertices, faces[skin])
    bary = barycentric(nearest, vertices[faces[skin[on_skin]]])
    return LandmarkEmbedding(
        indices=torch.arange(len(rows) + len(triangles)),
        faces=torch.cat([own.faces[rows], torch.from_numpy(skin[on_skin])]),
        bary=torch.cat([own.bary[rows].double(), torch.from_numpy(bary)]),
    )


def _reduced(head: HeadModel, embedding: LandmarkEmbedding) -> LandmarkModel:
    """The head at those points, float64."""
    reduced = restrict(with_landmarks(head, {_OWN: embedding}), _OWN)
    wide: dict[str, Any] = {
        field.name: value.detach().cpu().double()
        for field in fields(reduced)
        if isinstance(value := getattr(reduced, field.name), Tensor) and value.is_floating_point()
    }
    return replace(reduced, **wide)


def distances(first: Float[Tensor, "T N 3"], second: Float[Tensor, "T N 3"]) -> Float[Tensor, "T N"]:
    """How far corresponding points lie apart.

    Args:
        first, second: points of T frames, in one unit.
    """
    return (first - second).square().sum(-1).sqrt()
