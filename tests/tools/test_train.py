"""`headwarp train`: from clips to an animator; what cannot work is told before any long work."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from pathlib import Path

import pytest
import torch
from guide_files import guide_file
from toy_head import toy_head
from toy_packs import oval, write_toy_footage

import headwarp.flame.detect
from headwarp.flame.io import save_head_npz
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.guidance import Driving, Source
from headwarp.tools import supply
from headwarp.tools import train as tool
from headwarp.tools.cli import main
from headwarp.tools.recipes import RecipeOptions, recipe_of, vgg_of, with_changes
from headwarp.tools.train import Train, run
from headwarp.tools.train_options import batch_of
from headwarp.training.data.pairs.blank import blank_pair
from headwarp.training.engine import dry_run as dry
from headwarp.training.engine.config import EngineConfig
from headwarp.training.engine.guard import batch_tensors
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import save_checkpoint


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Two clips with fits beside them, and their head."""
    return write_toy_footage(tmp_path_factory.mktemp("footage"))


@pytest.fixture(autouse=True)
def drawn_masks(monkeypatch):
    monkeypatch.setattr(headwarp.flame.detect, "segment_person", oval)


def asked(footage, output, **changes):
    options = {"size": 64, "steps": 3, "batch": 2, "frames": "0:0.6", "log_every": 1, "ema": 0.0}
    options |= {"schedule": "constant", "warmup": 0, "held_out_pairs": 4}
    data, cache = (footage / "clips",), footage / "cache"
    chosen = {**options, "data": data, "head": str(footage / "head.npz"), "cache": cache, **changes}
    return Train("pwm/residual", output=output, **chosen)


def test_clips_become_an_animator(footage, tmp_path):
    report = run(asked(footage, tmp_path))
    assert (report["ok"], report["steps"], report["stopped"]) == (True, 3, "steps")
    assert report["recipe"] == "pwm/residual+structure"
    assert "stands in" in report["stand_ins"][0]
    assert report["data"]["clips"] == 2
    assert report["final"]["pairs"] > 1
    names = {path.name for path in tmp_path.iterdir()}
    assert {"animator.safetensors", "checkpoints", "log.jsonl", "report.json"} <= names
    animator = load_animator("pwm", tmp_path / "animator.safetensors")
    assert any(float(p.abs().sum()) > 0 for p in animator.network.network.paint.parameters())  # learned
    (step,) = (tmp_path / "checkpoints").glob("step_*.safetensors")
    with pytest.raises(ModelFileError, match=f"what it made is {tmp_path / 'animator.safetensors'}"):
        load_animator("pwm", step)
    assert "3 steps" in tool.describe(report)
    assert "held out: L1" in tool.describe(report)
    lost = {**report, "left_out": {"wall": "wall: no face found"}}
    assert "1 clips were left out\n  left out: wall: wall: no face found" in tool.describe(lost)


def test_run_again_it_goes_on(footage, tmp_path):
    run(asked(footage, tmp_path / "a", steps=2))
    report = run(asked(footage, tmp_path / "a", steps=4))
    assert (report["begun_at_step"], report["steps"]) == (2, 4)
    run(asked(footage, tmp_path / "b", steps=4))
    assert (tmp_path / "a" / "log.jsonl").read_bytes() == (tmp_path / "b" / "log.jsonl").read_bytes()


def textured_head():
    """The toy head with texture coordinates: each vertex lies where it does in the picture."""
    head = toy_head()
    across = head.template[:, :2]
    head.uv = (across - across.amin(0)) / (across.amax(0) - across.amin(0))
    head.uv_faces = head.faces.clone()
    return head


