"""``headwarp convert checkpoint`` as a user calls it."""

from __future__ import annotations

import json

import pytest
import torch
from gdpw_file import KINDS, generator

from headwarp.tools import cli
from headwarp.warping._config_json import config_from_json
from headwarp.warping.checkpoints import load_checkpoint
from headwarp.warping.progressive import ProgressiveConfig, ProgressiveWarping

SMALL = {"width": 4, "cap": 24}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_ours(tmp_path, capsys, kind):
    weights = generator(kind, **SMALL)
    torch.save({"generator": weights, "discriminator": {}, "global_step": 12}, tmp_path / "in.pth")
    words = ["convert", "checkpoint", str(tmp_path / "in.pth"), "--output", str(tmp_path / "out.safetensors")]
    assert cli.main([*words, "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert "missing 0, unexpected 0, of another shape 0" in said
    assert "dropped shortcut_layers: 9 (never called by the public code)" in said
    checkpoint = load_checkpoint(tmp_path / "out.safetensors", name="pwm")
    assert checkpoint.step == 12
    config = config_from_json(ProgressiveConfig, checkpoint.config)
    network = ProgressiveWarping(config)
    own = {key.removeprefix("network."): value for key, value in checkpoint.tensors.items()}
    codes = own.pop("codes.codes", None)
    network.load_state_dict(own, strict=True)
    assert (codes is None) == (kind == "geom_disp")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["ok"]
    assert len(report["loaded"]) == len(checkpoint.tensors)
    assert report["config"]["guidance"] == config.guidance


def test_nothing_is_written_where_a_weight_is_missing(tmp_path, capsys):
    weights = generator("geom_disp", **SMALL)
    del weights["up_layers.x2_flow.bias"]
    torch.save(weights, tmp_path / "in.pth")
    words = ["convert", "checkpoint", str(tmp_path / "in.pth"), "--output", str(tmp_path / "out.safetensors")]
    assert cli.main([*words, "--json", str(tmp_path / "r.json")]) == 1
    said = capsys.readouterr().out
    assert "  missing up_layers.x2_flow.bias" in said
    assert "nothing was written" in said
    assert not (tmp_path / "out.safetensors").exists()
    assert json.loads((tmp_path / "r.json").read_text())["missing"] == ["up_layers.x2_flow.bias"]


@pytest.mark.parametrize(
    ("content", "output", "text"),
    [
        ({"kp_detector": {}}, "out.safetensors", "in.pth: expected weights of the public code of"),
        (None, "out.safetensors", "in.pth: no such checkpoint"),
        ({}, "out.pth", "out.pth: expected a name that ends in .safetensors"),
    ],
)
def test_refused_in_one_sentence(tmp_path, capsys, content, output, text):
    if content is not None:
        torch.save(content, tmp_path / "in.pth")
    words = ["convert", "checkpoint", str(tmp_path / "in.pth"), "--output", str(tmp_path / output)]
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not (tmp_path / output).exists()
