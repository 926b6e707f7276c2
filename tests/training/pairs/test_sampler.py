"""Pairs by step and slot: pure, complete, and as the mode says."""

import collections
import math

import pytest

from headwarp.geom.crops import Crop
from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.pairs.index import PackIndex
from headwarp.training.data.pairs.sampler import PairConfig, PairSampler


def clip(name, frames, *, person="ann", length=None, scale=100.0, x=32.0):
    count = len(frames)
    return PackIndex(
        model_id="m",
        size=64,
        codec="raw",
        person=person,
        clip=name,
        source=f"{name}.mp4",
        frames=tuple(frames),
        clip_frames=length or frames[-1] + 1,
        window=Crop(0, 0, 64),
        scale=(scale,) * count,
        centre=((x, 32.0),) * count,
    )


def drawn(sampler, steps=400, slots=2):
    return [sampler.pair(step, slot) for step in range(steps) for slot in range(slots)]


def test_a_pair_depends_on_seed_step_and_slot_alone():
    clips = [clip("a", range(20)), clip("b", range(9), person="bob")]
    first = drawn(PairSampler(clips, seed=5))
    again = PairSampler(clips, seed=5)
    backwards = [again.pair(step, slot) for step in reversed(range(400)) for slot in (1, 0)]
    assert first == backwards[::-1]
    assert first != drawn(PairSampler(clips, seed=6))
    assert first[::2] != first[1::2]  # the slots of a step differ


def test_random_draws_every_pair_in_both_orders_equally_often():
    counts = collections.Counter(
        (p.source, p.driving) for p in drawn(PairSampler([clip("a", range(4))]), 3000)
    )
    assert set(counts) == {(a, b) for a in range(4) for b in range(4) if a != b}
    assert min(counts.values()) > 0.8 * 6000 / 12
    assert max(counts.values()) < 1.2 * 6000 / 12


def test_official_draws_in_order_of_time():
    pairs = drawn(PairSampler([clip("a", range(5))], config=PairConfig(mode="official")))
    assert {(p.source, p.driving) for p in pairs} == {(a, b) for a in range(5) for b in range(a + 1, 5)}


def test_first_is_the_protocol_of_evaluation():
    sampler = PairSampler([clip("a", [3, 4, 6, 9], length=12)], config=PairConfig(mode="first"))
    assert {(p.source, p.driving) for p in drawn(sampler)} == {(0, 1), (0, 2), (0, 3)}
    assert sampler.pairs == 3


def test_of_a_share_first_takes_the_clips_first_frame_and_drives_inside():
    config = PairConfig(mode="first", share=(0.5, 1.0))
    sampler = PairSampler([clip("a", range(10))], config=config)
    assert {(p.source, p.driving) for p in drawn(sampler)} == {(0, t) for t in range(5, 10)}


def test_a_share_bounds_both_frames_by_the_clips_own_length():
    sampler = PairSampler([clip("a", [0, 1, 7, 8, 9], length=20)], config=PairConfig(share=(0.0, 0.4)))
    assert {p.source for p in drawn(sampler)} == {0, 1, 2}  # frames 0, 1 and 7 of 20


@pytest.mark.parametrize("length", [7, 100, 128, 183])
@pytest.mark.parametrize("middle", [0.29, 0.55, 0.7, 0.8])
def test_parts_that_meet_have_no_frame_in_common(length, middle):
    frames = list(range(length))
    trained, held_out = (
        PairSampler([clip("a", frames)], config=PairConfig(share=share))._clips[0].positions.tolist()
        for share in ((0.0, middle), (middle, 1.0))
    )
    assert trained + held_out == frames
    assert len(trained) == math.floor(round(middle * length, 6))


