"""Frames by step and slot: pure, complete, and as the options say."""

import collections

import pytest

from headwarp.geom.errors import HeadwarpError
from headwarp.training.data.frames.index import FrameIndex
from headwarp.training.data.frames.presets import PRESETS, frame_preset
from headwarp.training.data.frames.sampler import FrameConfig, FrameSampler


def clip(name, frames, *, person="ann", length=None):
    return FrameIndex(32, "raw", person, name, f"{name}.mp4", tuple(frames), length or frames[-1] + 1)


def drawn(clips, steps=400, *, seed=0, **config):
    sampler = FrameSampler(clips, seed=seed, config=FrameConfig(**config))
    return [sampler.sample(step, slot) for step in range(steps) for slot in range(2)]


def numbers(clips, samples):
    return {tuple(clips[s.pack].frames[p] for p in s.positions) for s in samples}


def test_a_sample_depends_on_seed_step_and_slot_alone():
    clips = [clip("a", range(20)), clip("b", range(9), person="bob")]
    first = drawn(clips, seed=5)
    again = FrameSampler(clips, seed=5)
    assert first == [again.sample(step, slot) for step in reversed(range(400)) for slot in (1, 0)][::-1]
    assert first != drawn(clips, seed=6)
    assert first[::2] != first[1::2]  # the slots of a step differ


def test_two_frames_in_either_order_in_that_of_time_or_from_the_first():
    clips = [clip("a", range(4))]
    every = {(a, b) for a in range(4) for b in range(4)}
    assert numbers(clips, drawn(clips)) == {(a, b) for a, b in every if a != b}
    assert numbers(clips, drawn(clips, order="time")) == {(a, b) for a, b in every if a < b}
    assert numbers(clips, drawn(clips, order="first")) == {(0, b) for b in range(1, 4)}


def test_with_replacement_a_frame_meets_itself_once_in_as_many():
    clips = [clip("a", range(5))]
    counts = collections.Counter(s.positions for s in drawn(clips, 3000, order="time", replacement=True))
    assert set(counts) == {(a, b) for b in range(5) for a in range(b + 1)}
    same = sum(counts[a, a] for a in range(5)) / 6000
    assert same == pytest.approx(1 / 5, abs=0.02)
    assert {(2, 1), (1, 2)} <= {s.positions for s in drawn(clips, 400, replacement=True)}


@pytest.mark.parametrize("step", [1, 3])
def test_three_frames_are_a_step_apart_in_the_clip_not_in_the_pack(step):
    clips = [clip("a", [0, 1, 2, 3, 5, 6, 8, 9, 12], length=14)]
    own = clips[0].frames
    expected = {(t, t + step, t + 2 * step) for t in own if {t + step, t + 2 * step} <= set(own)}
    assert numbers(clips, drawn(clips, count=3, step=step)) == expected != set()


def test_a_share_bounds_every_frame():
    clips = [clip("a", range(10))]
    assert numbers(clips, drawn(clips, count=3, share=(0.5, 0.9))) == {(5, 6, 7), (6, 7, 8)}
    assert {n for pair in numbers(clips, drawn(clips, share=(0.0, 0.3))) for n in pair} == {0, 1, 2}


def test_triplets_of_several_distances_are_those_of_each():
    clips = [clip("a", range(9))]
    each = [numbers(clips, drawn(clips, count=3, step=step)) for step in (2, 3, 4)]
    assert numbers(clips, drawn(clips, count=3, step=2, most_step=4)) == set.union(*each)
    with pytest.raises(HeadwarpError, match="most_step: expected at least step 3, got 2"):
        FrameConfig(count=3, step=3, most_step=2)


