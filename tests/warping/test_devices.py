"""Attention on a CUDA device, where torch's kernel takes the place of blocks: the dense twin's numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from headwarp.warping import attention
from headwarp.warping.attention import OFFICIAL, CrossModalAttention, attend, attend_ref

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICE = "cuda"
MIB = 1 << 20
ALIGNED, ODD = (32, 64), (30, 20)  # widths of keys and of values: with a kernel, and without


def tensors(widths=ALIGNED, *, sharp=1.0, seed=0) -> list[Tensor]:
    """Queries, keys and values; scores of some five times ``sharp``."""
    draw = torch.Generator().manual_seed(seed)
    shapes = (2, 300, widths[0]), (2, 257, widths[0]), (2, 257, widths[1])
    query, key, value = (torch.randn(shape, generator=draw) for shape in shapes)
    return [sharp * query, key, value]


def exact(given: list[Tensor]) -> Tensor:
    """The twin on the CPU in float64."""
    return attend_ref(*(each.double() for each in given))


def calls_of_the_kernel(monkeypatch) -> list[tuple]:
    kernel, calls = F.scaled_dot_product_attention, []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: calls.append(a[0].dtype) or kernel(*a, **k)
    )
    return calls


@pytest.mark.parametrize("sharp", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("widths", [ALIGNED, ODD])
def test_values_are_those_of_the_dense_twin(widths, sharp, monkeypatch):
    calls, given = calls_of_the_kernel(monkeypatch), tensors(widths, sharp=sharp)
    with torch.no_grad():
        made = attend(*(each.to(DEVICE) for each in given))
    assert made.device.type == DEVICE
    assert calls == ([torch.float32] if widths == ALIGNED else [])
    torch.testing.assert_close(made.cpu().double(), exact(given), rtol=0, atol=1e-3)


def test_float64_has_no_kernel_and_is_exact(monkeypatch):
    calls, given = calls_of_the_kernel(monkeypatch), tensors()
    made = attend(*(each.double().to(DEVICE) for each in given))
    torch.testing.assert_close(made.cpu(), exact(given), rtol=0, atol=1e-10)
    assert calls == []


@pytest.mark.parametrize("widths", [ALIGNED, ODD])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_in_half_precision(dtype, widths):
    query, key, value = tensors(widths, sharp=2.0)
    half = value.to(dtype)
    made = attend(query.to(DEVICE), key.to(DEVICE), half.to(DEVICE))
    assert made.dtype == dtype
    torch.testing.assert_close(made.cpu().double(), exact([query, key, half]), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("widths", [ALIGNED, ODD])
def test_gradients_are_those_of_the_dense_twin(widths):
    here = [each.double().requires_grad_() for each in tensors(widths)]
    there = [each.to(DEVICE).requires_grad_() for each in tensors(widths)]
    slope = torch.randn(exact(here).shape, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(attend_ref(*here), here, slope.double())
    found = torch.autograd.grad(attend(*there), there, slope.to(DEVICE))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu().double(), other, rtol=1e-3, atol=1e-2)


def test_gradients_in_bfloat16():
    query, key, value = tensors()
    half = value.bfloat16()
    here = [query.double().requires_grad_(), key.double().requires_grad_(), half.double().requires_grad_()]
    there = [each.to(DEVICE).requires_grad_() for each in (query, key, half)]
    slope = torch.randn(exact(here).shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = torch.autograd.grad(attend_ref(*here), here, slope.double())
    found = torch.autograd.grad(attend(*there), there, slope.to(DEVICE))
    assert [each.dtype for each in found] == [torch.float32, torch.float32, torch.bfloat16]
    for one, other in zip(found, expected, strict=True):
        assert float((one.cpu().double() - other).norm() / other.norm()) < 0.02


@pytest.mark.parametrize("config", [None, OFFICIAL])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_module_and_its_training(config, mixed):
    torch.manual_seed(0)
    here = CrossModalAttention(64, config)
    if here.config.residual:
        torch.nn.init.constant_(here.gamma, 0.5)
    there = CrossModalAttention(64, config)
    there.load_state_dict(here.state_dict())
    there.to(DEVICE)
    depth, warped = torch.randn(1, 64, 16, 12), torch.randn(3, 64, 16, 12)
    pictures = []
    for module, device, lower in ((here, "cpu", False), (there, DEVICE, mixed)):
        own, asked = warped.to(device), depth.to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=lower):
            made = module(own, module.queries(asked))
        made.float().square().mean().backward()
        pictures.append(made.detach().float().cpu())
    rough = 0.05 if mixed else 1e-3
    assert float((pictures[1] - pictures[0]).norm() / pictures[0].norm()) < rough
    grads = [torch.cat([p.grad.cpu().flatten() for p in module.parameters()]) for module in (here, there)]
    assert float((grads[1] - grads[0]).norm() / grads[0].norm()) < 2 * rough


@pytest.mark.parametrize("config", [None, OFFICIAL])
def test_rows_of_the_map(config):
    torch.manual_seed(0)
    own, depth, warped = (
        CrossModalAttention(64, config),
        torch.randn(1, 64, 16, 12),
        torch.randn(2, 64, 16, 12),
    )
    points = 2 * torch.rand(1, 5, 2) - 1
    with torch.no_grad():
        expected = own.attention_map(warped, points, own.queries(depth))
        own.to(DEVICE)
        made = own.attention_map(warped.to(DEVICE), points.to(DEVICE), own.queries(depth.to(DEVICE)))
    torch.testing.assert_close(made.sum((2, 3)).cpu(), torch.ones(2, 5))
    torch.testing.assert_close(made.cpu(), expected, rtol=1e-2, atol=1e-4)


def test_no_map_is_made_at_512_px():
    """16384 queries and keys: the map alone would take a gibibyte, and training with it three."""
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(1, 16384, width, generator=draw).to(DEVICE) for width in (32, 32, 256)]
    assert attention._has_kernel(given[0], given[2])
    for each in given:
        each.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    attend(*given).sum().backward()
    assert (torch.cuda.max_memory_allocated() - before) / MIB < 512
