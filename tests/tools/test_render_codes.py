"""``headwarp render --mode codes``: fixed and learned codes on the head, in colours that stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import picture, write_photo
from posed_fits import posed_fit
from toy_head import toy_head

from headwarp.flame.io import save_head_npz
from headwarp.geom.codes import VertexCodes
from headwarp.geom.errors import HeadwarpError
from headwarp.tools.cli import main
from headwarp.tools.draw import codes_picture
from headwarp.tools.render import make_scene, measure, render
from headwarp.warping.animators.copy import CopyConfig
from headwarp.warping.checkpoints import save_checkpoint

SIZE = (96, 128)
HEAD = toy_head()


def test_codes_have_one_colour_in_every_pose_and_learned_ones_are_drawn(tmp_path):
    fit = posed_fit(HEAD, [0.0, 0.0], shift=[(0.0, 0.0), (6.0, -4.0)])
    still, moved = measure(make_scene(fit, mode="codes", head=HEAD))
    assert still["codes"].shape == (16, *SIZE)
    rows, columns = slice(10, 50), slice(30, 90)
    shifted = moved["codes"][:, 6:46, 36:96]
    assert torch.allclose(still["codes"][:, rows, columns], shifted, atol=1e-3)
    drawn = list(render(fit, head=HEAD, mode="codes"))
    difference = drawn[0][rows, columns].astype(int) - drawn[1][6:46, 36:96]
    assert np.abs(difference).max() <= 1
    learned = VertexCodes(len(HEAD.template), 2)
    path = save_checkpoint(tmp_path / "n.safetensors", learned, config=CopyConfig(), name="copy")
    maps = next(measure(make_scene(fit, mode="codes", head=HEAD, texture=path)))
    assert maps["codes"].shape == (2, *SIZE)
    assert torch.equal(maps["codes"].abs().sum(0) > 0, maps["covered"][0] > 0)
    grey = next(render(fit, head=HEAD, mode="codes", texture=path))[..., 2]
    assert set(np.unique(grey)) == {0, 128}  # two channels have no third direction


def test_the_picture_of_codes_is_led_by_their_principal_direction():
    table = torch.tensor([[3.0, 1], [3, -1], [-3, 1], [-3, -1], [0, 0]])
    codes = table[:4].mT.reshape(2, 2, 2)
    red, green, blue = codes_picture(codes, torch.ones(1, 2, 2), table)
    deviation = (36 / 5) ** 0.5, (4 / 5) ** 0.5
    assert torch.allclose(red, 0.5 + codes[0] / deviation[0] / 4)
    assert torch.allclose(green, 0.5 + codes[1] / deviation[1] / 4)
    assert blue.unique().tolist() == [0.5]


def test_the_command_draws_learned_codes_and_says_what_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWARP_HEAD", str(save_head_npz(HEAD, tmp_path / "toy.npz")))
    posed_fit(HEAD, [0.0, 10.0]).save("fit.npz")
    learned = VertexCodes(len(HEAD.template), 5)
    save_checkpoint("n.safetensors", learned, config=CopyConfig(), name="copy")
    words = ["render", "fit.npz", "--mode", "codes", "--checkpoint", "n.safetensors", "--output", "c.npz"]
    assert main([*words, "--json", "r.json"]) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["about"].startswith("codes: neural codes of the surface")
    with np.load("c.npz", allow_pickle=False) as arrays:
        assert arrays["codes"].shape == (2, 5, *SIZE)
        expected = next(measure(make_scene("fit.npz", mode="codes", texture="n.safetensors")))
        assert np.array_equal(arrays["codes"][0], expected["codes"].numpy())
    assert main(["render", "fit.npz", "--mode", "codes", "--frame", "0"]) == 0
    assert Path("fit_codes_0.png").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--checkpoint", "n.safetensors"],
            "--checkpoint: only --mode codes draws learned codes",
        ),
        (["--mode", "codes", "--texture", "p.png"], "--texture: --mode codes draws codes; name a network's"),
        (["--mode", "codes", "--checkpoint", "none"], "none: no such checkpoint"),
        (["--mode", "codes", "--checkpoint", "p.png"], "p.png: expected a checkpoint of headwarp"),
        (["--mode", "codes", "--checkpoint", "n.safetensors"], "got codes of 9 vertices; name the head"),
    ],
)
def test_a_refusal_is_one_sentence_and_leaves_nothing(tmp_path, words, text, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWARP_HEAD", str(save_head_npz(HEAD, tmp_path / "toy.npz")))
    posed_fit(HEAD).save("fit.npz")
    write_photo(Path("p.png"), picture(*SIZE))
    save_checkpoint("n.safetensors", VertexCodes(9), config=CopyConfig(), name="copy")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["render", "fit.npz", *words]) == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_library_takes_the_file_of_a_checkpoint():
    with pytest.raises(HeadwarpError, match="--mode codes: expected the file of a checkpoint, got ndarray"):
        render(posed_fit(HEAD), head=HEAD, mode="codes", texture=picture(20, 20))
