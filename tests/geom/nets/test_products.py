"""Products through oneDNN: the plain product's values, and the plain product where they cannot be had."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.nets import products
from headwarp.geom.nets.products import product, product_ref, products_work

needs_products = pytest.mark.skipif(not products_work(), reason="this build of torch lacks the operation")


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(37, 19, generator=generator), torch.randn(23, 19, generator=generator)


def test_a_known_answer():
    made = product(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]]))
    assert made.tolist() == [[3.0, 5.0, 0.0], [10.0, 16.0, 1.0]]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_of_the_plain_product(pair, dtype, strided):
    rows, columns = (each.to(dtype) for each in pair)
    if strided:
        rows, columns = rows.T.contiguous().T, columns.T.contiguous().T
    made = product(rows, columns)
    assert made.dtype == dtype
    torch.testing.assert_close(made, product_ref(rows, columns), rtol=0, atol=1e-5)


@needs_products
def test_without_gradients_it_is_onednn(pair, monkeypatch):
    calls = []
    through = products._through_onednn
    monkeypatch.setattr(products, "_through_onednn", lambda *given: calls.append(1) or through(*given))
    product(*pair)
    assert calls == [1]
    with torch.no_grad():
        product(pair[0].requires_grad_(), pair[1])
    assert calls == [1, 1]


def test_gradients(pair):
    given = [each[:4, :3].double().requires_grad_() for each in pair]
    assert torch.autograd.gradcheck(product, given)
    assert product(pair[0].requires_grad_(), pair[1]).requires_grad


@pytest.mark.parametrize("failure", [AttributeError, RuntimeError, TypeError])
def test_an_operation_that_has_changed_is_not_used(pair, monkeypatch, failure):
    def changed(*_):
        raise failure("another signature")

    monkeypatch.setattr(products, "_through_onednn", changed)
    assert not products_work.__wrapped__()


def test_an_operation_that_computes_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(products, "_through_onednn", lambda rows, columns: product_ref(rows, columns) + 1)
    assert not products_work.__wrapped__()
    monkeypatch.setattr(products, "_through_onednn", lambda rows, columns: rows)
    assert not products_work.__wrapped__()


def test_without_the_operation_the_product_is_plain(pair, monkeypatch):
    monkeypatch.setattr(products, "products_work", lambda: False)
    monkeypatch.setattr(products, "_through_onednn", None)
    assert torch.equal(product(*pair), product_ref(*pair))
