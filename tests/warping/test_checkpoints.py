"""Checkpoints come back as they were or not at all; what does not fit is a sentence that says which."""

from __future__ import annotations

import json
import pickle
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headwarp import __version__
from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.warping import checkpoints
from headwarp.warping._config_json import config_from_json, config_to_json
from headwarp.warping.animators import Registration, animator_names, load_animator, registration
from headwarp.warping.animators.geometry import GeometryConfig
from headwarp.warping.animators.tps import TpsConfig
from headwarp.warping.checkpoints import Checkpoint, load_checkpoint, load_weights, save_checkpoint


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (8, 16)
    gain: float = 1.0


@dataclass(frozen=True)
class ToyConfig:
    """Every kind of field that a config may have."""

    channels: int = 3
    inner: Inner = field(default_factory=Inner)
    mode: Literal["fast", "slow"] = "fast"
    path: Path | None = None
    pair: tuple[float, float] = (0.1, 0.9)
    names: dict[str, int] = field(default_factory=dict)
    learned: bool = True


class ToyAnimator(nn.Module):
    needs_source = ("image",)
    needs_driving = ()

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.channels, 2)
        self.norm = nn.BatchNorm1d(2)


TOY = Registration(ToyConfig, ToyAnimator)
CONFIG = ToyConfig(channels=4, inner=Inner((1, 2, 3), 0.5), mode="slow", path=Path("a/b"), names={"x": 1})


def toy(tmp_path, config=CONFIG, **options):
    model = ToyAnimator(config)
    nn.init.normal_(model.norm.running_mean)
    options = {"config": config, "name": "toy", "step": 7} | options
    return model, save_checkpoint(tmp_path / "c.safetensors", model, **options)


def rewritten(path, **changes):
    """The same file with other words in its header."""
    loaded = load_checkpoint(path)
    header = {"kind": loaded.kind, "name": loaded.name, "config": dict(loaded.config), "step": loaded.step}
    header = {**header, "headwarp_version": __version__, **changes}
    kept = {key: value for key, value in header.items() if value is not None}
    save_file(dict(loaded.tensors), str(path), metadata={"headwarp": json.dumps(kept)})
    return path


def test_weights_config_and_step_come_back(tmp_path):
    model, path = toy(tmp_path)
    loaded = load_checkpoint(path, name="toy", kind="animator")
    assert (loaded.kind, loaded.name, loaded.step, loaded.version) == ("animator", "toy", 7, __version__)
    built = loaded.build(TOY)
    assert built.config == CONFIG
    for key, value in model.state_dict().items():
        assert torch.equal(built.state_dict()[key], value), key
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


class Lent(dict):
    """Tensors that are made when they are asked for; counts those that are held at once."""

    def __init__(self, *args):
        super().__init__(*args)
        self.out, self.most = [], 0

    def __getitem__(self, key):
        given = super().__getitem__(key).clone()
        self.out = [*(other for other in self.out if other() is not None), weakref.ref(given)]
        self.most = max(self.most, len(self.out))
        return given


def test_one_weight_at_a_time_lies_in_memory_twice():
    model, target = ToyAnimator(CONFIG), ToyAnimator(CONFIG)
    lent = Lent(model.state_dict())
    load_weights(target, lent, name="x")
    assert lent.most <= 2  # the last one is let go of when the next one is there
    for key, value in model.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["copy", "geometry", "similarity", "tps"])
def test_animators_without_weights_keep_their_config(tmp_path, name):
    config = registration(name).config()
    path = save_checkpoint(tmp_path / "c.safetensors", {}, config=config, name=name)
    assert load_animator(name, path).config == config


def test_a_changed_setting_reaches_the_animator(tmp_path):
    config = TpsConfig(anchors=7)
    path = save_checkpoint(tmp_path / "t.safetensors", {}, config=config, name="tps")
    assert load_animator("tps", path).config == config != TpsConfig()
    with pytest.raises(ModelFileError, match="expected a checkpoint of name 'geometry', got 'tps'"):
        load_animator("geometry", path)


