"""Cross-modal attention: the paper's equation and the public code's form, in bounded memory, row by row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from live_bytes import peak_bytes

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.tools.bench import attention as bench
from headwarp.warping import attention
from headwarp.warping.attention import (
    OFFICIAL,
    AttentionConfig,
    CrossModalAttention,
    attend,
    attend_ref,
    attention_weights,
)

MIB = 1 << 20


def tensors(*, batch=2, queries=11, keys=7, width=3, channels=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, queries, width), (batch, keys, width), (batch, keys, channels)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def module(config=None, channels=16) -> CrossModalAttention:
    torch.manual_seed(0)
    return CrossModalAttention(channels, config)


def features(batch=1, channels=16, size=(4, 6), seed=0):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


def test_a_known_answer():
    """Scores 0 and log 4, not divided by the root of the width: weights of 1/5 and 4/5."""
    query, key = torch.tensor([[[7.0, 1.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 3.0]]]).log1p()
    value = torch.tensor([[[10.0], [20.0]]])
    assert attend(query, key, value).item() == pytest.approx(18, rel=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 28, 100, 1 << 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_give_the_values_of_the_whole_map(block_bytes, dtype):
    given = tensors(dtype=dtype)
    made = attend(*given, block_bytes=block_bytes)
    assert made.dtype == dtype
    torch.testing.assert_close(made, attend_ref(*given), rtol=0, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
def test_blocks_give_the_gradients_of_the_whole_map(block_bytes):
    given = [each.requires_grad_() for each in tensors()]
    made, wanted = attend(*given, block_bytes=block_bytes), attend_ref(*given)
    assert torch.equal(made, attend(*(each.detach() for each in given), block_bytes=block_bytes))
    slope = torch.randn_like(made)
    found, expected = (torch.autograd.grad(each, given, slope) for each in (made, wanted))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_gradients_in_float64():
    given = [each.requires_grad_() for each in tensors(batch=1, queries=3, keys=4, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *each: attend(*each, block_bytes=64), given)


def test_values_in_half_precision():
    query, key, value = tensors(keys=40)
    half = value.bfloat16()
    made = attend(10 * query, key, half)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), attend_ref(10 * query, key, half.float()), rtol=0.02, atol=0.02)
    half.requires_grad_()
    attend(query, key, half).sum().backward()
    assert half.grad.dtype == torch.bfloat16
    assert half.grad.abs().min() > 0


def test_under_autocast_scores_stay_in_float32():
    query, key, value = tensors(width=32, keys=40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made, weights = attend(3 * query, key, value), attention_weights(3 * query, key)
    torch.testing.assert_close(made, attend_ref(3 * query, key, value), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 11))


@pytest.mark.parametrize(
    ("positions", "forward", "step", "whole"), [(4096, 16, 21, 196), (16384, 40, 40, 3088)]
)
def test_memory_at_256_and_512_px(positions, forward, step, whole):
    """What the module's docstring says, in MiB beside the inputs."""
    given = [torch.empty(1, positions, width, device="meta") for width in (32, 32, 256)]
    assert peak_bytes(lambda: attend(*given), given) / MIB == forward
    assert peak_bytes(lambda: attend_ref(*given), given) == 2 * 4 * positions**2
    for each in given:
        each.requires_grad_()
    for function, wanted in ((attend, step), (attend_ref, whole)):
        peak = peak_bytes(lambda function=function: function(*given).sum().backward(), given)
        assert peak / MIB == pytest.approx(wanted, abs=0.01)


def test_what_is_timed_is_the_same_attention(monkeypatch):
    monkeypatch.setattr(bench, "SIZES", (32, 64))
    small, large = bench.attention_cases()
    torch.testing.assert_close(small.function(), small.rival[1](), rtol=0, atol=1e-5)
    assert large.function().shape == (1, 256, 256)
    assert large.rival is None


def test_a_device_with_a_kernel_uses_it(monkeypatch):
    given, calls = tensors(width=8, channels=16), []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(attention, "_has_kernel", lambda query, value: True)
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(k) or kernel(*a, **k))
    torch.testing.assert_close(attend(*given), attend_ref(*given), rtol=0, atol=1e-6)
    assert calls == [{"scale": 1.0}]
    half = given[2].half()
    assert attend(*given[:2], half).dtype == torch.float16


def test_the_paper_s_equation():
    """Eq. 9 written out: softmax((W_q F_d) (W_k F_w)^T) (W_v F_w)."""
    own, depth, warped = module(), features(), features(seed=1)
    flat = [each.flatten(2)[0].T for each in (depth, warped, warped)]
    layers = (own.query_conv, own.key_conv, own.value_conv)
    q, k, v = (x @ layer.weight[:, :, 0, 0].T + layer.bias for x, layer in zip(flat, layers, strict=True))
    expected = (torch.softmax(q @ k.T, dim=1) @ v).T.view(1, 16, 4, 6)
    torch.testing.assert_close(own(warped, own.queries(depth)), expected, rtol=0, atol=1e-6)
    assert not hasattr(own, "gamma")


