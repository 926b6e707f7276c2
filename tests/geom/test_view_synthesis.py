"""View synthesis: known answers, identity, the plain twin, gradients into depth, motion and K."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.geom.transforms import axis_angle_to_matrix
from headwarp.geom.view_synthesis import (
    back_project,
    intrinsics_matrix,
    project_points,
    rigid_flow,
    scale_intrinsics,
    synthesise_view,
    synthesise_view_ref,
    visible_points,
)

SIZE = (6, 8)


def scene(dtype=torch.float64, batch=2):
    torch.manual_seed(0)
    depth = 1.5 + torch.rand(batch, 1, *SIZE, dtype=dtype)
    turn = 0.1 * torch.randn(batch, 3, dtype=dtype)
    move = 0.1 * torch.randn(batch, 3, dtype=dtype)
    focal = torch.tensor([[9.0, 10.0]], dtype=dtype).repeat(batch, 1)
    principal = torch.tensor([[4.2, 2.9]], dtype=dtype).repeat(batch, 1)
    picture = torch.rand(batch, 3, *SIZE, dtype=dtype)
    return picture, depth, turn, move, intrinsics_matrix(focal, principal)


def test_points_project_back_to_their_pixels():
    _, depth, _, _, K = scene()
    pixels = project_points(back_project(depth, K), K)
    assert torch.allclose(pixels[0, :, 2, 3], torch.tensor([3.5, 2.5], dtype=torch.float64))
    still = rigid_flow(depth, torch.eye(3).double().expand(2, 3, 3), torch.zeros(2, 3).double(), K)
    assert still.flow.abs().max() < 1e-12
    assert (still.visible == 1).all()


def test_a_shift_beside_a_plane_is_a_whole_pixel():
    K = intrinsics_matrix(torch.full((1, 2), 8.0), torch.tensor([[4.0, 3.0]]))
    depth, picture = torch.full((1, 1, *SIZE), 2.0), torch.rand(1, 3, *SIZE)
    move = torch.tensor([[0.5, 0.0, 0.0]])  # 8 * 0.5 / 2 = 2 px
    found = rigid_flow(depth, torch.eye(3)[None], move, K)
    assert torch.allclose(found.flow[0, 0], torch.full(SIZE, 2.0), atol=1e-6)
    assert found.visible[0, 0, :, :6].all()
    assert not found.visible[0, 0, :, 6:].any()
    seen = synthesise_view(picture, depth, torch.eye(3)[None], move, K)
    assert torch.allclose(seen[..., :6], picture[..., 2:], atol=1e-5)


def test_the_twin_agrees_and_so_does_the_flow():
    picture, depth, turn, move, K = scene()
    rotation = axis_angle_to_matrix(turn)
    for padding in ("border", "zeros"):
        seen = synthesise_view(picture, depth, rotation, move, K, padding_mode=padding)
        twin = synthesise_view_ref(picture, depth, rotation, move, K, padding_mode=padding)
        assert torch.allclose(seen, twin, atol=1e-10)


def test_gradients_into_everything():
    picture, depth, turn, move, K = (value.requires_grad_() for value in scene(batch=1))

    def view(picture, depth, turn, move, K):
        return synthesise_view(picture, depth, axis_angle_to_matrix(turn), move, K)

    assert torch.autograd.gradcheck(view, (picture, depth, turn, move, K))
    (slope,) = torch.autograd.grad(view(picture, depth, turn, move, K).square().sum(), K)
    assert (slope[:, :2].abs().sum((0, 1)) > 0).all()


def test_what_comes_before_hides_what_is_behind():
    K = intrinsics_matrix(torch.full((1, 2), 8.0), torch.tensor([[4.0, 3.0]]))
    depth = torch.full((1, 1, *SIZE), 4.0)
    depth[..., 2:4, 2:4] = 1.0  # moves by 4 px, the rest by 1
    found = rigid_flow(depth, torch.eye(3)[None], torch.tensor([[0.5, 0.0, 0.0]]), K)
    assert found.visible[0, 0, 2:4, 2:4].all()
    assert not found.visible[0, 0, 2:4, 5].any()  # lands on column 6, where the near square is
    assert found.visible[0, 0, 0, :7].all()


def test_points_behind_the_camera_are_not_seen_and_nothing_is_infinite():
    depth = torch.ones(1, 1, *SIZE)
    K = intrinsics_matrix(torch.full((1, 2), 8.0), torch.tensor([[4.0, 3.0]]))
    found = rigid_flow(depth, torch.eye(3)[None], torch.tensor([[0.0, 0.0, -2.0]]), K)
    assert torch.isfinite(found.flow).all()
    assert (found.visible == 0).all()
    far = torch.full((1, 2, *SIZE), 1e9)
    assert (visible_points(far, depth) == 0).all()


def test_K_of_a_smaller_picture_sees_the_same():
    _, depth, _, _, K = scene()
    half = scale_intrinsics(K, SIZE, (3, 4))
    points = back_project(depth, K)
    assert torch.allclose(project_points(points, half) * 2, project_points(points, K))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"depth": torch.rand(1, *SIZE)}, r"depth: expected floats \(B, 1, H, W\)"),
        ({"rotation": torch.rand(1, 3)}, "axis-angle goes through axis_angle_to_matrix"),
        ({"intrinsics": torch.rand(3, 3)}, r"intrinsics: expected \(1, 3, 3\)"),
        ({"source": torch.rand(1, 3, 2, 2)}, "of the depth's batch and size"),
    ],
)
def test_what_does_not_fit_is_refused(change, text):
    picture, depth, turn, move, K = scene(batch=1)
    arguments = {
        "source": picture,
        "depth": depth,
        "rotation": axis_angle_to_matrix(turn),
        "translation": move,
        "intrinsics": K,
    }
    with pytest.raises(ShapeError, match=text):
        synthesise_view(**{**arguments, **change})
