"""``headwarp convert checkpoint`` as a user calls it."""

from __future__ import annotations

import json

import pytest
import torch
from gdpw_file import KINDS, generator
from toy_mesh import texture
from toy_scene import FACES, VERTS

from headwarp.geom.guidance import Driving, Source
from headwarp.tools import cli
from headwarp.warping.animators import load_animator
from headwarp.warping.checkpoints import load_checkpoint

SMALL = {"width": 4, "cap": 24, "embedding": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_an_animator(tmp_path, capsys, kind):
    weights = generator(kind, vertices=VERTS.shape[1], **SMALL)
    torch.save({"generator": weights, "discriminator": {}, "global_step": 12}, tmp_path / "in.pth")
    words = ["convert", "checkpoint", str(tmp_path / "in.pth"), "--output", str(tmp_path / "out.safetensors")]
    assert cli.main([*words, "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    assert "missing 0, unexpected 0, of another shape 0" in said
    assert "dropped shortcut_layers: 9 (never called by the public code)" in said
    checkpoint = load_checkpoint(tmp_path / "out.safetensors", name="pwm", kind="animator")
    assert checkpoint.step == 12
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["ok"]
    assert len(report["loaded"]) == len(checkpoint.tensors)
    animator = load_animator("pwm", tmp_path / "out.safetensors")
    picture = texture((64, 64))
    scene = Source(image=picture, posed_vertices=VERTS, faces=FACES)
    with torch.no_grad():
        made = animator.animate(animator.encode([scene]), Driving(posed_vertices=VERTS + 2))
    assert made.image.shape == (1, 3, 64, 64)
    assert made.image.isfinite().all()


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
        ({"kp_detector": {}}, "out.safetensors", "in.pth: expected one of: weights of the public code of"),
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
