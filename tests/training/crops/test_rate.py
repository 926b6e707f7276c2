"""Frames at a constant rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwarp.geom.errors import MediaError
from headwarp.training.data.crops.rate import timeline

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(24000, 1001), Fraction(25), NTSC, Fraction(60)])
@pytest.mark.parametrize("tick", [1 / 90000, 1 / 1000])
@pytest.mark.parametrize("first", [0.0, 0.08])
def test_a_constant_rate_passes_as_it_is(rate: Fraction, tick: float, first: float) -> None:
    times = [round((index / float(rate) + first) / tick) * tick for index in range(10_000)]
    for stated in (rate, None, Fraction(round(float(rate) * 1.002, 3))):  # right, unsaid, a little wrong
        line = timeline(times, stated)
        assert np.array_equal(line.sources, np.arange(10_000))
        assert np.array_equal(line.numbers - round(first * float(rate)), np.arange(10_000))
        assert float(line.fps) == pytest.approx(float(rate), rel=1e-4)
        assert (line.repeated, line.left_out) == (0, 0)
    assert timeline(times, rate).fps == rate


def test_a_missing_frame_is_held() -> None:
    times = [index / 25 for index in range(20) if index not in (7, 8)]
    line = timeline(times, Fraction(18, 20) * 25)
    assert line.fps == 25
    assert line.numbers.tolist() == list(range(20))
    assert line.sources[5:10].tolist() == [5, 6, 6, 6, 7]
    assert (line.repeated, line.left_out) == (2, 0)


def test_frames_of_one_moment_leave_the_last() -> None:
    line = timeline([0.0, 0.04, 0.05, 0.08, 0.12, 0.16], Fraction(25))
    assert line.sources.tolist() == [0, 2, 3, 4, 5]
    assert line.left_out == 1


def test_a_rate_that_is_asked_for() -> None:
    times = [index / 30 for index in range(31)]
    line = timeline(times, Fraction(30), fps=Fraction(25))
    assert (line.fps, len(line.sources)) == (25, 26)
    assert line.sources[[0, 1, 2, -1]].tolist() == [0, 1, 2, 30]
    assert line.left_out == 5
    double = timeline(times, Fraction(30), fps=Fraction(60))
    assert double.sources[:5].tolist() == [0, 0, 1, 1, 2]


def test_a_standstill_is_a_break() -> None:
    line = timeline([0.0, 0.04, 0.08, 5.0, 5.04], Fraction(25))
    assert line.sources.tolist() == [0, 1, 2, 3, 4]
    assert line.numbers.tolist() == [0, 1, 2, 125, 126]


def test_files_that_do_not_say() -> None:
    assert timeline([None] * 3, None).fps == 25
    assert timeline([None] * 3, NTSC).fps == NTSC
    assert timeline([0.0, None, 0.1], NTSC, first=7).numbers.tolist() == [7, 8, 9]
    assert timeline([0.0, float("nan"), 0.1], NTSC).numbers.tolist() == [0, 1, 2]
    assert timeline([7.0], NTSC).fps == NTSC
    with pytest.raises(MediaError, match="has no frames"):
        timeline([], NTSC)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=60),
    st.sampled_from([None, Fraction(25), Fraction(1000), Fraction(1, 10)]),
    st.sampled_from([None, Fraction(25)]),
)
def test_any_times_give_a_bounded_line(
    times: list[float], stated: Fraction | None, asked: Fraction | None
) -> None:
    """Times in files can be anything: backwards, equal, years apart."""
    line = timeline(times, stated, fps=asked)
    assert 0 < line.fps <= 1000
    assert len(line.sources) == len(line.numbers) <= len(times) * (1 + float(line.fps))
    assert (np.diff(line.sources) >= 0).all()
    assert (np.diff(line.numbers) >= 1).all()
    assert line.sources[-1] == len(times) - 1
    assert line.numbers[0] == round(max(times[0], 0) * float(line.fps))
    assert len(line.sources) - line.repeated + line.left_out == len(times)
