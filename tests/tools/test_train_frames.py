"""`headwarp train` on clips without faces: packed, drawn, measured, gone on with; foreign options refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_frames import BlurConfig, FrameToy, frame_pack, moving_frames
from toy_head import toy_head
from toy_packs import toy_pack

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.tools import train as tool
from headwarp.tools.frame_packs import FrameDataConfig, plan_frames, prepare_frames
from headwarp.tools.frame_supply import held_out_frames
from headwarp.tools.train import Train, run
from headwarp.tools.train_options import check_options
from headwarp.training import recipes
from headwarp.training.data.frames.pack import FramePackConfig, open_frame_packs
from headwarp.training.data.frames.sampler import FrameConfig
from headwarp.training.data.media import write_image
from headwarp.training.data.pairs.pack import PackConfig


@pytest.fixture(autouse=True)
def toy_recipe(monkeypatch):
    """``toy_frames/two`` and ``/three``."""
    recipes.recipe_names()
    monkeypatch.setattr(recipes, "_REGISTERED", dict(recipes._REGISTERED))
    recipes.register({"two": BlurConfig(), "three": BlurConfig(frames=3)})(FrameToy)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips as rows of frames, and a picture that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("run", "walk")):
        frames = moving_frames(10, size=(48, 48), seed=seed)
        write_image(folder / f"{name}.png", np.concatenate(frames, axis=1), provenance=None)
    write_image(folder / "single.png", moving_frames(1)[0], provenance=None)
    return folder


def asked(clips, output, recipe="toy_frames/two", **changes):
    options = {"size": 32, "steps": 3, "batch": 2, "frames": "0:0.7", "log_every": 1, "ema": 0.0}
    options |= {"schedule": "constant", "warmup": 0, "cache": clips / "cache"}
    return Train(recipe, data=(clips,), output=output, **{**options, **changes})


def test_clips_are_packed_and_trained_on_without_detector_or_decoder(clips, tmp_path, monkeypatch):
    for name in ("av", "mediapipe"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    report = run(asked(clips, tmp_path / "a", cache=tmp_path / "cache"))
    assert (report["steps"], report["recipe"], report["data"]["clips"]) == (3, "toy/frames", 2)
    assert list(report["left_out"]) == ["single"]
    assert report["final"]["geometry_l1"] is None
    assert report["final"]["pairs"] == 6  # the last three frames of ten, of two clips
    assert "copy 0." in tool.describe(report)
    again = run(asked(clips, tmp_path / "a", steps=5, cache=tmp_path / "cache"))
    assert (again["begun_at_step"], again["steps"]) == (3, 5)
    packs = (tmp_path / "cache" / "frames32-raw",)
    whole = run(dataclasses.replace(asked(clips, tmp_path / "b", steps=5), data=packs, cache=None))
    assert whole["final"] == again["final"]
    assert (tmp_path / "a" / "log.jsonl").read_bytes() == (tmp_path / "b" / "log.jsonl").read_bytes()


def test_packs_of_pairs_are_clips_too(tmp_path):
    toy_pack(tmp_path / "packs", toy_head(), frames=8, config=PackConfig(32))
    config = asked(tmp_path / "packs", tmp_path / "out", steps=1, cache=None)
    assert run(config)["data"]["clips"] == 1


def test_three_frames_follow_each_other(clips, tmp_path):
    planned = tool.plan(asked(clips, tmp_path, "toy_frames/three", frame_step=2))
    assert planned.supply.options.sampling == FrameConfig(3, step=2, share=(0.0, 0.7))
    assert planned.supply.blank().frames.shape[1] == 3
    data = planned.supply.ready()
    assert next(data.batches(0, rank=0, world=1)).frames.shape == (2, 3, 3, 32, 32)
    with pytest.raises(HeadwarpError, match="the recipe takes 3 frames; --frame-step"):
        tool.plan(asked(clips, tmp_path, "toy_frames/three", pairs="first"))


def test_options_become_sampling_and_augmentation(clips, tmp_path):
    def options(**changes):
        return tool.plan(asked(clips, tmp_path, **changes)).supply.options

    for found, expected in (
        (options(), ("random", False, False)),
        (options(pairs="official"), ("time", True, True)),
    ):
        drawn = found.sampling
        assert (drawn.order, drawn.replacement, found.augment.exclusive) == expected
    mgif = options(preset="mgif")
    assert (mgif.augment.zoom, mgif.sampling.identity) == ((0.9, 1.1), False)
    assert options(pairs="first").augment.time_flip == 0
    assert options(augment=False, flip=0.0, time_flip=0.0).augment is None
    assert options(augment=False, preset="mgif").augment.zoom == (1.0, 1.0)
    assert options(time_flip=0.2).augment.time_flip == 0.2


def test_check_writes_nothing_and_says_what_is_published(clips, tmp_path):
    report = run(asked(clips, tmp_path / "out", check=True, preset="taichi", cache=None))
    assert not (tmp_path / "out").exists()
    assert (report["data"]["to_pack"], report["data"]["to_fit"]) == (2, 0)
    assert report["preset"] == {"name": "taichi", "steps": 1000, "batch": 30, "game": "without"}
    assert (
        "taichi: on so many clips the public code trains 1000 steps of 30, without a game"
        in tool.describe(report)
    )
    assert report["memory"]["needed_gb"] > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"still_camera": True}, r"--still-camera: belongs to pwm; toy_frames/two needs no geometry"),
        ({"guidance": "codes"}, "--guidance: belongs to pwm"),
        ({"codes": "texel"}, "--codes: belongs to pwm"),
        ({"fits": Path("fits")}, "--fits: belongs to pwm"),
        ({"pool": 4}, "--pool: belongs to pwm"),
        ({"reuse": "pairs"}, "--reuse: belongs to pwm"),
        ({"head": "builtin"}, "--head: belongs to pwm"),
        ({"model_size": "tiny"}, "--model-size tiny: toy_frames/two comes in one size"),
        ({"vgg": Path(__file__)}, "--vgg: toy_frames/two has no use for it"),
        ({"frame_step": 2}, "--frame-step: belongs to recipes of three frames"),
        (
            {"recipe": "toy_frames/three", "frame_step": 3, "frame_step_most": 2},
            "--frame-step-most: expected at least --frame-step, 3, got 2",
        ),
        ({"recipe": "pwm", "preset": "vox"}, "--preset: belongs to recipes that train on frames alone"),
        (
            {"recipe": "pwm/residual", "time_flip": 0.1},
            "--time-flip: belongs to recipes that train on frames",
        ),
        ({"data": (Path("nowhere"),)}, "expected a clip or a folder of clips, found nothing"),
    ],
)
def test_options_of_other_recipes_are_refused(clips, tmp_path, changes, told):
    with pytest.raises(HeadwarpError, match=told):
        run(dataclasses.replace(asked(clips, tmp_path / "out"), **changes))
    assert not (tmp_path / "out").exists()


def test_every_option_named_as_foreign_is_one(clips, tmp_path):
    for name in recipes.recipe_names():
        check_options(asked(clips, tmp_path), recipes.recipe_entry(name))


# Packs


def data(clips, cache, **changes):
    return FrameDataConfig(clips, cache, packing=FramePackConfig(32), **changes)


def test_what_is_packed_is_packed_once_and_anew_for_another_shape(clips, tmp_path):
    first = prepare_frames(data(clips, tmp_path))
    stamps = [pack.folder.stat().st_mtime_ns for pack in first.packed]
    again = plan_frames(data(clips, tmp_path))
    assert [pack.folder.stat().st_mtime_ns for pack in again.packed] == stamps
    padded = dataclasses.replace(data(clips, tmp_path), packing=FramePackConfig(32, shape="pad"))
    assert len(plan_frames(padded).to_pack) == 2


def test_lists_say_who_is_seen_and_who_is_left_out(clips, tmp_path):
    (tmp_path / "persons.csv").write_text("name,person\nrun,ann\nwalk,ann\n")
    (tmp_path / "test.csv").write_text("name,person\nrun,run\n")
    cache = tmp_path / "cache"
    persons = tmp_path / "persons.csv"
    packs = prepare_frames(data(clips, cache)).packed
    assert [pack.index.person for pack in packs] == ["run", "walk"]
    for where in (clips, cache / "frames32-raw"):
        plan = plan_frames(data(where, cache, exclude=tmp_path / "test.csv"))
        assert [pack.index.clip for pack in plan.packed] == ["walk"]
        assert "names" in plan.left_out["run"]
        both = plan_frames(data(where, cache, persons=persons)).packed
        assert [pack.index.person for pack in both] == ["ann", "ann"]


def test_packs_of_another_size_and_packs_beside_clips_are_told(clips, tmp_path):
    frame_pack(tmp_path / "packs")
    with pytest.raises(ModelFileError, match="expected packs of 64 pixels, got 32; pass that --size"):
        plan_frames(FrameDataConfig(tmp_path / "packs", tmp_path, packing=FramePackConfig(64)))
    with pytest.raises(HeadwarpError, match="expected clips or folders of packs, got packs in"):
        plan_frames(data((tmp_path / "packs", clips), tmp_path))


def test_held_out_samples_are_spread_over_the_part(tmp_path):
    frame_pack(tmp_path, "run", count=20)
    frame_pack(tmp_path, "walk", count=20)
    packs = open_frame_packs(tmp_path)
    pairs = held_out_frames(packs, FrameConfig(order="time", share=(0.5, 1.0)), count=6)
    names = [name.partition("/")[2] for batch in pairs for name in batch.names]
    assert names == [f"{clip}/0>{frame}" for clip in ("run", "walk") for frame in (10, 15, 19)]
    triplets = held_out_frames(packs, FrameConfig(3, step=2), count=4)
    assert [n for b in triplets for n in b.names][:2] == ["ann/run/0>2>4", "ann/run/15>17>19"]


def test_the_report_is_json(clips, tmp_path):
    run(asked(clips, tmp_path, steps=1))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["data"]["sampling"]["count"] == 2
    assert report["final"]["copy_l1"] > 0
