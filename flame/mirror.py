"""Heads and landmarks in a mirrored picture.

A mirrored picture shows a person whose left is right. Its mesh has at each vertex the mirrored position of
the vertex's twin, its landmarks those of the points' twins: then the left eye is the left eye again,
triangles are counter-clockwise from outside as before, and shapes, codes and textures keep their meaning.
Twins of the landmarks stand in tables; those of a head are found from the symmetry of its template.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree
from torch import Tensor

from ..geom.errors import HeadwarpError, ShapeError
from .landmarks import IBUG_MIRROR, LIPS_INNER_UPPER, mirror_map
from .model import HeadModel
from .mouth import ROWS, strip_vertices

TOLERANCE = 0.015  # of the head's height: how far from its twin's mirrored place a vertex may lie
ROUNDS, SMOOTHINGS = 5, 8  # of matching; over neighbours, of what is left
_CANDIDATES = 12  # nearest vertices among which a twin is sought


def vertex_mirror(head: HeadModel) -> Int[Tensor, "V"]:
    """The twin of each vertex: the one that the template has on the other side; an involution.

    Twins are matched all at once, so that places and surroundings agree best: also where the template is
    symmetric only about (a smooth millimetre), and where two vertices lie at one place (closed lips).

    Raises:
        HeadwarpError: the template has no mirror symmetry about a plane x = const.
    """
    template = head.template.detach().cpu().double().numpy()
    faces = head.faces.cpu().numpy()
    rings = _ring_means(faces, len(template))
    places = template - [template[:, 0].mean(), 0, 0]
    features = np.concatenate([places, rings @ places], axis=1)  # the neighbours tell apart what coincides
    mirrored = features * [-1, 1, 1, -1, 1, 1]
    limit = TOLERANCE * float(np.ptp(template[:, 1]))
    twin = _matched_smoothly(features, mirrored, rings, limit=limit)
    if twin is None:
        raise HeadwarpError(_asymmetric(head, "some vertices have no twin at the mirrored place"))
    if (twin[twin] != np.arange(len(twin))).any():
        raise HeadwarpError(_asymmetric(head, "the twin of a vertex's twin is not always the vertex"))
    apart = np.linalg.norm(mirrored[:, :3] - features[twin, :3], axis=1)
    if apart.max() > limit:
        worst = f"vertex {apart.argmax()} lies {1000 * apart.max():.1f} mm from its twin's mirrored place"
        raise HeadwarpError(_asymmetric(head, worst))
    return torch.from_numpy(twin)


def mesh_mirror(head: HeadModel, vertices: int) -> Int[Tensor, "V"]:
    """`vertex_mirror` for a posed mesh of so many vertices: the head's, with or without a mouth's strips.

    Raises:
        HeadwarpError: the head has no mirror symmetry.
        ShapeError: another count of vertices.
    """
    count, strips = len(head.template), strip_vertices(head)
    twin = vertex_mirror(head)
    if vertices == count:
        return twin
    if not strips or vertices != count + strips:
        raise ShapeError(
            f"vertices: expected {count} of head {head.model_id}"
            + (f", or {count + strips} with a mouth's strips" if strips else "")
            + f", got {vertices}; pass the count of posed_vertices or with_mouth"
        )
    columns = strips // (2 * ROWS)
    order = {point: column for column, point in enumerate(LIPS_INNER_UPPER)}
    table = mirror_map()
    other = torch.tensor([order[int(table[point])] for point in LIPS_INNER_UPPER])
    places = torch.arange(strips).view(-1, columns)[:, other]  # (2 ROWS, N)
    return torch.cat([twin, count + places.flatten()])


def landmark_mirror(head: HeadModel, family: str) -> Int[Tensor, "L"]:
    """The twin of each row of a head's landmarks of a family, ``mediapipe`` or ``ibug68``; an involution.

    Raises:
        HeadwarpError: an unknown family, one that the head has not, or without the twin of a landmark.

    Example:
        >>> from headwarp.flame.io import load_head
        >>> landmark_mirror(load_head("builtin"), "ibug68")[:3].tolist()
        [16, 15, 14]
    """
    tables = {"mediapipe": mirror_map(), "ibug68": np.array(IBUG_MIRROR)}
    if family not in tables or family not in head.landmarks:
        known = ", ".join(sorted(tables.keys() & head.landmarks.keys())) or "none"
        raise HeadwarpError(f"landmarks: expected a family that can be mirrored ({known}), got {family!r}")
    return mirror_rows(head.landmarks[family].indices, torch.from_numpy(tables[family]))


def mirror_rows(indices: Int[Tensor, "L"], twins: Int[Tensor, "N"]) -> Int[Tensor, "L"]:
    """The row of each row's twin, where rows hold landmarks of these indices.

    Raises:
        HeadwarpError: the twin of a landmark is not among them.

    Example:
        >>> mirror_rows(torch.tensor([4, 2, 0]), torch.tensor([4, 1, 2, 3, 0]))
        tensor([2, 1, 0])
    """
    rows = {int(index): row for row, index in enumerate(indices)}
    wanted = twins[indices.cpu()].tolist()
    missing = sorted(set(wanted) - rows.keys())
    if missing:
        raise HeadwarpError(
            f"landmarks: expected the twin of each among them, {missing[0]} is missing; "
            "mirror all landmarks of the family"
        )
    return torch.tensor([rows[index] for index in wanted], device=indices.device)


def mirror_vertices(
    verts: Float[Tensor, "... V D"], width: float, twins: Int[Tensor, "V"]
) -> Float[Tensor, "... V D"]:
    """Posed vertices or landmarks in pixels in the mirrored picture: x becomes ``width - x``.

    Twice is the identity but for the rounding of ``width - x`` to half a unit of the last place of ``width``
    (8e-6 px at 256); what was mirrored once comes back bit for bit.

    Args:
        verts: x, y and depth, or x and y.
        width: W of the picture in pixels.
        twins: of `mesh_mirror` or `landmark_mirror`.

    Raises:
        ShapeError: not a twin a vertex.

    Example:
        >>> mirror_vertices(torch.tensor([[[1.0, 2.0, 0.0], [7.0, 3.0, 5.0]]]), 10, torch.tensor([1, 0]))
        tensor([[[3., 3., 5.],
                 [9., 2., 0.]]])
    """
    if verts.ndim < 2 or verts.shape[-2] != len(twins):
        raise ShapeError(
            f"verts: expected (..., {len(twins)}, 2 or 3) as there are twins, got {tuple(verts.shape)}; "
            "twins belong to one mesh"
        )
    moved = verts[..., twins.to(verts.device), :]
    return torch.cat([width - moved[..., :1], moved[..., 1:]], dim=-1)


def _ring_means(faces: np.ndarray, count: int) -> csr_matrix:
    """The matrix that takes values at the vertices to the means over their neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    rings = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    degrees = np.diff(rings.indptr)
    rings.data[:] = np.repeat(1 / np.maximum(degrees, 1), degrees)  # an edge of two triangles counts once
    return rings


