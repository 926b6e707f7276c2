"""What the posing of a head is given, checked: vertices, coefficients, turns of joints, one batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..geom.errors import ShapeError
from ..geom.transforms import axis_angle_to_matrix

if TYPE_CHECKING:
    from .model import HeadModel, LandmarkModel


def vertex_indices(vertices: Tensor, count: int) -> Tensor:
    """Indices ``(N,)`` of some of so many vertices."""
    if vertices.ndim != 1 or vertices.is_floating_point() or vertices.dtype == torch.bool:
        raise ShapeError(
            f"vertices: expected an index tensor (N,), got {vertices.dtype} {tuple(vertices.shape)}; "
            "turn a mask into indices with mask.nonzero()[:, 0]"
        )
    if (
        vertices.device.type == "cpu" and ((vertices < 0) | (vertices >= count)).any()
    ):  # elsewhere it would wait
        got = f"{int(vertices.min())}..{int(vertices.max())}"
        raise ShapeError(f"vertices: expected indices from 0 to {count - 1}, got {got}")
    return vertices


def part(basis: Tensor, rows: Tensor | None, *, start: int = 0, stop: int) -> Tensor:
    """Some columns of a basis, at some points. Columns lie first in memory, so they are cut first."""
    columns = basis.permute(2, 0, 1)[start:stop]  # (c, V, 3)
    if rows is not None:
        columns = columns.index_select(1, rows)
    return columns.permute(1, 2, 0)  # (N, 3, c)


def coefficients(model: HeadModel | LandmarkModel, name: str, value: Tensor, limit: int) -> Tensor:
    """A coefficient vector or batch as ``(B, c)`` in the model's dtype."""
    if value.ndim not in (1, 2) or value.shape[-1] > limit:
        raise ShapeError(
            f"{name}: expected ({limit},) or (B, {limit}), fewer columns allowed, got {tuple(value.shape)}"
        )
    return torch.atleast_2d(value).to(model.template)


def vector(model: HeadModel | LandmarkModel, name: str, value: Tensor | None, width: int) -> Tensor | None:
    """One row a frame, ``(B, width)``, in the model's dtype."""
    if value is None:
        return None
    if value.ndim != 2 or value.shape[1] != width:
        raise ShapeError(f"{name}: expected (B, {width}), got {tuple(value.shape)}; one row a frame")
    return value.to(model.template)


def common_batch(values: list[Tensor]) -> int:
    """The number of rows of all; those of one row go with any."""
    sizes = {len(v) for v in values} - {1}
    if len(sizes) > 1:
        raise ShapeError(f"pose_vertices: expected one batch size or 1, got {sorted(sizes)}")
    return sizes.pop() if sizes else 1


def given_turns(
    model: HeadModel | LandmarkModel,
    rotation: Tensor | None,
    neck: Tensor | None,
    jaw: Tensor | None,
    eyes: Tensor | None,
) -> dict[str, Tensor]:
    """The axis-angles that were given, by joint."""
    both = vector(model, "eyes", eyes, 6)
    turns = {
        "root": vector(model, "rotation", rotation, 3),
        "neck": vector(model, "neck", neck, 3),
        "jaw": vector(model, "jaw", jaw, 3),
        "left_eye": None if both is None else both[:, :3],
        "right_eye": None if both is None else both[:, 3:],
    }
    given = {name: turn for name, turn in turns.items() if turn is not None}
    absent = sorted(given.keys() - set(model.joint_names))
    if absent:
        raise ShapeError(
            f"joints: expected some of {model.joint_names}, got {absent}; this head has no such joint"
        )
    return given


def joint_rotations(
    model: HeadModel | LandmarkModel, turns: dict[str, Tensor], batch: int
) -> tuple[Tensor, list[int]]:
    """Relative rotations ``(B, J, 3, 3)`` and the joints whose correctives they drive."""
    zero = model.template.new_zeros(1, 3)
    vectors = [turns.get(name, zero).expand(batch, 3) for name in model.joint_names]
    moving = [j for j, name in enumerate(model.joint_names) if name in turns and j in model.pose_joints]
    return axis_angle_to_matrix(torch.stack(vectors, 1)), moving
