"""`headwarp attention`: query crosses of trained networks on photos, as a command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from headwarp.tools.attention_pictures import FACE_POINTS, RED, attention_sheet
from headwarp.tools.cli import main
from headwarp.tools.sheets import HEADER
from headwarp.training.data.portrait import to_image
from headwarp.warping.animators import registration
from headwarp.warping.checkpoints import save_checkpoint
from headwarp.warping.keypoint_network import dagan, fomm, tiny, with_attention

SIZE, TILE = 64, 128


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint a kind of attention, whose queries look here more than there; two photos."""
    folder, made = tmp_path_factory.mktemp("attention"), {}
    for name, config in {
        "depth": dagan(),
        "self": with_attention(fomm(), "self"),
        "none": fomm(),
    }.items():
        torch.manual_seed(0)
        animator = registration("dagan").build(tiny(config))
        if name != "none":
            attention = animator.network.generator.AttnModule
            for layer in (attention.query_conv, attention.key_conv):
                torch.nn.init.normal_(layer.weight, std=4)
        path = folder / f"{name}.safetensors"
        made[name] = save_checkpoint(path, animator, config=animator.config, name="dagan"), animator.network
    for name, size in {"one": (SIZE, SIZE), "other": (SIZE, SIZE + 40)}.items():
        pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        made[name] = folder / f"{name}.png", pixels
    return made


def words(files, *networks, out, size=SIZE):
    chosen = [str(files[name][0]) for name in networks]
    photos = [str(files["one"][0]), str(files["other"][0])]
    return ["attention", *photos, "--checkpoint", *chosen, "--output", str(out), "--size", str(size)]


def test_depth_stands_above_self_attention(files, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main([*words(files, "depth", "self", out=out), "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["networks"] == ["depth", "self"]
    assert report["queries"] == [list(point) for point in FACE_POINTS]
    assert "rows: depth, self; 4 queries" in capsys.readouterr().out
    source = to_image(files["one"][1])
    driving = to_image(files["other"][1][:, 20:-20].copy())  # its middle square
    sheet = attention_sheet({name: files[name][1] for name in ("depth", "self")}, source, driving)
    assert (np.asarray(Image.open(out)) == sheet).all()
    assert sheet.shape == (HEADER + 2 * TILE, (3 + 4) * TILE, 3)


def test_places_are_asked_as_wanted(files, tmp_path):
    out = tmp_path / "sheet.png"
    assert main([*words(files, "depth", out=out), "--query", "-0.5", "0.5"]) == 0
    drawn = np.asarray(Image.open(out))[HEADER:, 3 * TILE :]
    assert drawn.shape[1] == TILE
    rows, columns = (drawn == RED).all(-1).nonzero()
    left = (TILE - SIZE) / 2  # the picture lies in the middle of its tile
    assert abs(rows.mean() + 0.5 - left - 0.75 * SIZE) < 1
    assert abs(columns.mean() + 0.5 - left - 0.25 * SIZE) < 1


@pytest.mark.parametrize(
    ("networks", "more", "said"),
    [
        (
            ["none"],
            [],
            "expected a network with attention, got one without; `headwarp train dagan` makes one",
        ),
        (["depth", "depth"], [], "another one is called depth:depth too; rename one"),
        (["depth"], ["--size", "70"], "takes multiples of 32 pixels, got 70; take 64"),
        (["depth"], ["--query", "0.5", "1.5"], "--query: expected x and y from -1 to 1, got 0.5 1.5"),
        (["depth"], ["--frame", "3"], "--frame: expected one of"),
        (["depth"], ["--frame", "-1"], "--frame: expected 0 or more, got -1"),
        (["depth"], ["--output", "sheet.txt"], "--output: expected a name in .png"),
    ],
)
def test_what_makes_no_sense_is_refused(files, tmp_path, capsys, networks, more, said):
    given = words(files, *networks, out=tmp_path / "a.png")
    if more and more[0] in given:
        given[given.index(more[0]) + 1] = more[1]
    else:
        given += more
    assert main(given) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
