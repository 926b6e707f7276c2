"""Expression by region: weights and parts sum to the whole, and a mouth moves without the eyes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from flame_schema import flame_arrays_of
from toy_head import toy_head

from headwarp.flame.expression_regions import REGIONS, ExpressionRegions, expression_regions
from headwarp.flame.io import load_head
from headwarp.flame.model import HeadData, HeadModel
from headwarp.geom.errors import HeadwarpError


@pytest.fixture(scope="module")
def builtin() -> HeadModel:
    return load_head("builtin")


@pytest.fixture(scope="module")
def regions(builtin) -> ExpressionRegions:
    return expression_regions(builtin)


def of_flame(head: HeadModel) -> HeadModel:
    """The same head as of a FLAME file: 100 expression columns, the last of which move nothing; no masks."""
    arrays = flame_arrays_of(head)
    shapes = arrays["shapedirs"]
    return HeadModel(
        HeadData(
            name="flame",
            template=arrays["v_template"],
            faces=arrays["f"].astype(np.int64),
            shape_basis=shapes[..., :300],
            expression_basis=shapes[..., 300:],
            pose_basis=arrays["posedirs"],
            joint_regressor=arrays["J_regressor"],
            weights=arrays["weights"],
            landmarks={"ibug68": head.landmarks["ibug68"]},
        )
    )


def still(head: HeadModel) -> HeadModel:
    """The same head, without an expression."""
    embeddings = dict(head.landmarks)
    arrays = {name: value.numpy() for name, value in head.state_dict().items()}
    arrays["expression_basis"] = arrays["expression_basis"][..., :0]
    return HeadModel(HeadData(name="still", landmarks=embeddings, **arrays))


def test_weights_are_shares_and_own_what_is_theirs(builtin, regions):
    assert regions.weights.shape == (4, len(builtin.template))
    assert regions.weights.min() >= 0
    torch.testing.assert_close(regions.weights.sum(0), torch.ones(len(builtin.template)))
    mouth, eyes, brows, rest = regions.weights
    assert (mouth[builtin.region_masks["lips"]] == 1).all()
    assert (eyes[builtin.region_masks["left_eyeball"]] == 1).all()
    assert (brows[builtin.region_masks["forehead"]] == 1).all()
    assert (rest[builtin.region_masks["ears"]] == 1).all()
    cheeks = (mouth > 0.1) & (mouth < 0.9)
    assert cheeks.sum() > 200  # no seam between the regions


@pytest.mark.parametrize("of", [lambda head: head, of_flame], ids=["builtin", "flame"])
def test_parts_sum_to_the_whole_and_keep_apart(builtin, of):
    regions = expression_regions(of(builtin))
    count = regions.parts.shape[1]
    torch.testing.assert_close(regions.parts.sum(0), torch.eye(count), atol=1e-5, rtol=0)
    for name in ("mouth", "eyes", "brows"):
        measured = regions.separation[name]
        assert measured.missed < 0.5, name  # of what it should follow
        assert measured.leaked < 0.35, name  # into what should stay


def test_parts_are_the_weighted_least_squares(regions, builtin):
    """The plain twin: one dense problem for one expression."""
    toy = expression_regions(head := toy_head())
    basis = head.expression_basis.double().numpy()
    own = [np.isclose(row.numpy(), 1) for row in toy.weights]
    energy = np.array([np.square(basis[mask]).sum() for mask in own])
    counts = np.divide(1, energy, out=np.zeros(4), where=energy > 0) @ toy.weights.double().numpy()
    expression = np.array([1.0, -0.5, 2.0, 0.3, -1.0])
    root = np.sqrt(counts)[:, None]
    left = (basis * root[..., None]).reshape(-1, 5)
    for number in range(3):
        wanted = (basis @ expression) * toy.weights[number].double().numpy()[:, None] * root
        solved = np.linalg.lstsq(left, wanted.ravel(), rcond=None)[0]
        got = toy.parts[number].double().numpy() @ expression
        np.testing.assert_allclose(got, solved, atol=1e-4)


def test_scaled_gives_the_whole_back_exactly_and_differentiates(regions):
    draw = torch.Generator().manual_seed(0)
    expression = torch.randn(3, regions.parts.shape[1], generator=draw)
    assert torch.equal(regions.scaled(expression, torch.ones(4)), expression)
    torch.testing.assert_close(regions.scaled(expression, torch.full((4,), 0.5)), expression / 2)
    assert regions.scaled(expression, torch.zeros(4)).abs().max() < 1e-5
    narrow = dataclasses.replace(regions, parts=torch.randn(4, 3, 3, generator=draw).double())
    inputs = torch.randn(2, 3).double().requires_grad_(), torch.rand(4).double().requires_grad_()
    assert torch.autograd.gradcheck(narrow.scaled, inputs)


def test_leftover_completes_the_displacement_at_landmarks(builtin, regions):
    indices = builtin.landmarks["mediapipe"].indices[[3, 17, 99]]
    points = regions.of_landmarks(builtin, "mediapipe", indices)
    expression, strengths = torch.randn(2, 69), torch.tensor([1.0, 0.0, 0.5, 0.0])
    made = regions.scaled(expression, strengths)
    left = points.leftover(expression, made, strengths)
    at = torch.einsum("lce,te->tlc", points.basis, made) + left
    wanted = torch.einsum("lce,te->tlc", points.basis, expression) * (strengths @ points.weights)[:, None]
    torch.testing.assert_close(at, wanted, atol=1e-6, rtol=0)


def test_a_head_without_expressions(builtin):
    """Nothing to divide, nothing that fails."""
    regions = expression_regions(still(toy_head()))
    assert regions.scaled(torch.zeros(2, 0), torch.tensor([0.0, 1.0, 2.0, 0.5])).shape == (2, 0)
    assert all(each.missed == each.leaked == 0 for each in regions.separation.values())
    assert len(regions.separation) == len(REGIONS)


def test_what_cannot_be_told_is_said(builtin, regions):
    bare = of_flame(builtin)
    bare.landmarks = {}
    with pytest.raises(HeadwarpError, match="expected region masks or landmarks that tell the mouth"):
        expression_regions(bare)
    with pytest.raises(HeadwarpError, match="expected a family of the head's"):
        regions.of_landmarks(builtin, "deca", torch.tensor([3]))
    with pytest.raises(HeadwarpError, match="does not hold"):
        regions.of_landmarks(builtin, "ibug68", torch.tensor([99]))
