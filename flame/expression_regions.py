"""Which part of the face an expression moves: a head's basis divided among mouth, eyes, brows and rest.

Every vertex belongs to the regions by weights that sum to one: one on a region's own vertices (lips and chin;
lids and eyeballs; brows and forehead; nose, ears, skull and neck), harmonic between. Coefficients that move
one region alone are the least squares of the basis for the displacement times that region's weight, every
region's displacement counting equally; over the regions these sum to the whole expression. How well a basis
can keep regions apart is measured, not assumed (`Separation`); what it leaves at landmarks is told by
`LandmarkRegions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..geom.mesh import uniform_laplacian
from .landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE_RIM,
    LEFT_IRIS,
    LIPS,
    MEDIAPIPE_68,
    RIGHT_BROW,
    RIGHT_EYE_RIM,
    RIGHT_IRIS,
)
from .model import HeadModel, landmark_points

REGIONS = ("mouth", "eyes", "brows", "rest")
"""In the order of every array here."""

LEAK = 1e-4  # of unit-weight edges: parts of a mesh without a vertex of any region are the rest
_NEAR = 0.005  # metres from a landmark, within which skin belongs to the landmark's region
_LID = 0.25  # of the farthest way of a lid: what moves so far is a lid
_CHIN_WEIGHT = 0.6  # of the jaw joint, from which on skin is lower lip and chin

_MASKS = {
    "mouth": ("lips", "mouth_interior", "teeth", "gums", "tongue"),
    "eyes": ("left_eyeball", "right_eyeball", "left_eye_socket", "right_eye_socket"),
    "brows": ("forehead",),
    "rest": ("nose", "ears", "left_ear", "right_ear", "skull", "scalp", "neck", "body", "boundary"),
}
_NOSE = MEDIAPIPE_68[27:36]
_POINTS = {
    "mediapipe": {
        "mouth": LIPS,
        "eyes": (*LEFT_EYE_RIM, *RIGHT_EYE_RIM, *LEFT_IRIS, *RIGHT_IRIS),
        "brows": (*LEFT_BROW, *RIGHT_BROW),
        "rest": (*_NOSE, *(point for point in FACE_OVAL if point not in MEDIAPIPE_68[4:13])),
    },
    "ibug68": {
        "mouth": tuple(range(48, 68)),
        "eyes": tuple(range(36, 48)),
        "brows": tuple(range(17, 27)),
        "rest": tuple(range(27, 36)),
    },
}


@dataclass(frozen=True)
class Separation:
    """How well the basis keeps one region apart, over expressions of independent unit coefficients.

    Attributes:
        missed: root mean square of what the region's own vertices fail to follow, as a share of their
            displacement.
        leaked: root mean square displacement of the other regions' own vertices when this region alone moves,
            as a share of theirs under the whole expression.
    """

    missed: float
    leaked: float


@dataclass(frozen=True)
class LandmarkRegions:
    """The regions and the expression basis at L landmarks.

    Attributes:
        weights: of each region, sums 1, ``(4, L)``.
        basis: displacement by coefficient in the resting head's axes, metres, ``(L, 3, E)``.
    """

    weights: Float[Tensor, "4 L"]
    basis: Float[Tensor, "L 3 E"]

    def leftover(
        self, wanted: Float[Tensor, "T E"], made: Float[Tensor, "T E"], strengths: Float[Tensor, "4"]
    ) -> Float[Tensor, "T L 3"]:
        """What ``made`` leaves of the displacements by ``wanted`` times the regions' strengths.

        Args:
            wanted: expression coefficients before the strengths.
            made: those that were chosen instead.
            strengths: of mouth, eyes, brows and rest.

        Returns:
            Displacements that are missing, metres, model frame.
        """
        shares = (strengths @ self.weights.to(strengths))[:, None]  # (L, 1)
        moved = torch.einsum("lce,te->tlc", self.basis.to(wanted), wanted)
        return shares * moved - torch.einsum("lce,te->tlc", self.basis.to(made), made)


@dataclass(frozen=True)
class ExpressionRegions:
    """A head's expression by region; made once per head by `expression_regions`.

    Attributes:
        model_id: of the head.
        weights: of each region at every vertex, sums 1, ``(4, V)``; `REGIONS` names the rows.
        parts: coefficients that move one region alone are ``parts[r] @ expression``; sums to the identity,
            ``(4, E, E)``.
        landmarks: the points of each of the head's landmark families.
        separation: by region.
    """

    model_id: str
    weights: Float[Tensor, "4 V"]
    parts: Float[Tensor, "4 E E"]
    landmarks: dict[str, LandmarkRegions]
    separation: dict[str, Separation]

    def scaled(self, expression: Float[Tensor, "T E"], strengths: Float[Tensor, "4"]) -> Float[Tensor, "T E"]:
        """Coefficients with every region's part times its strength; all strengths 1 give them back exactly.

        Differentiable in both.

        Args:
            expression: coefficients.
            strengths: of mouth, eyes, brows and rest.
        """
        change = torch.einsum("r,ref->ef", strengths - 1, self.parts.to(expression))
        return expression + expression @ change.mT

    def of_landmarks(self, model: HeadModel, family: str, indices: Int[Tensor, "L"]) -> LandmarkRegions:
        """The landmarks of a fit, in their order.

        Args:
            model: the head that the regions are of.
            family: of the landmarks: ``mediapipe``, ``ibug68``.
            indices: numbers of the landmarks in the family.

        Raises:
            HeadwarpError: the head has no such landmarks.
        """
        if family not in self.landmarks:
            known = ", ".join(sorted(self.landmarks)) or "none"
            raise HeadwarpError(f"landmarks: expected a family of the head's, {known}; got {family!r}")
        order = {int(index): row for row, index in enumerate(model.landmarks[family].indices)}
        absent = [int(index) for index in indices if int(index) not in order]
        if absent:
            raise HeadwarpError(
                f"landmarks: expected some of the head's {family}, it does not hold {absent[:5]}"
            )
        rows = [order[int(index)] for index in indices]
        whole = self.landmarks[family]
        return LandmarkRegions(whole.weights[:, rows], whole.basis[rows])


def expression_regions(model: HeadModel) -> ExpressionRegions:
    """Divide a head's expression basis among the regions of the face; a fifth of a second for 5,000 vertices.

    Raises:
        HeadwarpError: a head with neither region masks nor landmarks by which to tell mouth, eyes and brows.
    """
    seeds = _seeds(model)
    weights = _spread(model.faces.cpu().numpy(), seeds)
    basis = model.expression_basis.detach().cpu().double().numpy()  # (V, 3, E)
    parts = _parts(basis, weights, seeds)
    embedded = {}
    for family, embedding in model.landmarks.items():
        corners = model.faces[embedding.faces].cpu().numpy()  # (L, 3)
        bary = embedding.bary.cpu().double().numpy()
        embedded[family] = LandmarkRegions(
            _tensor((weights[:, corners] * bary).sum(-1), model.template),
            _tensor(np.einsum("lkce,lk->lce", basis[corners], bary), model.template),
        )
    return ExpressionRegions(
        model_id=model.model_id,
        weights=_tensor(weights, model.template),
        parts=_tensor(parts, model.template),
        landmarks=embedded,
        separation=_separation(basis, parts, seeds),
    )


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)


def _seeds(model: HeadModel) -> dict[str, np.ndarray]:
    """The vertices (V,) that belong to each region alone."""
    count = len(model.template)
    found = {name: np.zeros(count, bool) for name in REGIONS}
    for name, masks in _MASKS.items():
        for mask in masks:
            if mask in model.region_masks:
                found[name] |= model.region_masks[mask].cpu().numpy()
    for name, near in _near_landmarks(model).items():
        found[name] |= near
    missing = [name for name in REGIONS[:3] if not found[name].any()]
    if missing:
        raise HeadwarpError(
            f"head {model.model_id}: expected region masks or landmarks that tell the {missing[0]}, "
            "found none; headwarp convert landmarks finds some for it"
        )
    found["mouth"] |= (model.weights[:, model.joint_names.index("jaw")] > _CHIN_WEIGHT).cpu().numpy()
    way = model.eyelid_basis.detach().cpu().double().norm(dim=1).amax(1).numpy()  # (V,)
    found["eyes"] |= (way > _LID * way.max()) & (way > 0)
    taken = np.zeros(count, bool)
    for name in REGIONS:  # a vertex that two regions claim is the first one's
        found[name] &= ~taken
        taken |= found[name]
    return found


def _near_landmarks(model: HeadModel) -> dict[str, np.ndarray]:
    """The vertices (V,) near landmarks of a region, and nearer to them than to those of another."""
    rest = model.template.detach().cpu().double()
    distance = torch.full((len(REGIONS), len(rest)), torch.inf, dtype=rest.dtype)
    for family, regions in _POINTS.items():
        if family not in model.landmarks:
            continue
        points = landmark_points(model, model.template[None], family)[0].detach().cpu().double()
        known = model.landmarks[family].indices.cpu()
        for number, name in enumerate(REGIONS):
            chosen = points[torch.isin(known, torch.tensor(regions[name]))]
            if len(chosen):
                distance[number] = torch.minimum(distance[number], torch.cdist(rest, chosen).amin(1))
    nearest, owner = distance.min(0)
    return {name: ((owner == row) & (nearest < _NEAR)).numpy() for row, name in enumerate(REGIONS)}


def _spread(faces: np.ndarray, seeds: dict[str, np.ndarray]) -> np.ndarray:
    """Weights (4, V) that are 1 on a region's seeds, 0 on the others', harmonic between; they sum to 1."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import splu

    owners = np.stack([seeds[name] for name in REGIONS]).astype(np.float64)  # (4, V)
    known = owners.any(0)
    free = np.flatnonzero(~known)
    if not len(free):
        return owners
    laplacian = uniform_laplacian(faces, owners.shape[1]).tocsr()
    pull = np.zeros((4, len(free)))
    pull[REGIONS.index("rest")] = LEAK
    right = pull - (laplacian[free][:, known] @ owners[:, known].T).T
    system = laplacian[free][:, free] + LEAK * identity(len(free))
    owners[:, free] = splu(system.tocsc()).solve(right.T).T
    return owners / owners.sum(0)


