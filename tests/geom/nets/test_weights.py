"""Weights: sought where the text says, verified, loaded strictly, and never random unasked."""

import dataclasses
import hashlib
import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headwarp.geom.errors import HeadwarpError, ModelFileError
from headwarp.geom.nets import _known_weights, _weight_files, weights
from headwarp.geom.nets.weights import (
    KNOWN,
    KnownWeights,
    find_weights,
    known_weights,
    load_backbone,
    load_backbone_file,
    places,
    recorded_hash,
    require_pretrained,
    sha256_of,
)


class Tiny(nn.Module):
    """Stands for a backbone; small, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.bn = nn.BatchNorm2d(2)


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {
        key: value + 0.5 if value.is_floating_point() else value for key, value in Tiny().state_dict().items()
    }


@pytest.fixture
def folder(tmp_path, state, monkeypatch):
    """A folder of weights for networks `tiny` and `other`, which the table knows for this test."""
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(state | {"head.weight": torch.ones(3)}, folder / "tiny.pth")
    entry = KnownWeights(
        name="tiny",
        network="tiny",
        file="tiny.pth",
        url="https://example.org/tiny.pth",
        sha256=sha256_of(folder / "tiny.pth"),
        size=(folder / "tiny.pth").stat().st_size,
        licence="free",
        origin="a test",
        aliases=("tiny/backbone.pth",),
        unused=("head.",),
    )
    other = dataclasses.replace(
        entry, name="other", network="other", file="other.pth", sha256=None, url=None, aliases=(), unused=()
    )
    monkeypatch.setattr(weights, "KNOWN", (entry, other))
    builders = {"tiny": Tiny, "other": Other}
    for module in (weights, _weight_files):
        monkeypatch.setattr(module, "build", lambda name: builders[name]())
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    return folder


def saved(path, tensors):
    torch.save(tensors, path)
    return path


def refused(call, *texts, kind=ModelFileError):
    with pytest.raises(kind) as caught:
        call()
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


# The table


def test_every_entry_says_what_a_person_needs():
    names = [known.name for known in KNOWN]
    assert len(set(names)) == len(names)
    for known in KNOWN:
        assert known.licence
        assert known.origin
        assert known.url is None or known.url.startswith("https://")
        assert known.url is not None or "https://" in known.origin
        assert known.sha256 is None or (len(known.sha256) >= 8 and int(known.sha256, 16) >= 0)
        with torch.device("meta"):
            assert _known_weights.build(known.network).state_dict()


def test_hashes_agree_with_the_digits_that_torch_puts_into_file_names():
    for known in KNOWN:
        digits = known.file.removesuffix(".pth").rpartition("-")[2]
        if len(digits) == 8 and known.sha256:
            assert known.sha256.startswith(digits)


def test_an_unknown_name_lists_the_known():
    refused(lambda: known_weights("vgg"), "expected one of vgg19, ir_se50", "got 'vgg'", kind=HeadwarpError)
    refused(lambda: _known_weights.build("vgg"), "network: expected one of vgg19", kind=HeadwarpError)


# Where they are sought


def test_an_explicit_file_goes_before_the_folders(folder, tmp_path, state):
    own = saved(tmp_path / "mine.pth", state)
    backbone = load_backbone("tiny", own, weights_dir=folder, sha256=sha256_of(own))
    assert backbone.path == own


def test_the_folder_given_goes_before_the_variable(folder, tmp_path, state, monkeypatch):
    second, third = tmp_path / "second", tmp_path / "third"
    for place in (second, third):
        place.mkdir()
        (place / "tiny.pth").write_bytes((folder / "tiny.pth").read_bytes())
    monkeypatch.setenv(weights.VARIABLE, f"{second}:{third}")
    assert places(folder) == (folder, second, third)
    assert load_backbone("tiny", weights_dir=folder).path == folder / "tiny.pth"
    assert load_backbone("tiny").path == second / "tiny.pth"
    (second / "tiny.pth").unlink()
    assert load_backbone("tiny").path == third / "tiny.pth"


def test_aliases_and_safetensors_are_found(folder, state):
    known = known_weights("tiny")
    (folder / "tiny").mkdir()
    (folder / "tiny.pth").rename(folder / "tiny" / "backbone.pth")
    assert find_weights(known, weights_dir=folder) == folder / "tiny" / "backbone.pth"
    (folder / "tiny" / "backbone.pth").unlink()
    assert find_weights(known, weights_dir=folder) is None
    save_file(state, folder / "tiny.safetensors")
    assert load_backbone("tiny", weights_dir=folder).path == folder / "tiny.safetensors"


def test_a_missing_file_says_where_it_was_sought_and_how_to_get_it(folder, tmp_path, monkeypatch):
    refused(
        lambda: load_backbone("tiny"),
        "no tiny.pth; sought in no folder, as $HEADWARP_WEIGHTS is not set",
        "headwarp weights fetch tiny --weights-dir DIR",
        "https://example.org/tiny.pth (licence: free)",
    )
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path / "b"))
    refused(
        lambda: load_backbone("other", weights_dir=tmp_path / "a"),
        f"sought in {tmp_path / 'a'} and {tmp_path / 'b'}",
        "Get other.pth: a test (licence: free)",
    )
    refused(
        lambda: load_backbone("tiny", tmp_path / "x.pth"), "x.pth: no such file; expected weights of tiny"
    )
    refused(lambda: load_backbone("tiny", folder), "is a folder; name the file in it")


# Random weights


def test_random_weights_must_be_asked_for_and_are_logged(folder, caplog):
    with caplog.at_level(logging.WARNING, logger="headwarp"):
        backbone = load_backbone("tiny", "random")
    assert backbone.path is None
    assert backbone.sha256 is None
    assert "tiny: weights are random, as asked for" in caplog.text


@pytest.mark.parametrize("given", [None, "Random", "none", ""])
def test_nothing_else_gives_random_weights(folder, given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError):
        load_backbone("tiny", given)


def test_a_file_called_random_is_not_meant(folder, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "random", state)
    assert load_backbone("tiny", "random").path is None


def test_frozen_random_networks_are_refused(folder):
    random, real = load_backbone("tiny", "random"), load_backbone("tiny", weights_dir=folder)
    assert require_pretrained(real, by="metric") is real.network
    refused(
        lambda: require_pretrained(random, by="perceptual loss"),
        "perceptual loss: expected pretrained weights of tiny, got random ones",
        "headwarp weights fetch tiny",
        kind=HeadwarpError,
    )
    refused(
        lambda: require_pretrained(Tiny(), by="metric"), "expected a Backbone", "got Tiny", kind=HeadwarpError
    )


# Loading


def test_what_is_loaded_is_what_is_in_the_file(folder, state):
    backbone = load_backbone("tiny", weights_dir=folder)
    assert backbone.name == "tiny"
    assert backbone.sha256 == known_weights("tiny").sha256
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, state[key])
        assert value.device.type == "cpu"
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_safetensors_give_the_same_network(folder, state, tmp_path):
    save_file(state, tmp_path / "tiny.safetensors")
    loaded = load_backbone("tiny", tmp_path / "tiny.safetensors").network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_the_format_of_old_files_loads_too(folder, state, tmp_path):
    """torchvision's VGG-19 is of 2017: a row of pickles, no zip."""
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert not path.read_bytes().startswith(b"PK")
    loaded = load_backbone("tiny", path, sha256=sha256_of(path)).network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_half_weights_become_float32_and_missing_counters_zero(folder, state, tmp_path):
    half = {k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    path = saved(tmp_path / "half.pth", half)
    loaded = load_backbone("tiny", path, sha256=sha256_of(path)).network.state_dict()
    assert loaded["conv.weight"].dtype == torch.float32
    assert loaded["bn.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("conv.bias"), "1 of 7 keys missing: conv.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "1 of 7 keys unexpected: extra"),
        (lambda s: s.update({"conv.bias": torch.ones(5)}), "of another shape: conv.bias (5,) for (2,)"),
        (lambda s: s.update({"conv.bias": torch.tensor([1.0, float("nan")])}), "not finite in conv.bias"),
        (lambda s: [s.pop(key) for key in list(s)], "keys missing: conv.weight, conv.bias, bn.weight, .."),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, state, tmp_path, change, text):
    change(state)
    path = saved(tmp_path / "bad.pth", state)
    refused(lambda: load_backbone("tiny", path, sha256=sha256_of(path)), "bad.pth", text)


