"""`pwm` trained with each guide: it is recorded, taken by default, and another one is refused or said."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from guide_files import guide_file
from safetensors import safe_open
from safetensors.torch import save_file
from toy_head import toy_head
from toy_packs import oval, toy_clip, write_toy_footage

import headwarp.flame.detect
from headwarp.flame._head_data import LandmarkEmbedding
from headwarp.flame.posing import window_fit
from headwarp.flame.residual import field_of
from headwarp.geom.crops import Crop, crop_image
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.nets.weights import sha256_of
from headwarp.tools import cli
from headwarp.tools.evaluate import Evaluate
from headwarp.tools.guidance import (
    GuidanceOptions,
    guide_animator,
    guide_of,
    guided_by,
    guided_each,
    settled,
    warn_of_mesh,
)
from headwarp.tools.performance import open_animator, perform
from headwarp.tools.train import Train, run
from headwarp.tools.tune import Tune, tuned_recipe
from headwarp.tools.tune import run as run_tune
from headwarp.training.data.portrait import Portrait, to_image
from headwarp.training.engine.state import run_differences
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint, save_checkpoint
from headwarp.warping.guide_record import GuideRecord, record_from_json, record_of
from headwarp.warping.guided import GuidedAnimator
from headwarp.warping.guides import GUIDE_KINDS, NETWORK_KINDS, GuideConfig
from headwarp.warping.pwm import PwmConfig

KINDS = ("mesh", "codes", "depth", "keypoints", "landmarks")
SIZE = 64


def marked_head():
    """The toy head with 68 landmarks: every other one of its vertices."""
    head = toy_head()
    own = head.landmarks["mediapipe"]
    rows = torch.arange(68) * 2
    head.landmarks["ibug68"] = LandmarkEmbedding(
        indices=torch.arange(68), faces=own.faces[rows], bary=own.bary[rows]
    )
    return head


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two clips with their fits, the networks of the guides, and another file for each of them."""
    folder = write_toy_footage(tmp_path_factory.mktemp("footage"), head=marked_head())
    (folder / "other").mkdir()
    for kind in NETWORK_KINDS:
        own = guide_file(folder, kind)
        other = load_checkpoint(own).tensors
        with safe_open(own, framework="pt") as file:
            header = file.metadata()
        changed = {key: value + (0.01 if value.is_floating_point() else 0) for key, value in other.items()}
        save_file(changed, folder / "other" / own.name, metadata=header)
    return folder


def network(files, kind, folder="."):
    names = {"depth": "depth.safetensors", "keypoints": "fomm.safetensors"}
    return {f"{kind}_checkpoint": files / folder / names[kind]} if kind in names else {}


