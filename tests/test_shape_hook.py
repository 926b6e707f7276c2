"""The shape checker that runs under all tests catches what it should, and only that."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from shape_hook import checked
from torch import Tensor

from headwarp.geom.errors import ShapeError
from headwarp.geom.mesh import vertex_normals


def scaled(
    verts: Float[Tensor, "B V 3"], weight: Float[Tensor, "#B V"], size: int = 1
) -> Float[Tensor, "B V 3"]:
    return verts * weight[..., None]


def flattened(verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
    return verts.flatten()


def refusing(verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
    raise ShapeError("verts: add a batch axis")


def test_right_shapes_pass():
    torch.testing.assert_close(checked(scaled)(torch.ones(2, 4, 3), torch.ones(1, 4)), torch.ones(2, 4, 3))


@pytest.mark.parametrize(("verts", "weight"), [((2, 4, 2), (2, 4)), ((2, 4, 3), (2, 5)), ((4, 3), (2, 4))])
def test_wrong_shapes_fail(verts, weight):
    with pytest.raises(TypeCheckError):
        checked(scaled)(torch.ones(verts), torch.ones(weight))


def test_wrong_result_fails():
    with pytest.raises(TypeCheckError):
        checked(flattened)(torch.ones(1, 2, 3))


def test_a_refusal_of_its_own_goes_first():
    with pytest.raises(ShapeError, match="add a batch axis"):
        checked(refusing)(torch.ones(2, 3))


def test_other_types_may_be_ducks():
    checked(scaled)(torch.ones(1, 1, 3), torch.ones(1, 1), size="large")


def test_the_package_is_under_the_checker():
    assert vertex_normals.__wrapped__