def _parts(basis: np.ndarray, weights: np.ndarray, seeds: dict[str, np.ndarray]) -> np.ndarray:
    """(4, E, E): least squares of the basis for itself times each region's weights.

    A vertex counts by the inverse of how much its regions move in all, lest the large ones decide alone.
    """
    count = basis.shape[2]
    energy = np.array([np.square(basis[seeds[name]]).sum() for name in REGIONS])
    counts = np.divide(1, energy, out=np.zeros(4), where=energy > 0) @ weights  # (V,)
    if not counts.any():  # nothing moves, or there is no basis
        return np.stack([np.eye(count) * (name == "rest") for name in REGIONS])
    counted = (basis * counts[:, None, None]).reshape(-1, count).T  # (E, 3 V)
    inverse = np.linalg.pinv(counted @ basis.reshape(-1, count), hermitian=True)
    parts = [inverse @ (counted @ (basis * row[:, None, None]).reshape(-1, count)) for row in weights]
    parts[REGIONS.index("rest")] += np.eye(count) - sum(parts)  # rounding, and columns that move nothing
    return np.stack(parts)


def _separation(basis: np.ndarray, parts: np.ndarray, seeds: dict[str, np.ndarray]) -> dict[str, Separation]:
    moved = lambda mask, part: float(np.sqrt(np.square(basis[mask] @ part).sum()))  # noqa: E731
    whole = np.eye(basis.shape[2])
    measured = {}
    for name, part in zip(REGIONS, parts, strict=True):
        own = seeds[name]
        others = np.any([mask for other, mask in seeds.items() if other != name], axis=0)
        reach, around = moved(own, whole), moved(others, whole)
        measured[name] = Separation(
            missed=moved(own, part - whole) / reach if reach > 0 else 0.0,
            leaked=moved(others, part) / around if around > 0 else 0.0,
        )
    return measured