def test_more_than_three_are_a_target_in_the_middle_of_others_about_it():
    clips = [clip("a", [0, 1, 2, 3, 5, 6, 8, 9, 20], length=21)]
    samples = drawn(clips, count=5, step=2, most_step=4)
    seen = numbers(clips, samples)
    for first, second, target, third, last in seen:
        assert all(2 <= abs(other - target) <= 4 for other in (first, second, third, last))
    assert {row[2] for row in seen} == {0, 1, 2, 3, 5, 6, 8, 9}  # 20 is too far from all
    full = [row for row in seen if row[2] == 5]
    assert all(len(set(row)) == 5 for row in full)  # four others are near enough: none comes twice
    assert {other for row in full for other in row} == {1, 2, 3, 5, 8, 9}
    assert samples == drawn(clips, count=5, step=2, most_step=4)
    anywhere = numbers(clips, drawn(clips, count=3 + 2))
    assert 20 in {row[2] for row in anywhere}
    with pytest.raises(HeadwarpError, match="with two frames at least 30 apart"):
        FrameSampler(clips, config=FrameConfig(count=5, step=30))
    apart = [clip("a", [0, 50], length=51)]
    with pytest.raises(HeadwarpError, match="with two frames at least 2 and at most 9 apart"):
        FrameSampler(apart, config=FrameConfig(count=5, step=2, most_step=9))
    with pytest.raises(HeadwarpError, match="with two frames at least 1 apart"):
        FrameSampler([clip("a", [4])], config=FrameConfig(count=5))
    assert numbers(apart, drawn(apart, count=3 + 2)) == {(50, 50, 0, 50, 50), (0, 0, 50, 0, 0)}


def test_identities_are_drawn_first_only_where_asked():
    clips = [clip("a", range(9)), *(clip(f"b{n}", range(9), person="bob") for n in range(3))]
    by_person = collections.Counter(s.pack for s in drawn(clips, 1500))
    by_clip = collections.Counter(s.pack for s in drawn(clips, 1500, identity=False))
    assert by_person[0] / 3000 == pytest.approx(1 / 2, abs=0.04)
    assert by_clip[0] / 3000 == pytest.approx(1 / 4, abs=0.04)


def test_clips_without_a_sample_are_left_out_and_named():
    clips = [clip("a", range(9)), clip("b", [0, 1], person="bob")]
    sampler = FrameSampler(clips, config=FrameConfig(count=3))
    assert (sampler.left_out, sampler.samples) == (("b",), 7)
    with pytest.raises(
        HeadwarpError, match=r"three frames 1 apart in its part 0\.0:1\.0, got none of .; give longer clips"
    ):
        FrameSampler(clips[1:], config=FrameConfig(count=3))
    with pytest.raises(HeadwarpError, match="with two at least 5 apart"):
        FrameSampler(clips[1:], config=FrameConfig(min_gap=5))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"count": 4}, "count: expected 2 frames or an odd number from 3 to 9, got 4"),
        ({"order": "last"}, "order: expected one of random, time, first, got 'last'"),
        ({"step": 0}, "step >= 1"),
        ({"share": (0.5, 0.5)}, "share: expected START:END"),
        ({"weight": "size"}, "weight: expected clip or length"),
        ({"replacement": True, "count": 3}, "replacement: belongs to two frames"),
    ],
)
def test_options_out_of_range_are_told(options, told):
    with pytest.raises(HeadwarpError, match=told):
        FrameConfig(**options)


def test_presets_are_the_public_configs():
    vox, mgif = PRESETS["vox"], PRESETS["mgif"]
    assert (vox.sampling.order, vox.sampling.replacement, vox.sampling.identity) == ("time", True, True)
    assert {name for name, preset in PRESETS.items() if preset.sampling.identity} == {"vox", "taichi"}
    assert (mgif.augment.hue, mgif.augment.brightness, mgif.augment.zoom) == (0.5, 0.0, (0.9, 1.1))
    assert (PRESETS["nemo"].augment.hue, PRESETS["bair"].augment.hue) == (0.0, 0.1)
    assert vox.steps(clips=400) == 400 * 75 // 40 * 100
    with pytest.raises(
        HeadwarpError, match="preset: expected one of vox, taichi, nemo, bair, mgif, got 'ted'"
    ):
        frame_preset("ted")