def _matched_smoothly(
    features: np.ndarray, mirrored: np.ndarray, rings: csr_matrix, *, limit: float
) -> np.ndarray | None:
    """`_matched` where a smooth displacement lies between the two, as in a head that is symmetric only about.

    What the first match leaves is smoothed over the mesh and taken away, so that no dense place (lids, lips)
    is matched to the row beside it.
    """
    moved, last = mirrored, None
    for _ in range(ROUNDS):
        partner = _matched(features, moved, limit=limit)
        if partner is not None and last is not None and (partner == last).all():
            break
        nearest = cKDTree(features).query(moved)[1] if partner is None else partner
        offset, last = features[nearest] - mirrored, partner
        for _ in range(SMOOTHINGS):
            offset = (offset + rings @ offset) / 2
        moved = mirrored + offset
    return partner


def _matched(features: np.ndarray, mirrored: np.ndarray, *, limit: float) -> np.ndarray | None:
    """A partner for each: the nearest where both are each other's, the rest so that the squared distances
    together are least; None where there are not enough near ones.

    The cost of (a, b) is that of (b, a), so that the best matching is an involution unless there is a tie.
    """
    partner = cKDTree(features).query(mirrored)[1]
    left = np.flatnonzero(partner[partner] != np.arange(len(partner)))
    if not len(left):
        return partner
    count = min(_CANDIDATES, len(left))
    distance, index = cKDTree(features[left]).query(mirrored[left], k=[*range(1, count + 1)])
    near = distance < 4 * limit  # in six dimensions
    rows = np.repeat(np.arange(len(left)), near.sum(1))
    cost = distance[near] ** 2 + (1e-3 * limit) ** 2  # an entry of 0 is none
    graph = csr_matrix((cost, (rows, index[near])), shape=(len(left), len(left)))
    try:
        matched = min_weight_full_bipartite_matching(graph.maximum(graph.T))[1]
    except ValueError:
        return None
    partner[left] = left[matched]
    return partner


def _asymmetric(head: HeadModel, what: str) -> str:
    return f"head {head.model_id} is not symmetric about its middle: {what}; mirror pictures of another head"
