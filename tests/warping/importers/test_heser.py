"""Checkpoints of HeSer's public aligner: read without running anything, strict, equal in what they make."""

from __future__ import annotations

import hashlib
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from headwarp.geom.errors import ModelFileError
from headwarp.geom.nets.arcface import IrSe50
from headwarp.geom.nets.mobilenet import MobileNetConfig, MobileNetV2
from headwarp.geom.nets.resnext import ResNext, ResNextConfig
from headwarp.tools.convert_checkpoint import convert_checkpoint, describe
from headwarp.warping.heser_generator import CodeGenerator, GeneratorSize
from headwarp.warping.importers.conversion import convert
from headwarp.warping.importers.heser import generator_shapes, import_heser
from headwarp.warping.importers.torch_files import Inert, read_torch_file

CODES = 4 + 512 + 2 * 6
SIZE = GeneratorSize(16, channels=4, most_channels=8, blocks=1, hidden=12)
PUBLISHED = GeneratorSize(hidden=1536)


def published_generator(config, inputs):
    """Names and shapes in the public code's order, from its description: 95 entries at its own size."""
    widths = config.widths()
    shapes = {"constant.constant": (1, widths[0], 4, 4)}
    pairs = [(widths[0], widths[0], False)] * config.blocks
    pairs += [(before, after, True) for before, after in zip(widths[:-1], widths[1:], strict=True)]  # noqa: RUF007
    for place, (before, after, doubled) in enumerate(pairs):
        first, second = (4, 8) if doubled else (3, 7)
        name = f"decoder_blocks.{place}"
        shapes |= normalised(f"{name}.block.{first}", (after, before, 3, 3), bias=False)
        shapes |= normalised(f"{name}.block.{second}", (after, after, 3, 3), bias=False)
        if doubled:
            shapes |= normalised(f"{name}.skip.1", (after, before, 1, 1))
    shapes |= normalised(f"decoder_blocks.{len(pairs) + 2}", (3, widths[-1], 3, 3))
    norms = widths[-1] + sum(before + after for before, after, _ in pairs)
    shapes |= normalised("affine_params_projector.0", (config.hidden, inputs))
    return shapes | normalised("affine_params_projector.2", (2 * norms, config.hidden))


def normalised(name, shape, *, bias=True):
    rest = torch.Size(shape[1:]).numel()
    own = {f"{name}.bias": (shape[0],)} if bias else {}
    return own | {
        f"{name}.weight_orig": shape,
        f"{name}.weight_u": (shape[0],),
        f"{name}.weight_v": (rest,),
    }


def drawn(shapes):
    torch.manual_seed(2)
    made = {key: 0.3 * torch.randn(shape) for key, shape in shapes.items()}
    return {key: F.normalize(v, dim=0) if key.endswith(("_u", "_v")) else v for key, v in made.items()}


