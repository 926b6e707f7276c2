"""What pose and expression encoder see of the target in training."""

from __future__ import annotations

import pytest
import torch
from toy_mesh import texture

from headwarp.geom.errors import HeadwarpError
from headwarp.training.target_changes import TargetChanges, changed_target

NONE = TargetChanges(pixelwise=0.0, scale=0.0, shift=0.0)
IMAGE = texture((48, 48), cell=12).expand(64, -1, -1, -1)


def changed(**fields):
    torch.manual_seed(3)
    return changed_target(IMAGE, TargetChanges(**{"pixelwise": 0.0, "scale": 0.0, "shift": 0.0, **fields}))


def alike(first, second):
    """Of each picture: whether it is the same."""
    return ((first - second).abs().amax((1, 2, 3)) < 1e-4).float()


def test_nothing_asked_for_is_nothing_changed():
    made = changed_target(IMAGE, NONE)
    assert torch.equal(made.seen, IMAGE)
    assert torch.equal(made.wanted, IMAGE)


def test_a_shift_moves_the_truth_along():
    made = changed(shift=0.1, shift_share=0.5)
    assert torch.equal(made.seen, made.wanted)
    assert 0.3 < alike(made.wanted, IMAGE).mean() < 0.7
    whole = changed_target(
        IMAGE.new_zeros(200, 3, 8, 8) + torch.arange(8.0), TargetChanges(0, 0, shift=0.1, shift_share=1)
    )
    moved = (whole.wanted[:, 0, 4, 3:5].mean(1) - 3.5).abs()
    assert moved.max() < 0.1 * 8 + 1e-3
    assert moved.max() > 0.06 * 8


@pytest.mark.parametrize("keep_area", [False, True])
def test_a_scale_leaves_the_truth(keep_area):
    made = changed(scale=0.3, scale_share=0.5, keep_area=keep_area)
    assert torch.equal(made.wanted, IMAGE)
    assert 0.3 < alike(made.seen, IMAGE).mean() < 0.7


def test_area_is_kept_where_asked():
    """A disc keeps how many pixels it has, while its sides change."""
    grid = torch.linspace(-1, 1, 64)
    disc = ((grid[:, None] ** 2 + grid**2) < 0.3).float().expand(32, 3, -1, -1)
    torch.manual_seed(0)
    kept = changed_target(disc, TargetChanges(0, 0.3, 1.0, True, 0)).seen[:, 0]
    area, width = kept.sum((1, 2)), kept[:, 32].sum(1)
    assert (area / disc[0, 0].sum() - 1).abs().max() < 0.02
    assert width.max() > 1.15 * width.min()


def test_colours_change_within_the_range_and_one_by_one():
    made = changed(pixelwise=1.0)
    assert torch.equal(made.wanted, IMAGE)
    assert made.seen.min() >= 0
    assert made.seen.max() <= 1
    brightness = made.seen.mean((1, 2, 3))
    assert brightness.std() > 0.05
    gentle = changed(pixelwise=0.2).seen
    assert (gentle - IMAGE).abs().mean() < 0.5 * (made.seen - IMAGE).abs().mean()


def test_what_is_no_share_is_refused():
    with pytest.raises(HeadwarpError, match="changes: expected shares in"):
        TargetChanges(pixelwise=2.0)
