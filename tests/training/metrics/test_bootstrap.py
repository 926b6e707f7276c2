"""The paired bootstrap: what it covers, what it must not claim, its settings."""

from __future__ import annotations

import numpy as np
import pytest

from headwarp.geom.errors import ShapeError
from headwarp.training.metrics import paired_difference


def smooth(length: int, seed: int, *, memory: float = 0.9) -> np.ndarray:
    """Errors that remember the frame before; mean 0 and variance 1."""
    noise = np.random.default_rng(seed).normal(size=length) * np.sqrt(1 - memory**2)
    values = np.zeros(length)
    values[0] = np.random.default_rng(seed + 10**6).normal()
    for t in range(1, length):
        values[t] = memory * values[t - 1] + noise[t]
    return values


def test_a_constant_difference_is_certain() -> None:
    first = [smooth(60, seed) for seed in range(4)]
    found = paired_difference([x + 0.25 for x in first], first)
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found.excludes_zero
    assert (found.clips, found.frames, found.level) == (4, 240, 0.95)
    less = paired_difference(first, [x + 0.25 for x in first])
    assert less.mean == pytest.approx(-0.25)
    assert less.excludes_zero


def test_clips_weigh_alike_and_unscored_frames_drop_out() -> None:
    long, short = np.zeros(100), np.full(10, 1.0)
    short[3] = np.nan
    found = paired_difference([long, short], [np.zeros(100), np.zeros(10)])
    assert found.mean == pytest.approx(0.5)
    assert found.frames == 109
    assert found.low == 0
    assert found.high == 1
    only = paired_difference([short, np.full(5, np.nan)], [np.zeros(10), np.zeros(5)])
    assert (only.clips, only.mean) == (1, pytest.approx(1.0))


def coverage(block: int) -> float:
    """How often the interval holds the true mean, 0, for errors with a memory, in one clip."""
    held = 0
    for seed in range(100):
        errors = smooth(400, seed)
        found = paired_difference([errors], [np.zeros(400)], block=block, draws=300, seed=seed)
        held += found.low <= 0 <= found.high
    return held / 100


def test_blocks_hold_the_truth_where_single_frames_are_too_sure() -> None:
    assert coverage(40) > 0.8
    assert coverage(1) < 0.55


def test_interval_is_that_of_the_normal_law_for_independent_frames() -> None:
    values = np.random.default_rng(3).normal(0.1, 1.0, 4000)
    found = paired_difference([values], [np.zeros(4000)], block=1, draws=4000)
    half = 1.96 * values.std() / np.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_few_clips_that_differ_leave_doubt() -> None:
    """Frames of one clip are many, but the clips are three and disagree."""
    clips = [np.full(500, value) for value in (0.3, -0.1, 0.1)]
    found = paired_difference(clips, [np.zeros(500)] * 3)
    assert not found.excludes_zero
    assert paired_difference(clips[:1], [np.zeros(500)]).excludes_zero


def test_same_seed_same_interval() -> None:
    values = [smooth(50, 1)]
    first, second = (paired_difference(values, [np.zeros(50)], seed=4) for _ in range(2))
    assert first == second
    assert first != paired_difference(values, [np.zeros(50)], seed=5)


def test_a_clip_shorter_than_a_block_is_one_block() -> None:
    found = paired_difference([np.array([1.0, 2.0, 6.0])], [np.zeros(3)], block=8)
    assert (found.low, found.mean, found.high) == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.parametrize(
    ("first", "second", "options", "text"),
    [
        ([np.zeros(3)], [np.zeros(4)], {}, "same clips and frames"),
        ([np.zeros(3)], [], {}, "same clips and frames"),
        ([np.full(3, np.nan)], [np.zeros(3)], {}, "expected a frame that both were scored in"),
        ([], [], {}, "expected a frame that both were scored in"),
        ([np.zeros(3)], [np.zeros(3)], {"block": 0}, "blocks and draws of 1 or more"),
        ([np.zeros(3)], [np.zeros(3)], {"level": 1.0}, r"a level in \(0, 1\)"),
        ([np.zeros(3)], [np.zeros(3)], {"draws": 0}, "blocks and draws of 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_an_error(first, second, options, text) -> None:
    with pytest.raises(ShapeError, match=text):
        paired_difference(first, second, **options)