def test_the_gap_is_one_of_time_not_of_usable_frames():
    clips = [clip("a", [0, 1, 2, 10, 11])]
    sampler = PairSampler(clips, config=PairConfig(min_gap=8))
    numbers = clips[0].frames
    found = {(numbers[p.source], numbers[p.driving]) for p in drawn(sampler)}
    expected = {(a, b) for a in numbers for b in numbers if abs(a - b) >= 8}
    assert found == expected
    assert sampler.pairs == len(expected) / 2


def test_persons_are_drawn_first_then_one_of_their_clips():
    clips = [clip("a", range(30)), *(clip(f"b{n}", range(6), person="bob") for n in range(3))]
    counts = collections.Counter(p.source_pack for p in drawn(PairSampler(clips), 1500))
    assert 0.45 < counts[0] / 3000 < 0.55
    assert all(0.13 < counts[number] / 3000 < 0.2 for number in (1, 2, 3))


def test_by_length_every_pair_of_all_clips_is_as_likely():
    clips = [clip("a", range(20)), clip("b", range(10), person="bob"), clip("c", range(5), person="bob")]
    counts = collections.Counter(
        p.source_pack for p in drawn(PairSampler(clips, config=PairConfig(weight="length")), 2000)
    )
    pairs = [190, 45, 10]
    for number, own in enumerate(pairs):
        assert counts[number] / 4000 == pytest.approx(own / sum(pairs), abs=0.03)


def test_clips_without_a_pair_are_left_out_and_named():
    clips = [clip("a", range(9)), clip("b", [0, 1], person="bob")]
    sampler = PairSampler(clips, config=PairConfig(min_gap=4))
    assert sampler.left_out == ("b",)
    assert sampler.persons == ("ann",)
    assert {p.source_pack for p in drawn(sampler)} == {0}


def test_without_any_pair_the_text_says_what_was_sought():
    with pytest.raises(HeadwarpError, match=r"at least 50 apart in its part 0\.0:0\.5, got none of 1"):
        PairSampler([clip("a", range(9))], config=PairConfig(min_gap=50, share=(0.0, 0.5)))


def test_a_pool_is_small_fixed_and_spread():
    sampler = PairSampler([clip("a", range(40))], config=PairConfig(pool=60), seed=2)
    pairs = {frozenset((p.source, p.driving)) for p in drawn(sampler, 1000)}
    assert len(pairs) == sampler.pairs == 60
    assert len({number for pair in pairs for number in pair}) > 30
    other = PairSampler([clip("a", range(40))], config=PairConfig(pool=60), seed=3)
    assert pairs != {frozenset((p.source, p.driving)) for p in drawn(other, 1000)}


def test_a_pool_larger_than_all_is_all():
    sampler = PairSampler([clip("a", range(4))], config=PairConfig(pool=50))
    assert sampler.pairs == 6
    assert len({(p.source, p.driving) for p in drawn(sampler)}) == 12


def test_across_pairs_clips_of_one_person_whose_heads_agree():
    clips = [
        clip("a", range(5)),
        clip("b", range(5), scale=110.0),
        clip("c", range(5), scale=200.0),
        clip("d", range(5), x=50.0),
        clip("e", range(5), person="eve"),
    ]
    pairs = drawn(PairSampler(clips, config=PairConfig(across=1.0)), 1500)
    crossed = {(p.source_pack, p.driving_pack) for p in pairs if p.source_pack != p.driving_pack}
    assert crossed == {(0, 1), (1, 0)}
    assert any(p.source_pack == p.driving_pack == 4 for p in pairs)  # eve has one clip


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "last"}, "mode: expected one of random, first, official, got 'last'"),
        ({"weight": "size"}, "weight: expected clip or length, got 'size'"),
        ({"share": (0.5, 0.5)}, "share: expected START:END"),
        ({"min_gap": 0}, "min_gap >= 1"),
        ({"across": 1.5}, "across <= 1"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(HeadwarpError, match=told):
        PairConfig(**options)


def test_a_negative_seed_is_told():
    with pytest.raises(HeadwarpError, match="seed: expected 0 or more, got -1"):
        PairSampler([clip("a", range(4))], seed=-1)
