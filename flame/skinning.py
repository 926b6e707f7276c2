"""Linear blend shapes and linear blend skinning as pure functions, in FLAME's order.

All points are in the model's frame, metres; matrices act on column vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_POINTS_AT_ONCE = 40_000  # the blended transforms of so many points (2 MB) stay in cache


def columns_first(basis: Float[Tensor, "N 3 C"]) -> Float[Tensor, "N 3 C"]:
    """The same basis with each column contiguous in memory, so that the leading ones can be read alone."""
    return basis.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # (N, 3, C)


def add_basis(
    flat: Float[Tensor, "#B M"], basis: Float[Tensor, "N 3 C"], coefficients: Float[Tensor, "#B c"]
) -> Float[Tensor, "B M"]:
    """Flattened points plus ``basis[..., :c] @ coefficients``, M = 3 N; a batch of 1 in either broadcasts.

    Args:
        flat: points, x, y, z of each after the other.
        basis: displacement of every point for each coefficient.
        coefficients: the leading c of the C of the basis.
    """
    count = coefficients.shape[1]
    if count == 0:
        return flat.expand(max(len(flat), len(coefficients)), -1)
    columns = basis.permute(2, 0, 1)[:count].flatten(1)  # (c, M), a view in either memory order
    if len(flat) > len(coefficients):
        return flat + coefficients @ columns
    return torch.addmm(flat, coefficients, columns)


def shaped_vertices(
    template: Float[Tensor, "N 3"],
    *,
    shape_basis: Float[Tensor, "N 3 S"],
    shape: Float[Tensor, "#B s"],
    expression_basis: Float[Tensor, "N 3 E"],
    expression: Float[Tensor, "#B e"],
) -> Float[Tensor, "B N 3"]:
    """The unposed points ``template + shape_basis @ shape + expression_basis @ expression``, metres.

    Coefficient vectors shorter than a basis use its leading columns, the others are never touched; zero
    columns are allowed. A batch of 1 broadcasts (one identity, many frames). Differentiable in everything.

    Args:
        template: the points at rest.
        shape_basis: of identity, metres a coefficient.
        shape: its coefficients.
        expression_basis: of expression, metres a coefficient.
        expression: its coefficients.

    Example:
        >>> basis = torch.ones(1, 3, 2)  # one point, two coefficients
        >>> shaped_vertices(torch.zeros(1, 3), shape_basis=basis, shape=torch.tensor([[0.5]]),
        ...                 expression_basis=basis, expression=torch.tensor([[1.0, 2.0]])).tolist()
        [[[3.5, 3.5, 3.5]]]
    """
    flat = add_basis(template.reshape(1, -1), shape_basis, shape)
    return add_basis(flat, expression_basis, expression).unflatten(1, (len(template), 3))


def pose_features(rotations: Float[Tensor, "B J 3 3"]) -> Float[Tensor, "B 9*J"]:
    """What drives the pose correctives: ``vec(R_j - I)``, row by row, of each joint in turn."""
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations - eye).flatten(1)


def joint_transforms(
    joints: Float[Tensor, "#B J 3"], rotations: Float[Tensor, "#B J 3 3"], *, parents: Sequence[int]
) -> Float[Tensor, "B J 3 4"]:
    """Maps ``[R | t]`` from rest to posed points of each joint's bone, in the model frame.

    ``rotations`` are relative to the parent and each turns about its own joint, so the root turns about the
    root joint, not about the origin. ``parents[j] < j``; the root's is negative. A batch of 1 broadcasts.

    Args:
        joints: places at rest, metres, model frame.
        rotations: of each joint against its parent.
        parents: index of each joint's parent, which comes before it; negative for the root.
    """
    batch = max(len(joints), len(rotations)) if len(joints) and len(rotations) else 0
    joints, rotations = joints.expand(batch, -1, -1), rotations.expand(batch, -1, -1, -1)
    turns: list[Tensor] = []
    places: list[Tensor] = []
    for joint, parent in enumerate(parents):
        if parent < 0:
            turns.append(rotations[:, joint])
            places.append(joints[:, joint])
            continue
        step = (joints[:, joint] - joints[:, parent])[..., None]  # (B, 3, 1)
        turns.append(turns[parent] @ rotations[:, joint])
        places.append((turns[parent] @ step)[..., 0] + places[parent])
    turn, place = torch.stack(turns, 1), torch.stack(places, 1)  # (B, J, 3, 3), (B, J, 3)
    return torch.cat([turn, (place[..., None] - turn @ joints[..., None])], -1)


def linear_blend_skinning(
    points: Float[Tensor, "#B N 3"],
    transforms: Float[Tensor, "#B J 3 4"],
    *,
    weights: Float[Tensor, "N J"],
) -> Float[Tensor, "B N 3"]:
    """Each point moved by its weighted mean of the joint transforms (see :func:`joint_transforms`).

    A batch of 1 in either broadcasts. Differentiable in all three.

    Args:
        points: at rest, metres, model frame.
        transforms: ``[R | t]`` of each joint.
        weights: of each point for each joint; they sum to 1.

    Example:
        >>> up = torch.eye(3, 4)
        >>> up[1, 3] = 1.0
        >>> moved = linear_blend_skinning(torch.zeros(1, 2, 3), torch.stack([torch.eye(3, 4), up])[None],
        ...                               weights=torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        >>> moved[0, :, 1].tolist()
        [0.0, 0.5]
    """
    batch = max(len(points), len(transforms))
    points, transforms = points.expand(batch, -1, -1), transforms.expand(batch, -1, -1, -1)
    step = max(1, _POINTS_AT_ONCE // max(1, len(weights)))
    if batch <= step or points.device.type != "cpu":
        return _skin(points, transforms, weights)
    parts = zip(points.split(step), transforms.split(step), strict=True)
    return torch.cat([_skin(p, t, weights) for p, t in parts])


def _skin(points: Tensor, transforms: Tensor, weights: Tensor) -> Tensor:
    """Coordinates first inside, so that every product runs over long rows."""
    batch, joint_count = transforms.shape[:2]
    columns = transforms.flatten(2).transpose(1, 2).reshape(12 * batch, joint_count)  # (B*12, J)
    blended = (columns @ weights.T).reshape(batch, 3, 4, len(weights))  # (B, 3, 4, N)
    xyz = points.transpose(1, 2)[:, None]  # (B, 1, 3, N)
    moved = torch.addcmul(blended[:, :, 3], blended[:, :, 0], xyz[:, :, 0])
    moved = torch.addcmul(moved, blended[:, :, 1], xyz[:, :, 1])
    moved = torch.addcmul(moved, blended[:, :, 2], xyz[:, :, 2])  # (B, 3, N)
    return moved.transpose(1, 2).contiguous()