def test_unused_keys_are_left_out_only_where_the_table_names_them(folder, state, tmp_path):
    path = saved(tmp_path / "x.pth", state | {"head.weight": torch.ones(2), "headless": torch.ones(1)})
    refused(lambda: load_backbone("tiny", path, sha256=sha256_of(path)), "1 of 7 keys unexpected: headless")


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a sound file of weights"),
        (b"<!DOCTYPE html><html>", "a web page was saved in place of the file"),
        (b"PK\x03\x04 cut", "not a sound file of weights"),
        (pickle.dumps({"a": Evil()}, protocol=2), "not a sound file of weights"),
    ],
)
def test_files_that_are_no_weights_are_refused_and_nothing_runs(folder, tmp_path, content, text, capsys):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    refused(lambda: load_backbone("tiny", path, sha256=digest), "x.pth", text)
    assert "run!" not in capsys.readouterr().out


def test_other_content_and_suffixes_are_refused(folder, tmp_path, state):
    nested = saved(tmp_path / "nested.pth", {"state_dict": state})
    refused(lambda: load_backbone("tiny", nested, sha256=sha256_of(nested)), "expected tensors by key")
    text = tmp_path / "x.onnx"
    text.write_bytes(b"x")
    refused(lambda: load_backbone("tiny", text), "expected a file that ends in .pth, .pt, .safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x00" * 20)
    refused(lambda: load_backbone("tiny", cut), "cut.safetensors: cannot be read")