def test_every_registered_config_survives_json():
    for name in animator_names():
        config = registration(name).config()
        assert config_from_json(type(config), json.loads(json.dumps(config_to_json(config)))) == config


def test_tied_and_strided_tensors_are_stored(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    given = {"a": base, "b": base, "column": base[:, 1], "half": base.half(), "empty": torch.zeros(0, 3)}
    path = save_checkpoint(tmp_path / "t.safetensors", given, config=Inner(), name="x", kind="tensors")
    for key, value in load_checkpoint(path).tensors.items():
        assert torch.equal(value, given[key])
        assert value.dtype == given[key].dtype


def test_another_kind_is_refused(tmp_path):
    _, path = toy(tmp_path, kind="discriminator")
    with pytest.raises(ModelFileError, match="of kind 'animator', got 'discriminator'"):
        load_checkpoint(path).build(TOY)
    with pytest.raises(ModelFileError, match="of kind 'optimizer', got 'discriminator'"):
        load_checkpoint(path, kind="optimizer")


def test_where_a_training_goes_on_from_is_no_animator_and_says_what_is(tmp_path):
    _, path = toy(tmp_path / "run" / "checkpoints", kind="training")
    with pytest.raises(
        ModelFileError, match=r"what it made is animator.safetensors in the folder of its run"
    ):
        load_animator("pwm", path)
    made = tmp_path / "run" / "animator.safetensors"
    made.touch()
    with pytest.raises(ModelFileError, match=f"got 'training'; a training goes on from .* is {made}$"):
        load_checkpoint(path).build(TOY)


@pytest.mark.parametrize("version", ["0.2.0", "1.0", "10.0.0.dev1"])
def test_a_newer_version_is_refused_and_a_newer_patch_is_not(tmp_path, monkeypatch, version):
    _, path = toy(tmp_path)
    assert load_checkpoint(rewritten(path, headwarp_version="0.1.99")).version == "0.1.99"
    assert load_checkpoint(rewritten(path, headwarp_version="0.0.1")).version == "0.0.1"
    monkeypatch.setattr("headwarp.__version__", "0.1.0")
    with pytest.raises(ModelFileError, match=f"written by headwarp {version}, this is 0.1.0; upgrade"):
        load_checkpoint(rewritten(path, headwarp_version=version))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": None}, "header kind: expected str, got None"),
        ({"name": 3}, "header name: expected str, got 3"),
        ({"config": []}, "header config: expected dict"),
        ({"step": "7"}, "header step: expected int"),
        ({"step": True}, "header step: expected int, got True"),
        ({"headwarp_version": "new"}, "expected a version such as"),
    ],
)
def test_a_broken_header_is_refused(tmp_path, changes, text):
    _, path = toy(tmp_path)
    with pytest.raises(ModelFileError, match=text):
        load_checkpoint(rewritten(path, **changes))


def changed_config(**changes):
    config = {**config_to_json(CONFIG), **changes}
    return {key: value for key, value in config.items() if value != "absent"}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (changed_config(extra=1), "fields of ToyConfig; unknown extra"),
        (changed_config(mode="absent"), "missing mode"),
        (changed_config(inner={"widths": [1]}), "config.inner: expected the fields of Inner; missing gain"),
        (changed_config(inner=3), "config.inner: expected the fields of Inner, got 3"),
        (changed_config(channels="4"), "config.channels: expected int, got '4'"),
        (changed_config(channels=True), "config.channels: expected int, got True"),
        (changed_config(channels=4.5), "config.channels: expected int"),
        (changed_config(learned=1), "config.learned: expected bool, got 1"),
        (changed_config(mode="quick"), "config.mode: expected one of 'fast', 'slow', got 'quick'"),
        (changed_config(pair=[1, 2, 3]), "config.pair: expected 2 values"),
        (changed_config(pair="ab"), "config.pair: expected a list"),
        (changed_config(names={"x": "y"}), "config.names.x: expected int"),
        (changed_config(path=3), "config.path: expected a path"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, config, text):
    _, path = toy(tmp_path)
    with pytest.raises(ModelFileError, match=text) as caught:
        load_checkpoint(rewritten(path, config=config)).build(TOY)
    assert "c.safetensors" in str(caught.value)


