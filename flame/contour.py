"""The jaw contour of the 68 landmarks, chosen by visibility: the mesh says where the outline of the face is.

Points 0 .. 16 of iBUG mark the outline. On the side that faces the camera this is the jaw line, at rest on
the mesh; on the side turned away it is where the cheek meets the background, so that a point slides forward
over the mesh as the head turns. FLAME ships a table of 79 yaw angles for it, which two families of code look
up with opposite signs, and which knows the root's yaw but not pitch, the neck (in one package) or the camera.
Here a point rests until the posed mesh hides it; then the first of its candidates that is visible stands for
it. Root, neck, shape, expression and perspective count, since nothing but the posed mesh is looked at.

A candidate path starts at rest (bin 0 of a head's table, else the head's own point), goes on through the bins
that lie in front, and then along the horizontal section of the mesh to the middle of the face.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..geom.cameras import MODEL_TO_CAMERA
from ..geom.errors import HeadwarpError, ShapeError
from ..geom.occlusion import occluded_points
from ..geom.sections import Section, plane_sections
from ._head_data import CONTOUR_BINS, CONTOUR_COUNT
from .landmarks import MEDIAPIPE_68
from .model import HeadModel
from .params import Camera, HeadParams
from .posing import project_head

HALF = (CONTOUR_BINS + 1) // 2  # bins 0 .. 39 lead one way, 40 .. 78 the other
ROW = 32  # candidates on the section of the mesh
TOLERANCE = 0.02  # of the candidates' root mean square distance from their centre: about 1.5 mm
COVER = 0.025  # metres above the topmost paths: the brow hides them in a head that bows
MIDDLE = 0.003  # metres: nearer to the middle plane a path runs upwards, not sideways

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ContourCandidates:
    """Where each contour point may lie on the mesh, from its rest forward.

    Attributes:
        faces, bary: triangle ``(17, C)`` and place in it ``(17, C, 3)``. Column 0 is the rest.
        cover_faces, cover_bary: ``(2, C)``, ``(2, C, 3)``: paths above the first and the last, never chosen.
        patch: triangles ``(P, 3)`` over all paths, flattened, the cover's last: the face between them.
        slack: how far inside the outline a point rests when the template is seen from the front, ``(17,)`` in
            units of the candidates' spread: 0, or a fraction of a millimetre. So near it is not hidden.
    """

    faces: Int[Tensor, "17 C"]
    bary: Float[Tensor, "17 C 3"]
    cover_faces: Int[Tensor, "2 C"]
    cover_bary: Float[Tensor, "2 C 3"]
    patch: Int[Tensor, "P 3"]
    slack: Float[Tensor, " 17"]

    def every(self, step: int) -> ContourCandidates:
        """The rest and every so many of the candidates behind it."""
        paths = {n: getattr(self, n)[:, ::step] for n in ("faces", "bary", "cover_faces", "cover_bary")}
        return dataclasses.replace(self, **paths, patch=torch.from_numpy(_patch(paths["faces"].shape[1])))

    def points(self, model: HeadModel, verts: Float[Tensor, "T V 3"]) -> Float[Tensor, "T 17 C 3"]:
        """Their places on posed vertices, in the frame and unit of these."""
        return _places(model, verts, self.faces, self.bary)

    def cover(self, model: HeadModel, verts: Float[Tensor, "T V 3"]) -> Float[Tensor, "T 2 C 3"]:
        """The places of the cover."""
        return _places(model, verts, self.cover_faces, self.cover_bary)


@dataclass(frozen=True)
class Contour:
    """The contour of T frames: point k of frame t is on ``faces[t, k]`` at ``bary[t, k]``.

    Attributes:
        faces, bary: ``(T, 17)`` and ``(T, 17, 3)``.
        choice: column of the candidates, ``(T, 17)``; 0 where the point rests.
        visible: False where every candidate is hidden; there the last one stands.
    """

    faces: Int[Tensor, "T 17"]
    bary: Float[Tensor, "T 17 3"]
    choice: Int[Tensor, "T 17"]
    visible: Bool[Tensor, "T 17"]


def _places(model: HeadModel, verts: Tensor, faces: Tensor, bary: Tensor) -> Tensor:
    corners = verts[:, model.faces[faces].to(verts.device)]  # (T, K, C, 3, 3)
    return torch.einsum("tkcij,kci->tkcj", corners, bary.to(verts))


def contour_candidates(model: HeadModel) -> ContourCandidates | None:
    """The candidates of a head, made once; None for a head that knows no contour.

    The rest is taken from ``model.contour`` (a FLAME table), from the landmarks ``ibug68`` 0 .. 16, or from
    the face-mesh points of the same meaning, whichever the head has first.
    """
    if model not in _CANDIDATES:
        _CANDIDATES[model] = _made(model)
    return _CANDIDATES[model]


_CANDIDATES: WeakKeyDictionary[HeadModel, ContourCandidates | None] = WeakKeyDictionary()


def first_visible(
    candidates: Float[Tensor, "T 17 C 3"],
    verts: Float[Tensor, "T V 3"],
    faces: Int[Tensor, "F 3"],
    slack: Float[Tensor, " 17"],
) -> tuple[Int[Tensor, "T 17"], Bool[Tensor, "T 17"]]:
    """The first column that the mesh does not hide, and whether there is one; the last column if not.

    Args:
        candidates: projected, x and y in pixels, smaller depth is nearer.
        verts, faces: what may hide them, projected alike.
        slack: see :class:`ContourCandidates`; a point rests where it would not move further than this.
    """
    flat = candidates.flatten(1, 2)
    spread = (flat - flat.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()  # (T,)
    unit = spread[:, None, None].clamp(min=1e-9)  # of its own frame: no frame depends on another
    hidden = occluded_points(flat / unit, verts / unit, faces, tolerance=TOLERANCE)
    seen = ~hidden.unflatten(1, candidates.shape[1:3])
    visible = seen.any(2)
    choice = torch.where(visible, seen.int().argmax(2), candidates.shape[2] - 1)
    chosen = candidates.gather(2, choice[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
    moved = (chosen - candidates[:, :, 0])[..., :2].norm(dim=-1)  # (T, 17)
    return torch.where(moved <= slack.to(moved) * spread[:, None], 0, choice), visible


def choose_on_patch(
    options: ContourCandidates, points: Float[Tensor, "T 17 C 3"], cover: Float[Tensor, "T 2 C 3"]
) -> tuple[Int[Tensor, "T 17"], Bool[Tensor, "T 17"]]:
    """:func:`first_visible` where nothing but the projected candidates and their cover is at hand.

    They span the face from ear to ear below the brows and hide each other. What else may hide them (an ear, a
    nose beyond 50 degrees) is not seen; else it agrees with the whole mesh to a step or two of a path.

    Args:
        options: the head's candidates.
        points: the candidates projected, in pixels with depth.
        cover: the points that may hide them, projected likewise.

    Returns:
        As :func:`first_visible`.
    """
    return first_visible(points, torch.cat([points, cover], 1).flatten(1, 2), options.patch, options.slack)


def choose_contour(model: HeadModel, projected: Float[Tensor, "T V 3"]) -> Contour:
    """The contour of posed frames, by visibility against the whole mesh.

    Args:
        model: with contour candidates.
        projected: its posed vertices in pixels with depth, `posing.project_head` or `posing.posed_vertices`.

    Raises:
        HeadwarpError: the head knows no contour.
        ShapeError: not the vertices of its whole mesh.
    """
    options = _required(model)
    if projected.ndim != 3 or projected.shape[1:] != model.template.shape:
        wanted = f"(T, {len(model.template)}, 3)"
        raise ShapeError(f"projected: expected {wanted}, got {tuple(projected.shape)}; pose the whole mesh")
    choice, visible = first_visible(options.points(model, projected), projected, model.faces, options.slack)
    rows = torch.arange(CONTOUR_COUNT)
    faces, bary = options.faces[rows, choice.cpu()], options.bary[rows, choice.cpu()]
    return Contour(faces.to(choice.device), bary.to(choice.device), choice, visible)


def fit_contour(model: HeadModel, params: HeadParams, camera: Camera) -> Contour:
    """The contour of the frames of a fit; errors as :func:`choose_contour`.

    Args:
        model: the head of the parameters.
        params: T frames.
        camera: T frames, or one.
    """
    with torch.no_grad():
        return choose_contour(model, project_head(model, params, camera))


def ibug68_points(
    model: HeadModel, verts: Float[Tensor, "T V 3"], contour: Contour
) -> Float[Tensor, "T 68 3"]:
    """The 68 landmarks on posed vertices, in iBUG's order: the contour first, then the inner 51.

    (The smplx package puts the inner 51 first.) Differentiable in ``verts``, whose frame and unit they have.

    Args:
        model: whose landmarks they are.
        verts: posed vertices of the whole mesh.
        contour: of these frames, from `choose_contour` or `fit_contour`.

    Raises:
        HeadwarpError: the head has no inner 51 of the family ``ibug68``.
    """
    embedding = model.landmarks.get("ibug68")
    rows = {} if embedding is None else {int(n): row for row, n in enumerate(embedding.indices)}
    inner = [rows.get(number, -1) for number in range(CONTOUR_COUNT, 68)]
    if embedding is None or min(inner) < 0:
        raise HeadwarpError(
            f"ibug68_points: expected a head with the landmarks ibug68 17 to 67, {model.model_id} has not; "
            "load it with an embedding file: load_head(FILE, landmarks=...)"
        )
    corners = model.faces[embedding.faces[inner]].to(verts.device)  # (51, 3)
    fixed = torch.einsum("tlkc,lk->tlc", verts[:, corners], embedding.bary[inner].to(verts))
    frames = torch.arange(len(verts), device=verts.device)[:, None, None]
    moving = verts[frames, model.faces[contour.faces].to(verts.device)]  # (T, 17, 3, 3)
    return torch.cat([torch.einsum("tlkc,tlk->tlc", moving, contour.bary.to(verts)), fixed], 1)


def _required(model: HeadModel) -> ContourCandidates:
    options = contour_candidates(model)
    if options is None:
        raise HeadwarpError(
            f"contour: expected a head with contour points, {model.model_id} has none; give an embedding "
            "with a contour (landmark_embedding.npy, flame_dynamic_embedding.npy): "
            "load_head(FILE, landmarks=...)"
        )
    return options


def _made(model: HeadModel) -> ContourCandidates | None:
    verts, mesh = model.template.detach().cpu().double().numpy(), model.faces.cpu().numpy()
    starts = _table_paths(model, verts, mesh) or _resting(model)
    if starts is None:
        return None
    paths = [_with_row(verts, mesh, faces, bary) for faces, bary in starts]
    faces = torch.from_numpy(np.stack([path[0] for path in paths]))
    bary = torch.from_numpy(np.stack([path[1] for path in paths])).to(model.template.dtype)
    cover = [_above(verts, mesh, paths[k], faces.shape[1]) for k in (0, CONTOUR_COUNT - 1)]
    strict = ContourCandidates(
        faces,
        bary,
        torch.from_numpy(np.stack([path[0] for path in cover])),
        torch.from_numpy(np.stack([path[1] for path in cover])).to(bary),
        torch.from_numpy(_patch(faces.shape[1])),
        torch.zeros(CONTOUR_COUNT),
    )
    return dataclasses.replace(strict, slack=_slack(model, strict))


def _slack(model: HeadModel, options: ContourCandidates) -> Tensor:
    """Of the template seen from the front, without perspective."""
    front = (model.template @ MODEL_TO_CAMERA.to(model.template))[None]  # (1, V, 3)
    points = options.points(model, front)
    choice, _ = first_visible(points, front, model.faces, options.slack)
    spread = (points - points.mean((1, 2), keepdim=True)).square().sum(-1).mean().sqrt()
    chosen = points[0, torch.arange(CONTOUR_COUNT), choice[0]]
    return 1.1 * (chosen - points[0, :, 0])[:, :2].norm(dim=1) / spread


_Path = tuple[NDArray[np.int64], Array]


def _table_paths(model: HeadModel, verts: Array, mesh: NDArray[np.int64]) -> list[_Path] | None:
    """Bin 0 and the 39 bins of the direction that leads forward on the mesh; no sign is taken on trust."""
    if model.contour is None:
        return None
    faces, bary = model.contour.faces.cpu().numpy(), model.contour.bary.cpu().double().numpy()
    depth = (verts[mesh[faces]] * bary[..., None]).sum(2)[..., 2]  # (79, 17)
    paths = []
    for k in range(CONTOUR_COUNT):
        positive, negative = np.arange(1, HALF), np.arange(HALF, CONTOUR_BINS)
        forward = positive if depth[positive, k].mean() >= depth[negative, k].mean() else negative
        order = np.array([0, *forward])
        paths.append((faces[order, k], bary[order, k]))
    return paths


def _resting(model: HeadModel) -> list[_Path] | None:
    """The head's own contour points, one candidate each."""
    for family, numbers in (("ibug68", range(CONTOUR_COUNT)), ("mediapipe", MEDIAPIPE_68[:CONTOUR_COUNT])):
        embedding = model.landmarks.get(family)
        rows = {} if embedding is None else {int(n): row for row, n in enumerate(embedding.indices)}
        if embedding is None or not all(number in rows for number in numbers):
            continue
        chosen = [rows[number] for number in numbers]
        faces, bary = embedding.faces[chosen].cpu().numpy(), embedding.bary[chosen].cpu().double().numpy()
        return [(faces[k : k + 1], bary[k : k + 1]) for k in range(CONTOUR_COUNT)]
    return None


