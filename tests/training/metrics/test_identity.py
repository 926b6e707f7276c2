"""Embeddings compared, and faces aligned for the networks that make them."""

from __future__ import annotations

import math

import pytest
import torch

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import aed_id, aed_id_sq, aligned_faces, csim
from headwarp.training.metrics.identity import ARCFACE_TEMPLATE, five_points

EMBEDDINGS = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))


def landmarks_at(points: torch.Tensor) -> torch.Tensor:
    """68 points with the five at given places; eyes are rings around theirs."""
    found = torch.full((68, 2), 50.0, dtype=points.dtype)
    angles = torch.arange(6) * math.pi / 3
    ring = torch.stack([angles.cos(), angles.sin()], 1).to(points) * 3
    found[36:42], found[42:48] = points[0] + ring, points[1] + ring
    found[30], found[48], found[54] = points[2], points[3], points[4]
    return found


TEMPLATE = torch.tensor(ARCFACE_TEMPLATE)


def test_known_answers() -> None:
    assert csim(EMBEDDINGS, 3 * EMBEDDINGS).tolist() == pytest.approx([1] * 5)
    assert csim(EMBEDDINGS, -EMBEDDINGS).tolist() == pytest.approx([-1] * 5)
    other = EMBEDDINGS.roll(1, 0)
    assert csim(EMBEDDINGS, other).tolist() == pytest.approx(
        torch.cosine_similarity(EMBEDDINGS, other).tolist(), abs=1e-6
    )
    assert aed_id(EMBEDDINGS, EMBEDDINGS).tolist() == [0] * 5
    assert aed_id_sq(EMBEDDINGS, other).tolist() == pytest.approx(aed_id(EMBEDDINGS, other).square().tolist())
    assert csim(EMBEDDINGS, other).dtype == torch.float64


@pytest.mark.parametrize("metric", [csim, aed_id, aed_id_sq])
def test_embeddings_are_checked(metric) -> None:
    with pytest.raises(ShapeError, match=r"expected two \(T, D\) of one shape"):
        metric(EMBEDDINGS, EMBEDDINGS[:4])
    with pytest.raises(ShapeError, match="reference: expected finite embeddings"):
        metric(EMBEDDINGS, EMBEDDINGS * torch.nan)


def test_an_embedding_without_a_direction_is_an_error() -> None:
    with pytest.raises(ShapeError, match="generated: expected embeddings with a direction"):
        csim(EMBEDDINGS * 0, EMBEDDINGS)


def test_five_points_of_68() -> None:
    torch.testing.assert_close(five_points(landmarks_at(TEMPLATE)), TEMPLATE, atol=1e-4, rtol=0)
    with pytest.raises(ShapeError, match=r"expected \(68, 2\), got \(5, 2\)"):
        five_points(TEMPLATE)


def test_a_face_at_the_template_is_left_as_it_is() -> None:
    image = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    aligned = aligned_faces(image, landmarks_at(TEMPLATE)[None])
    torch.testing.assert_close(aligned, image, atol=1e-4, rtol=0)


def test_whole_pixel_shifts_are_exact_and_black_comes_from_outside() -> None:
    image = torch.rand(1, 3, 140, 130, generator=torch.Generator().manual_seed(2))
    aligned = aligned_faces(image, landmarks_at(TEMPLATE + torch.tensor([7.0, 11.0]))[None])
    torch.testing.assert_close(aligned, image[:, :, 11:123, 7:119], atol=1e-4, rtol=0)
    outside = aligned_faces(image, landmarks_at(TEMPLATE + torch.tensor([-20.0, 0.0]))[None])
    assert outside[..., :19].abs().max() == 0
    torch.testing.assert_close(outside[..., 20:], image[:, :, :112, :92], atol=1e-4, rtol=0)


def test_turned_and_scaled_faces_come_out_alike() -> None:
    """A smooth picture turned about: the aligned face shows what stood at the same place of the face."""
    angle, scale, shift = 0.5, 1.7, torch.tensor([90.0, 30.0])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    y, x = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(300) + 0.5, indexing="ij")
    face = (torch.stack([x, y], -1) - shift) @ torch.linalg.inv(turn).T  # place on the template of each pixel
    picture = torch.stack([face[..., 0], face[..., 1], face.sum(-1)])[None] / 224
    points = TEMPLATE @ turn.T + shift
    aligned = aligned_faces(picture, landmarks_at(points)[None])
    centres = torch.arange(112) + 0.5
    inside = (aligned[0, 2] != 0)[40:80, 40:80]
    assert bool(inside.all())
    torch.testing.assert_close(
        aligned[0, 0, 40:80, 40:80], (centres[40:80] / 224).expand(40, 40), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(
        aligned[0, 1, 40:80, 40:80], (centres[40:80, None] / 224).expand(40, 40), atol=2e-3, rtol=0
    )


def test_gradients_reach_the_picture_and_sides_scale() -> None:
    image = torch.rand(2, 3, 112, 112, requires_grad=True)
    points = torch.stack([landmarks_at(TEMPLATE), landmarks_at(TEMPLATE + 2)])
    aligned = aligned_faces(image, points, side=56)
    assert aligned.shape == (2, 3, 56, 56)
    (gradient,) = torch.autograd.grad(aligned.sum(), image)
    assert gradient.abs().sum() > 0
    assert aligned_faces(image[:0], points[:0]).shape == (0, 3, 112, 112)


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\) and \(B, 68, 2\)"):
        aligned_faces(torch.rand(2, 3, 8, 8), torch.rand(1, 68, 2))
    with pytest.raises(ShapeError, match="finite"):
        aligned_faces(torch.rand(1, 3, 8, 8), torch.full((1, 68, 2), torch.nan))
