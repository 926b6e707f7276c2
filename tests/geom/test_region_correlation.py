"""Exemplar warping by regions: blocks against the whole matrix, fallbacks, memory, errors."""

from __future__ import annotations

import pytest
import torch
from live_bytes import peak_bytes

from headwarp.geom.errors import HeadwarpError, ShapeError
from headwarp.geom.region_correlation import (
    RegionRule,
    directions,
    region_correlation,
    region_correlation_ref,
)

RULE = RegionRule(((0, 1, 2, 3, 4), (0, 1, 1, 3, 3)), (1,))
"""Labels 1 and 2, 3 and 4 are merged at the second level; the mean is that of label 1."""


def drawn(size=(9, 8), batch=2, channels=6, dtype=torch.float64, seed=0):
    random = torch.Generator().manual_seed(seed)
    query, key = (
        directions(torch.randn(batch, channels, *size, generator=random, dtype=dtype)) for _ in "qk"
    )
    values = torch.rand(batch, 3, *size, generator=random, dtype=dtype)
    labels = [torch.randint(0, 5, (batch, *size), generator=random) for _ in "qk"]
    labels[1][-1][labels[1][-1] > 2] = 0  # the second sample's keys lack 3 and 4: their mean is taken
    labels[1][0][labels[1][0] == 4] = 0  # the first one's lack 4: 3 answers
    return query, key, values, *labels


def test_blocks_are_the_whole_matrix_in_values_and_gradients():
    query, key, values, ours, theirs = drawn()
    leaves = [tensor.clone().requires_grad_() for tensor in (query, key, values)]
    made = region_correlation(*leaves, ours, theirs, rule=RULE, temperature=0.1, limit_mb=0.001)
    whole = region_correlation_ref(*leaves, ours, theirs, rule=RULE, temperature=0.1)
    torch.testing.assert_close(made.values, whole.values)
    assert torch.equal(made.level, whole.level)
    assert set(made.level.unique().tolist()) == {-1, 0, 1, 2}
    incoming = torch.randn_like(made.values)
    for ours_, theirs_ in zip(
        torch.autograd.grad(made.values, leaves, incoming),
        torch.autograd.grad(whole.values, leaves, incoming),
        strict=True,
    ):
        assert float(theirs_.abs().max()) > 0.1
        torch.testing.assert_close(ours_, theirs_)


def test_gradients_are_those_of_differences():
    query, key, values, ours, theirs = drawn((3, 3), channels=3)
    leaves = [tensor.clone().requires_grad_() for tensor in (query, key, values)]

    def blocks(*given):
        asked = {"rule": RULE, "temperature": 0.3, "limit_mb": 0.00055}
        return region_correlation(*given, ours, theirs, **asked).values

    assert torch.autograd.gradcheck(blocks, leaves)


def test_a_sharp_softmax_finds_the_same_pixel_in_its_region_alone():
    _, key, values, _, theirs = drawn()
    everywhere = torch.ones_like(theirs)
    moved = [tensor.roll(2, -1) for tensor in (key, values, everywhere)]
    found = region_correlation(key, *moved[:2], everywhere, moved[2], rule=RULE, temperature=1e-3)
    torch.testing.assert_close(found.values, values, atol=1e-5, rtol=0)
    elsewhere = everywhere.clone()
    elsewhere[:, :, :4] = 3  # the same pixel now lies in another region
    barred = region_correlation(key, key, values, everywhere, elsewhere, rule=RULE, temperature=1e-3)
    assert float((barred.values - values)[..., :4].abs().max()) > 0.05
    torch.testing.assert_close(barred.values[..., 4:], values[..., 4:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [0.001, 100.0])
def test_an_empty_region_falls_back_to_its_merged_one_then_to_the_mean_of_skin(limit):
    query, key, values, _, _ = drawn((4, 4), batch=1)
    ours = torch.full((1, 4, 4), 3)
    ours[0, 0, 0] = 0
    theirs = torch.full((1, 4, 4), 4)
    theirs[0, :2] = 1

    def found(labels):
        asked = {"rule": RULE, "temperature": 0.05, "limit_mb": limit}
        return region_correlation(query, key, values, ours, labels, **asked)

    merged = found(theirs)
    assert merged.level.flatten().tolist() == [-1] + [1] * 15
    assert not merged.known[0, 0, 0, 0]
    assert not merged.values[..., 0, 0].any()
    low, high = values[0, :, 2:].flatten(1).aminmax(dim=1)
    inside = merged.values[0, :, 1:].flatten(1)
    assert bool((inside >= low[:, None] - 1e-9).all() & (inside <= high[:, None] + 1e-9).all())
    mean = found(theirs.where(theirs == 1, torch.tensor(0)))
    assert mean.level.flatten().tolist() == [-1] + [2] * 15
    skin = values[:, :, :2].mean((2, 3), keepdim=True)
    torch.testing.assert_close(mean.values[..., 1:, :], skin.expand(-1, -1, 3, 4))
    anything = found(torch.full_like(theirs, 2))
    assert anything.level.flatten().tolist() == [-1] + [3] * 15
    torch.testing.assert_close(
        anything.values[..., 1:, :], values.mean((2, 3), keepdim=True).expand(-1, -1, 3, 4)
    )
    nothing = found(torch.zeros_like(theirs))
    assert not nothing.known.any()
    assert not nothing.values.any()


def test_memory_stays_within_the_limit_and_a_fifth_of_the_whole_matrix():
    """Features of 32 x 32 in one region, the worst case: forward and backward."""
    query, key, values, _, _ = drawn((32, 32), batch=1, dtype=torch.float32)
    leaves = [tensor.requires_grad_() for tensor in (query, key, values)]
    labels = torch.ones(1, 32, 32, dtype=torch.long)
    limit = 1.0  # MB; the matrix has 4.2

    def step(function, **more):
        made = function(*leaves, labels, labels, rule=RULE, temperature=0.1, **more)
        return torch.autograd.grad(made.values.sum(), leaves)

    given = [*leaves, labels]
    blocks = peak_bytes(lambda: step(region_correlation, limit_mb=limit), given)
    whole = peak_bytes(lambda: step(region_correlation_ref), given)
    rows = sum(tensor.numel() * 4 for tensor in leaves)
    assert blocks < 1.1e6 * limit + 10 * rows
    assert blocks < whole / 5


def test_what_does_not_go_together_is_told():
    query, key, values, ours, theirs = drawn()
    with pytest.raises(ShapeError, match=r"expected query \(B, C, h, w\)"):
        region_correlation(query, key, values[..., 1:], ours, theirs, rule=RULE, temperature=0.1)
    with pytest.raises(HeadwarpError, match="expected temperature > 0"):
        region_correlation(query, key, values, ours, theirs, rule=RULE, temperature=0.0)
    with pytest.raises(HeadwarpError, match="levels: expected one or more of equal length"):
        RegionRule(((0, 1), (0,)), ())
    with pytest.raises(HeadwarpError, match="mean: expected labels from 0 to 1, got"):
        RegionRule(((0, 1),), (2,))