@pytest.mark.parametrize("name", ["pwm/residual", "pwm/official"])
@pytest.mark.parametrize("guidance", ["codes", "both"])
def test_texels_of_the_heads_texture_learn_and_animate(name, guidance, tmp_path):
    head = textured_head()
    options = RecipeOptions(name, "tiny", guidance, codes="texel")
    recipe = recipe_of(options, head, changes=["adversarial=null", "network.codes.resolution=16"])
    networks, pair = recipe.networks(), blank_pair(head, 64)
    generator = networks["generator"]
    before = generator.codes.texture.detach().clone()
    optimizer = recipe.optimizer("generator", generator)
    for _ in range(3):  # heads of the residual network begin at zero
        optimizer.zero_grad()
        made = recipe.generate(networks, pair)
        sum(recipe.losses("generator", networks, pair, made).values()).backward()
        optimizer.step()
    moved = (generator.codes.texture.detach() - before).abs().amax(0) > 1e-5
    rows, columns = moved.any(1).float().mean(), moved.any(0).float().mean()
    assert min(rows, columns) > 0.8  # all over the face
    generator.eval()
    animator_name, config, module = recipe.checkpoint(networks)
    path = save_checkpoint(tmp_path / "a.safetensors", module, config=config, name=animator_name)
    animator = load_animator("pwm", path)
    codes = animator.network.codes
    assert torch.equal(codes.corners, head.uv[head.uv_faces])
    args = (pair.driving_verts, pair.faces, (64, 64))
    torch.testing.assert_close(codes(*args), generator.codes(*args))
    source = Source(image=pair.source, posed_vertices=pair.source_verts, faces=pair.faces)
    shown = animator.animate(animator.encode([source]), Driving(posed_vertices=pair.driving_verts))
    assert bool(shown.image.isfinite().all())


def test_texels_are_trained_by_the_command(footage, tmp_path):
    head = save_head_npz(textured_head(), tmp_path / "textured.npz")
    options = {"guidance": "both", "codes": "texel", "head": str(head), "steps": 1, "ema": 0.5}
    report = run(asked(footage, tmp_path / "run", **options))
    codes = load_animator("pwm", report["animator"]).network.codes
    assert bool((codes.corners > 0.9).any() & (codes.corners < 0.1).any())


def test_texels_that_are_set_by_name_lie_on_the_head_too():
    head = textured_head()
    changes = ["network.codes.kind=texel", "network.codes.resolution=16"]
    recipe = recipe_of(RecipeOptions("pwm/residual", guidance="both"), head, changes=changes)
    codes = recipe.networks()["generator"].codes
    assert recipe.config.network.codes.count == len(head.faces) != len(head.template)
    assert codes.texture.shape[1:] == (16, 16)
    assert torch.equal(codes.corners, head.uv[head.uv_faces])


def test_a_frozen_network_guides_in_place_of_the_mesh(footage, tmp_path):
    file = guide_file(tmp_path, "depth")
    report = run(asked(footage, tmp_path / "run", steps=1, guidance="depth", depth_checkpoint=file))
    assert load_animator("pwm", report["animator"]).config.network.guidance == "displacement"
    with pytest.raises(HeadwarpError, match="--guidance depth: expected --depth-checkpoint FILE"):
        run(asked(footage, tmp_path / "none", guidance="depth"))
    with pytest.raises(HeadwarpError, match="--keypoints-checkpoint: belongs to --guidance keypoints"):
        run(asked(footage, tmp_path / "none", keypoints_checkpoint=file))


def test_another_run_is_refused_before_anything_is_packed(footage, tmp_path, monkeypatch):
    run(asked(footage, tmp_path, steps=1))
    monkeypatch.setattr(supply, "locked_packs", lambda *a: pytest.fail("packing was begun"))
    with pytest.raises(HeadwarpError, match=r"config\.pixel_weight: was 1\.0, now 2\.0"):
        run(asked(footage, tmp_path, set=("pixel_weight=2.0",)))


def test_other_data_are_refused(footage, tmp_path):
    run(asked(footage, tmp_path, steps=1))
    with pytest.raises(HeadwarpError, match=r"data\.batch: was 2, now 1"):
        run(asked(footage, tmp_path, batch=1))


def test_check_writes_nothing(footage, tmp_path, capsys):
    config = asked(footage, tmp_path / "out", check=True, cache=None)
    report = run(config)
    assert not (tmp_path / "out").exists()
    assert report["data"]["to_pack"] == 2
    assert set(report["losses"]) == {"generator/pixel", "generator/structure"}
    assert 0.5 < report["memory"]["needed_gb"] < report["memory"]["free_gb"]
    text = tool.describe(report)
    assert "2 to pack (0 of them to fit" in text
    assert "nothing was written" in text


def test_the_command_line(footage, tmp_path, capsys):
    words = ["train", "pwm/residual", "--data", str(footage / "clips"), "--output", str(tmp_path / "run")]
    words += ["--head", str(footage / "head.npz"), "--cache", str(footage / "cache"), "--size", "64"]
    words += ["--steps", "1", "--batch", "1", "--model-size", "tiny", "--json", str(tmp_path / "r.json")]
    assert main(words) == 0
    assert json.loads((tmp_path / "r.json").read_text())["steps"] == 1
    assert "animator:" in capsys.readouterr().out


