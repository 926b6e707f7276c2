"""What a fit needs of a head and not of a picture: its landmarks in normalised units, and their products."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...geom.errors import HeadwarpError
from ..model import HeadModel, LandmarkModel, restrict, restrict_to
from ._problem import LandmarkHead
from ._rotations import Array
from ._stiffness import Stiffness, softened
from ._sums import HeadProducts, head_products
from .moving import MovingLandmarks
from .solver import one_thread

OUTER_CANTHI = {"mediapipe": (33, 263), "ibug68": (36, 45)}
FACE_POINTS = 468  # the irises beyond follow the gaze, not the face
EYELID_DEVIATION = 0.5
UNIT = 100.0  # normalised outer-canthal distance
MOST_COEFFICIENTS = 100  # of a large model, unless asked for more


@dataclass(frozen=True)
class PreparedHead:
    """A head ready to be fitted.

    Attributes:
        points: the head at its landmarks and, behind them, at the points that moving ones may stand for.
        fixed: how many landmarks do not move; they come first.
        indices: numbers of the landmarks in their family, the moving ones last, (L,).
        fitted: which of them take part in the fit, (L,).
        moving: which move and how, if any.
        everything: the head at all points, in normalised units.
        taking_part: which of those the fit looks at, (M,).
        unit: normalised units per metre.
        centre: (3,) of the fixed landmarks, normalised: the origin of `head`'s points.
        identity: coefficients of the shape, where they are known and none is an unknown.
    """

    points: LandmarkModel
    fixed: int
    indices: NDArray[np.int64]
    fitted: NDArray[np.bool_]
    moving: MovingLandmarks | None
    everything: LandmarkHead
    taking_part: NDArray[np.bool_]
    unit: float
    centre: Array
    identity: Array | None = None

    def known(self, shape: Sequence[float] | None) -> PreparedHead:
        """The head with known coefficients of the shape, the leading ones; itself for None.

        Raises:
            HeadwarpError: more than the head has, or numbers that are none.
        """
        if shape is None:
            return self
        found, count = np.asarray(shape, dtype=np.float64), self.points.shape_basis.shape[2]
        if found.ndim != 1 or len(found) > count or not np.isfinite(found).all():
            raise HeadwarpError(
                f"shape: expected at most {count} finite coefficients of the head, got {found.shape}"
            )
        full = np.zeros(count)
        full[: len(found)] = found
        everything = self.everything.of_person(full[: self.everything.shape_count])
        return dataclasses.replace(self, everything=everything, identity=full)

    def identity_of(self, found: Array) -> Array:
        """Coefficients of the shape: those that were found, or the known ones."""
        return found if self.identity is None else self.identity

    @cached_property
    def head(self) -> LandmarkHead:
        """At the points that take part."""
        return self.everything.at(np.flatnonzero(self.taking_part))

    @cached_property
    def products(self) -> HeadProducts:
        """Of `head`; made when first asked for."""
        return head_products(self.head)

    @property
    def first_candidate(self) -> int:
        """Where in `head` the points begin that moving landmarks may stand for."""
        return int(self.fitted[: self.fixed].sum())


_Key = tuple[str, int, int | None, int | None, int | None]
_PREPARED: WeakKeyDictionary[HeadModel, dict[_Key, PreparedHead]] = WeakKeyDictionary()


def prepared_head(
    model: HeadModel,
    family: str,
    count: int,
    *,
    shape_count: int | None = None,
    expression_count: int | None = None,
    moving: MovingLandmarks | None = None,
) -> PreparedHead:
    """The head at the first ``count`` landmarks of a family; kept with the model, since it takes longer than
    a photo.

    Raises:
        HeadwarpError: the head carries no embedding of the family.
    """
    counts = (shape_count, expression_count)
    kept = _PREPARED.setdefault(model, {})
    key = (family, count, *counts, None if moving is None else id(moving))  # kept alive by what is kept
    if key not in kept:
        with one_thread().limit(limits=1):
            kept[key] = _prepare(_landmark_model(model, family, count, moving), family, counts, model, moving)
            if moving is None:
                _ = kept[key].products
    return kept[key]


def as_numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


_PER_POINT = ("mean", "shape_basis", "expression_basis", "eyelid_basis", "pose_basis", "weights", "indices")


def _landmark_model(
    head: HeadModel, family: str, count: int, moving: MovingLandmarks | None
) -> LandmarkModel:
    if family not in head.landmarks:
        raise HeadwarpError(
            f"fit: head {head.name!r} has no {family!r} landmark embedding, it has "
            f"{sorted(head.landmarks) or 'none'}; pass an embedding file (`headwarp convert head FILE "
            "--landmarks EMBEDDING`) or use --head builtin"
        )
    reduced = restrict(head, family)
    keep = reduced.indices < count
    if moving is not None:
        keep &= ~torch.isin(reduced.indices, moving.numbers.to(reduced.indices))
    if not bool(keep.all()):
        reduced = dataclasses.replace(reduced, **{n: getattr(reduced, n)[keep] for n in _PER_POINT})
    return reduced


def _prepare(
    reduced: LandmarkModel,
    family: str,
    counts: tuple[int | None, int | None],
    model: HeadModel | None = None,
    moving: MovingLandmarks | None = None,
) -> PreparedHead:
    indices = reduced.indices.cpu().numpy()
    fixed = len(indices)
    fitted = indices < FACE_POINTS if family == "mediapipe" else np.ones(fixed, bool)
    mean = as_numpy(reduced.mean)[fitted]
    unit = UNIT / _canthal_length(mean, indices[fitted].tolist(), family)
    points, taking_part = reduced, fitted
    if model is not None and moving is not None:
        points = _joined(reduced, restrict_to(model, moving.candidates))
        taking_part = np.append(fitted, np.ones(len(moving.candidates.faces), bool))
        indices = np.append(indices, moving.numbers.cpu().numpy())
        fitted = np.append(fitted, np.ones(len(moving.numbers), bool))
    shapes = _count(counts[0], reduced.shape_basis.shape[2])
    expressions = _count(counts[1], reduced.expression_basis.shape[2])
    plain = _landmark_head(points, unit, shapes, expressions)
    head, centre = _softened(plain, np.flatnonzero(fitted[:fixed]), indices, family)
    return PreparedHead(points, fixed, indices, fitted, moving, head, taking_part, unit, centre)


def _softened(
    plain: LandmarkHead, own: NDArray[np.intp], indices: NDArray[np.int64], family: str
) -> tuple[LandmarkHead, Array]:
    """The head about the centre of its fixed landmarks, in coefficients whose stiffness is diagonal.

    Args:
        own: rows of the fixed landmarks that take part.
    """
    ids = indices[own]
    values, turn = softened(plain.frame_basis[own], plain.mean[own], ids, family)
    centre = plain.mean[own].mean(0)
    head = dataclasses.replace(
        plain,
        mean=plain.mean - centre,
        pivot=plain.pivot - centre,
        frame_basis=plain.frame_basis @ turn,
        pivot_frame=plain.pivot_frame @ turn,
        turn=turn,
    )
    stiffness = Stiffness.of(head.mean[own], head.jaw_arm[own], values)
    return dataclasses.replace(head, stiffness=stiffness), centre


def _joined(first: LandmarkModel, second: LandmarkModel) -> LandmarkModel:
    joined: dict[str, Any] = {n: torch.cat([getattr(first, n), getattr(second, n)]) for n in _PER_POINT}
    return dataclasses.replace(first, **joined)


def _count(wanted: int | None, available: int) -> int:
    return min(available, MOST_COEFFICIENTS if wanted is None else wanted)


def _landmark_head(reduced: LandmarkModel, unit: float, shapes: int, expressions: int) -> LandmarkHead:
    jaw = reduced.joint_names.index("jaw")
    lids = as_numpy(reduced.eyelid_basis) * EYELID_DEVIATION
    frame_basis = np.concatenate([as_numpy(reduced.expression_basis)[..., :expressions], lids], axis=2)
    of_pivot = as_numpy(reduced.joint_expression_basis)[jaw, :, :expressions]
    correctives = as_numpy(reduced.pose_basis)[..., 9 * (jaw - 1) : 9 * jaw] * unit
    return LandmarkHead(
        mean=as_numpy(reduced.mean) * unit,
        pivot=as_numpy(reduced.joint_template)[jaw] * unit,
        jaw_weight=as_numpy(reduced.weights)[:, jaw],
        frame_basis=frame_basis * unit,
        shape_basis=as_numpy(reduced.shape_basis)[..., :shapes] * unit,
        pivot_frame=np.concatenate([of_pivot, np.zeros((3, 2))], axis=1) * unit,
        pivot_shape=as_numpy(reduced.joint_shape_basis)[jaw, :, :shapes] * unit,
        correctives=correctives if np.abs(correctives).max(initial=0.0) > 0 else None,
    )


def _canthal_length(points: Array, ids: list[int], family: str) -> float:
    """3D outer-canthal distance; for points without those, their spread scaled as on the built-in head."""
    right, left = OUTER_CANTHI[family]
    if right in ids and left in ids:
        return float(np.linalg.norm(points[ids.index(right)] - points[ids.index(left)]))
    return float(2.0 * np.sqrt(np.square(points - points.mean(0)).sum(1).mean()))
