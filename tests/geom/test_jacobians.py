"""Ratios of Jacobians: exact up to the guard, finite beyond it, and as published without one."""

import pytest
import torch

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.jacobians import left_ratio, right_ratio


def pair(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 5, 2, 2, generator=generator, dtype=dtype) for _ in range(2))
    return torch.eye(2, dtype=dtype) + 0.3 * a, b


@pytest.mark.parametrize("guard", [100.0, None])
def test_it_is_the_inverse_where_the_guard_is_silent(guard):
    a, b = pair(torch.float64)
    assert torch.linalg.cond(a).max() < 100
    torch.testing.assert_close(left_ratio(a, b, condition_guard=guard), torch.linalg.inv(a) @ b)
    torch.testing.assert_close(right_ratio(b, a, condition_guard=guard), b @ torch.linalg.inv(a))


def with_condition(condition, sign=1.0):
    turn = torch.linalg.qr(torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64))[0]
    return turn @ torch.diag(torch.tensor([2.0, sign * 2.0 / condition], dtype=torch.float64)) @ turn.T


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_guard_begins_at_its_condition_number_and_keeps_the_sign(sign):
    eye = torch.eye(2, dtype=torch.float64)
    below, above = with_condition(9.99, sign), with_condition(1e6, sign)
    torch.testing.assert_close(left_ratio(below, eye, condition_guard=10), torch.linalg.inv(below))
    guarded = left_ratio(above, eye, condition_guard=10)
    assert guarded.norm() < 1.02 * 10 / above.norm()
    assert torch.linalg.det(guarded).sign() == sign


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([[1.0, 2.0], [0.5, 1.0]]), 1e-30 * torch.eye(2)],
)
def test_singular_matrices_have_finite_ratios_and_gradients(matrix):
    matrix = matrix.clone().requires_grad_()
    ratio = left_ratio(matrix, torch.eye(2)) + right_ratio(torch.eye(2), matrix)
    ratio.sum().backward()
    assert torch.isfinite(ratio).all()
    assert torch.isfinite(matrix.grad).all()
    assert matrix.grad.abs().max() < 1e7


def test_the_public_inverse_ends_the_run():
    with pytest.raises(torch.linalg.LinAlgError):
        left_ratio(torch.ones(2, 2), torch.eye(2), condition_guard=None)


def test_gradcheck():
    a, b = (value[:1].requires_grad_() for value in pair(torch.float64))
    assert torch.autograd.gradcheck(left_ratio, (a, b))
    singular = with_condition(1e5).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: right_ratio(torch.eye(2).double(), m), singular)


def test_autocast_rounds_nothing():
    a, b = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(left_ratio(a, b), right := left_ratio(a, b).float())
    assert torch.equal(right, left_ratio(a, b))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: left_ratio(torch.eye(3), torch.eye(3)), ShapeError, "two (..., 2, 2) of one shape"),
        (lambda: left_ratio(torch.eye(2), torch.eye(2)[None]), ShapeError, "(2, 2) and (1, 2, 2)"),
        (lambda: left_ratio(torch.eye(2), torch.eye(2), condition_guard=0.5), HeadwarpError, "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