def test_a_folder_of_packs_needs_neither_video_nor_detector(footage, tmp_path, monkeypatch):
    run(asked(footage, tmp_path / "first", steps=1))
    for name in ("av", "mediapipe"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    packs = (footage / "cache" / "packs64-raw",)
    report = run(asked(footage, tmp_path / "second", steps=1, data=packs, cache=None))
    assert report["data"]["clips"] == 2
    assert report["losses"] == json.loads((tmp_path / "first" / "report.json").read_text())["losses"]


def test_defaults_are_those_that_trained_well(footage, tmp_path):
    plain = Train("pwm/residual", (footage / "clips",), tmp_path, steps=9, head=str(footage / "head.npz"))
    planned = tool.plan(dataclasses.replace(plain, size=64))
    engine, options = planned.engine, planned.supply.options
    assert (engine.schedule, engine.warmup, engine.clip, engine.ema) == ("cosine", 100, 1.0, 0.999)
    assert planned.recipe.config.learning_rate == 1e-3
    assert (options.batch, options.augment.flip) == (4, 0.5)
    first = tool.plan(dataclasses.replace(plain, size=64, pairs="first", augment=False)).supply.options
    assert first.augment is None
    assert batch_of(dataclasses.replace(plain, device="cuda")) == 16


def test_what_geometry_computed_is_kept(footage, tmp_path):
    report = run(asked(footage, tmp_path, steps=2, pool=3, cache=tmp_path / "cache"))
    assert report["data"]["keep"] == "pairs"
    assert list((tmp_path / "cache").rglob("*.shard"))
    report = run(asked(footage, tmp_path / "other", steps=1))
    assert report["data"]["keep"] == "sources"
    report = run(asked(footage, tmp_path / "none", steps=1, reuse="nothing"))
    assert report["data"]["keep"] == "nothing"


def test_clips_to_measure_on_may_be_others(footage, tmp_path):
    held_out = (footage / "clips" / "run.mp4",)
    report = run(asked(footage, tmp_path, steps=1, frames="0:1", held_out=held_out, held_out_pairs=3))
    assert report["final"]["pairs"] == 3
    alone = run(asked(footage, tmp_path / "alone", steps=1, frames="0:1"))
    assert alone["final"] is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"recipe": "pwm/best"}, "sparse2dense/paper-adv, got 'pwm/best'"),
        ({"steps": None}, "--steps, --minutes: expected at least one"),
        ({"size": 100}, "--size: expected a multiple of 32 pixels, got 100"),
        ({"batch": 0}, "expected at least 1, 0 and 1"),
        ({"frames": "0.8"}, "--frames: expected START:END"),
        ({"vgg": "none.pth"}, "no such file; `headwarp weights list`"),
        (
            {"vgg": "auto"},
            "no vgg19-dcbb9e9d.pth; sought in no folder, as $HEADWARP_WEIGHTS is not",
        ),
        (
            {"vgg": "auto", "weights_dir": "empty"},
            "sought in empty. Get it with `headwarp weights",
        ),
        ({"weights_dir": "empty"}, "--weights-dir: belongs to --vgg auto"),
        ({"codes": "texel"}, "--codes texel: belongs to --guidance codes or both"),
        ({"codes": "texel", "guidance": "both"}, "has no texture coordinates; take --codes vertex"),
        ({"set": ("nose=3",)}, "--set nose=3: expected KEY=VALUE with a field of the recipe: mode, network"),
        ({"set": ("pixel_weight=big",)}, "--set: config.pixel_weight: expected float, got 'big'"),
        ({"learning_rate": -1.0}, "--learning-rate: expected a number above 0, got -1"),
        ({"learning_rate": float("nan")}, "--learning-rate: expected a number above 0, got nan"),
        ({"device": "cuda:77"}, "CUDA devices here"),
        ({"precision": "16-mixed"}, "needs a CUDA device"),
        (
            {"data": ("nowhere",)},
            "nowhere: expected a clip or a folder of clips, found nothing (sought",
        ),
        ({"data": ("empty",)}, "expected clips"),
        ({"head": "nowhere.npz"}, "nowhere.npz"),
        ({"head": "builtin"}, "expected coefficients of head builtin"),
    ],
)
def test_mistakes_are_told_before_long_work(footage, tmp_path, monkeypatch, changes, text):
    monkeypatch.setattr(supply, "locked_packs", lambda *a: pytest.fail("packing was begun"))
    paths = {
        name: tuple(map(Path, value))
        if name == "data"
        else Path(value)
        if name in ("vgg", "weights_dir")
        else value
        for name, value in changes.items()
    }
    monkeypatch.delenv("HEADWARP_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HeadwarpError) as caught:
        run(dataclasses.replace(asked(footage, tmp_path / "out"), **paths))
    assert text in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_too_little_memory_says_how_much_is_needed(footage, tmp_path, monkeypatch):
    monkeypatch.setattr(dry, "free_bytes", lambda device: 800_000_000)
    with pytest.raises(
        HeadwarpError,
        match=r"a batch of 64 needs about \d\.\d GB on the cpu, 0\.8 GB are free; --batch \d+ fits",
    ):
        run(asked(footage, tmp_path, batch=64))
    monkeypatch.setattr(dry, "free_bytes", lambda device: 1000)
    with pytest.raises(HeadwarpError, match="not even one pair fits"):
        run(asked(footage, tmp_path))


def test_memory_is_counted_once_a_storage_and_let_go():
    saved = dry.Saved([torch.Size([20, 50])])
    weight = torch.nn.Parameter(torch.ones(1000))
    normalised = torch.ones(20, 50, requires_grad=True) * 2
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        x = torch.ones(1000, requires_grad=True) * 2
        loss = (x * x * weight).sum()
    assert saved.now == saved.peak == 2 * 4000  # x once, x * x; not the weight
    loss.backward()
    del loss, x
    assert saved.now == 0
    assert saved.peak == 8000
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack):
        normalised.square().sum()
    assert (saved.peak, saved.weights) == (8000, 4000)


