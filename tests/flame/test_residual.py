"""Residuals spread over the mesh: exact at the landmarks, smooth between, gone far away."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_fit import toy_fit, varied
from toy_head import toy_head

from headwarp.flame.io import load_head
from headwarp.flame.landmarks import MEDIAPIPE_68
from headwarp.flame.model import landmark_points, with_landmarks
from headwarp.flame.posing import posed_vertices
from headwarp.flame.residual import DECAY, WEIGHT, corrected, field_of, residual_field
from headwarp.geom.errors import HeadwarpError
from headwarp.geom.mesh import uniform_laplacian


@pytest.fixture(scope="module")
def head():
    return load_head("builtin")


@pytest.fixture(scope="module")
def field(head):
    return residual_field(head, head.landmarks["mediapipe"].indices)


@pytest.fixture(scope="module")
def toy():
    return toy_head()


def smooth_residual(points, amount=3.0):
    """A residual that varies over the face as fits leave it, ``(1, L, 2)`` px."""
    place = (points - points.mean(1, keepdim=True)) / 40
    return amount * torch.stack([torch.sin(place[..., 0] + place[..., 1]), torch.cos(2 * place[..., 1])], -1)


def test_landmarks_of_the_corrected_mesh_are_where_they_were_detected(head, field):
    fit = toy_fit(head, scale=800.0)
    residual = smooth_residual(fit.landmarks)
    fit = dataclasses.replace(fit, residual=residual)
    verts = posed_vertices(head, fit)
    moved = landmark_points(head, corrected(verts, fit, field) - verts, "mediapipe")[..., :2]
    assert (moved - residual).norm(dim=-1).mean() < 0.02 * residual.norm(dim=-1).mean()
    assert (moved - residual).norm(dim=-1).max() < 0.2


def test_the_depth_stays_and_nothing_gives_nothing(head, field):
    fit = toy_fit(head, 2, residual=3.0, **varied(head, 2))
    verts = posed_vertices(head, fit)
    assert torch.equal(corrected(verts, fit, field)[..., 2], verts[..., 2])
    still = dataclasses.replace(fit, residual=torch.zeros_like(fit.residual))
    assert torch.equal(corrected(verts, still, field), verts)


def test_the_map_of_a_fit_is_kept_for_every_model_of_its_content(toy):
    fit = toy_fit(toy)
    kept = field_of(toy, fit)
    assert field_of(toy_head(), fit) is kept
    plain = residual_field(toy, fit.landmark_indices)
    assert torch.equal(kept.matrix, plain.matrix)
    still = dataclasses.replace(fit, report={"moving_landmarks": [int(fit.landmark_indices[0])]})
    assert not torch.equal(field_of(toy, still).matrix, kept.matrix)
    embedding = toy.landmarks["mediapipe"]
    moved = dataclasses.replace(embedding, bary=embedding.bary.roll(1, dims=1))
    other = with_landmarks(toy_head(), {"mediapipe": moved})
    assert other.model_id == toy.model_id
    assert not torch.equal(field_of(other, fit).matrix, kept.matrix)


def test_linear_and_a_frame_at_a_time(head, field):
    residual = torch.randn(3, len(field.landmark_indices), 2, generator=torch.Generator().manual_seed(0))
    spread = field(residual)
    assert spread.shape == (3, len(head.template), 2)
    torch.testing.assert_close(spread[1:2], field(residual[1:2]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        field(2 * residual[:1] - residual[1:2]), 2 * spread[:1] - spread[1:2], rtol=1e-3, atol=1e-3
    )
    assert field(residual.double()).dtype == torch.float64


def test_the_back_of_the_head_and_the_shoulders_stay(head, field):
    pull = field(torch.ones(1, len(field.landmark_indices), 2))[0]
    far = (head.template[:, 2] < -0.08) | head.region_masks["body"]
    assert pull[far].abs().max() < 0.05
    face = head.region_masks["nose"]
    assert (pull[face] - 1).abs().max() < 0.05


def test_one_landmark_pulls_its_neighbourhood_only(head, field):
    row = int((field.landmark_indices == 152).nonzero())  # the chin
    pull = field.matrix[:, row]
    chin = landmark_points(head, head.template[None], "mediapipe")[0, row]
    away = (head.template - chin).norm(dim=1)
    assert pull[away < 0.004].max() > 0.5
    assert pull[away > 0.03].abs().max() < 0.05


def test_minimises_what_it_says(toy):
    """The plain twin: the same three terms as dense least squares."""
    rows = torch.tensor([0, 33, 77, 20])  # 0 and 33 are swapped in the toy's numbering
    embedding = toy.landmarks["mediapipe"]
    field = residual_field(toy, embedding.indices[rows])
    count = len(toy.template)
    laplacian = uniform_laplacian(toy.faces.numpy(), count).toarray()
    laplacian /= np.maximum(np.diag(laplacian), 1)[:, None]
    pick = np.zeros((4, count))
    np.add.at(
        pick,
        (np.arange(4)[:, None], toy.faces[embedding.faces[rows]].numpy()),
        embedding.bary[rows].numpy(),
    )
    residual = np.array([[1.0, -2.0], [0.5, 0.0], [-1.0, 3.0], [2.0, 2.0]])
    system = np.concatenate([laplacian, np.sqrt(DECAY) * np.eye(count), np.sqrt(WEIGHT) * pick])
    right = np.concatenate([np.zeros((2 * count, 2)), np.sqrt(WEIGHT) * residual])
    expected = np.linalg.lstsq(system, right, rcond=None)[0]
    got = field(torch.as_tensor(residual, dtype=torch.float32)[None])[0].numpy()
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_order_and_choice_of_landmarks_follow_the_fit(toy):
    indices = toy.landmarks["mediapipe"].indices
    chosen = indices[torch.tensor([9, 2, 55])]
    field, turned = residual_field(toy, chosen), residual_field(toy, chosen.flip(0))
    torch.testing.assert_close(field.matrix, turned.matrix.flip(1), rtol=0, atol=1e-6)
    assert torch.equal(field.landmark_indices, chosen)


def test_the_68_points_have_a_field_too(head):
    field = residual_field(head, head.landmarks["ibug68"].indices, "ibug68")
    assert field.matrix.shape == (len(head.template), len(MEDIAPIPE_68))
    assert torch.isfinite(field.matrix).all()


def test_no_landmarks_correct_nothing(toy):
    field = residual_field(toy, torch.zeros(0, dtype=torch.int64))
    assert not field(torch.zeros(2, 0, 2)).any()
    assert field(torch.zeros(2, 0, 2)).shape == (2, len(toy.template), 2)


def test_what_the_head_does_not_hold_is_refused(toy):
    with pytest.raises(HeadwarpError, match=r"expected landmarks of the head, it does not hold \[9999\]"):
        residual_field(toy, torch.tensor([0, 9999]))
    with pytest.raises(HeadwarpError, match="expected a landmark embedding 'ibug68', the head has mediapipe"):
        residual_field(toy, torch.tensor([0]), "ibug68")


def test_a_field_for_other_landmarks_is_refused(toy):
    fit = toy_fit(toy, residual=1.0)
    verts = posed_vertices(toy, fit)
    for other in (fit.landmark_indices[:-1], fit.landmark_indices.flip(0)):
        with pytest.raises(HeadwarpError, match=r"corrected: expected the \d+ landmarks .* residual_field"):
            corrected(verts, fit, residual_field(toy, other))