def below(word, network):
    return {f"{word}.{key}": value for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def content():
    """A checkpoint of the public layout with encoders of its own size and a small generator."""
    torch.manual_seed(0)
    return {
        "G": drawn(published_generator(SIZE, CODES)),
        "D": {"model.0.sn_conv.weight_orig": torch.ones(1)},
        "Eexp": below("exp_encoder", MobileNetV2(MobileNetConfig(outputs=6))),
        "Eid": below("facenet", IrSe50()),
        "Epor": below("por_encoder", ResNext(ResNextConfig(outputs=4))),
        "Epose": below("pose_encoder", MobileNetV2(MobileNetConfig(outputs=6))),
        "g_optim": {"state": {}, "param_groups": []},
        "d_optim": {"state": {}, "param_groups": []},
    }


def reference(weights, code):
    """The public generator, restated from its description with torch's functions alone."""

    def weight(name):
        raw, u, v = (weights[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return raw / torch.dot(u, raw.flatten(1) @ v)

    def conv(name, values):
        taps = weight(name)
        return F.conv2d(values, taps, weights.get(f"{name}.bias"), padding=taps.shape[2] // 2)

    hidden = F.relu(
        F.linear(code, weight("affine_params_projector.0"), weights["affine_params_projector.0.bias"])
    )
    numbers = F.linear(hidden, weight("affine_params_projector.2"), weights["affine_params_projector.2.bias"])

    def adapted(values):
        nonlocal numbers
        count = values.shape[1]
        bias, gain, numbers = numbers.split([count, count, numbers.shape[1] - 2 * count], dim=1)
        mean, var = values.mean((2, 3), keepdim=True), values.var((2, 3), correction=0, keepdim=True)
        return (values - mean) / (var + 1e-4).sqrt() * gain[..., None, None] + bias[..., None, None]

    values = weights["constant.constant"].expand(len(code), -1, -1, -1)
    values = values + conv(
        "decoder_blocks.0.block.7", F.relu(adapted(conv("decoder_blocks.0.block.3", F.relu(adapted(values)))))
    )
    for place in (1, 2):
        name = f"decoder_blocks.{place}"
        inner = F.interpolate(F.relu(adapted(values)), scale_factor=2)
        inner = conv(f"{name}.block.8", F.relu(adapted(conv(f"{name}.block.4", inner))))
        values = conv(f"{name}.skip.1", F.interpolate(values, scale_factor=2)) + inner
    return (torch.tanh(conv("decoder_blocks.5", F.relu(adapted(values)))) + 1) / 2


def test_the_helper_knows_the_published_names():
    shapes = published_generator(PUBLISHED, 1536)
    assert len(shapes) == 95
    lines = "\n".join(sorted(f"{key} {shape}" for key, shape in shapes.items()))
    published = "ca6526b2012288f0daa93db207db62b93f772f3ff72810019bdd70ed300a3537"
    assert hashlib.sha256(lines.encode()).hexdigest() == published


def test_shapes_are_those_of_the_network():
    network = CodeGenerator(CODES, SIZE)
    assert generator_shapes(SIZE, CODES) == {key: tuple(v.shape) for key, v in network.state_dict().items()}


def test_every_key_is_loaded_and_pictures_are_the_public_codes(content):
    imported = import_heser(content, name="a.pth")
    assert imported.report.complete
    assert imported.config.generator == SIZE
    assert (imported.config.portrait.outputs, imported.config.pose.outputs) == (4, 6)
    loaded = sum(len(content[part]) for part in ("G", "Eexp", "Eid", "Epor", "Epose"))
    assert len(imported.report.loaded) == loaded
    network = CodeGenerator(CODES, SIZE)
    own = {k.removeprefix("generator."): v for k, v in imported.weights.items() if k.startswith("generator.")}
    network.load_state_dict(own)
    code = torch.randn(2, CODES)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(code), reference(content["G"], code), rtol=0, atol=5e-4)
    identity = imported.weights["identity.input_layer.0.weight"]
    assert torch.equal(identity, content["Eid"]["facenet.input_layer.0.weight"])


def with_settings(path, content, monkeypatch, module="model.AlignModule.config", name="Params"):
    """Saved with an object of a class of the public code, whose module then is gone."""
    home = types.ModuleType(module)
    cls = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(home, name, cls)
    settings = cls()
    settings.size, settings.g_lr = 512, 1e-4
    for part in ("model", "model.AlignModule", module):
        monkeypatch.setitem(sys.modules, part, home if part == module else types.ModuleType(part))
    torch.save({**content, "args": settings}, path)
    monkeypatch.undo()
    return path


def test_the_settings_are_read_and_nothing_is_run(tmp_path, content, monkeypatch):
    path = with_settings(tmp_path / "323-00000000.pth", {"G": content["G"]}, monkeypatch)
    args = read_torch_file(path)["args"]
    assert isinstance(args, Inert)
    assert vars(args) == {"size": 512, "g_lr": 1e-4}
    other = with_settings(tmp_path / "b.pth", {}, monkeypatch, name="Trainer")
    with pytest.raises(ModelFileError, match="expected tensors, numbers and texts alone"):
        read_torch_file(other)


def test_an_animator_or_nothing(tmp_path, content, monkeypatch):
    made = convert({"a.pth": {**content, "args": Inert()}})
    assert (made.name, made.kind, made.report.complete) == ("heser", "animator", True)
    assert {key for key, _ in made.report.dropped} == {"D", "g_optim", "d_optim", "args"}
    assert "the object args was not run" in " ".join(made.notes)
    assert all(key.startswith("network.") for key in made.weights)
    cut = {key: value for key, value in content["Epor"].items() if "layer3.0.conv1" not in key}
    report = import_heser({**content, "Epor": cut, "extra": 1}, name="b.pth").report
    assert report.missing == ("portrait.layer3.0.conv1.weight",)
    assert report.unexpected == ("extra",)


def test_the_command_tells_of_what_is_missing(tmp_path, content, monkeypatch):
    few = {part: content[part] for part in ("G", "Epose", "Eexp")}
    few |= {"Epor": {"por_encoder.fc.bias": torch.zeros(4)}, "Eid": {}}
    report = convert_checkpoint(
        with_settings(tmp_path / "b.pth", few, monkeypatch), tmp_path / "b.safetensors"
    )
    assert not report["ok"]
    assert "portrait.fc.weight" in report["missing"]
    assert "identity.input_layer.0.weight" in report["missing"]
    assert "16 px from 4 numbers of the portrait" in describe(report)
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("part", ["Epor", "Eid", "Epose", "Eexp", "G"])
def test_a_part_that_is_missing_is_named(content, part):
    few = {key: value for key, value in content.items() if key != part}
    whole = "give the whole file, as its training saved it"
    with pytest.raises(ModelFileError, match=rf"^a\.pth: .* aligner without {part}; {whole}$"):
        convert({"a.pth": few})


def test_what_is_no_aligner_is_refused(content):
    with pytest.raises(ModelFileError, match=r"a\.pth: expected an aligner of the public code of \[HeSer\]"):
        import_heser({"Epor": {}, "G": {}}, name="a.pth")
    bare = {key: v for key, v in content["G"].items() if not key.startswith("decoder_blocks")}
    with pytest.raises(ModelFileError, match=r"a\.pth: G: expected constant, decoder_blocks"):
        import_heser({**content, "G": bare}, name="a.pth")
    with pytest.raises(
        ModelFileError, match=r"a\.pth: Epor: expected an encoder with a last layer fc, found none"
    ):
        import_heser({**content, "Epor": {}}, name="a.pth")