def asked(files, output, **changes):
    options = {"size": SIZE, "steps": 3, "batch": 2, "frames": "0:0.6", "log_every": 1, "ema": 0.0}
    options |= {
        "schedule": "constant",
        "warmup": 0,
        "held_out_pairs": 2,
        "cache": files / "cache",
        "model_size": "tiny",
    }
    chosen = {**options, "data": (files / "clips",), "head": str(files / "head.npz"), **changes}
    return Train("pwm/residual", output=output, **chosen)


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    """The folder of a training with each guide."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headwarp.flame.detect, "segment_person", oval)
        for kind in KINDS:
            report = run(asked(files, folder / kind, guidance=kind, **network(files, kind)))
            assert (report["steps"], report["guide"]["kind"]) == (3, kind)
    return folder


@pytest.fixture(autouse=True)
def drawn_masks(monkeypatch):
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)


@pytest.fixture(scope="module")
def scene():
    """A portrait of the toy head and a driving fit of it, in a window of `SIZE`."""
    head = marked_head()
    pictures, fit = toy_clip(head, 3)
    crop = Crop(0.0, 0.0, 256.0)
    image, own = crop_image(to_image(pictures[0]), crop, SIZE), window_fit(fit, crop, SIZE)
    mask = torch.from_numpy(oval(pictures[0][:SIZE, :SIZE]))[None, None]
    portrait = Portrait(head, image, own.select([0]), mask, field_of(head, own.select([0])))
    return portrait, own


def animator_of(trained, kind):
    return open_animator("pwm", trained / kind / "animator.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_trained_with_each_guide_it_animates_by_it_without_being_told(files, trained, scene, kind):
    portrait, fit = scene
    animator = animator_of(trained, kind)
    assert any(float(p.abs().sum()) > 0 for p in animator.network.network.paint.parameters())  # learned
    options = settled(GuidanceOptions(**network(files, kind)), guided_by(animator), name="pwm")
    assert options.name == (kind if kind in GUIDE_KINDS else None)
    guided = guide_animator(animator, options, name="pwm")
    assert isinstance(guided, GuidedAnimator) == (kind in GUIDE_KINDS)
    frames = list(perform([portrait], fit, guided))
    assert len(frames) == 3
    assert all(torch.isfinite(frame.image).all() for frame in frames)
    assert (frames[2].image - portrait.image).abs().mean() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_checkpoint_says_what_guided(files, trained, kind, capsys):
    found = load_checkpoint(trained / kind / "animator.safetensors").guide
    file = network(files, kind).get(f"{kind}_checkpoint")
    aligned = True if kind == "depth" else None
    own = () if file is None else (file.name, sha256_of(file), 256, aligned)
    expected = GuideRecord(kind, *own)
    assert found == expected
    assert str(files) not in json.dumps(dataclasses.asdict(found))  # a name, no place
    assert cli.main(["info", str(trained / kind / "animator.safetensors")]) == 0
    assert f"'kind': '{kind}'" in capsys.readouterr().out


@pytest.mark.parametrize("kind", NETWORK_KINDS)
def test_a_missing_or_other_network_is_refused_unless_it_is_asked_for(files, trained, kind, capsys):
    record, own = guided_by(animator_of(trained, kind)), network(files, kind)[f"{kind}_checkpoint"]
    other = network(files, kind, "other")
    with pytest.raises(HeadwarpError) as caught:
        settled(GuidanceOptions(), record, name="pwm")
    assert str(caught.value) == (
        f"pwm was trained with {kind} guidance: expected --{kind}-checkpoint FILE with {own.name} (SHA-256 "
        f"{sha256_of(own)[:12]}...), got none; give it, or --guidance mesh to let the mesh guide all the same"
    )
    with pytest.raises(ModelFileError) as caught:
        settled(GuidanceOptions(**other), record, name="pwm")
    wrong = other[f"{kind}_checkpoint"]
    one, two = sha256_of(own)[:12], sha256_of(wrong)[:12]
    assert str(caught.value) == (
        f"--{kind}-checkpoint: pwm was trained with {own.name} (SHA-256 {one}...), got {wrong} (SHA-256 "
        f"{two}...); give that file, or add --guidance {kind} to be guided by this one all the same"
    )
    assert capsys.readouterr().err == ""
    chosen = settled(GuidanceOptions(kind, **other), record, name="pwm")
    assert chosen == GuidanceOptions(kind, **other, side=256, aligned=record.aligned)
    assert f"warning: pwm was trained with {own.name}" in capsys.readouterr().err
    assert settled(GuidanceOptions("landmarks"), record, name="pwm") == GuidanceOptions("landmarks")
    said = capsys.readouterr().err
    assert said == f"warning: pwm was trained with {kind} guidance and is guided by landmarks, as asked\n"
    settled(GuidanceOptions(kind, **network(files, kind)), record, name="pwm")
    assert capsys.readouterr().err == ""
    with pytest.raises(ModelFileError, match="gone: cannot be read"):
        settled(GuidanceOptions(**{f"{kind}_checkpoint": files / "gone"}), record, name="pwm")


def test_the_side_is_that_of_the_training_unless_it_is_given(files):
    record = GuideRecord("depth", "depth.safetensors", sha256_of(files / "depth.safetensors"), 96)
    file = network(files, "depth")
    assert settled(GuidanceOptions(**file), record, name="pwm").side == 96
    assert settled(GuidanceOptions(**file, side=64), record, name="pwm").side == 64
    assert guided_each({}, Evaluate()) == {}


def test_files_without_a_record_are_of_the_mesh(trained, tmp_path, capsys):
    found = load_checkpoint(trained / "mesh" / "animator.safetensors")
    config = load_animator("pwm", found.path).config
    old = save_checkpoint(tmp_path / "old.safetensors", found.tensors, config=config, name="pwm")
    assert load_checkpoint(old).guide is None
    assert guided_by(load_animator("pwm", old)) == GuideRecord("mesh")
    assert guided_by(load_animator("pwm")) == GuideRecord("mesh")  # the one that comes with the package
    assert guided_by(load_animator("geometry")) is None
    codes = load_checkpoint(trained / "codes" / "animator.safetensors")
    config = load_animator("pwm", codes.path).config
    old = save_checkpoint(tmp_path / "old.safetensors", codes.tensors, config=config, name="pwm")
    assert guided_by(load_animator("pwm", old)) == GuideRecord("codes")
    record = guided_by(load_animator("pwm"))
    assert settled(GuidanceOptions(), record, name="pwm") == GuidanceOptions()
    assert settled(GuidanceOptions("mesh"), record, name="pwm") == GuidanceOptions("mesh")
    assert capsys.readouterr().err == ""
    settled(GuidanceOptions("landmarks"), record, name="pwm")
    assert "trained with mesh guidance and is guided by landmarks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("guide", "text"),
    [
        (
            {"kind": "stars", "file": None, "sha256": None, "side": None},
            "header guide: config.kind: expected one of",
        ),
        (
            {"kind": "mesh"},
            "header guide: config: expected the fields of GuideRecord; missing file, sha256, side",
        ),
        (
            {"kind": "depth", "file": "a.safetensors", "sha256": None, "side": None},
            "header guide: guide depth: expected the name and the SHA-256 of the network's file, got 'a.safe",
        ),
        ("mesh", "header guide: config: expected the fields of GuideRecord, got 'mesh'"),
    ],
)
def test_a_record_that_does_not_read_is_named(tmp_path, guide, text):
    header = {"kind": "animator", "name": "pwm", "config": {}, "step": 0, "headwarp_version": "0.1.0"}
    path = tmp_path / "a.safetensors"
    save_file({}, path, metadata={"headwarp": json.dumps({**header, "guide": guide})})
    with pytest.raises(ModelFileError, match=text):
        load_checkpoint(path)
    with pytest.raises(
        HeadwarpError, match="kind: expected one of mesh, codes, both, depth, keypoints, landm"
    ):
        GuideRecord("stars")
    for digest in (None, "", "A" * 64, "a" * 63):
        with pytest.raises(HeadwarpError, match="guide keypoints: expected the name and the SHA-256"):
            GuideRecord("keypoints", "fomm.safetensors", digest)
    with pytest.raises(HeadwarpError, match="guide mesh: expected no file of a network, got 'a'"):
        GuideRecord("mesh", "a")
    with pytest.raises(HeadwarpError, match="guide landmarks: aligned: expected None, got True"):
        GuideRecord("landmarks", aligned=True)


def test_a_bare_animator_whose_guide_is_left_out_is_said(trained, capsys):
    warn_of_mesh(animator_of(trained, "depth"))
    assert "PwmAnimator was trained with depth guidance, and the mesh guides it" in capsys.readouterr().err
    for kind in ("mesh", "codes"):
        warn_of_mesh(animator_of(trained, kind))
    warn_of_mesh(load_animator("geometry"))
    assert capsys.readouterr().err == ""


# Commands


@pytest.mark.parametrize("command", ["animate", "edit", "evaluate", "tune"])
def test_commands_ask_for_the_network_before_any_work(files, trained, tmp_path, command, capsys):
    clip, path = str(files / "clips" / "walk.mp4"), str(trained / "depth" / "animator.safetensors")
    words = {
        "animate": [
            "--animator",
            "pwm",
            "--source",
            clip,
            "--driving",
            clip,
            "--output",
            f"{tmp_path}/o.mp4",
        ],
        "edit": [clip, "--animator", "pwm", "--output", f"{tmp_path}/o.png"],
        "evaluate": ["--animator", "pwm", "--clips", clip],
        "tune": ["--source", clip, "--output", f"{tmp_path}/o.safetensors"],
    }[command]
    given = [command, *words, "--checkpoint", path]
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert "was trained with depth guidance: expected --depth-checkpoint FILE with depth.safetensors" in said
    assert cli.main([*given, "--depth-checkpoint", str(files / "other" / "depth.safetensors")]) == 1
    assert "give that file, or add --guidance depth to be guided by this one" in capsys.readouterr().err
    assert cli.main([*given, "--keypoints-checkpoint", str(files / "fomm.safetensors")]) == 1
    assert "was trained with depth guidance: expected --depth-checkpoint" in capsys.readouterr().err


def test_an_evaluation_guides_each_by_its_own(files, trained, capsys):
    animators = {"geometry": load_animator("geometry"), "copy": load_animator("copy")}
    animators |= {f"pwm:{kind}": animator_of(trained, kind) for kind in ("mesh", "depth", "landmarks")}
    made = guided_each(animators, Evaluate(**network(files, "depth")))
    assert list(made) == list(animators)
    guided = {name for name, animator in made.items() if isinstance(animator, GuidedAnimator)}
    assert guided == {"pwm:depth", "pwm:landmarks"}
    with pytest.raises(HeadwarpError, match="--keypoints-checkpoint: belongs to --guidance keypoints"):
        guided_each(animators, Evaluate(**network(files, "depth"), **network(files, "keypoints")))
    with pytest.raises(HeadwarpError, match="--guide-side: belongs to --guidance depth or keypoints"):
        guided_each({"pwm": animators["pwm:mesh"]}, Evaluate(guide_side=64))
    with pytest.raises(HeadwarpError, match="pwm:depth was trained with depth guidance: expected --depth-"):
        guided_each(animators, Evaluate())
    assert capsys.readouterr().err == ""
    beside = guided_each(
        {"pwm": animators["pwm:depth"]}, Evaluate(guidance=("depth", "landmarks"), **network(files, "depth"))
    )
    assert list(beside) == ["pwm+depth", "pwm+landmarks"]
    assert capsys.readouterr().err.count("warning: pwm was trained with depth guidance") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_goes_on_as_it_was_begun(files, trained, tmp_path, kind):
    folder = shutil.copytree(trained / kind, tmp_path / "run")
    moved = {}
    if kind in NETWORK_KINDS:
        with pytest.raises(HeadwarpError, match=rf"the run in {folder} was trained with {kind} .*; give it$"):
            run(asked(files, folder, steps=4))
        with pytest.raises(ModelFileError, match=rf"--{kind}-checkpoint: .*; give that file$"):
            run(asked(files, folder, steps=4, **network(files, kind, "other")))
        place = tmp_path / "renamed.safetensors"  # what counts is what is in it
        shutil.copy(network(files, kind)[f"{kind}_checkpoint"], place)
        moved = {f"{kind}_checkpoint": place}
    report = run(asked(files, folder, steps=4, **moved))
    assert (report["begun_at_step"], report["steps"], report["guide"]["kind"]) == (3, 4, kind)


def test_a_training_with_another_network_is_another_run(files, trained, tmp_path):
    folder = shutil.copytree(trained / "depth", tmp_path / "run")
    other = network(files, "depth", "other")
    with pytest.raises(
        HeadwarpError, match=r"is of another run: guide\.sha256: was '\w+', now '\w+'; give what"
    ):
        run(asked(files, folder, steps=4, guidance="depth", **other))
    with pytest.raises(
        HeadwarpError, match=r"is of another run: config\.guide\.kind: was 'depth', now 'landm"
    ):
        run(asked(files, folder, steps=4, guidance="landmarks"))
    report = run(asked(files, folder, steps=1, restart=True))  # begun anew, by the mesh
    assert report["guide"]["kind"] == "mesh"


def test_runs_of_before_the_record_are_known_by_the_place_of_the_file():
    old = {"config": {"guide": {"kind": "depth", "checkpoint": "a"}, "rate": 1}}
    new = {**old, "guide": {"kind": "depth", "file": "a", "sha256": "1"}}
    assert run_differences(old, new) == []
    other = {"config": {"guide": {"kind": "depth", "checkpoint": "b"}, "rate": 2}, "guide": new["guide"]}
    assert run_differences(old, other) == [
        "config.guide.checkpoint: was 'a', now 'b'",
        "config.rate: was 1, now 2",
    ]
    assert run_differences(new, other) == ["config.rate: was 1, now 2"]
    assert run_differences(new, {**new, "guide": {**new["guide"], "sha256": "2"}}) == [
        "guide.sha256: was '1', now '2'"
    ]


def test_tuning_keeps_the_guide(files, trained, tmp_path, capsys):
    head = marked_head()
    clip = (files / "clips" / "walk.mp4",)
    for kind in ("mesh", "codes", "depth", "landmarks"):
        start = trained / kind / "animator.safetensors"
        tune = Tune(clip, tmp_path / "me.safetensors", checkpoint=start, **network(files, kind))
        assert tuned_recipe(tune, head).guided_by == guided_by(animator_of(trained, kind))
    assert capsys.readouterr().err == ""
    asked_for = dataclasses.replace(tune, guidance="depth", **network(files, "depth"))
    assert tuned_recipe(asked_for, head).guided_by.kind == "depth"
    assert "trained with landmarks guidance and is guided by depth" in capsys.readouterr().err
    untrained = Tune(clip, tmp_path / "me.safetensors", guidance="landmarks")
    assert tuned_recipe(untrained, head).guided_by.kind == "landmarks"
    for guidance, own in (("codes", "mesh"), ("both", "mesh")):
        with pytest.raises(HeadwarpError, match=f"--guidance {guidance}: the network is guided by {own}"):
            tuned_recipe(dataclasses.replace(tune, guidance=guidance), head)
    tune = dataclasses.replace(
        tune,
        size=SIZE,
        steps=1,
        batch=2,
        frames=3,
        held_out=0.3,
        cache=files / "cache",
        head=str(files / "head.npz"),
    )
    run_tune(tune)
    assert load_checkpoint(tune.output).guide == GuideRecord("landmarks")


def test_a_record_of_each_guide(files):
    assert record_of(None) == record_of(None, "none") == GuideRecord("mesh")
    assert record_of(None, "both") == GuideRecord("both")
    for side in (None, 256):  # what no network sees has no size that a command could not keep to
        assert record_of(GuideConfig("landmarks", side=side)) == GuideRecord("landmarks")
    assert guided_by(load_animator("pwm", config=PwmConfig())) == GuideRecord("mesh")
    file = files / "depth.safetensors"
    made = record_of(GuideConfig("depth", file, 128))
    assert made == GuideRecord("depth", "depth.safetensors", sha256_of(file), 128, True)
    as_it_says = record_of(GuideConfig("depth", file, 128, aligned=False))
    assert as_it_says == dataclasses.replace(made, aligned=False)
    assert settled(GuidanceOptions(depth_checkpoint=file), as_it_says, name="pwm").aligned is False
    old = {key: value for key, value in dataclasses.asdict(made).items() if key != "aligned"}
    assert record_from_json(old) == dataclasses.replace(made, aligned=None)
    assert guide_of(settled(GuidanceOptions(depth_checkpoint=file), as_it_says, name="pwm")) == GuideConfig(
        "depth", file, 128, aligned=False
    )
    with pytest.raises(ModelFileError, match="cannot be read"):
        record_of(GuideConfig("depth", files / "gone"))
