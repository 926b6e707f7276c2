"""The pure shape and skinning functions: known answers, broadcasting, blocks, gradients."""

from __future__ import annotations

import pytest
import torch

from headwarp.flame import skinning
from headwarp.flame.model import FLAME_PARENTS
from headwarp.flame.skinning import (
    add_basis,
    columns_first,
    joint_transforms,
    linear_blend_skinning,
    pose_features,
    shaped_vertices,
)


def test_gradients_survive_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skinning, "_POINTS_AT_ONCE", 8)
    draw = torch.Generator().manual_seed(1)
    points, transforms, weights = (
        torch.randn(*size, generator=draw, dtype=torch.float64, requires_grad=True)
        for size in ((3, 8, 3), (3, 2, 3, 4), (8, 2))
    )
    function = lambda p, t, w: linear_blend_skinning(p, t, weights=w)  # noqa: E731
    assert torch.autograd.gradcheck(function, (points, transforms, weights))


def test_pure_functions_know_simple_answers() -> None:
    basis = torch.ones(2, 3, 4)
    shaped = shaped_vertices(
        torch.zeros(2, 3), shape_basis=basis, shape=torch.tensor([[2.0]]), expression_basis=basis,
        expression=torch.tensor([[1.0, 3.0], [0.0, 0.0]]),
    )  # fmt: skip
    assert shaped.tolist() == [[[6.0] * 3] * 2, [[2.0] * 3] * 2]
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    joints = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    transforms = joint_transforms(joints, torch.stack([quarter, quarter])[None], parents=(-1, 0))
    tip = linear_blend_skinning(
        torch.tensor([[[2.0, 0.0, 0.0]]]), transforms, weights=torch.tensor([[0.0, 1.0]])
    )
    assert tip.tolist() == [[[-1.0, 1.0, 0.0]]]  # up one, then left one


def test_joint_and_skin_batches_broadcast_both_ways() -> None:
    draw = torch.Generator().manual_seed(3)
    joints, rotations = torch.randn(3, 5, 3, generator=draw), torch.randn(3, 5, 3, 3, generator=draw)
    points, weights = torch.randn(3, 7, 3, generator=draw), torch.rand(7, 5, generator=draw)
    wide = joint_transforms(joints[:1].expand(3, -1, -1), rotations, parents=FLAME_PARENTS)
    torch.testing.assert_close(joint_transforms(joints[:1], rotations, parents=FLAME_PARENTS), wide)
    wide = joint_transforms(joints, rotations[:1].expand(3, -1, -1, -1), parents=FLAME_PARENTS)
    torch.testing.assert_close(joint_transforms(joints, rotations[:1], parents=FLAME_PARENTS), wide)
    skinned = linear_blend_skinning(points[:1], wide, weights=weights)
    torch.testing.assert_close(skinned[2], linear_blend_skinning(points[:1], wide[2:], weights=weights)[0])
    skinned = linear_blend_skinning(points, wide[:1], weights=weights)
    torch.testing.assert_close(skinned[2], linear_blend_skinning(points[2:], wide[:1], weights=weights)[0])


def test_memory_order_does_not_change_values() -> None:
    draw = torch.Generator().manual_seed(4)
    basis, coefficients = torch.randn(6, 3, 5, generator=draw), torch.randn(2, 3, generator=draw)
    flat = torch.randn(1, 18, generator=draw)
    wanted = flat + (basis[..., :3] @ coefficients.T).permute(2, 0, 1).flatten(1)
    reordered = columns_first(basis)
    assert torch.equal(reordered, basis)
    assert reordered[..., :3].permute(2, 0, 1).is_contiguous()
    torch.testing.assert_close(add_basis(flat, basis, coefficients), wanted)
    torch.testing.assert_close(add_basis(flat, reordered, coefficients), wanted)
    many = add_basis(flat.expand(2, -1), basis, coefficients[:1])
    torch.testing.assert_close(many, wanted[:1].expand(2, -1))


def test_pose_features_are_rows_of_r_minus_identity() -> None:
    rotations = torch.arange(18.0).reshape(1, 2, 3, 3)
    wanted = [-1.0, 1, 2, 3, 3, 5, 6, 7, 7, 8, 10, 11, 12, 12, 14, 15, 16, 16]
    assert pose_features(rotations).tolist() == [wanted]
