"""Colours matched by region statistics: means are met, black stays black, empty regions change nothing."""

from __future__ import annotations

import pytest
import torch

from headwarp.geom.colour_transfer import (
    ColourStatistics,
    colour_likeness,
    colour_map,
    light_map,
    mixed_statistics,
    region_statistics,
)

WHOLE = torch.ones(1, 1, 24, 24)


def picture(mean, *, spread=0.03, seed=0):
    noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return (torch.tensor(mean)[None, :, None, None] + spread * noise).clamp(0, 1)


def test_statistics_are_mean_and_spread_without_outliers():
    image = picture([0.6, 0.45, 0.4])
    image[..., :3, :] = 0.0  # a fringe
    found = region_statistics(image, WHOLE)
    assert torch.allclose(found.mean[0], torch.tensor([0.6, 0.45, 0.4]), atol=0.01)
    assert found.deviation[0, 0] == pytest.approx(0.03 / 3**0.5, rel=0.2)
    assert float(found.weight) == 24 * 24


def test_weights_choose_the_region():
    image = torch.cat([picture([0.2] * 3), picture([0.8] * 3)], dim=3)
    weight = torch.zeros(1, 1, 24, 48)
    weight[..., 24:] = 1
    assert region_statistics(image, weight).mean[0].tolist() == pytest.approx([0.8] * 3, abs=0.01)


@pytest.mark.parametrize("mean", [[0.75, 0.6, 0.5], [0.3, 0.2, 0.15]])
def test_the_mapped_region_has_the_targets_colour(mean):
    source, target = picture([0.55, 0.42, 0.36]), picture(mean, seed=1)
    own, wanted = (region_statistics(each, WHOLE) for each in (source, target))
    made = region_statistics(colour_map(own, wanted)(source), WHOLE)
    assert torch.allclose(made.mean, wanted.mean, atol=0.02)
    before = (own.mean - wanted.mean).abs().max()
    assert (made.mean - wanted.mean).abs().max() < 0.1 * before


def test_black_stays_dark_and_white_bright_in_a_brighter_face():
    own, wanted = (region_statistics(picture(mean), WHOLE) for mean in ([0.3] * 3, [0.8] * 3))
    ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    dark, bright = colour_map(own, wanted)(ends)[0, 0, 0].tolist()
    assert dark < 0.15
    assert bright > 0.95


def test_an_empty_region_changes_nothing():
    image = picture([0.5, 0.4, 0.3])
    own = region_statistics(image, WHOLE)
    empty = region_statistics(image, torch.zeros_like(WHOLE))
    for first, second in ((own, empty), (empty, own)):
        assert torch.allclose(colour_map(first, second)(image), image, atol=1e-3)
    assert mixed_statistics(own, empty, 0.5) is own


def test_the_light_map_follows_the_skin_by_a_share():
    own, wanted = (region_statistics(picture(mean), WHOLE) for mean in ([0.6] * 3, [0.3] * 3))
    hair = torch.full((1, 3, 2, 2), 0.4)
    none, some, more = (
        light_map(own, wanted, share=share, bounds=(0.1, 10))(hair).mean() for share in (0.0, 0.3, 0.6)
    )
    assert float(none) == pytest.approx(0.4, abs=1e-3)
    assert more < some < none


def test_likeness_tells_skin_from_hair():
    own = region_statistics(picture([0.7, 0.5, 0.4]), WHOLE)
    pair = torch.tensor([[0.7, 0.5, 0.4], [0.1, 0.08, 0.07]]).T[None, :, None]  # (1, 3, 1, 2)
    assert colour_likeness(pair, own)[0, 0, 0].tolist() == [1.0, 0.0]


def test_smoothing_moves_by_its_share():
    one = torch.ones(1, 3)
    old, new = ColourStatistics(0 * one, one, one[:, 0] * 9), ColourStatistics(one, one, one[:, 0] * 9)
    assert mixed_statistics(old, new, 0.25).mean[0].tolist() == pytest.approx([0.25] * 3)
    assert mixed_statistics(None, new, 0.25) is new


def test_colours_carry_gradients():
    image = picture([0.5, 0.4, 0.3]).requires_grad_(True)
    own, wanted = (region_statistics(picture(m), WHOLE) for m in ([0.5, 0.4, 0.3], [0.7, 0.6, 0.5]))
    colour_map(own, wanted)(image).sum().backward()
    assert image.grad is not None
    assert bool((image.grad > 0).all())
