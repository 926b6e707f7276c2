"""Landmark residuals spread over the mesh: what the parametric head leaves, put back as a smooth correction.

The correction u over the vertices minimises |L u|^2 + decay |u|^2 + weight |B u - r|^2, with L the umbrella
Laplacian, B the landmarks' barycentric embedding and r the residual in pixels: exact to a hundredth at the
landmarks, gone a few triangles away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geom.errors import HeadwarpError
from ..geom.mesh import uniform_laplacian
from .model import HeadModel
from .params import HeadFit

DECAY = 2e-4  # e-folding after about 8 edges
WEIGHT = 10.0
MOST_KEPT = 4  # maps, of 20 MB for 5,000 vertices


@dataclass(frozen=True)
class ResidualField:
    """Linear map from landmark residuals to vertex corrections; made once per head by `residual_field`.

    Attributes:
        matrix: ``(V, L)``.
        landmark_indices: the landmarks it is for, in their order, ``(L,)``.
    """

    matrix: Float[Tensor, "V L"]
    landmark_indices: Int[Tensor, "L"]

    def __call__(self, residual: Float[Tensor, "T L 2"]) -> Float[Tensor, "T V 2"]:
        """Corrections of the vertices in the unit of the residual."""
        rows = residual.mT.flatten(0, 1)  # (2 T, L)
        return (rows @ self._rows.to(residual)).unflatten(0, (-1, 2)).mT

    @cached_property
    def _rows(self) -> Float[Tensor, "L V"]:
        """The matrix in the order in which few rows times it read memory once: seven times as fast."""
        return self.matrix.T.contiguous()


def field_of(model: HeadModel, fit: HeadFit) -> ResidualField:
    """The map for the landmarks of a fit, told by its report; errors as :func:`residual_field`.

    The last few maps are kept by what they are made of: a head that is loaded anew has its map already.

    Args:
        model: the head of the fit.
        fit: any frames.
    """
    family, moving = fit.report.get("family", "mediapipe"), tuple(fit.report.get("moving_landmarks", ()))
    embedding = model.landmarks.get(family)
    parts = [] if embedding is None else [embedding.indices, embedding.faces, embedding.bary]
    places = tuple(part.cpu().numpy().tobytes() for part in (fit.landmark_indices, *parts))
    key = (model.model_id, family, moving, places)
    field = _KEPT.get(key)
    if field is None:
        field = _KEPT[key] = residual_field(model, fit.landmark_indices, family, moving=moving)
        for oldest in list(_KEPT)[:-MOST_KEPT]:
            _KEPT.pop(oldest, None)
    return field


_KEPT: dict[tuple[object, ...], ResidualField] = {}


def residual_field(
    model: HeadModel,
    landmark_indices: Int[Tensor, "L"],
    family: str = "mediapipe",
    *,
    moving: Sequence[int] = (),
) -> ResidualField:
    """The map for the landmarks of a fit; about a third of a second for 5,000 vertices.

    Args:
        model: the head of the fit.
        landmark_indices: ``fit.landmark_indices``.
        family: which of the head's landmark embeddings they are numbered in.
        moving: landmarks that are another point of the mesh in every frame, as an outline is: what they leave
            is not put back anywhere.

    Raises:
        HeadwarpError: the head has no such embedding, or not these landmarks.
    """
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import splu

    if family not in model.landmarks:
        known = ", ".join(sorted(model.landmarks)) or "none"
        raise HeadwarpError(f"residual_field: expected a landmark embedding {family!r}, the head has {known}")
    embedding = model.landmarks[family]
    still = ~torch.isin(landmark_indices, torch.as_tensor(moving, dtype=landmark_indices.dtype))
    rows = _rows(embedding.indices, landmark_indices[still])
    corners = model.faces[embedding.faces[rows]].cpu().numpy()  # (L, 3)
    weights = embedding.bary[rows].double().cpu().numpy()
    count, landmarks = model.template.shape[0], len(rows)
    place = np.repeat(np.arange(landmarks), 3)
    pick = coo_matrix((weights.ravel(), (place, corners.ravel())), shape=(landmarks, count)).tocsr()
    laplacian = uniform_laplacian(model.faces.cpu().numpy(), count)
    degree = np.maximum(laplacian.diagonal(), 1.0)
    laplacian = laplacian.multiply(1.0 / degree[:, None]).tocsr()
    system = laplacian.T @ laplacian + DECAY * identity(count) + WEIGHT * (pick.T @ pick)
    matrix = np.zeros((count, len(landmark_indices)))
    factors = splu(  # symmetric and positive: a third less to fill in than by columns
        system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    # One side at a time: a few columns stay in the cache, hundreds do not.
    for column, side in zip(np.flatnonzero(still.cpu().numpy()), WEIGHT * pick.toarray(), strict=True):
        matrix[:, column] = factors.solve(side)
    return ResidualField(torch.as_tensor(matrix, dtype=torch.float32), landmark_indices.clone())


def _rows(known: Tensor, wanted: Tensor) -> Tensor:
    order = {int(index): row for row, index in enumerate(known)}
    absent = [int(index) for index in wanted if int(index) not in order]
    if absent:
        raise HeadwarpError(f"residual_field: expected landmarks of the head, it does not hold {absent[:5]}")
    return torch.tensor([order[int(index)] for index in wanted], dtype=torch.int64)


def corrected(verts: Float[Tensor, "T V 3"], fit: HeadFit, field: ResidualField) -> Float[Tensor, "T V 3"]:
    """Posed vertices with the fit's residual added in x and y.

    Args:
        verts: in pixels with depth.
        fit: of these T frames.
        field: from `residual_field`, for the fit's landmarks.

    Raises:
        HeadwarpError: the field was made for other landmarks than those of the fit.
    """
    if not torch.equal(field.landmark_indices, fit.landmark_indices):
        raise HeadwarpError(
            f"corrected: expected the {len(field.landmark_indices)} landmarks that the field was made for, "
            f"got {len(fit.landmark_indices)} or others; use residual_field(head, fit.landmark_indices)"
        )
    moved = verts[..., :2] + field(fit.residual)
    return torch.cat([moved, verts[..., 2:]], dim=-1)
