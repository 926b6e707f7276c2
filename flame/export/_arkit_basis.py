"""What ARKit's blendshapes look like on a head: one column of landmark displacements for each it can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...geom.errors import ShapeError
from ..expressions import project_displacements, rigid_fields
from ..landmarks import (
    FACE_MESH_COUNT,
    LIPS_INNER_LOWER,
    LIPS_INNER_UPPER,
    LIPS_OUTER_LOWER,
    LIPS_OUTER_UPPER,
    mirror_map,
)
from ..model import HeadModel, LandmarkModel, pose_vertices, restrict
from ..posing import JAW_OPEN_RADIANS
from ._arkit_tables import ARKIT_NAMES, Table
from ._arkit_targets import Target, arkit_targets

SIDEWAYS_JAW_RADIANS = 0.12  # jawLeft, jawRight at 1: the chin moves by about 8 mm
FORWARD_JAW = (0.0, -0.0015, 0.007)  # metres, jawForward at 1
UPPER_LIP_SHARE = 0.3  # of the gap that mouthClose closes
FEWEST_LANDMARKS = 6
LEAST_REACH = 0.35  # of a displacement that a head's modes must be able to show


@dataclass(frozen=True)
class ArkitBasis:
    """Columns for one person's head.

    Attributes:
        names: blendshapes that the head can show, K of them, in ARKit's order.
        columns: displacements of the landmarks at 1.0, ``(3 L, K)`` metres.
        reduced: the head at its L landmarks of the face mesh, irises left out.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    reduced: LandmarkModel


def native_columns(model: HeadModel) -> dict[str, tuple[int, ...]]:
    """Columns of the expression basis that are blendshapes of ARKit's names, as ICT-FaceKit's are.

    ``smile_L`` and ``smileLeft`` are one name; where a head has two sides of what ARKit has as one
    (browInnerUp), both are given.
    """
    spelled = [name.replace("_L", "Left").replace("_R", "Right") for name in model.expression_names]
    found = {}
    for name in ARKIT_NAMES:
        columns = [i for i, own in enumerate(spelled) if own in (name, f"{name}Left", f"{name}Right")]
        if columns:
            found[name] = tuple(columns)
    return found


def arkit_basis(model: HeadModel, shape: Tensor) -> ArkitBasis:
    """The columns: joints and eyelids where the head has them, else targets seen through its expression
    modes.

    Blendshapes that the head has itself (`native_columns`) need none and are left out.

    Args:
        model: a head with landmarks ``"mediapipe"``, all or some.
        shape: the person's, ``(S,)``.

    Raises:
        ShapeError: the head has no such landmarks.
    """
    if "mediapipe" not in model.landmarks:
        raise ShapeError(
            f"ARKit: expected the landmark family 'mediapipe', this head ({model.model_id}) has "
            f"{', '.join(sorted(model.landmarks)) or 'none'}; load it with an embedding file"
        )
    face = _without_irises(restrict(model, "mediapipe"))
    columns = {**_seen_columns(face), **_joint_columns(face, shape), **_lid_columns(face)}
    _oppose(columns)
    own = native_columns(model)
    names = tuple(name for name in ARKIT_NAMES if name in columns and name not in own)
    stacked = np.stack([columns[name].reshape(-1) for name in names], axis=1)  # (3 L, K)
    return ArkitBasis(names, stacked, face)


def _oppose(columns: dict[str, np.ndarray]) -> None:
    """Left and right of the jaw and of the mouth are one movement in two directions: never both at once."""
    for part in ("jaw", "mouth"):
        left, right = f"{part}Left", f"{part}Right"
        if left in columns and right in columns:
            columns[left] = (columns[left] - columns[right]) / 2
            columns[right] = -columns[left]


def displacements(
    face: LandmarkModel,
    shape: Tensor,
    *,
    expression: Tensor | None = None,
    jaw: Tensor | None = None,
    eyelids: Tensor | None = None,
) -> np.ndarray:
    """How far a pose carries the landmarks from rest, ``(T, L, 3)`` metres."""
    none = torch.zeros(1, 0)
    moved = pose_vertices(face, shape, none if expression is None else expression, jaw=jaw, eyelids=eyelids)
    return (moved - pose_vertices(face, shape, none)).double().numpy()


def _without_irises(face: LandmarkModel) -> LandmarkModel:
    kept = (face.indices < FACE_MESH_COUNT).nonzero()[:, 0]
    per_landmark = {
        "mean",
        "shape_basis",
        "expression_basis",
        "eyelid_basis",
        "pose_basis",
        "weights",
        "indices",
    }
    return LandmarkModel(**{k: v[kept] if k in per_landmark else v for k, v in vars(face).items()})