def test_a_blank_pair_has_the_shapes_of_a_real_one(footage):
    head = toy_head()
    pair = blank_pair(head, 64)
    shapes = {name: tuple(value.shape) for name, value in batch_tensors(pair)}
    assert shapes["source"] == shapes["layers.colours"] == (1, 3, 64, 64)
    assert shapes["driving_verts"] == (1, len(head.template), 3)
    assert 0.2 < float(pair.layers.covered.mean()) < 0.9
    assert float(pair.layers.displacement.abs().max()) == pytest.approx(3, abs=1e-3)
    two = pair.joined(pair)
    assert len(two.source) == len(two.names) == 2
    assert two.faces.shape == pair.faces.shape


@pytest.mark.parametrize("name", ["pwm/residual", "pwm/official", "pwm/paper"])
def test_memory_of_a_step(name):
    head = toy_head()
    recipe = recipe_of(RecipeOptions(name, "tiny"), head)
    found = dry.dry_run(recipe, blank_pair(head, 64), EngineConfig(steps=1))
    assert all(torch.isfinite(torch.tensor(value)) for value in found.losses.values())
    assert found.fixed_bytes > 4 * 4 * sum(p.numel() for p in recipe.networks()["generator"].parameters())
    assert found.needed(3) - found.needed(2) == found.pair_bytes > 0


def test_vgg_is_taken_from_the_folders_of_weights_only_if_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWARP_WEIGHTS", str(tmp_path / "own"))
    for folder in ("own", "named"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vgg19-dcbb9e9d.pth").touch()
    found = functools.partial(RecipeOptions, "pwm/official")
    assert vgg_of(found()) is None
    assert vgg_of(found(vgg=Path("auto"))) == tmp_path / "own" / "vgg19-dcbb9e9d.pth"
    named = found(vgg=Path("auto"), weights_dir=tmp_path / "named")
    assert vgg_of(named) == tmp_path / "named" / "vgg19-dcbb9e9d.pth"
    with pytest.raises(ModelFileError, match="expected sha256 dcbb9e9d"):  # the recipe reads that file
        recipe_of(named, toy_head())


def test_fields_are_set_by_name():
    config = recipe_of(RecipeOptions("pwm/residual"), toy_head()).config
    changed = with_changes(config, ["structure_weight=0.5", "network.network.base=rendered"])
    assert (changed.structure_weight, changed.network.network.base) == (0.5, "rendered")
    with pytest.raises(HeadwarpError, match="expected KEY=VALUE with a field of the recipe: none there"):
        with_changes(config, ["network.nothing.base=1"])