def _with_row(verts: Array, mesh: NDArray[np.int64], faces: NDArray[np.int64], bary: Array) -> _Path:
    """A path continued along the mesh from its last point to the middle of the face."""
    last = bary[-1] @ verts[mesh[faces[-1]]]
    sideways = abs(last[0]) >= MIDDLE
    ways = plane_sections(verts, mesh, point=last, normal=np.array([0.0, 1, 0] if sideways else [1.0, 0, 0]))
    row = max(ways, key=_forward)
    length = _to_the_middle(row) if sideways else min(row.length, 0.05)
    more_faces, more_bary = row.at(np.linspace(0, length, ROW)[1:])
    return np.concatenate([faces, more_faces]), np.concatenate([bary, more_bary])


def _above(verts: Array, mesh: NDArray[np.int64], path: _Path, columns: int) -> _Path:
    """A path across the brow, above the topmost one of its side."""
    raised = path[1][0] @ verts[mesh[path[0][0]]] + np.array([0.0, COVER, 0.0])
    start = verts[np.square(verts - raised).sum(1).argmin()]
    row = max(plane_sections(verts, mesh, point=start, normal=np.array([0.0, 1, 0])), key=_forward)
    return row.at(np.linspace(0, _to_the_middle(row), columns))


def _forward(row: Section) -> float:
    """How far the first centimetres of a way lead out of the face."""
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(row.points, axis=0), axis=1))])
    return float(np.interp(0.02, walked, row.points[:, 2]) - row.points[0, 2])


def _to_the_middle(row: Section) -> float:
    """Length of a row up to where it crosses the middle plane."""
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(row.points, axis=0), axis=1))])
    across = np.flatnonzero(row.points[:, 0] * row.points[0, 0] <= 0)
    return float(walked[across[0]] if len(across) else walked[-1])


def _patch(columns: int) -> NDArray[np.int64]:
    """Triangles between neighbouring paths; the middle one, which runs upwards, has none."""
    middle, last = CONTOUR_COUNT // 2, CONTOUR_COUNT - 1
    pairs = [(k, k + 1) for k in range(last) if middle not in (k, k + 1)]
    above, below = np.array([*pairs, (last + 1, 0), (last + 2, last)]).T * columns
    column = np.arange(columns - 1)
    a, b = ((start[:, None] + column).ravel() for start in (above, below))
    return np.concatenate([np.stack([a, a + 1, b], -1), np.stack([b + 1, b, a + 1], -1)])