# Hashes


def test_another_hash_than_the_known_one_is_refused_unless_given(folder, state, tmp_path):
    path = saved(tmp_path / "tiny.pth", state | {"head.weight": torch.zeros(3)})
    refused(
        lambda: load_backbone("tiny", path),
        f"expected sha256 {known_weights('tiny').sha256}, got {sha256_of(path)}",
        "pass its own hash as --sha256 if you trust it",
    )
    assert load_backbone("tiny", path, sha256=sha256_of(path)[:12].upper()).path == path
    refused(lambda: load_backbone("tiny", path, sha256="0" * 64), "expected sha256 0000", "; get it again")
    refused(
        lambda: load_backbone("tiny", path, sha256="abc"), "8 to 64 hexadecimal digits", kind=HeadwarpError
    )


def test_the_beginning_of_a_hash_is_enough(folder, monkeypatch):
    known = known_weights("tiny")
    monkeypatch.setattr(weights, "KNOWN", (dataclasses.replace(known, sha256=known.sha256[:8]),))
    assert load_backbone("tiny", weights_dir=folder).sha256 == known.sha256


def test_a_recorded_hash_is_held_to_where_none_is_known(folder):
    path = saved(folder / "other.pth", Other().state_dict())
    digest = load_backbone("other", weights_dir=folder).sha256  # unknown: any passes
    record = folder / "other.pth.sha256"
    record.write_text(f"{digest}  other.pth\n")
    assert recorded_hash(path) == digest
    assert load_backbone("other", weights_dir=folder).sha256 == digest
    saved(path, Other().state_dict())
    refused(lambda: load_backbone("other", weights_dir=folder), f"expected sha256 {digest}")
    record.write_text("not a hash")
    assert recorded_hash(path) is None


# Files that say themselves which network they are of


def test_the_network_is_found_by_its_keys(folder, tmp_path):
    path = saved(tmp_path / "some.pth", Other().state_dict())
    backbone = load_backbone_file(path, ["tiny", "other"])
    assert isinstance(backbone.network, Other)
    assert backbone.name == "other"
    assert require_pretrained(backbone, by="metric") is backbone.network


def test_a_known_hash_gives_the_name(folder, state, tmp_path, monkeypatch):
    known = known_weights("tiny")
    twin = dataclasses.replace(known, name="twin", sha256="0" * 64)
    monkeypatch.setattr(weights, "KNOWN", (twin, known))
    assert load_backbone_file(folder / "tiny.pth", ["twin", "tiny"]).name == "tiny"
    own = saved(tmp_path / "own.pth", state)
    assert load_backbone_file(own, ["twin", "tiny"]).name == "tiny"  # of the network: nobody's known file


def test_a_file_of_no_network_asked_for_is_refused(folder, tmp_path):
    path = saved(tmp_path / "some.pth", Other().state_dict())
    refused(
        lambda: load_backbone_file(path, ["tiny"]), "expected weights of tiny; its 7 keys fit none of them"
    )
    refused(lambda: load_backbone_file(tmp_path / "no.pth", ["tiny", "other"]), "expected one of tiny, other")
    refused(
        lambda: load_backbone_file(path, ["other"], sha256="1" * 64), "expected sha256 1111", "get it again"
    )


def test_real_networks_load_too(tmp_path, monkeypatch):
    """The smallest of the table, through a file."""
    with torch.device("meta"):
        network = _known_weights.build("iresnet18")
    torch.manual_seed(0)
    own = network.state_dict().items()
    filled = {k: torch.full(v.shape, 0.01 * (1 + n % 7)).to(v.dtype) for n, (k, v) in enumerate(own)}
    network.load_state_dict(filled, assign=True)
    path = saved(tmp_path / "backbone.pth", network.state_dict())
    backbone = load_backbone_file(path, ["ir_se50", "iresnet34_glint360k", "iresnet18_glint360k"])
    assert backbone.name == "iresnet18"
    face = torch.rand(1, 3, 112, 112)
    torch.testing.assert_close(backbone.network(face), network.eval()(face))