def test_weights_that_do_not_fit_are_listed(tmp_path):
    model, _ = toy(tmp_path)
    state = dict(model.state_dict())
    state["layer.weight"], state["extra"] = torch.zeros(2, 5), torch.zeros(1)
    del state["layer.bias"]
    path = save_checkpoint(tmp_path / "w.safetensors", state, config=CONFIG, name="toy")
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(path).build(TOY)
    for text in (
        "weights of ToyAnimator",
        "1 missing: layer.bias",
        "1 unknown: extra",
        "layer.weight (2, 5) for (2, 4)",
    ):
        assert text in str(caught.value)


def test_weights_for_an_animator_that_has_none_are_refused(tmp_path):
    path = save_checkpoint(
        tmp_path / "g.safetensors", {"w": torch.zeros(1)}, config=GeometryConfig(), name="geometry"
    )
    with pytest.raises(ModelFileError, match="weights of GeometryAnimator; 1 unknown: w"):
        load_animator("geometry", path)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(ModelFileError, match="no such checkpoint; sought in"):
        load_checkpoint(tmp_path / "none.safetensors")
    for name, content in {
        "empty": b"",
        "text": b"not a checkpoint at all",
        "pickle": pickle.dumps(Touch(tmp_path / "run")),
        "huge": (2**62).to_bytes(8, "little") + b"{}",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match="does not read as one"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "run").exists()
    save_file({"w": torch.zeros(2)}, str(tmp_path / "plain"))
    with pytest.raises(
        ModelFileError, match="without its header; weights of other projects are converted first"
    ):
        load_checkpoint(tmp_path / "plain")


@pytest.mark.parametrize("new", [True, False])
def test_files_of_other_projects_are_converted_first(tmp_path, new):
    torch.save({"generator": {}}, tmp_path / "vox.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(ModelFileError, match="weights of other projects: headwarp convert checkpoint"):
        load_checkpoint(tmp_path / "vox.pth")


def test_a_truncated_file_is_refused(tmp_path):
    _, path = toy(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelFileError, match="does not read as one"):
        load_checkpoint(path)


def test_what_cannot_be_saved(tmp_path):
    @dataclass(frozen=True)
    class Odd:
        value: object = None

    for config in ({"a": 1}, Odd(object()), Odd(float("nan")), ToyConfig):
        with pytest.raises(HeadwarpError, match="config: expected"):
            save_checkpoint(tmp_path / "c.safetensors", {}, config=config, name="x")
    with pytest.raises(HeadwarpError, match=r"ends in \.safetensors"):
        save_checkpoint(tmp_path / "c.pt", {}, config=Inner(), name="x")
    with pytest.raises(HeadwarpError, match="step: expected 0 or more"):
        save_checkpoint(tmp_path / "c.safetensors", {}, config=Inner(), name="x", step=-1)
    with pytest.raises(HeadwarpError, match=r"weights\['w'\]: expected a tensor, got int"):
        save_checkpoint(tmp_path / "c.safetensors", {"w": 3}, config=Inner(), name="x")
    assert not list(tmp_path.iterdir())


def test_an_older_file_survives_a_failed_write(tmp_path, monkeypatch):
    _, path = toy(tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "replace", full)
    with pytest.raises(HeadwarpError, match="cannot be written"):
        toy(tmp_path, step=8)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_two_saves_of_the_same_are_equal(tmp_path):
    model, path = toy(tmp_path)
    again = save_checkpoint(tmp_path / "d.safetensors", model, config=CONFIG, name="toy", step=7)
    assert path.read_bytes() == again.read_bytes()


def test_a_checkpoint_in_memory_builds_too():
    model = ToyAnimator(CONFIG)
    made = Checkpoint(
        Path("x"), "animator", "toy", config_to_json(CONFIG), 0, __version__, model.state_dict()
    )
    assert torch.equal(made.build(TOY).layer.weight, model.layer.weight)
