"""`headwarp tune`: a network tuned to one person, and what cannot be tuned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from toy_head import toy_head
from toy_packs import oval, toy_pack, write_toy_footage

import headwarp.flame.detect
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.tools import tune as tool
from headwarp.tools.cli import main
from headwarp.tools.performance import open_animator
from headwarp.tools.tune import Tune, run, tuned_recipe
from headwarp.training.data.pairs.thin import spread, thinned
from headwarp.training.engine import dry_run
from headwarp.warping.animators import load_animator
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.animators.pwm import PwmAnimator
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.progressive import ProgressiveConfig
from headwarp.warping.pwm import PwmConfig


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    return write_toy_footage(tmp_path_factory.mktemp("footage"), frames=10)


@pytest.fixture(autouse=True)
def drawn_masks(monkeypatch):
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)


def asked(footage, output, **changes):
    options = {"size": 64, "steps": 2, "batch": 2, "held_out": 0.3, "frames": 4}
    chosen = {**options, "head": str(footage / "head.npz"), "cache": footage / "cache", **changes}
    return Tune((footage / "clips" / "walk.mp4",), output / "me.safetensors", **chosen)


@pytest.fixture(scope="module")
def tuned(footage, tmp_path_factory):
    """A tuned checkpoint and its report."""
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headwarp.flame.detect, "segment_person", oval)
        return folder / "me.safetensors", run(asked(footage, folder, steps=3))


def test_a_clip_becomes_a_checkpoint_and_a_report(tuned):
    path, report = tuned
    load_animator("pwm", path)
    assert load_checkpoint(path).step == 3
    assert report["frames"] == [4]
    assert report["before"]["l1"] == pytest.approx(report["before"]["geometry_l1"])  # untrained: geometry
    assert report["before"]["pairs"] == 3
    gain = 100 * (1 - report["final"]["l1"] / report["before"]["l1"])
    assert report["gain_percent"] == pytest.approx(gain)
    written = json.loads(path.with_suffix(".json").read_text())
    assert written["gain_percent"] == pytest.approx(gain)
    assert (path.parent / "me.run" / "log.jsonl").exists()
    text = tool.describe(report)
    assert "3 steps on 4 frames" in text
    assert ("below the start" in text) == (gain > 0)


def test_it_goes_on_from_a_checkpoint(footage, tuned, tmp_path):
    path, first = tuned
    report = run(asked(footage, tmp_path, checkpoint=path))
    assert report["before"]["l1"] == pytest.approx(first["final"]["l1"], rel=1e-5)
    assert report["config"]["learning_rate"] == pytest.approx(3e-4)


def test_a_progressive_checkpoint_is_tuned_after_it_has_animated(footage, tmp_path):
    config = PwmConfig(ProgressiveConfig(width=2, min_channels=4, max_channels=16))
    path = save_checkpoint(tmp_path / "a.safetensors", PwmAnimator(config), config=config, name="pwm")
    open_animator("pwm", path)  # which prepares it
    run(asked(footage, tmp_path, checkpoint=path, steps=1))
    before, after = (load_checkpoint(tmp_path / f"{name}.safetensors").tensors for name in ("a", "me"))
    key = "network.network.up_layers.x1_out.weight"
    assert before.keys() == after.keys()
    assert not torch.equal(before[key], after[key])


def test_nothing_gained_is_said(tuned):
    _, report = tuned
    worse = {**report, "gain_percent": -1.0}
    assert "nothing gained against the start's" in tool.describe(worse)
    assert "train longer" in tool.describe(worse)


def test_several_clips_are_one_person(footage, tmp_path):
    config = asked(footage, tmp_path, steps=1)
    report = run(dataclasses.replace(config, source=(footage / "clips",)))
    assert report["frames"] == [4, 4]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"source": ("me.jpg",)}, "a photo shows one pose, and nothing about other poses can be learned"),
        ({"output": "me.pth"}, "expected a name that ends in .safetensors"),
        ({"frames": 1}, "--frames: expected 2 or more, got 1"),
        ({"held_out": 0.0}, "--held-out: expected a share between 0 and 1, got 0"),
        ({"held_out": 0.9}, "walk: expected 2 usable frames before its last 90%, got 1"),
        ({"size": 100}, "expected a multiple of 32"),
        ({"checkpoint": "none.safetensors"}, "no such checkpoint"),
        ({"steps": 0}, "--steps: expected 1 or more"),
        ({"batch": 0}, "--batch, --workers: expected at least 1 and 0, got 0 and 0"),
        ({"workers": -1}, "--batch, --workers: expected at least 1 and 0, got 2 and -1"),
    ],
)
def test_mistakes_are_told(footage, tmp_path, changes, text):
    kinds = {"source": lambda v: tuple(map(Path, v)), "output": Path, "checkpoint": Path}
    changed = {name: kinds.get(name, lambda v: v)(value) for name, value in changes.items()}
    with pytest.raises(HeadwarpError) as caught:
        run(dataclasses.replace(asked(footage, tmp_path), **changed))
    assert text in str(caught.value)


def test_too_little_memory_and_fits_of_another_head_are_told_before_packing(footage, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "locked_packs", lambda *_: pytest.fail("packing was begun"))
    monkeypatch.setattr(dry_run, "free_bytes", lambda _: 1000)
    with pytest.raises(HeadwarpError, match=r"a batch of 2 needs about .* 0\.0 GB are free"):
        run(asked(footage, tmp_path))
    with pytest.raises(ModelFileError, match=r"walk\.npz: expected coefficients of head builtin"):
        run(asked(footage, tmp_path, head="builtin"))


def test_packs_that_cannot_be_written_to_are_trained_on(footage, tuned, tmp_path, monkeypatch):
    monkeypatch.setattr("headwarp.tools.training_data.os.access", lambda *_: False)
    report = run(asked(footage, tmp_path, steps=1))
    assert report["data"]["keep"] == "nothing"
    assert tuned[1]["data"]["keep"] == "sources"


def test_a_checkpoint_of_another_animator_is_refused(footage, tmp_path):
    other = save_checkpoint(tmp_path / "copy.safetensors", {}, config=CopyConfig(), name="copy")
    with pytest.raises(ModelFileError, match=r"expected a network of 'pwm', the only one .*, got 'copy'"):
        run(asked(footage, tmp_path, checkpoint=other))


def test_weights_that_do_not_fit_are_told_before_packing(footage, tuned, tmp_path):
    path, _ = tuned
    found = load_checkpoint(path)
    tensors = dict(found.tensors)
    del tensors[next(iter(tensors))]
    animator = load_animator("pwm", path)
    broken = save_checkpoint(tmp_path / "b.safetensors", tensors, config=animator.config, name="pwm")
    with pytest.raises(ModelFileError, match="1 missing"):
        tuned_recipe(asked(footage, tmp_path, checkpoint=broken), toy_head())


def test_the_command_line(footage, tmp_path, capsys):
    words = ["tune", "--source", str(footage / "clips" / "run.mp4"), "--head", str(footage / "head.npz")]
    words += ["--output", str(tmp_path / "o.safetensors"), "--cache", str(footage / "cache")]
    assert main([*words, "--size", "64", "--steps", "1", "--batch", "1"]) == 0
    assert "1 steps on 8 frames" in capsys.readouterr().out


def test_thinned_packs_show_the_kept_frames(tmp_path):
    pack = toy_pack(tmp_path, toy_head(), frames=6)
    thin = thinned(pack, [1, 4])
    assert len(thin) == 2
    assert (thin.frame(1) == pack.frame(4)).all()
    assert (thin.mask(0) == pack.mask(1)).all()
    assert thin.index.frames == (1, 4)
    assert torch.equal(thin.fit().params.rotation, pack.fit().params.rotation[[1, 4]])
    for wrong in ([], [2, 1], [5, 6], [-1, 2], [1, 1]):
        with pytest.raises(HeadwarpError, match="expected rising positions of 6 frames"):
            thinned(pack, wrong)


def test_frames_are_spread_over_a_part(tmp_path):
    pack = toy_pack(tmp_path, toy_head(), frames=10)
    assert spread(pack.index, (0.0, 0.8), None) == list(range(8))
    assert spread(pack.index, (0.0, 0.8), 3) == [0, 4, 7]
    assert spread(pack.index, (0.8, 1.0), 5) == [8, 9]
    assert spread(pack.index, (0.0, 0.75), None) + spread(pack.index, (0.75, 1.0), None) == list(range(10))