def test_the_public_code_s_form():
    own, depth, warped = module(OFFICIAL), features(), features(seed=1)
    assert torch.equal(own(warped, own.queries(depth)), warped)  # gamma starts at 0
    with torch.no_grad():
        own.gamma.fill_(0.5)
    q, k, v = (
        layer(x).relu().flatten(2)[0]
        for layer, x in ((own.query_conv, depth), (own.key_conv, warped), (own.value_conv, warped))
    )
    attended = (v @ torch.softmax(q.T @ k, dim=1).T).view(1, 16, 4, 6)
    torch.testing.assert_close(own(warped, own.queries(depth)), warped + attended / 2, rtol=0, atol=1e-6)


def test_gamma_learns_first_and_the_rest_follows():
    own, depth, warped = module(OFFICIAL), features(), features(seed=1)
    optimizer = torch.optim.SGD(own.parameters(), 0.1)
    slopes = []
    for _ in range(2):
        optimizer.zero_grad()
        (own(warped, own.queries(depth)) - 1).square().mean().backward()
        slopes.append({name: float(p.grad.abs().sum()) for name, p in own.named_parameters()})
        optimizer.step()
    assert [name for name, slope in slopes[0].items() if slope > 0] == ["gamma"]
    learned = {name for name, slope in slopes[1].items() if slope > 0}
    assert {"gamma", "value_conv.weight", "key_conv.weight", "query_conv.weight"} <= learned


def test_names_and_shapes_of_the_public_checkpoint():
    shapes = {name: tuple(value.shape) for name, value in module(OFFICIAL, 256).state_dict().items()}
    assert shapes == {
        "gamma": (1,),
        "query_conv.weight": (32, 256, 1, 1),
        "query_conv.bias": (32,),
        "key_conv.weight": (32, 256, 1, 1),
        "key_conv.bias": (32,),
        "value_conv.weight": (256, 256, 1, 1),
        "value_conv.bias": (256,),
    }


def test_self_attention_asks_by_the_features_themselves():
    own, warped = module(), features(batch=2)
    torch.testing.assert_close(own(warped), own(warped, own.queries(warped)))


def test_one_source_s_queries_serve_every_frame():
    own, queries, warped = module(), module().queries(features()), features(batch=3, seed=1)
    together = own(warped, queries)
    for frame in range(3):
        torch.testing.assert_close(together[frame : frame + 1], own(warped[frame : frame + 1], queries))


@pytest.mark.parametrize("config", [None, OFFICIAL])
def test_a_row_of_the_map(config):
    own, depth, warped = module(config), features(), features(batch=2, seed=1)
    points = torch.tensor([[[-1.0, -1.0], [0.9, 0.99], [-7.0, 0.3]]])  # cells (0, 0), (5, 3), (0, 2)
    maps = own.attention_map(warped, points, own.queries(depth))
    assert maps.shape == (2, 3, 4, 6)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(2, 3))
    q, k = own.queries(depth), own._projected(own.key_conv, warped)
    whole = torch.softmax(q @ k.transpose(1, 2), dim=2).view(2, 24, 4, 6)
    torch.testing.assert_close(maps, whole[:, [0, 23, 12]], rtol=0, atol=1e-6)


def test_rows_are_computed_without_the_map():
    own = module(None, 64).to("meta")
    warped, points = torch.empty(1, 64, 128, 128, device="meta"), torch.empty(1, 2, 2, device="meta")
    assert peak_bytes(lambda: own.attention_map(warped, points)) < 16 * MIB


def test_odd_input_is_refused():
    own = module()
    with pytest.raises(ShapeError, match="expected 24, one for each of 4 x 6 positions, got 20"):
        own(features(), own.queries(features(size=(4, 5))))
    query, key, value = tensors()
    with pytest.raises(ShapeError, match=r"attend: expected query \(B, N, E\), key \(B, M, E\)"):
        attend(query, key[..., :2], value)
    with pytest.raises(HeadwarpError, match="reduction: expected at least 1, got 0"):
        AttentionConfig(reduction=0)


def test_one_position_and_equal_keys():
    query, key, value = tensors(queries=1, keys=1)
    torch.testing.assert_close(attend(query, key, value), value)
    query, key, value = tensors()
    torch.testing.assert_close(attend(query, 0 * key, value), value.mean(1, keepdim=True).expand(-1, 11, -1))
