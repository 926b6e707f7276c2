"""What a fit needs of a head and not of a picture: its landmarks in normalised units, and their products."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import HeadwarpError
from ..model import HeadModel, LandmarkModel, restrict
from ._problem import Array, LandmarkHead
from ._sums import HeadProducts, head_products
from .solver import one_thread

OUTER_CANTHI = (33, 263)  # face-mesh ids
OUTER_CANTHI_OF = {"mediapipe": OUTER_CANTHI, "ibug68": (36, 45)}
FACE_POINTS = 468  # the irises beyond follow the gaze, not the face
EYELID_DEVIATION = 0.5
UNIT = 100.0  # normalised outer-canthal distance
MOST_COEFFICIENTS = 100  # of a large model, unless asked for more


@dataclass(frozen=True)
class PreparedHead:
    """A head ready to be fitted.

    Attributes:
        reduced: the head at the landmarks that were detected.
        fitted: which of them take part in the fit, (L,).
        head: those, in normalised units.
        products: of `head`.
        unit: normalised units per metre.
        spread: root mean square distance of the resting landmarks from their centre, frontal, normalised.
    """

    reduced: LandmarkModel
    fitted: NDArray[np.bool_]
    head: LandmarkHead
    products: HeadProducts
    unit: float
    spread: float


_Key = tuple[str, int, int | None, int | None]
_PREPARED: WeakKeyDictionary[HeadModel, dict[_Key, PreparedHead]] = WeakKeyDictionary()


def prepared_head(
    model: HeadModel,
    family: str,
    count: int,
    *,
    shape_count: int | None = None,
    expression_count: int | None = None,
) -> PreparedHead:
    """The head at the first ``count`` landmarks of a family; kept with the model, since it takes longer than
    a photo.

    Raises:
        HeadwarpError: the head carries no embedding of the family.
    """
    kept = _PREPARED.setdefault(model, {})
    key = (family, count, shape_count, expression_count)
    if key not in kept:
        with one_thread().limit(limits=1):
            kept[key] = _prepare(_landmark_model(model, family, count), family, shape_count, expression_count)
    return kept[key]


def as_numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def _landmark_model(head: HeadModel, family: str, count: int) -> LandmarkModel:
    if family not in head.landmarks:
        raise HeadwarpError(
            f"fit: head {head.name!r} has no {family!r} landmark embedding, it has "
            f"{sorted(head.landmarks) or 'none'}; pass an embedding file (`headwarp convert head FILE "
            "--landmarks EMBEDDING`) or use --head builtin"
        )
    reduced = restrict(head, family)
    keep = reduced.indices < count
    if not bool(keep.all()):
        names = (
            "mean",
            "shape_basis",
            "expression_basis",
            "eyelid_basis",
            "pose_basis",
            "weights",
            "indices",
        )
        reduced = dataclasses.replace(reduced, **{n: getattr(reduced, n)[keep] for n in names})
    return reduced


def _prepare(
    reduced: LandmarkModel, family: str, shape_count: int | None, expression_count: int | None
) -> PreparedHead:
    indices = reduced.indices.cpu().numpy()
    fitted = indices < FACE_POINTS if family == "mediapipe" else np.ones(len(indices), bool)
    mean = as_numpy(reduced.mean)[fitted]
    unit = UNIT / _canthal_length(mean, indices[fitted].tolist(), OUTER_CANTHI_OF.get(family, OUTER_CANTHI))
    head = _landmark_head(
        reduced,
        fitted,
        unit,
        _count(shape_count, reduced.shape_basis.shape[2]),
        _count(expression_count, reduced.expression_basis.shape[2]),
    )
    flat = head.mean[:, :2] - head.mean[:, :2].mean(0)
    spread = float(np.sqrt(np.square(flat).sum(1).mean()))
    return PreparedHead(reduced, fitted, head, head_products(head), unit, spread)


def _count(wanted: int | None, available: int) -> int:
    return min(available, MOST_COEFFICIENTS if wanted is None else wanted)


def _landmark_head(
    reduced: LandmarkModel, fitted: NDArray[np.bool_], unit: float, shapes: int, expressions: int
) -> LandmarkHead:
    jaw = reduced.joint_names.index("jaw")
    lids = as_numpy(reduced.eyelid_basis) * EYELID_DEVIATION
    frame_basis = np.concatenate([as_numpy(reduced.expression_basis)[..., :expressions], lids], axis=2)
    of_pivot = as_numpy(reduced.joint_expression_basis)[jaw, :, :expressions]
    correctives = as_numpy(reduced.pose_basis)[..., 9 * (jaw - 1) : 9 * jaw][fitted] * unit
    return LandmarkHead(
        mean=as_numpy(reduced.mean)[fitted] * unit,
        pivot=as_numpy(reduced.joint_template)[jaw] * unit,
        jaw_weight=as_numpy(reduced.weights)[fitted, jaw],
        frame_basis=frame_basis[fitted] * unit,
        shape_basis=as_numpy(reduced.shape_basis)[fitted][..., :shapes] * unit,
        pivot_frame=np.concatenate([of_pivot, np.zeros((3, 2))], axis=1) * unit,
        pivot_shape=as_numpy(reduced.joint_shape_basis)[jaw, :, :shapes] * unit,
        correctives=correctives if np.abs(correctives).max(initial=0.0) > 0 else None,
    )


def _canthal_length(points: Array, ids: list[int], canthi: tuple[int, int]) -> float:
    """3D outer-canthal distance; for points without those, their spread scaled as on the built-in head."""
    if all(i in ids for i in canthi):
        return float(np.linalg.norm(points[ids.index(canthi[0])] - points[ids.index(canthi[1])]))
    return float(2.0 * np.sqrt(np.square(points - points.mean(0)).sum(1).mean()))