def _rows(face: LandmarkModel) -> dict[int, int]:
    return {int(index): row for row, index in enumerate(face.indices.tolist())}


def _seen_columns(face: LandmarkModel) -> dict[str, np.ndarray]:
    """Displacements (L, 3) of the targets that the expression modes can show."""
    x = face.mean[:, 0].tolist()
    twin = mirror_map()
    left = [i for i, row in _rows(face).items() if x[row] > 0 and int(twin[i]) != i]
    targets = {**arkit_targets(left), **_jaw_targets(face)}
    columns = {name: _shown(face, target) for name, target in targets.items()}
    return {name: column for name, column in columns.items() if column is not None}


def _shown(face: LandmarkModel, target: Target) -> np.ndarray | None:
    """A target as the head can show it, or None where it hardly can.

    Expression modes have no rigid motion of their own, so that every local movement comes with a small
    opposite one of the whole face: it is put back.
    """
    rows, basis = _rows(face), face.expression_basis.double().numpy()
    moves = {i: move for i, move in target.moves.items() if i in rows}
    if len(moves) < FEWEST_LANDMARKS or basis.shape[2] == 0:
        return None
    still = tuple(sorted(i for i in set(target.still) - set(moves) if i in rows))
    points = face.mean.double().numpy()
    vector = project_displacements(points, basis, rows, moves=moves, still=still, contact=target.contact)
    column = basis @ vector
    place = [rows[i] for i in (*moves, *still)]
    wanted = np.concatenate([list(moves.values()), np.zeros((len(still), 3))])
    rigid = rigid_fields(points)
    amounts = np.linalg.lstsq(rigid[place].reshape(-1, 6), (wanted - column[place]).reshape(-1), rcond=None)[
        0
    ]
    column = column + rigid @ amounts
    reached = (column[place] * wanted).sum()
    return column if reached > LEAST_REACH * np.square(wanted).sum() else None


def _jaw_targets(face: LandmarkModel) -> dict[str, Target]:
    """jawForward and mouthClose: what the jaw carries, moved by the expression modes instead."""
    if "jaw" not in face.joint_names:
        return {}
    rows = _rows(face)
    share = face.weights[:, face.joint_names.index("jaw")].double().numpy()
    x, y, z = FORWARD_JAW
    forward = {i: (s * x, s * y, s * z) for i, row in rows.items() for s in (share[row],) if s > 0.2}
    still = tuple(i for i, row in rows.items() if share[row] < 0.02)
    opened = displacements(face, torch.zeros(0), jaw=torch.tensor([[JAW_OPEN_RADIANS, 0.0, 0.0]]))[0]
    return {
        "jawForward": Target(forward, still),
        "mouthClose": Target(_closing(opened, rows), still, contact=False),
    }


def _closing(opened: np.ndarray, rows: Mapping[int, int]) -> Table:
    """Lip movements that shut the mouth of a jaw as open as at jawOpen = 1."""
    moves: Table = {}
    for upper_line, lower_line in (
        (LIPS_INNER_UPPER, LIPS_INNER_LOWER),
        (LIPS_OUTER_UPPER, LIPS_OUTER_LOWER),
    ):
        for upper, lower in zip(upper_line[1:-1], lower_line[1:-1], strict=True):
            if upper in rows and lower in rows:
                gap = opened[rows[lower]] - opened[rows[upper]]
                moves[upper] = _triple(UPPER_LIP_SHARE * gap)
                moves[lower] = _triple((UPPER_LIP_SHARE - 1) * gap)
    return moves


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


def _joint_columns(face: LandmarkModel, shape: Tensor) -> dict[str, np.ndarray]:
    if "jaw" not in face.joint_names:
        return {}
    side = SIDEWAYS_JAW_RADIANS
    turns = torch.tensor([[JAW_OPEN_RADIANS, 0.0, 0.0], [0.0, side, 0.0], [0.0, -side, 0.0]])
    return dict(zip(("jawOpen", "jawLeft", "jawRight"), displacements(face, shape, jaw=turns), strict=True))


def _lid_columns(face: LandmarkModel) -> dict[str, np.ndarray]:
    """The eyelid basis, where the head has one."""
    lids = face.eyelid_basis.double().numpy()
    found = {f"eyeBlink{side}": lids[..., i] for i, side in enumerate(("Left", "Right"))}
    return {name: column for name, column in found.items() if column.any()}
