"""The suite of the private clips: its numbers on a synthetic clip, and what it says without the clips."""

import numpy as np
import pytest
import torch

from headwarp.flame.detect import Track
from headwarp.flame.fitting import FitConfig, SolverConfig, fit_landmarks
from headwarp.flame.io import load_head
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.bench import clips
from headwarp.tools.bench.clips import TIMED, clip_cases, live_steps, steadiness
from headwarp.tools.bench.synthetic_faces import SIDE, head_track


def test_steadiness_of_a_fit_against_itself_and_a_smoothed_one():
    head = load_head("builtin")
    track = head_track(head, 40) + np.random.default_rng(0).normal(scale=0.4, size=(40, 1, 2))
    settings = {"alone": {"smooth": 0.0}, "steady": {"steady": True}}
    fits = {
        name: fit_landmarks(head, track, (SIDE, SIDE), config=FitConfig(solver=SolverConfig(**s)))
        for name, s in settings.items()
    }
    same = steadiness(fits["alone"], fits["alone"])
    assert same["reprojection"] == 1.0
    assert same["mouth"] == pytest.approx(1.0)
    assert np.isnan(same["blink"])  # it does not
    assert same["lag"] == 0
    steady = steadiness(fits["steady"], fits["alone"])
    assert steady["jitter"] < 0.7 * same["jitter"]
    assert steady["rotation"] < 0.7 * same["rotation"]
    assert 1.0 < steady["reprojection"] < 2.0
    assert steady["lag"] == 0


def still_track(head, frames):
    points = np.pad(head_track(head, frames), ((0, 0), (0, 0), (0, 1))).astype(np.float32)
    return Track(np.arange(frames), points, np.ones(frames, np.float32), frames, True, (SIDE, SIDE))


def test_live_steps_are_those_after_the_warm_up():
    head = load_head("builtin")
    found = live_steps(head, still_track(head, 40))
    assert 0 < found["live_median_ms"] <= found["live_p90_ms"]


def test_suite_says_where_it_sought_the_clips(monkeypatch, tmp_path):
    for value in ("", str(tmp_path)):
        monkeypatch.setenv("HEADWARP_TEST_DATA", value)
        with pytest.raises(
            HeadwarpError, match=r"--suite clips: expected dev/clips under \$HEADWARP_TEST_DATA"
        ):
            clip_cases()


def test_cases_are_each_clip_whole_and_as_a_stream_and_all_identities(monkeypatch, tmp_path):
    (tmp_path / "dev" / "clips").mkdir(parents=True)
    monkeypatch.setenv("HEADWARP_TEST_DATA", str(tmp_path))
    sought = []
    track = still_track(load_head("builtin"), 3)
    monkeypatch.setattr(clips, "_track", lambda path: sought.append(path) or track)
    cases = clip_cases()
    assert sought == [tmp_path / "dev" / "clips" / name for name in TIMED]
    stems = [name.split(".")[0] for name in TIMED]
    assert [case.name for case in cases] == [
        *(f"clips/{kind}{stem}" for stem in stems for kind in ("", "stream_")),
        "clips/identity",
    ]
    assert [case.batch for case in cases] == [3] * 10 + [1]
    whole, stream = (case.function().params.rotation for case in cases[:2])
    torch.testing.assert_close(whole, stream, atol=0.05, rtol=0)
